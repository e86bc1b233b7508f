"""Words and figures of bills, in English and French side by side.

Both stand in a page and a style rule shows one. Every word goes through ``html``, which escapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from html import escape
from typing import Final
from unicodedata import category

from node.billing.bills import BillKind, Line, LineKind, Measure, Remark
from node.billing.time_of_use import Period
from node.units import UNITS_PER_CREDIT, UNITS_PER_WH_IN_CENT_PER_KWH

__all__ = [
    "REMARKS",
    "TITLES",
    "Text",
    "date_text",
    "energy_text",
    "line_text",
    "money_text",
    "period_text",
    "plain",
    "quantity_text",
    "rate_text",
    "say",
    "share_text",
    "span_text",
]

MINUS: Final = "\u2212"
NO_BREAK: Final = "\u00a0"
THIN: Final = "\u202f"
EN_DASH: Final = "\u2013"

_MONTHS: Final = (
    ("January", "janvier"), ("February", "février"), ("March", "mars"), ("April", "avril"),
    ("May", "mai"), ("June", "juin"), ("July", "juillet"), ("August", "août"),
    ("September", "septembre"), ("October", "octobre"), ("November", "novembre"),
    ("December", "décembre"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """One thing said in both languages; plain text, not yet escaped."""

    en: str
    fr: str

    def html(self) -> str:
        """One escaped string when both languages agree, else two marked ones."""
        if self.en == self.fr:
            return escape(self.en)
        return f'<span lang="en">{escape(self.en)}</span><span lang="fr">{escape(self.fr)}</span>'

    def __add__(self, other: Text) -> Text:
        return Text(self.en + other.en, self.fr + other.fr)


def plain(text: str) -> Text:
    """A proper name: the same in both languages. What no page can hold shows as U+FFFD."""
    clean = "".join("\ufffd" if category(mark) in {"Cc", "Cs"} else mark for mark in text)
    return Text(clean, clean)


def say(en: str, fr: str) -> Text:
    """A phrase in both languages, with the marks that print sets."""
    for mark in (":", ";", "?", "!", "%", "€"):
        fr = fr.replace(f" {mark}", f"{NO_BREAK}{mark}")
    return Text(en.replace("'", "\u2019"), fr.replace("'", "\u2019"))


TITLES: Final = {
    BillKind.CONSUMER: say("Bill for local energy", "Facture d'énergie locale"),
    BillKind.SHADOW: say(
        "Shadow of the supplier's bill", "Estimation de la facture du fournisseur"
    ),
    BillKind.PRODUCER: say("Producer's statement", "Relevé du producteur"),
}

_LINES: Final = {
    LineKind.LOCAL_ENERGY: say("Local energy", "Énergie locale"),
    LineKind.COMMUNITY_FEE: say("Community fee", "Contribution à la communauté"),
    LineKind.STANDING_CHARGE: say("Standing charge", "Abonnement"),
    LineKind.COMPLEMENT: say("Complement from the supplier", "Complément du fournisseur"),
    LineKind.TURPE_MANAGEMENT: say("Grid (TURPE), management", "Réseau (TURPE), gestion"),
    LineKind.TURPE_METERING: say("Grid (TURPE), metering", "Réseau (TURPE), comptage"),
    LineKind.TURPE_POWER: say(
        "Grid (TURPE), subscribed power", "Réseau (TURPE), puissance souscrite"
    ),
    LineKind.TURPE_AUTO: say("Grid (TURPE), autoproduite", "Réseau (TURPE), autoproduite"),
    LineKind.TURPE_ALLO: say("Grid (TURPE), alloproduite", "Réseau (TURPE), alloproduite"),
    LineKind.TURPE_ENERGY: say("Grid (TURPE), energy", "Réseau (TURPE), énergie"),
    LineKind.CTA: say("CTA on the fixed part of TURPE", "CTA sur la part fixe du TURPE"),
    LineKind.ACCISE: say("Excise on electricity", "Accise sur l'électricité"),
    LineKind.VAT: say("VAT", "TVA"),
    LineKind.SURPLUS: say("Surplus, sold elsewhere", "Surplus, vendu ailleurs"),
    LineKind.NOTE: say("Correction of an earlier bill", "Correction d'une facture antérieure"),
    LineKind.NOTE_ACCISE: say("Its excise on electricity", "Son accise sur l'électricité"),
    LineKind.NOTE_VAT: say("Its VAT", "Sa TVA"),
}

REMARKS: Final = {
    Remark.ACCOUNTING: say(
        "These are accounting facts about a shared network: nobody's electrons are steered to a "
        "neighbour.",
        "Ce sont des faits comptables sur un réseau partagé : les électrons de personne ne sont "
        "dirigés vers un voisin.",
    ),
    Remark.NO_CONFORMITY: say(
        "Made by daisee. No conformity with tax or invoicing law is certified; whoever issues a "
        "bill compares the rates with the acts that are named.",
        "Établi par daisee. Aucune conformité fiscale ou de facturation n'est certifiée ; "
        "l'émetteur compare les tarifs aux textes cités.",
    ),
    Remark.SHADOW: say(
        "This is no bill: it shows what the supplier may bill for the rest, from the prices that "
        "were told.",
        "Ceci n'est pas une facture : c'est ce que le fournisseur peut facturer pour le reste, "
        "d'après les prix indiqués.",
    ),
    Remark.PROVISIONAL: say(
        "Provisional: the operator has not given every value, and what is missing is not billed.",
        "Provisoire : le gestionnaire de réseau n'a pas donné toutes les valeurs ; ce qui manque "
        "n'est pas facturé.",
    ),
    Remark.ONE_SOURCE: say(
        "Some rates are known from one publication only; they were accepted by the operation.",
        "Certains tarifs ne sont connus que par une publication ; l'opération les a acceptés.",
    ),
    Remark.DOUBTFUL: say(
        "Some rates are doubtful; they were accepted by the operation.",
        "Certains tarifs sont douteux ; l'opération les a acceptés.",
    ),
    Remark.ACCISE_EXEMPT: say(
        "The operation declares local energy exempt from excise, under the act named on the line; "
        "the conditions are disputed.",
        "L'opération déclare l'énergie locale exonérée d'accise, selon le texte cité à la ligne ; "
        "les conditions en sont discutées.",
    ),
    Remark.OFF_PEAK_INSIDE_STEP: say(
        "Off-peak hours begin or end inside a step of the curve: a step counts whole, in the class "
        "of its beginning.",
        "Les heures creuses commencent ou finissent dans un pas de la courbe : un pas compte en "
        "entier, dans la classe de son début.",
    ),
    Remark.REVISION: say(
        "A later revision: the month as it is known now. Do not pay it again: what changed since "
        "the revision before comes as correction lines on a later bill.",
        "Révision ultérieure : le mois tel qu'il est connu maintenant. Ne pas la payer à nouveau : "
        "ce qui a changé depuis la révision précédente vient en lignes de correction sur une "
        "facture ultérieure.",
    ),
}

_CLASSES: Final = {
    "HP": say("peak hours", "heures pleines"),
    "HC": say("off-peak hours", "heures creuses"),
    "HPH": say("peak, high season", "heures pleines, saison haute"),
    "HCH": say("off-peak, high season", "heures creuses, saison haute"),
    "HPB": say("peak, low season", "heures pleines, saison basse"),
    "HCB": say("off-peak, low season", "heures creuses, saison basse"),
    "BASE": say("all hours", "toutes heures"),
}


def line_text(line: Line) -> Text:
    """What a line is for, with its hours."""
    words = _LINES[line.kind]
    if line.time_class:
        hours = _CLASSES.get(line.time_class, plain(line.time_class))
        words = words + plain(", ") + hours
    return words


def number(value: Decimal, places: int) -> Text:
    """A number with grouped thousands; a zero has no sign."""
    figures = f"{abs(value):,.{places}f}"
    sign = MINUS if value < 0 and figures.strip("0.,") else ""
    return Text(sign + figures, sign + figures.replace(",", THIN).replace(".", ","))


def money_text(cents: int) -> Text:
    """Cents as EUR."""
    figures = number(Decimal(cents) / 100, 2)
    sign, bare = (MINUS, figures.en[1:]) if figures.en.startswith(MINUS) else ("", figures.en)
    return Text(f"{sign}€{bare}", f"{figures.fr}{NO_BREAK}€")


def energy_text(energy_wh: int) -> Text:
    """Wh as kWh, all of them."""
    return number(Decimal(energy_wh) / 1000, 3) + plain(f"{NO_BREAK}kWh")


def share_text(part: int, whole: int) -> Text:
    """A part in per cent."""
    if not whole:
        return plain(EN_DASH)
    figures = number(Decimal(100 * part) / whole, 1)
    return Text(f"{figures.en}%", f"{figures.fr}{THIN}%")


def quantity_text(line: Line) -> Text:
    """A line's quantity."""
    match line.measure:
        case Measure.WH:
            return energy_text(line.quantity)
        case Measure.DAYS:
            one = line.quantity == 1
            return Text(
                f"{line.quantity}{NO_BREAK}{'day' if one else 'days'}",
                f"{line.quantity}{NO_BREAK}{'jour' if one else 'jours'}",
            )
        case Measure.CENTS:
            return money_text(line.quantity)


def rate_text(line: Line) -> Text:
    """A line's rate, exact."""
    match line.measure:
        case Measure.WH:
            figures = _exact(Decimal(line.rate) / UNITS_PER_WH_IN_CENT_PER_KWH)
            return Text(f"{figures.en}{NO_BREAK}ct/kWh", f"{figures.fr}{NO_BREAK}c€/kWh")
        case Measure.DAYS:
            figures = _exact(Decimal(line.rate) / UNITS_PER_CREDIT)
            return Text(f"€{figures.en}/year", f"{figures.fr}{NO_BREAK}€/an")
        case Measure.CENTS:
            figures = _exact(Decimal(line.rate) / 100)
            return Text(f"{figures.en}%", f"{figures.fr}{THIN}%")


def _exact(value: Decimal) -> Text:
    """A number with two decimals, or as many more as it has."""
    exponent = value.normalize().as_tuple().exponent
    return number(value, max(2, -exponent if isinstance(exponent, int) else 2))


def date_text(day: date) -> Text:
    """``1 October 2025``, ``1er octobre 2025``."""
    english, french = _MONTHS[day.month - 1]
    first = "1er" if day.day == 1 else str(day.day)
    return Text(f"{day.day} {english} {day.year}", f"{first} {french} {day.year}")


def span_text(first: date, until: date) -> Text:
    """Days in figures, both included: ``01/10 - 31/10/2025``."""
    last = until - timedelta(days=1)
    if first == last:
        return plain(f"{last:%d/%m/%Y}")
    start = f"{first:%d/%m}" if first.year == last.year else f"{first:%d/%m/%Y}"
    return plain(f"{start} {EN_DASH} {last:%d/%m/%Y}")


def period_text(period: Period) -> Text:
    """A month by its name, else both days."""
    if len(str(period)) == len("2025-10"):
        english, french = _MONTHS[period.first.month - 1]
        return Text(f"{english} {period.first.year}", f"{french} {period.first.year}")
    last = period.until - timedelta(days=1)
    return date_text(period.first) + plain(f" {EN_DASH} ") + date_text(last)
