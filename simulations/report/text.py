"""Words and figures of the report, in English and French side by side.

Both languages stand in the page and a style rule shows one of them, so that the page reads without
a script. Every word goes through ``Text.html``, which escapes: a home's name is a file's name, and
a file may be called anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final
from unicodedata import category

from node.units import cent_per_kwh, eur, kwh

MINUS: Final = "\u2212"
NO_BREAK: Final = "\u00a0"
THIN_NO_BREAK: Final = "\u202f"
EN_DASH: Final = "\u2013"
ELLIPSIS: Final = "\u2026"
REPLACEMENT: Final = "\ufffd"

MONTHS_EN: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
MONTHS_FR: Final = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre",
    "octobre", "novembre", "décembre",
)  # fmt: skip
SHORT_MONTHS_FR: Final = (
    "janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.",
    "déc.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    """One thing said in both languages; plain text, not yet escaped."""

    en: str
    fr: str

    def html(self) -> str:
        """As HTML: one escaped string when both languages agree, else two marked ones."""
        return self._marked("span")

    def svg(self) -> str:
        """As the content of an SVG text element."""
        return self._marked("tspan")

    def plain_attributes(self) -> str:
        """For elements that hold text alone: the script swaps them, English stands without it."""
        return f'data-en="{escape(self.en)}" data-fr="{escape(self.fr)}"'

    def _marked(self, tag: str) -> str:
        if self.en == self.fr:
            return escape(self.en)
        return (
            f'<{tag} lang="en">{escape(self.en)}</{tag}><{tag} lang="fr">{escape(self.fr)}</{tag}>'
        )


def name(text: str) -> Text:
    """A proper name: the same in both languages, and never a template.

    What no page can hold (control characters, the broken bytes of a file name) shows as U+FFFD.
    """
    clean = "".join(REPLACEMENT if category(mark) in {"Cc", "Cs"} else mark for mark in text)
    return Text(clean, clean)


def say(en: str, fr: str, **parts: Text) -> Text:
    """A phrase in both languages; ``{part}`` is filled in each language by its own form.

    Apostrophes and the spaces before French punctuation are set as print would set them.
    """
    for mark in (":", ";", "?", "!", "%", "€"):
        fr = fr.replace(f" {mark}", f"{NO_BREAK}{mark}")
    fr = fr.replace("« ", f"«{NO_BREAK}").replace(" »", f"{NO_BREAK}»")
    return Text(
        en.replace("'", "\u2019").format(**{key: part.en for key, part in parts.items()}),
        fr.replace("'", "\u2019").format(**{key: part.fr for key, part in parts.items()}),
    )


def number(value: float, places: int = 0) -> Text:
    """A number with grouped thousands; a rounded zero has no sign."""
    figures = f"{abs(value):,.{places}f}"
    sign = MINUS if value < 0 and any(figure in "123456789" for figure in figures) else ""
    french = figures.replace(",", THIN_NO_BREAK).replace(".", ",")
    return Text(sign + figures, sign + french)


def count(amount: int, one_en: str, many_en: str, one_fr: str, many_fr: str) -> Text:
    """A number of things; French counts none as one."""
    figures = number(amount)
    english, french = one_en if amount == 1 else many_en, one_fr if amount < 2 else many_fr
    return Text(f"{figures.en}{NO_BREAK}{english}", f"{figures.fr}{NO_BREAK}{french}")


def percent(value: float | None) -> Text:
    """A percentage with one decimal; a dash where there is none."""
    if value is None:
        return name(EN_DASH)
    figures = number(value, 1)
    return Text(f"{figures.en}%", f"{figures.fr}{THIN_NO_BREAK}%")


def energy(energy_wh: int) -> Text:
    """An energy with three or four figures, in Wh, kWh or MWh."""
    if abs(energy_wh) < 1_000:
        return _with_unit(number(energy_wh), "Wh")
    if abs(energy_wh) < 1_000_000:
        return _with_unit(number(kwh(energy_wh), 1 if abs(energy_wh) >= 10_000 else 2), "kWh")
    if abs(energy_wh) < 10_000_000:
        return _with_unit(number(kwh(energy_wh)), "kWh")
    return _with_unit(number(kwh(energy_wh) / 1_000, 1), "MWh")


def money_places(largest_units: int) -> int:
    """Decimals that leave a column of EUR amounts readable: more when all of them are small."""
    largest_eur = abs(eur(largest_units))
    if largest_eur >= 1 or largest_units == 0:
        return 2
    return 3 if largest_eur >= 0.1 else 4


def money(units: int, places: int = 2) -> Text:
    """An amount of credit in EUR."""
    figures = number(eur(units), places)
    english = figures.en.replace(MINUS, "")
    sign = MINUS if figures.en.startswith(MINUS) else ""
    return Text(f"{sign}€{english}", f"{figures.fr}{NO_BREAK}€")


def price(units_per_wh: float, places: int = 1) -> Text:
    """A price in cents per kWh."""
    figures = number(cent_per_kwh(round(units_per_wh)), places)
    return Text(f"{figures.en}{NO_BREAK}ct/kWh", f"{figures.fr}{NO_BREAK}c€/kWh")


def clock(unix_s: int) -> Text:
    """The time of the day in UTC: ``06:00``."""
    return name(datetime.fromtimestamp(unix_s, UTC).strftime("%H:%M"))


def short_day(unix_s: int) -> Text:
    """A day without its year: ``1 Jun``."""
    day = datetime.fromtimestamp(unix_s, UTC)
    return Text(
        f"{day.day} {MONTHS_EN[day.month - 1][:3]}", f"{day.day} {SHORT_MONTHS_FR[day.month - 1]}"
    )


def short_month(unix_s: int) -> Text:
    """A month without its year: ``Jun``."""
    month = datetime.fromtimestamp(unix_s, UTC).month
    return Text(MONTHS_EN[month - 1][:3], SHORT_MONTHS_FR[month - 1])


def year(unix_s: int) -> Text:
    """``2016``."""
    return name(str(datetime.fromtimestamp(unix_s, UTC).year))


def days(first_s: int, last_s: int) -> Text:
    """The days between two instants, both included: ``1 - 30 June 2016``."""
    first, last = long_day(first_s), long_day(last_s)
    if first == last:
        return first
    start, end = datetime.fromtimestamp(first_s, UTC), datetime.fromtimestamp(last_s, UTC)
    english, french = first.en, first.fr
    if (start.year, start.month) == (end.year, end.month):
        english, french = english.partition(" ")[0], french.partition(" ")[0]
    return Text(f"{english} {EN_DASH} {last.en}", f"{french} {EN_DASH} {last.fr}")


def long_day(unix_s: int) -> Text:
    """A whole date: ``1 June 2016``, ``1er juin 2016``."""
    day = datetime.fromtimestamp(unix_s, UTC)
    french_day = "1er" if day.day == 1 else str(day.day)
    return Text(
        f"{day.day} {MONTHS_EN[day.month - 1]} {day.year}",
        f"{french_day} {MONTHS_FR[day.month - 1]} {day.year}",
    )


def moment(unix_s: int) -> Text:
    """A day and a time: ``1 Jun 06:00``."""
    day, time = short_day(unix_s), clock(unix_s)
    return Text(f"{day.en} {time.en}", f"{day.fr} {time.fr}")


def shortened(text: str, most: int) -> str:
    """A long name with its middle left out: file names often differ at their end."""
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}{ELLIPSIS}{text[-tail:]}"


def _with_unit(figures: Text, unit: str) -> Text:
    """A figure and its unit on one line."""
    return Text(f"{figures.en}{NO_BREAK}{unit}", f"{figures.fr}{NO_BREAK}{unit}")
