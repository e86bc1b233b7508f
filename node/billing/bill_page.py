"""A bill as one HTML page: on a phone, on a desk, and on A4 paper; in English and in French.

The page asks nothing of any other place; its own policy forbids every request and every script but
the one that it was made with.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final

from node.billing.bill_text import (
    REMARKS,
    TITLES,
    Text,
    date_text,
    energy_text,
    line_text,
    money_text,
    period_text,
    plain,
    quantity_text,
    rate_text,
    say,
    share_text,
    span_text,
)
from node.billing.bills import COMMUNITY, SUPPLIER, Bill, BillKind, Line, LineKind, Remark

__all__ = ["render_bill", "render_page"]

_WARNINGS: Final = frozenset({Remark.PROVISIONAL, Remark.DOUBTFUL, Remark.SHADOW})
_DIGEST_SHOWN: Final = 16
_CHART_WIDTH: Final = 640
_CHART_HEIGHT: Final = 128


def render_bill(bill: Bill, names: Mapping[str, str]) -> str:
    """A bill's page. ``names`` are the members' names by delivery point."""
    acts = _Acts()
    body = "\n".join(
        [
            f"<header><h1>{TITLES[bill.kind].html()}</h1>{_meta(bill)}</header>",
            _total(bill),
            _split(bill),
            _lines(bill, names, acts),
            _memo(bill, acts),
            _days(bill),
            _remarks(bill),
            acts.html(),
            _stamp(bill),
        ]
    )
    return render_page(plain(bill.stamp.operation), bill.number, body, css=str(bill.kind))


def render_page(brand: Text, title: str, body: str, *, css: str = "") -> str:
    """The frame of a page: policy, style, switch of languages."""
    folder = files("node.billing").joinpath("page")
    style = folder.joinpath("bill.css").read_text("utf-8")
    script = folder.joinpath("language.js").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>{style}</style>\n</head>\n<body>\n"
        '<input type="radio" name="language" id="en" checked>'
        '<input type="radio" name="language" id="fr">\n'
        f'<div class="page {css}"><div class="bar"><b><bdi>{brand.html()}</bdi></b>'
        '<span class="switch"><label for="en" lang="en">English</label>'
        f'<label for="fr" lang="fr">Français</label></span></div>\n<main>\n{body}\n</main>\n</div>'
        f"\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _pairs(css: str, entries: Sequence[tuple[Text, Text]]) -> str:
    pairs = "".join(
        f"<div><dt>{words.html()}</dt><dd>{value.html()}</dd></div>" for words, value in entries
    )
    return f'<dl class="{css}">{pairs}</dl>'


def _meta(bill: Bill) -> str:
    return _pairs(
        "meta",
        [
            (say("Member", "Membre"), plain(bill.name)),
            (say("Period", "Période"), period_text(bill.stamp.period)),
            (say("Delivery point", "Point (PRM)"), plain(bill.point)),
            (say("Number", "Numéro"), plain(bill.number)),
        ],
    )


def _total(bill: Bill) -> str:
    words = {
        BillKind.CONSUMER: say("To pay", "À payer"),
        BillKind.SHADOW: say("Expected from the supplier", "Attendu du fournisseur"),
        BillKind.PRODUCER: say("To receive", "À recevoir"),
    }[bill.kind]
    last = bill.stamp.period.until - timedelta(days=1)
    note = say("of which VAT ", "dont TVA ") + money_text(bill.vat_cents)
    note += say("; made up to ", " ; arrêté au ") + date_text(last)
    return (
        f'<p class="total"><span>{words.html()}</span> <b>{money_text(bill.total_cents).html()}</b>'
        f"<small>{note.html()}</small></p>"
    )


def _split(bill: Bill) -> str:
    """How much of the energy was shared, as a bar with its key."""
    energy = bill.energy
    if not energy.measured_wh:
        nothing = say("No energy was measured.", "Aucune énergie mesurée.")
        return f"<p>{nothing.html()}</p>"
    shared = _CHART_WIDTH * energy.shared_wh // energy.measured_wh
    consumed = bill.kind is not BillKind.PRODUCER
    words = (
        (say("from the operation", "de l'opération"), say("from the supplier", "du fournisseur"))
        if consumed
        else (say("to the operation", "pour l'opération"), say("surplus", "surplus"))
    )
    entries = "".join(
        f'<li><svg width="12" height="12" aria-hidden="true"><rect class="{css}" width="12" '
        f'height="12"/></svg>{text.html()} <b>{energy_text(energy_wh).html()}</b> '
        f"({share_text(energy_wh, energy.measured_wh).html()})</li>"
        for css, text, energy_wh in (
            ("shared", words[0], energy.shared_wh),
            ("rest", words[1], energy.rest_wh),
        )
    )
    return (
        f'<svg class="split" viewBox="0 0 {_CHART_WIDTH} 10" preserveAspectRatio="none" '
        f'aria-hidden="true"><rect class="shared" width="{shared}" height="10"/>'
        f'<rect class="rest" x="{shared}" width="{_CHART_WIDTH - shared}" height="10"/></svg>'
        f'<ul class="key">{entries}</ul>'
    )


class _Acts:
    """The acts that lines refer to, numbered as they come."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def mark(self, reference: str) -> str:
        """The mark that stands beside a rate; none for an agreed one."""
        if not reference:
            return ""
        return f"<sup>{self._found.setdefault(reference, len(self._found) + 1)}</sup>"

    def html(self) -> str:
        """The list of acts."""
        if not self._found:
            return ""
        items = "".join(f"<li>{plain(reference).html()}</li>" for reference in self._found)
        title = say("Rates are set by", "Tarifs fixés par")
        return f'<h2>{title.html()}</h2><ol class="acts">{items}</ol>'


def _party(bill: Bill, line: Line) -> str:
    return line.buyer if bill.kind is BillKind.PRODUCER else line.seller


def _party_text(party: str, names: Mapping[str, str]) -> Text:
    if party == COMMUNITY:
        return say("The community", "La communauté")
    if party == SUPPLIER:
        return say("The supplier, for the rest", "Le fournisseur, pour le reste")
    return plain(names.get(party, party))


def _lines(bill: Bill, names: Mapping[str, str], acts: _Acts) -> str:
    """The table, other party by other party, with a sum for each where there are several."""
    parties: dict[str, list[Line]] = {}
    for line in bill.lines:
        parties.setdefault(_party(bill, line), []).append(line)
    heads = (
        say("For", "Objet"),
        say("Days", "Jours"),
        say("Quantity", "Quantité"),
        say("Rate", "Tarif"),
        say("Amount", "Montant"),
    )
    bodies = []
    for party, lines in parties.items():
        rows = "".join(_row(line, acts) for line in lines)
        name = _party_text(party, names).html()
        total = money_text(sum(line.amount_cents for line in lines)).html()
        subtotal = (
            f'<tr class="sum"><th scope="row" colspan="4">{say("Sum", "Sous-total").html()}</th>'
            f"<td>{total}</td></tr>"
            if len(parties) > 1
            else ""
        )
        bodies.append(
            f'<tbody class="party"><tr><th scope="rowgroup" colspan="5"><bdi>{name}</bdi></th></tr>'
            f"{rows}{subtotal}</tbody>"
        )
    if not bodies:
        nothing = say("Nothing to bill.", "Rien à facturer.")
        return f"<p>{nothing.html()}</p>"
    head = "".join(f'<th scope="col">{words.html()}</th>' for words in heads)
    return (
        f"<h2>{say('Lines', 'Détail').html()}</h2><table><thead><tr>{head}</tr></thead>"
        f"{''.join(bodies)}<tfoot><tr><th scope='row' colspan='4'>{say('Total', 'Total').html()}"
        f"</th><td>{money_text(bill.total_cents).html()}</td></tr></tfoot></table>"
    )


def _row(line: Line, acts: _Acts) -> str:
    preposition = say("of ", "de ") if line.kind in {LineKind.VAT, LineKind.CTA} else plain("")
    is_note = line.kind.is_note  # its amount is all there is to say
    quantity = "" if is_note else (preposition + quantity_text(line)).html()
    rate = "" if is_note else rate_text(line).html()
    return (
        f'<tr><th scope="row">{line_text(line).html()}</th>'
        f'<td class="detail">{span_text(line.first, line.until).html()}</td>'
        f'<td class="detail">{quantity}</td>'
        f'<td class="detail">{rate}{acts.mark(line.reference)}</td>'
        f"<td>{money_text(line.amount_cents).html()}</td></tr>"
    )


def _memo(bill: Bill, acts: _Acts) -> str:
    if not bill.memo:
        return ""
    title = say("Told, and no part of this total", "Pour information, hors de ce total")
    rows = "".join(_row(line, acts) for line in bill.memo)
    return f"<h2>{title.html()}</h2><table><tbody>{rows}</tbody></table>"


def _days(bill: Bill) -> str:
    """The annex: each day's energy, shared and rest, as bars."""
    most_wh = max((day.energy.measured_wh for day in bill.days), default=0)
    if not most_wh:
        return ""
    bars = []
    for place, day in enumerate(bill.days):
        left = _CHART_WIDTH * place // len(bill.days)
        width = max(_CHART_WIDTH * (place + 1) // len(bill.days) - left - 2, 1)
        shared = _CHART_HEIGHT * day.energy.shared_wh // most_wh
        whole = _CHART_HEIGHT * day.energy.measured_wh // most_wh
        bars.append(
            f'<rect class="rest" x="{left}" y="{_CHART_HEIGHT - whole}" width="{width}" '
            f'height="{whole - shared}"/><rect class="shared" x="{left}" '
            f'y="{_CHART_HEIGHT - shared}" width="{width}" height="{shared}"/>'
        )
    last = bill.days[-1].day
    most = say("most: ", "maximum : ") + energy_text(most_wh)
    title = say("Day by day", "Jour par jour").html()
    return (
        f'<h2>{title}</h2><svg class="days" role="img" aria-label="kWh" '
        f'viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" preserveAspectRatio="none">'
        f'{"".join(bars)}</svg><p class="scale"><span>{bill.days[0].day:%d/%m}</span>'
        f"<span>{most.html()}</span><span>{last:%d/%m}</span></p>"
    )


def _remarks(bill: Bill) -> str:
    items = "".join(
        f"<li{' class=warn' if remark in _WARNINGS else ''}>{REMARKS[remark].html()}</li>"
        for remark in bill.remarks
    )
    return f"<h2>{say('Remarks', 'Remarques').html()}</h2><ul class='remarks'>{items}</ul>"


def _stamp(bill: Bill) -> str:
    stamp = bill.stamp
    rules = f"{stamp.rules} ({stamp.billing_rules})"
    return _pairs(
        "stamp",
        [
            (say("Rules", "Règles"), plain(rules)),
            (say("Key", "Clé"), plain(stamp.key)),
            (say("Tariff tables", "Tarifs"), plain(stamp.tariffs[:_DIGEST_SHOWN])),
            (say("Curves", "Courbes"), plain(stamp.inputs[:_DIGEST_SHOWN])),
        ],
    )
