// Both languages stand in the page; a style rule shows the chosen one. This only chooses first,
// and tells the document its language.
(() => {
  const french = document.getElementById('fr');
  const apply = () => { document.documentElement.lang = french.checked ? 'fr' : 'en'; };
  if ((navigator.language || '').toLowerCase().startsWith('fr')) french.checked = true;
  for (const choice of document.querySelectorAll('input[name="language"]')) {
    choice.addEventListener('change', apply);
  }
  apply();
})();
