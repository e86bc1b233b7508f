"""The whole page: its head, the headline, the figures, and every section in turn."""

from __future__ import annotations

import math
import statistics
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import quote

from node.units import duration_text
from simulations.outcome import RunOutcome
from simulations.report.homes import homes_section, savings_section, trades_section
from simulations.report.markup import paragraph
from simulations.report.notes import chain_section, reality_section, reproduction_section
from simulations.report.sections import (
    comparison_section,
    day_section,
    overview_section,
    price_section,
)
from simulations.report.series import span_s
from simulations.report.svg import hatches
from simulations.report.text import (
    EN_DASH,
    NO_BREAK,
    Text,
    count,
    days,
    energy,
    money,
    money_places,
    name,
    percent,
    price,
    say,
)
from simulations.results import EnergyTotals, energy_totals, mean_price, percentage

PETALS: Final = 9


def render_report(outcome: RunOutcome) -> str:
    """A run as one HTML page that asks nothing of any other place.

    The page's own policy forbids every request and every script but the one that it was made with.
    """
    style = files("simulations.report").joinpath("style.css").read_text("utf-8")
    script = files("simulations.report").joinpath("language.js").read_text("utf-8")
    title = name(outcome.title).html()
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{title}</title>\n<link rel="icon" href="data:image/svg+xml,{quote(_daisy())}">\n'
        f"<style>{style}</style>\n</head>\n<body>\n{_language_choice()}{hatches()}"
        f'<div class="page">\n{_header(outcome)}\n<main>\n{_body(outcome)}\n</main>\n'
        f"<footer>{_footer(outcome)}</footer>\n</div>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _policy(style: str, script: str) -> str:
    """What the page may load: nothing; may run: the one style and the one script in it."""
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    """How a policy names a text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _language_choice() -> str:
    """The switch itself, before all it switches, so that it works without a script."""
    return (
        '<input type="radio" name="language" id="en" checked>'
        '<input type="radio" name="language" id="fr">\n'
    )


def _header(outcome: RunOutcome) -> str:
    """The switch's labels, the title, and what the run was."""
    homes = count(len(outcome.homes), "home", "homes", "foyer", "foyers")
    entries = [homes, *_when(outcome)]
    entries.append(
        say("slots of {slot}", "pas de {slot}", slot=name(duration_text(outcome.slot_s)))
    )
    described = "".join(f"<li>{entry.html()}</li>" for entry in entries)
    return (
        f'<header><div class="bar"><span class="brand">{_daisy()}daisee</span>'
        '<span class="switch"><label for="en" lang="en">English</label>'
        '<label for="fr" lang="fr">Français</label></span></div>'
        f"<h1><bdi>{name(outcome.title).html()}</bdi></h1>"
        f'<ul class="meta">{described}</ul></header>'
    )


def _when(outcome: RunOutcome) -> list[Text]:
    """The days that the run covers."""
    if not outcome.flows:
        return []
    first_s = outcome.flows[0].start_s
    last_s = first_s + span_s(outcome.flows, outcome.slot_s) - 1
    return [days(first_s, last_s)]


def _body(outcome: RunOutcome) -> str:
    """The headline and every section that this run has something for."""
    totals = energy_totals(outcome.flows)
    opening = paragraph(_headline(outcome, totals), "headline")
    if not outcome.flows:
        return opening + reproduction_section(outcome)
    return "\n".join(
        [
            opening,
            _figures(outcome, totals),
            _balance(outcome),
            day_section(outcome),
            comparison_section(outcome),
            overview_section(outcome),
            price_section(outcome),
            savings_section(outcome),
            homes_section(outcome),
            trades_section(outcome),
            reality_section(outcome),
            chain_section(outcome),
            reproduction_section(outcome),
        ]
    )


def _headline(outcome: RunOutcome, totals: EnergyTotals) -> Text:
    """The run in one sentence."""
    if not outcome.flows:
        return say("This run has no slots.", "Cette simulation n'a aucun pas de temps.")
    if not totals.pv_wh:
        return say(
            "No home produced anything, so there was nothing to trade: the supplier delivered "
            "every kWh.",
            "Aucun foyer n'a rien produit : il n'y avait rien à échanger, et le fournisseur a "
            "livré chaque kWh.",
        )
    if len(outcome.homes) == 1:
        return say(
            "A home alone has no neighbour to trade with: what its roof left over went to the "
            "grid.",
            "Un foyer seul n'a pas de voisin avec qui échanger : le surplus de son toit est parti "
            "au réseau.",
        )
    if not totals.traded_wh:
        return say(
            "Nothing was traded: no ask ever met a bid.",
            "Rien n'a été échangé : aucune vente n'a rencontré d'achat.",
        )
    return say(
        "By trading with each other, {homes} covered {with_} of their consumption with their own "
        "sun, instead of {without}.",
        "En échangeant entre eux, {homes} ont couvert {with_} de leur consommation avec leur "
        "propre soleil, au lieu de {without}.",
        homes=count(len(outcome.homes), "home", "homes", "foyer", "foyers"),
        with_=percent(percentage(totals.own_use_wh + totals.traded_wh, totals.load_wh)),
        without=percent(percentage(totals.own_use_wh, totals.load_wh)),
    )


def _figures(outcome: RunOutcome, totals: EnergyTotals) -> str:
    """The figures that sum a run up, each with what to hold it against."""
    mean = mean_price(outcome.flows)
    entries = [
        _percentage_figure(say("Self-sufficiency", "Autoproduction"), totals, totals.load_wh),
        _percentage_figure(say("Self-consumption", "Autoconsommation"), totals, totals.pv_wh),
        (
            say("From neighbours", "Acheté aux voisins"),
            energy(totals.traded_wh),
            say(
                "{share} of the consumption",
                "{share} de la consommation",
                share=percent(percentage(totals.traded_wh, totals.load_wh)),
            ),
        ),
        (
            say("Mean price", "Prix moyen"),
            name(EN_DASH) if mean is None else price(mean),
            say(
                "feed-in {low}, supplier {high}",
                "rachat {low}, fournisseur {high}",
                low=price(outcome.tariffs.feed_in),
                high=price(outcome.tariffs.retail),
            ),
        ),
        *_saving_figures(outcome),
    ]
    return '<dl class="figures">' + "".join(_figure(*entry) for entry in entries) + "</dl>"


def _figure(words: Text, value: Text, note: Text) -> str:
    """One of the large figures."""
    return (
        f'<div><dt>{words.html()}</dt><dd class="value">{_small_unit(value)}</dd>'
        f'<dd class="against">{note.html()}</dd></div>'
    )


def _small_unit(value: Text) -> str:
    """A large figure with its unit, which follows a no-break space, set smaller."""
    forms = []
    for language, form in (("en", value.en), ("fr", value.fr)):
        figure, gap, unit = escape(form).partition(NO_BREAK)
        small = f"{gap}<small>{unit}</small>" if unit else ""
        forms.append(f'<span lang="{language}">{figure}{small}</span>')
    return "".join(forms)


def _percentage_figure(words: Text, totals: EnergyTotals, whole_wh: int) -> tuple[Text, Text, Text]:
    """A percentage with the market, against the same without it."""
    value = percentage(totals.own_use_wh + totals.traded_wh, whole_wh)
    if value is None:
        return words, percent(None), say("nothing was produced", "rien n'a été produit")
    note = say(
        "{without} without the market",
        "{without} sans le marché",
        without=percent(percentage(totals.own_use_wh, whole_wh)),
    )
    return words, percent(value), note


def _saving_figures(outcome: RunOutcome) -> list[tuple[Text, Text, Text]]:
    """What the home in the middle saved, with the range, and what all homes did."""
    savings = [home.savings_units for home in outcome.homes] or [0]
    places = money_places(max(abs(units) for units in savings))
    spread = say(
        "from {low} to {high}",
        "de {low} à {high}",
        low=money(min(savings), places),
        high=money(max(savings), places),
    )
    against = say("against the supplier only", "par rapport au seul fournisseur")
    middle = money(round(statistics.median(savings)), places)
    total = money(sum(savings), money_places(sum(savings)))
    return [
        (say("Median saving", "Gain médian"), middle, spread),
        (say("Saved by all homes", "Gain de tous les foyers"), total, against),
    ]


def _balance(outcome: RunOutcome) -> str:
    """Whether energy and money add up; a run where they do not must not look like one."""
    errors = say(
        "Energy error {energy}, money error {money}.",
        "Écart d'énergie {energy}, écart d'argent {money}.",
        energy=count(outcome.energy_error_wh, "Wh", "Wh", "Wh", "Wh"),
        money=count(outcome.money_error_units, "unit", "units", "unité", "unités"),
    )
    if outcome.energy_error_wh == 0 and outcome.money_error_units == 0:
        mark, css = "✓", "holds"
        verdict = say(
            "Every Wh and every cent accounted for.", "Chaque Wh et chaque centime sont justifiés."
        )
    else:
        mark, css = "✗", "broken"
        verdict = say("This run does not add up.", "Les comptes de cette simulation sont faux.")
    return (
        f'<p class="balance {css}"><span class="mark" aria-hidden="true">{mark}</span>'
        f"<span><b>{verdict.html()}</b> {errors.html()}</span></p>"
    )


def _footer(outcome: RunOutcome) -> str:
    """What made the page."""
    return say("daisee {version}", "daisee {version}", version=name(outcome.version)).html()


def _daisy() -> str:
    """The project's flower: icon of the page and beside its name."""
    petals = "".join(
        f'<ellipse cx="{16 + 8.6 * math.sin(turn):.2f}" cy="{16 - 8.6 * math.cos(turn):.2f}" '
        f'rx="3.3" ry="6" transform="rotate({math.degrees(turn):.1f} '
        f'{16 + 8.6 * math.sin(turn):.2f} {16 - 8.6 * math.cos(turn):.2f})"/>'
        for turn in (2 * math.pi * index / PETALS for index in range(PETALS))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="daisy" viewBox="0 0 32 32" width="26" '
        'height="26" aria-hidden="true"><g fill="#fff" stroke="#b9b2a2" stroke-width=".8">'
        f'{petals}</g><circle cx="16" cy="16" r="5.4" fill="#f0ad1e"/></svg>'
    )
