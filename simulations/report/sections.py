"""The sections on energy, on what the market changed, and on its price: a chart each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from node.units import cent_per_kwh
from simulations.outcome import RunOutcome
from simulations.report.charts import (
    Share,
    day_chart,
    overview_chart,
    price_chart,
    shares_chart,
)
from simulations.report.markup import legend, panel, paragraph
from simulations.report.series import (
    EnergyBin,
    Period,
    day_bins,
    is_one_day,
    period_bins,
    period_start_s,
    price_bins,
)
from simulations.report.svg import Caption
from simulations.report.text import Text, count, energy, number, percent, price, say
from simulations.results import EnergyTotals, energy_totals, mean_price, percentage

ACCOUNTING: Final = say(
    "An allocation is an accounting fact about a shared network: nobody's electrons are steered "
    "to a neighbour. It records that, in the same slot, one home fed in what another drew.",
    "Une affectation est une écriture comptable sur un réseau partagé : les électrons de personne "
    "ne sont dirigés vers un voisin. Elle constate que, dans le même pas de temps, un foyer a "
    "injecté ce qu'un autre a soutiré.",
)


def day_section(outcome: RunOutcome) -> str:
    """Energy by source over the run's day, or over its average day."""
    totals = energy_totals(outcome.flows)
    title = say("Where the energy came from", "D'où venait l'énergie")
    which = (
        say("The run, slot by slot", "La simulation, pas à pas")
        if is_one_day(outcome.flows, outcome.slot_s)
        else say("The average day of the run", "Le jour moyen de la simulation")
    )
    lead = say(
        "{which}, as mean power; times are UTC. Above the line, what the homes used; below it, the "
        "surplus that no neighbour took.",
        "{which}, en puissance moyenne ; les heures sont en UTC. Au-dessus de la ligne, ce que "
        "les foyers ont consommé ; au-dessous, le surplus qu'aucun voisin n'a pris.",
        which=which,
    )
    summary = say(
        "Own roofs gave {own}, neighbours {near}, the supplier {supplier}; {spare} of surplus "
        "went to the grid.",
        "Les toits ont donné {own}, les voisins {near}, le fournisseur {supplier} ; {spare} de "
        "surplus sont partis au réseau.",
        own=energy(totals.own_use_wh),
        near=energy(totals.traded_wh),
        supplier=energy(totals.residual_wh),
        spare=energy(totals.surplus_wh),
    )
    chart = day_chart(day_bins(outcome.flows, outcome.slot_s), Caption(title, summary))
    note = f'<p class="note">{ACCOUNTING.html()}</p>'
    return panel("day", title, paragraph(lead) + _source_legend(totals), chart + note)


def overview_section(outcome: RunOutcome) -> str:
    """Energy by source for each day, month or year; nothing for a run of one day."""
    if is_one_day(outcome.flows, outcome.slot_s):
        return ""
    period, bins = period_bins(outcome.flows, outcome.slot_s)
    title = {
        Period.DAY: say("Day by day", "Jour par jour"),
        Period.MONTH: say("Month by month", "Mois par mois"),
        Period.YEAR: say("Year by year", "Année par année"),
    }[period]
    lead = say("The same sources over the whole run.", "Les mêmes sources sur toute la simulation.")
    if not _is_whole(outcome, period, bins):
        lead = say(
            "{lead} The first or the last bar is incomplete, as the run began or ended within it.",
            "{lead} La première ou la dernière barre est incomplète : la simulation y commence ou "
            "s'y termine.",
            lead=lead,
        )
    best = max(bins, key=lambda bin_: bin_.traded_wh)
    summary = say(
        "{bars}; the most that neighbours exchanged in one is {best}.",
        "{bars} ; le plus échangé entre voisins dans l'une d'elles est {best}.",
        bars=count(len(bins), "bar", "bars", "barre", "barres"),
        best=energy(best.traded_wh),
    )
    chart = overview_chart(period, bins, Caption(title, summary))
    return panel("periods", title, paragraph(lead), chart)


def _is_whole(outcome: RunOutcome, period: Period, bins: Sequence[EnergyBin]) -> bool:
    """Whether the run began and ended with a period."""
    first_s, end_s = outcome.flows[0].start_s, bins[-1].end_s
    return period_start_s(period, first_s) == first_s and period_start_s(period, end_s) == end_s


def comparison_section(outcome: RunOutcome) -> str:
    """Self-sufficiency and self-consumption, without the market and with it."""
    totals = energy_totals(outcome.flows)
    lead = say(
        "The same homes under the same sun. Without the market a home has its own roof and the "
        "supplier; with it, the neighbours in between.",
        "Les mêmes foyers sous le même soleil. Sans le marché, un foyer a son toit et le "
        "fournisseur ; avec lui, les voisins entre les deux.",
    )
    charts = _shares(
        "sufficiency",
        say("Self-sufficiency", "Autoproduction"),
        say(
            "Consumption covered by own roofs and neighbours",
            "Consommation couverte par les toits et les voisins",
        ),
        totals,
        totals.load_wh,
    ) + _shares(
        "consumption",
        say("Self-consumption", "Autoconsommation"),
        say(
            "Solar production used in the neighbourhood",
            "Production solaire consommée dans le voisinage",
        ),
        totals,
        totals.pv_wh,
    )
    key = legend(
        [
            ("own", say("Own roof", "Propre toit"), None),
            ("near", say("Neighbours", "Voisins"), None),
        ]
    )
    title = say("With and without the market", "Avec et sans le marché")
    return panel("compare", title, paragraph(lead) + key, f'<div class="pair">{charts}</div>')


def price_section(outcome: RunOutcome) -> str:
    """Clearing prices against the tariffs between which they must lie."""
    title = say("The price of a neighbour's kWh", "Le prix du kWh d'un voisin")
    mean = mean_price(outcome.flows)
    if mean is None:
        nothing = say(
            "No slot had a price, because nothing was traded.",
            "Aucun pas de temps n'a eu de prix, car rien n'a été échangé.",
        )
        return panel("price", title, "", paragraph(nothing))
    bins = price_bins(outcome.flows, outcome.slot_s)
    step = say("Slot by slot", "Pas à pas")
    if bins[0].end_s - bins[0].start_s > outcome.slot_s:
        step = say(
            "The mean of each interval, with the range of its prices",
            "La moyenne de chaque intervalle, avec l'étendue de ses prix",
        )
    lead = say(
        "{step}. Between what the supplier pays for surplus and what it asks for its own energy, "
        "both neighbours gain.",
        "{step}. Entre ce que le fournisseur paie le surplus et ce qu'il demande pour son énergie, "
        "les deux voisins y gagnent.",
        step=step,
    )
    summary = say(
        "Mean price {mean}; the supplier pays {low} for surplus and asks {high}.",
        "Prix moyen {mean} ; le fournisseur paie le surplus {low} et demande {high}.",
        mean=price(mean),
        low=price(outcome.tariffs.feed_in),
        high=price(outcome.tariffs.retail),
    )
    words = paragraph(lead) + _price_legend(outcome, mean)
    return panel("price", title, words, price_chart(outcome, bins, Caption(title, summary)))


def _price_legend(outcome: RunOutcome, mean: float) -> str:
    """The lines of the price chart; the local grid's fee only where there is one."""
    band = say(
        "{low} to {high}",
        "{low} à {high}",
        low=number(cent_per_kwh(outcome.floor_price), 1),
        high=price(outcome.cap_price),
    )
    entries: list[tuple[str, Text, Text | None]] = [
        ("retail", say("Supplier's tariff", "Tarif du fournisseur"), price(outcome.tariffs.retail)),
        ("price", say("Clearing price, mean", "Prix d'équilibre, moyen"), price(mean)),
        ("feed-in", say("Feed-in tariff", "Rachat du surplus"), price(outcome.tariffs.feed_in)),
        ("band", say("Price band of orders", "Bande de prix des ordres"), band),
    ]
    if not outcome.network_fee:
        return legend(entries)
    fee = say(
        "On top of the price, the buyer pays {fee} for the local grid.",
        "En plus du prix, l'acheteur paie {fee} pour le réseau local.",
        fee=price(outcome.network_fee, 2),
    )
    return legend(entries) + paragraph(fee, "note")


def _source_legend(totals: EnergyTotals) -> str:
    """The sources with their energy over the whole run, and their share of the consumption."""

    def figure(energy_wh: int) -> Text:
        share = percent(percentage(energy_wh, totals.load_wh))
        return say("{wh}, {share}", "{wh}, {share}", wh=energy(energy_wh), share=share)

    heading = say(
        "Over the whole run, and as a share of the consumption:",
        "Sur toute la simulation, et en part de la consommation :",
    )
    entries: list[tuple[str, Text, Text | None]] = [
        ("supplier", say("From the supplier", "Du fournisseur"), figure(totals.residual_wh)),
        ("near", say("From neighbours", "Des voisins"), figure(totals.traded_wh)),
        ("own", say("From their own roof", "De leur propre toit"), figure(totals.own_use_wh)),
        ("spare", say("Surplus to the grid", "Surplus au réseau"), energy(totals.surplus_wh)),
    ]
    return paragraph(heading, "note") + legend(entries)


def _shares(
    chart_id: str, heading: Text, meaning: Text, totals: EnergyTotals, whole_wh: int
) -> str:
    """One of the two percentages, as a pair of bars; in words where it has no value."""
    own_pct = percentage(totals.own_use_wh, whole_wh)
    near_pct = percentage(totals.traded_wh, whole_wh)
    if own_pct is None or near_pct is None:
        drawn = paragraph(
            say("There was none in this run.", "Il n'y en a pas eu dans cette simulation.")
        )
    else:
        summary = say(
            "{without} without the market, {with_} with it.",
            "{without} sans le marché, {with_} avec lui.",
            without=percent(own_pct),
            with_=percent(own_pct + near_pct),
        )
        bars = [
            Share(say("Without the market", "Sans le marché"), own_pct, 0.0),
            Share(say("With the market", "Avec le marché"), own_pct, near_pct),
        ]
        drawn = shares_chart(chart_id, bars, Caption(heading, summary))
    return f"<div><h3>{heading.html()}</h3>{paragraph(meaning, 'note')}{drawn}</div>"
