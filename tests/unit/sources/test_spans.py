from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beam_export.samples import WHOLE, Member
from beam_export.sources.spans import Span, coalesce

MIB = 1 << 20


def ranges(*pairs: tuple[int, int]) -> list[tuple[int, Member]]:
    return [(place, Member("jpg", "t", *one)) for place, one in enumerate(pairs)]


def extents(found: list[Span]) -> list[tuple[int, int]]:
    return [(span.offset, span.size) for span in found]


def test_what_touches_or_nearly_touches_is_one_read() -> None:
    assert extents(coalesce(ranges((0, 10), (10, 5)))) == [(0, 15)]
    assert extents(coalesce(ranges((0, 10), (10 + MIB, 5)))) == [(0, 15 + MIB)]
    assert extents(coalesce(ranges((0, 10), (11 + MIB, 5)))) == [(0, 10), (11 + MIB, 5)]


def test_a_read_does_not_grow_without_bounds_nor_is_a_large_member_cut() -> None:
    near = ranges(*((place * MIB, MIB) for place in range(40)))
    assert [size for _, size in extents(coalesce(near))] == [16 * MIB, 16 * MIB, 8 * MIB]
    assert extents(coalesce(ranges((0, 50 * MIB)))) == [(0, 50 * MIB)]


def test_whole_files_are_read_alone() -> None:
    members = [(0, Member("a", "t", WHOLE, 5)), (1, Member("b", "t", 0, 5))]
    assert extents(coalesce(members)) == [(WHOLE, 5), (0, 5)]


places = st.tuples(st.sampled_from("ab"), st.integers(WHOLE, 60), st.integers(0, 20))


@given(st.lists(places, max_size=12))
def test_each_member_is_in_one_span_that_covers_it(given_: list[tuple[str, int, int]]) -> None:
    members = [(n, Member("x", uri, at, size)) for n, (uri, at, size) in enumerate(given_)]
    found = coalesce(members)
    assert sorted(part[0] for span in found for part in span.parts) == list(range(len(members)))
    for span in found:
        for _, member in span.parts:
            assert member.uri == span.uri
            if WHOLE in (member.offset, span.offset):
                assert len(span.parts) == 1
            else:
                assert span.offset <= member.offset
                assert member.offset + member.size <= span.offset + span.size
