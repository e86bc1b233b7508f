"""Bills as documents and files: JSON, CSV and HTML, the same bytes whenever they are made."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from node.billing.bill_page import render_bill, render_page
from node.billing.bill_text import energy_text, money_text, period_text, plain, say
from node.billing.bills import Bill, Line, PeriodBills, Stamp
from node.errors import ConfigurationError

__all__ = [
    "LINE_FIELDS",
    "bill_document",
    "bill_file_names",
    "bill_files",
    "bills_document",
    "line_rows",
    "notes_text",
    "period_files",
    "write_file",
]

LINE_FIELDS = (
    "bill",
    "kind",
    "point",
    "line",
    "seller",
    "buyer",
    "from",
    "until",
    "time_class",
    "measure",
    "quantity",
    "rate",
    "amount_cents",
    "vat_rate",
    "standing",
    "reference",
)
_NOTE_FIELDS = ("kind", "point", "before_cents", "after_cents", "note_cents")


def bill_document(bill: Bill) -> dict[str, object]:
    """A bill as JSON. ``quantity`` counts what ``measure`` says, ``rate`` is in units per Wh, units
    per year or hundredths of a per cent; ``until`` is the first day after."""
    return {
        "number": bill.number,
        "kind": bill.kind.value,
        "point": bill.point,
        "name": bill.name,
        "energy": {
            "measured_wh": bill.energy.measured_wh,
            "shared_wh": bill.energy.shared_wh,
            "rest_wh": bill.energy.rest_wh,
        },
        "days": [
            {
                "day": day.day.isoformat(),
                "measured_wh": day.energy.measured_wh,
                "shared_wh": day.energy.shared_wh,
            }
            for day in bill.days
        ],
        "lines": [_line(line) for line in bill.lines],
        "memo": [_line(line) for line in bill.memo],
        "remarks": [remark.value for remark in bill.remarks],
        "vat_cents": bill.vat_cents,
        "total_cents": bill.total_cents,
        "stamp": _stamp(bill.stamp),
    }


def bills_document(bills: PeriodBills) -> dict[str, object]:
    """All bills of a period, with the sums that must agree."""
    return {
        "stamp": _stamp(bills.stamp),
        "bills": [bill_document(bill) for bill in bills.every],
        "collected_cents": bills.collected_cents,
        "producers_cents": bills.producers_cents,
        "community_cents": bills.community_cents,
        "accise_cents": bills.accise_cents(),
        "balance_cents": bills.balance_cents(),
    }


def _stamp(stamp: Stamp) -> dict[str, object]:
    return {
        "operation": stamp.operation,
        "rules": stamp.rules,
        "billing_rules": stamp.billing_rules,
        "period": str(stamp.period),
        "timezone": stamp.period.zone.key,
        "key": stamp.key,
        "tariffs": stamp.tariffs,
        "inputs": stamp.inputs,
        "open_steps": stamp.open_steps,
        "revision": stamp.revision,
    }


def _line(line: Line) -> dict[str, object]:
    return {
        "line": line.kind.value,
        "seller": line.seller,
        "buyer": line.buyer,
        "from": line.first.isoformat(),
        "until": line.until.isoformat(),
        "time_class": line.time_class,
        "measure": line.measure.value,
        "quantity": line.quantity,
        "rate": line.rate,
        "amount_cents": line.amount_cents,
        "vat_rate": line.vat,
        "standing": line.standing.value,
        "reference": line.reference,
    }


def line_rows(bills: Iterable[Bill]) -> Iterator[tuple[object, ...]]:
    """The lines of bills as rows of ``LINE_FIELDS``; what is only told is left out."""
    for bill in bills:
        for line in bill.lines:
            yield (bill.number, bill.kind.value, bill.point, *_line(line).values())


def csv_text(fields: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for programs."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows(rows)
    return stream.getvalue()


def _json(document: Mapping[str, object]) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False, indent=1) + "\n"


def bill_files(bill: Bill, names: Mapping[str, str]) -> dict[str, str]:
    """What one member gets: the page, the document and the lines, by file name."""
    texts = (
        render_bill(bill, names),
        _json(bill_document(bill)),
        csv_text(LINE_FIELDS, line_rows([bill])),
    )
    return dict(zip(bill_file_names(bill), texts, strict=True))


def bill_file_names(bill: Bill) -> tuple[str, ...]:
    """How the files of ``bill_files`` are called."""
    return tuple(f"{bill.number}.{kind}" for kind in ("html", "json", "csv"))


def period_files(bills: PeriodBills) -> dict[str, str]:
    """What the organiser gets: all bills as one document and one table, and an index."""
    return {
        "bills.json": _json(bills_document(bills)),
        "lines.csv": csv_text(LINE_FIELDS, line_rows(bills.every)),
        "index.html": _index(bills),
    }


def notes_text(before: PeriodBills | Mapping[str, object], after: PeriodBills) -> str:
    """Credit and debit notes: what each bill changed by, as CSV. What consumers get back is what
    producers and the community give back."""
    was = _totals(bills_document(before) if isinstance(before, PeriodBills) else before)
    now = _totals(bills_document(after))
    rows = [
        (*key, was.get(key, 0), now.get(key, 0), now.get(key, 0) - was.get(key, 0))
        for key in sorted(was.keys() | now.keys())
        if was.get(key, 0) != now.get(key, 0)
    ]
    return csv_text(_NOTE_FIELDS, rows)


def _totals(document: Mapping[str, object]) -> dict[tuple[str, str], int]:
    bills = document["bills"]
    community = document["community_cents"]
    assert isinstance(bills, list)
    assert isinstance(community, int)
    found = {(bill["kind"], bill["point"]): bill["total_cents"] for bill in bills}
    return {**found, ("community", ""): community}


def _index(bills: PeriodBills) -> str:
    """A page that lists all bills of a period, with the sums that must agree."""
    heads = (
        say("Member", "Membre"),
        say("Shared, of all measured", "Partagée, sur toute la mesure"),
        say("Total", "Total"),
    )
    head = "".join(f'<th scope="col">{words.html()}</th>' for words in heads)
    groups = (
        (say("Consumers' bills", "Factures"), bills.consumers, bills.collected_cents),
        (say("Producers' statements", "Relevés"), bills.producers, bills.producers_cents),
    )
    bodies = "".join(
        f'<tbody class="party"><tr><th scope="rowgroup" colspan="3">{words.html()}</th></tr>'
        + "".join(map(_index_row, group))
        + f'<tr class="sum"><th scope="row" colspan="2">{say("Sum", "Somme").html()}</th>'
        f"<td>{money_text(total).html()}</td></tr></tbody>"
        for words, group, total in groups
    )
    balance = say("To the community: ", "À la communauté : ") + money_text(bills.community_cents)
    balance += say(
        ". What consumers pay is what producers and the community get.",
        ". Ce que paient les consommateurs est ce que reçoivent producteurs et communauté.",
    )
    body = (
        f"<header><h1>{period_text(bills.stamp.period).html()}</h1></header>"
        f"<table><thead><tr>{head}</tr></thead>{bodies}</table>"
        f'<p class="note">{balance.html()}</p>'
    )
    return render_page(plain(bills.stamp.operation), str(bills.stamp.period), body)


def _index_row(bill: Bill) -> str:
    measured = energy_text(bill.energy.measured_wh)
    share = energy_text(bill.energy.shared_wh) + say(" of ", " sur ") + measured
    return (
        f'<tr><th scope="row"><bdi>{plain(bill.name).html()}</bdi></th>'
        f'<td class="detail">{share.html()}</td>'
        f"<td>{money_text(bill.total_cents).html()}</td></tr>"
    )


def write_file(path: Path, text: str) -> bool:
    """Write a file whole, for its owner's eyes, or leave it as it is: never half of it. False if it
    said so already.

    Raises ConfigurationError if it cannot be written.
    """
    content = text.encode("utf-8")
    try:
        if path.exists() and path.read_bytes() == content:
            return False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{path.name}.part")
        beside.touch(mode=0o600)
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    except OSError as error:
        raise ConfigurationError(
            f"cannot be written ({error.strerror})", file=path, next_step="check the folder"
        ) from error
    return True
