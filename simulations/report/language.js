// Both languages stand in the page; a style rule shows the chosen one. This only chooses first,
// and carries the choice to what a style rule cannot reach: lang, and titles of charts.
(() => {
  const choices = document.querySelectorAll('input[name="language"]');
  const apply = () => {
    const language = document.getElementById('fr').checked ? 'fr' : 'en';
    document.documentElement.lang = language;
    for (const node of document.querySelectorAll('[data-fr]')) {
      node.textContent = node.getAttribute(`data-${language}`);
    }
  };
  if ((navigator.language || '').toLowerCase().startsWith('fr')) {
    document.getElementById('fr').checked = true;
  }
  for (const choice of choices) choice.addEventListener('change', apply);
  apply();
})();
