"""The sections on homes: what each one saved, a table of them, and the biggest trades."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from node.units import cent_per_kwh, eur, kwh
from simulations.outcome import HomeOutcome, RunOutcome, TradeLine
from simulations.report.charts import MOST_NAMED_HOMES, MOST_SKYLINE_BARS, savings_chart
from simulations.report.markup import Column, facts, legend, panel, paragraph, table
from simulations.report.svg import Caption
from simulations.report.text import (
    Text,
    count,
    moment,
    money,
    money_places,
    name,
    number,
    say,
    shortened,
)

MOST_TABLE_HOMES: Final = 200
"""Homes in the table at most; of a larger neighbourhood, those that gained most and least."""

MOST_TRADES: Final = 20


def savings_section(outcome: RunOutcome) -> str:
    """What each home gained against having the supplier only."""
    title = say("What each home saved", "Ce que chaque foyer a économisé")
    homes = outcome.homes
    if not any(home.savings_units for home in homes):
        nothing = say(
            "Nothing: every home paid and earned what it would have with the supplier only.",
            "Rien : chaque foyer a payé et reçu ce qu'il aurait eu avec le seul fournisseur.",
        )
        return panel("savings", title, "", paragraph(nothing))
    savings = [home.savings_units for home in homes]
    places = money_places(max(abs(units) for units in savings))
    least = min(homes, key=lambda home: home.savings_units)
    most = max(homes, key=lambda home: home.savings_units)
    median_units = round(statistics.median(savings))
    extremes = facts(
        [
            (_at_home(say("Least", "Le moins"), least), money(least.savings_units, places)),
            (say("Median", "Médiane"), money(median_units, places)),
            (_at_home(say("Most", "Le plus"), most), money(most.savings_units, places)),
            (say("All homes", "Tous les foyers"), money(sum(savings), places)),
        ]
    )
    summary = say(
        "Least {least}, median {median}, most {most}.",
        "Le moins {least}, médiane {median}, le plus {most}.",
        least=money(least.savings_units, places),
        median=money(median_units, places),
        most=money(most.savings_units, places),
    )
    words = paragraph(_savings_lead(homes)) + extremes + _savings_legend(savings)
    return panel("savings", title, words, savings_chart(homes, Caption(title, summary)))


def homes_section(outcome: RunOutcome) -> str:
    """The table of homes: a saving first, then the energy and the money behind it."""
    shown = outcome.homes
    caption = say(
        "Energy in kWh, money in EUR, over the whole run.",
        "Énergie en kWh, argent en EUR, sur toute la simulation.",
    )
    if len(shown) > MOST_TABLE_HOMES:
        ordered = sorted(shown, key=lambda home: (-home.savings_units, home.name))
        half = MOST_TABLE_HOMES // 2
        shown = (*ordered[:half], *ordered[-half:])
        caption = say(
            "{caption} Of {homes}, the {half} that saved most and the {half} that saved least; "
            "results.json has them all.",
            "{caption} Sur {homes}, les {half} qui ont le plus économisé et les {half} qui ont le "
            "moins économisé ; results.json les contient tous.",
            caption=caption,
            homes=count(len(ordered), "home", "homes", "foyer", "foyers"),
            half=number(half),
        )
    strategies = {home.strategy for home in shown}
    several = len(strategies) > 1
    if not several and strategies:
        caption = say(
            "{caption} All homes price their orders by the strategy “{strategy}”.",
            "{caption} Tous les foyers fixent leurs prix selon la stratégie « {strategy} ».",
            caption=caption,
            strategy=name(next(iter(strategies))),
        )
    headings = [
        Column(say("Home", "Foyer"), is_figure=False),
        *([Column(say("Strategy", "Stratégie"), is_figure=False)] if several else []),
        Column(say("Saved €", "Gain €")),
        Column(say("Used", "Consommé")),
        Column(say("Produced", "Produit")),
        Column(say("Own use", "Autoconsommé")),
        Column(say("Bought", "Acheté")),
        Column(say("Sold", "Vendu")),
        Column(say("Paid €", "Payé €")),
        Column(say("Earned €", "Reçu €")),
    ]
    places = money_places(max((abs(home.savings_units) for home in shown), default=0))
    rows = [_home_row(home, places, several=several) for home in shown]
    title = say("Home by home", "Foyer par foyer")
    return panel("homes", title, "", table("homes", caption, headings, rows), "wide")


def trades_section(outcome: RunOutcome) -> str:
    """The biggest fills of the run; nothing when nothing was traded."""
    trades = outcome.biggest_trades[:MOST_TRADES]
    if not trades:
        return ""
    caption = say(
        "The orders that were filled with most energy. A buyer's amount includes the local grid's "
        "fee, if there is one.",
        "Les ordres servis avec le plus d'énergie. Le montant d'un acheteur comprend la redevance "
        "du réseau local, s'il y en a une.",
    )
    headings = [
        Column(say("Home", "Foyer"), is_figure=False),
        Column(say("Slot (UTC)", "Pas (UTC)"), is_figure=False),
        Column(say("Side", "Sens"), is_figure=False),
        Column(say("kWh", "kWh")),
        Column(say("ct/kWh", "c€/kWh")),
        Column(say("Amount €", "Montant €")),
    ]
    places = money_places(max(abs(trade.amount_units) for trade in trades))
    rows = [_trade_row(trade, places) for trade in trades]
    title = say("The biggest trades", "Les plus gros échanges")
    return panel("trades", title, "", table("trades", caption, headings, rows), "wide whole")


def _savings_lead(homes: Sequence[HomeOutcome]) -> Text:
    """Against what the savings count, how they are drawn, and whether anybody lost."""
    losses = sum(home.savings_units < 0 for home in homes)
    outcome = (
        say(
            "{losses} lost money, and {are} drawn to the other side of zero.",
            "{losses} de l'argent, de l'autre côté du zéro.",
            losses=Text(
                count(losses, "home", "homes", "", "").en,
                count(losses, "", "", "foyer a perdu", "foyers ont perdu").fr,
            ),
            are=Text("is" if losses == 1 else "are", ""),
        )
        if losses
        else say("No home lost money.", "Aucun foyer n'a perdu d'argent.")
    )
    each = say("", "")
    if len(homes) > MOST_SKYLINE_BARS:
        each = say(
            " The bars are {bars} homes, evenly chosen between the least and the most.",
            " Les barres sont {bars} foyers, choisis régulièrement du moindre gain au plus grand.",
            bars=number(MOST_SKYLINE_BARS),
        )
    elif len(homes) > MOST_NAMED_HOMES:
        each = say(
            " Each bar is a home, from the least saving to the greatest.",
            " Chaque barre est un foyer, du moindre gain au plus grand.",
        )
    return say(
        "Against having the supplier only, over the whole run. {outcome}{each}",
        "Par rapport au seul fournisseur, sur toute la simulation. {outcome}{each}",
        outcome=outcome,
        each=each,
    )


def _savings_legend(savings_units: Sequence[int]) -> str:
    """The bars and the line through the median; losses only where there are any."""
    entries: list[tuple[str, Text, Text | None]] = [
        ("gain", say("Saved", "Économisé"), None),
        ("loss", say("Lost", "Perdu"), None),
        ("median", say("Median", "Médiane"), None),
    ]
    return legend([entry for entry in entries if entry[0] != "loss" or min(savings_units) < 0])


def _at_home(words: Text, home: HomeOutcome) -> Text:
    """An extreme and the home that it belongs to."""
    return say(
        "{words}, {home}", "{words}, {home}", words=words, home=name(shortened(home.name, 24))
    )


def _home_row(home: HomeOutcome, places: int, *, several: bool) -> list[Text]:
    """The cells of one home."""
    return [
        name(home.name),
        *([name(home.strategy)] if several else []),
        number(eur(home.savings_units), places),
        *(
            number(kwh(energy_wh), 1)
            for energy_wh in (
                home.load_wh,
                home.pv_wh,
                home.own_use_wh,
                home.bought_wh,
                home.sold_wh,
            )
        ),
        number(eur(home.paid_units), places),
        number(eur(home.earned_units), places),
    ]


def _trade_row(trade: TradeLine, places: int) -> list[Text]:
    """The cells of one filled order."""
    side = say("bought", "achat") if trade.side == "bid" else say("sold", "vente")
    return [
        name(trade.home),
        moment(trade.start_s),
        side,
        number(kwh(trade.filled_wh), 3),
        number(cent_per_kwh(trade.price), 1),
        number(eur(trade.amount_units), places),
    ]
