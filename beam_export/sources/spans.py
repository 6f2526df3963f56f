"""Which ranges of files are read together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from beam_export.samples import WHOLE, Member

__all__ = ["Span", "coalesce"]

#: Bytes that are rather read in vain than asked around: a request costs as much as these.
_GAP = 1 << 20
#: Bytes a request, unless one member alone is larger: more would leave other lanes idle.
_MOST = 16 << 20


class Span(NamedTuple):
    """A read: what of which file, and the members in it, each with its place among those asked for.

    A file that is read as a whole has the offset `WHOLE`.
    """

    uri: str
    offset: int
    size: int
    parts: tuple[tuple[int, Member], ...]


def coalesce(members: Iterable[tuple[int, Member]]) -> list[Span]:
    """Returns reads that cover all members; ranges that touch or nearly touch share one.

    Args:
        members: each with its place among those asked for, in any order.
    """
    spans: list[Span] = []
    # What is read as a whole sorts before the ranges of the same file.
    for place, member in sorted(members, key=lambda one: (one[1].uri, one[1].offset, one[1].size)):
        start, part = member.offset, (place, member)
        last = spans[-1] if spans else None
        if last is not None and WHOLE not in (start, last.offset) and last.uri == member.uri:
            end = last.offset + last.size
            size = max(end, start + member.size) - last.offset
            if start - end <= _GAP and size <= max(_MOST, last.size):
                spans[-1] = Span(last.uri, last.offset, size, (*last.parts, part))
                continue
        spans.append(Span(member.uri, start, member.size, (part,)))
    return spans
