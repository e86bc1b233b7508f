"""Reading a page as a parser sees it: its tags, their nesting, and its words in one language."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

VOID: Final = {"meta", "link", "input", "br", "img"}
UNSEEN: Final = {"style", "script", "title", "desc"}


class PageReader(HTMLParser):
    """Feeds on a page; fails where a tag is not closed in its turn."""

    def __init__(self, page: str, language: str = "en") -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._words: list[str] = []
        self._language = language
        self.feed(page)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    @property
    def words(self) -> str:
        """What a reader of the language sees, in one line; every kind of space is a space."""
        return " ".join("".join(self._words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it; a block's words do not run into the words before."""
        self.tags.append((tag, dict(attrs)))
        if tag not in {"span", "tspan", "b", "small", "bdi"}:
            self._words.append(" ")
        if tag not in VOID:
            self._open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An SVG element without content."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """It must close what was opened last."""
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1][0] == tag, f"</{tag}> inside {self._open[-1]}"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        """Words count if nothing around them is unseen or in the other language."""
        if not any(self._hides(tag, attributes) for tag, attributes in self._open):
            self._words.append(data)

    def _hides(self, tag: str, attributes: dict[str, str | None]) -> bool:
        if tag in UNSEEN:
            return True
        return tag in {"span", "tspan"} and attributes.get("lang") not in {None, self._language}
