"""What a reader should know about a run: what was real in it, its chain use, how to repeat it."""

from __future__ import annotations

from typing import Final

from node.units import duration_text
from simulations.outcome import RunOutcome
from simulations.report.markup import facts, listing, panel, paragraph
from simulations.report.text import Text, name, number, price, say

REFERENCE: Final = "reference"
ENGINES: Final = (REFERENCE, "embedded", "anvil")
"""The engines a simulation starts by itself; any other word names a network it was pointed at."""


def reality_section(outcome: RunOutcome) -> str:
    """What is real and what is simulated, by the engine that answered."""
    engine = outcome.chain.engine
    real = [
        say(
            "The household nodes: the very code that runs in a house, one for each home.",
            "Les nœuds des foyers : le code même qui tourne dans une maison, un par foyer.",
        ),
        _what_cleared(engine),
    ]
    simulated = [
        say(
            "The meters, which replay load curves, and the clock, which jumps from slot to slot.",
            "Les compteurs, qui rejouent des courbes de charge, et l'horloge, qui saute d'un pas "
            "à l'autre.",
        ),
        *_what_was_missing(engine),
    ]
    title = say("What is real here, and what is not", "Ce qui est réel ici, et ce qui ne l'est pas")
    lists = (
        f"<div><h3>{say('Real', 'Réel').html()}</h3>{listing(real)}</div>"
        f"<div><h3>{say('Simulated', 'Simulé').html()}</h3>{listing(simulated)}</div>"
    )
    return panel("reality", title, "", f'<div class="pair">{lists}</div>')


def chain_section(outcome: RunOutcome) -> str:
    """What the run asked of its chain, and of the machine."""
    chain = outcome.chain
    entries = [
        (say("Engine", "Moteur"), name(chain.engine)),
        (say("Orders", "Ordres"), number(outcome.orders)),
    ]
    if chain.engine == REFERENCE:
        entries.append((say("Calls", "Appels"), number(chain.transactions)))
    else:
        entries += [
            (say("Blocks", "Blocs"), number(chain.blocks)),
            (say("Transactions", "Transactions"), number(chain.transactions)),
            (say("Gas used", "Gaz consommé"), number(chain.gas_used)),
        ]
    if outcome.orders and chain.gas_used:
        per_order = number(chain.gas_used / outcome.orders)
        entries.append((say("Gas per order, all in", "Gaz par ordre, tout compris"), per_order))
    entries += [
        (say("Processor time", "Temps de calcul"), _seconds(outcome.cpu_s)),
        (say("Elapsed time", "Durée"), _seconds(outcome.wall_s)),
        (say("Peak memory", "Mémoire maximale"), _megabytes(outcome.peak_rss_mb)),
    ]
    title = say("Chain and machine", "Chaîne et machine")
    return panel("chain", title, "", facts(entries))


def reproduction_section(outcome: RunOutcome) -> str:
    """What it takes to get this very page again."""
    lead = say(
        "The same scenario and version give the same orders, prices and fills. The scenario "
        "stands in scenario.toml, and every order with its fill in slots.jsonl, beside this page.",
        "Le même scénario et la même version donnent les mêmes ordres, prix et affectations. Le "
        "scénario est dans scenario.toml, chaque ordre et ce qu'il a obtenu dans slots.jsonl, à "
        "côté de cette page.",
    )
    command = name("daisee simulate scenario.toml")
    entries = [
        (say("Seed", "Graine"), name(str(outcome.seed))),
        (say("Version", "Version"), name(outcome.version)),
        (say("Slot", "Pas de temps"), name(duration_text(outcome.slot_s))),
        (say("Feed-in tariff", "Rachat du surplus"), price(outcome.tariffs.feed_in, 2)),
        (say("Supplier's tariff", "Tarif du fournisseur"), price(outcome.tariffs.retail, 2)),
        (say("Local grid's fee", "Redevance du réseau local"), price(outcome.network_fee, 2)),
    ]
    title = say("Run it again", "Refaire cette simulation")
    content = f"{facts(entries)}<pre><code>{command.html()}</code></pre>"
    return panel("again", title, paragraph(lead), content)


def _what_cleared(engine: str) -> Text:
    """What matched the orders and moved the credit."""
    if engine == REFERENCE:
        return say(
            "The market's rules: the reference that the contract is checked against, to the Wh "
            "and to the unit.",
            "Les règles du marché : la référence à laquelle le contrat est comparé, au Wh et à "
            "l'unité près.",
        )
    machine = {
        "embedded": say(
            "an Ethereum virtual machine inside this program",
            "une machine virtuelle Ethereum dans ce programme",
        ),
        "anvil": say("Anvil, over JSON-RPC", "Anvil, par JSON-RPC"),
    }.get(engine, say("the chain {engine}", "la chaîne {engine}", engine=name(engine)))
    return say(
        "The signed orders and the market's contracts, run by {machine}: every allocation and "
        "every payment happened there.",
        "Les ordres signés et les contrats du marché, exécutés par {machine} : chaque affectation "
        "et chaque paiement y ont eu lieu.",
        machine=machine,
    )


def _what_was_missing(engine: str) -> list[Text]:
    """What a neighbourhood has and this run had not."""
    credit = say("The credit: it is worth nothing.", "Le crédit : il ne vaut rien.")
    if engine == REFERENCE:
        chain = say(
            "The chain: there was none. Orders were not signed, and the market was in memory.",
            "La chaîne : il n'y en avait pas. Les ordres n'étaient pas signés et le marché était "
            "en mémoire.",
        )
    elif engine in ENGINES:
        chain = say(
            "The network: one machine made every block, so no validators had to agree.",
            "Le réseau : une seule machine a produit tous les blocs, aucun validateur n'a eu à "
            "s'accorder.",
        )
    else:
        return []
    return [chain, credit]


def _seconds(seconds: float) -> Text:
    """A duration in seconds."""
    return say("{figure} s", "{figure} s", figure=number(seconds, 1))


def _megabytes(megabytes: float) -> Text:
    """An amount of memory."""
    return say("{figure} MB", "{figure} Mo", figure=number(megabytes))
