"""Ranges of files that are read with one request, for members that touch or nearly touch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from beam_export.samples import WHOLE, Member

__all__ = ["Span", "coalesce"]

#: Largest gap that is read over, since one more request costs about as much as 1 MiB.
_GAP = 1 << 20
#: Bytes of a request, unless one member alone is larger: more would leave other threads idle.
_MOST_SPAN = 16 << 20


class Span(NamedTuple):
    """A range of a file that is read with one request, and the members in it.

    Attributes:
        uri: of the file.
        offset, size: of the range; the offset is `WHOLE` if all of the file is read.
        parts: members, each with its place among those asked for.
    """

    uri: str
    offset: int
    size: int
    parts: tuple[tuple[int, Member], ...]


def coalesce(members: Iterable[tuple[int, Member]]) -> list[Span]:
    """Returns the ranges to read for some members; those that touch or nearly touch share one.

    Args:
        members: each with its place among those asked for, in any order.
    """
    spans: list[Span] = []
    # A file that is read as a whole sorts before ranges of it.
    for place, member in sorted(members, key=lambda one: (one[1].uri, one[1].offset, one[1].size)):
        start, part = member.offset, (place, member)
        last = spans[-1] if spans else None
        if last is not None and WHOLE not in (start, last.offset) and last.uri == member.uri:
            end = last.offset + last.size
            size = max(end, start + member.size) - last.offset
            if start - end <= _GAP and size <= max(_MOST_SPAN, last.size):
                spans[-1] = Span(last.uri, last.offset, size, (*last.parts, part))
                continue
        spans.append(Span(member.uri, start, member.size, (part,)))
    return spans
