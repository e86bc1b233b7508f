"""Bytes of the customer output in, frames and refusals out.

A frame is ``STX groups ETX``; EOT means that the meter broke it off. Groups are judged one by one:
a bad one is refused, the others stay usable, and the frame is then not complete. A frame without
its end is refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from node.meter.codec import MAX_REJECTED_BYTES, Decoded, Rejected
from node.meter.teleinfo.frames import KINDS, read_frame
from node.meter.teleinfo.groups import HT, LF, Group, parse_group, refuse
from node.meter.teleinfo.labels import TicMode

MAX_FRAME_BYTES: Final = 8192
"""The longest frame of the specification has about 2 kB."""

SURE_GROUPS: Final = 3
"""The mode is decided when one of them has this many valid groups more than the other."""

MOST_LEAD: Final = 16
"""A lead counts up to here only: a meter that was switched is understood again within a few
frames."""

_STX: Final = 0x02
_ETX: Final = 0x03
_EOT: Final = 0x04
_CUT_SHORT: Final = {
    _STX: "a frame began before the last one had ended",
    _EOT: "the meter broke the frame off (EOT)",
}
_OUTSIDE: Final = "outside of a frame: the beginning of one was not heard"
_CONTROL: Final = re.compile(rb"[\x02\x03\x04]")

Judged = Group | Rejected


class TeleinfoCodec:
    """Decodes one stream of a Linky. In AUTO mode it decides by valid groups, never by one alone.

    ``groups_accepted`` and ``groups_refused`` count since the start: their ratio is the checksum
    error rate of the line.
    """

    __slots__ = (
        "_buffer",
        "_is_auto",
        "_is_inside",
        "_judged",
        "_lead",
        "_mode",
        "_pieces",
        "groups_accepted",
        "groups_refused",
        "kind",
    )

    def __init__(self, mode: TicMode = TicMode.AUTO) -> None:
        self.kind: str = KINDS[mode]
        self.groups_accepted = 0
        self.groups_refused = 0
        self._is_auto = mode is TicMode.AUTO
        self._mode = None if mode is TicMode.AUTO else mode
        self._lead = 0
        self._buffer = bytearray()
        self._is_inside = False
        self._pieces: Sequence[bytes] = ()
        self._judged: Sequence[Judged] = ()

    @property
    def mode(self) -> TicMode | None:
        """HISTORIC or STANDARD; None as long as AUTO has not decided."""
        return self._mode

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished frame is kept: at most MAX_FRAME_BYTES."""
        return len(self._buffer)

    def feed(self, chunk: bytes) -> list[Decoded]:
        """Take the next bytes; return what is complete by now."""
        decoded: list[Decoded] = []
        begin = 0
        for control in _CONTROL.finditer(chunk):
            self._take(chunk[begin : control.start()], decoded)
            self._turn(control[0][0], decoded)
            begin = control.end()
        self._take(chunk[begin:], decoded)
        return decoded

    def finish(self) -> list[Decoded]:
        """The stream has ended: a frame without its end is refused."""
        decoded: list[Decoded] = []
        self._drop("the stream ended inside a frame", decoded)
        self._is_inside = False
        return decoded

    def _take(self, part: bytes, decoded: list[Decoded]) -> None:
        """Keep bytes, at most MAX_FRAME_BYTES of them; where the chunks end changes nothing."""
        begin = 0
        while (room := MAX_FRAME_BYTES - len(self._buffer)) < len(part) - begin:
            self._buffer += part[begin : begin + room]
            self._drop(f"{MAX_FRAME_BYTES} bytes without the end of a frame", decoded)
            self._is_inside = False
            begin += room
        self._buffer += part[begin:]

    def _turn(self, control: int, decoded: list[Decoded]) -> None:
        """A control character ends what came before it."""
        if control == _ETX and self._is_inside:
            self._end_frame(decoded)
        else:
            self._drop(_CUT_SHORT.get(control, _OUTSIDE), decoded)
        self._is_inside = control == _STX

    def _drop(self, reason: str, decoded: list[Decoded]) -> None:
        """Refuse what is kept, if it is anything."""
        if self._buffer or self._is_inside:
            raw = bytes(self._buffer[:MAX_REJECTED_BYTES])
            decoded.append(Rejected(reason if self._is_inside else _OUTSIDE, raw))
        self._buffer.clear()

    def _end_frame(self, decoded: list[Decoded]) -> None:
        head, *pieces = bytes(self._buffer).split(LF)
        self._buffer.clear()
        judged: list[Judged] = []
        if head or not pieces:
            judged.append(refuse(head, "a frame begins with LF: bytes were lost or added"))
        judged += self._judge(pieces)
        if self._is_auto:
            self._weigh(judged)
        groups, refused = _sort(judged, self._mode)
        self.groups_accepted += len(groups)
        self.groups_refused += len(refused)
        decoded += refused
        if groups and self._mode is not None:
            decoded.append(read_frame(groups, self._mode, is_intact=not refused))

    def _judge(self, pieces: Sequence[bytes]) -> Sequence[Judged]:
        """Groups of a frame. Nearly all of them stand as they did in the frame before."""
        before, known = self._pieces, self._judged
        if len(before) == len(pieces):
            judged = [
                was if piece == same else self._parse(piece)
                for piece, same, was in zip(pieces, before, known, strict=True)
            ]
        else:
            judged = [self._parse(piece) for piece in pieces]
        self._pieces, self._judged = pieces, judged
        return judged

    def _parse(self, piece: bytes) -> Judged:
        if self._mode is not None and not self._is_auto:
            return parse_group(piece, self._mode)
        # The only mode in which a group can be valid: the standard one has HT, the other has no
        # character below a space.
        return parse_group(piece, TicMode.STANDARD if HT in piece else TicMode.HISTORIC)

    def _weigh(self, judged: Sequence[Judged]) -> None:
        """Let the valid groups of a frame move the lead: standard above 0, historic below."""
        modes = [group.mode for group in judged if isinstance(group, Group)]
        standard = modes.count(TicMode.STANDARD)
        lead = self._lead + standard - (len(modes) - standard)
        self._lead = max(-MOST_LEAD, min(lead, MOST_LEAD))
        if self._lead >= SURE_GROUPS:
            self._mode = TicMode.STANDARD
        elif self._lead <= -SURE_GROUPS:
            self._mode = TicMode.HISTORIC


def _sort(
    judged: Sequence[Judged], mode: TicMode | None
) -> tuple[Sequence[Group], Sequence[Rejected]]:
    """The groups of a frame that can be used, and what is refused.

    From a label's second appearance on, groups belong to another frame, whose beginning was lost.
    """
    groups = {g.label: g for g in judged if isinstance(g, Group) and g.mode is mode}
    if len(groups) == len(judged):
        return list(groups.values()), ()
    groups.clear()
    refused: list[Rejected] = []
    is_whole = True
    for group in judged:
        if isinstance(group, Rejected):
            refused.append(group)
            continue
        is_whole = is_whole and group.label not in groups
        if group.mode is not mode:
            refused.append(refuse(group.raw, "the mode is not certain yet, or it is another one"))
        elif not is_whole:
            refused.append(refuse(group.raw, "a second frame follows without its beginning"))
        else:
            groups[group.label] = group
    return list(groups.values()), refused
