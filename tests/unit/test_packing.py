from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from beam_export.packing import pack, unpack

values = st.recursive(
    st.none() | st.integers() | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@given(values)
def test_a_value_comes_back(value: Any) -> None:
    assert unpack(pack(value)) == value


@given(st.binary(max_size=9), st.binary(max_size=99))
def test_it_comes_back_from_behind_a_header(header: bytes, value: bytes) -> None:
    assert unpack(memoryview(header + pack(value))[len(header) :]) == value


def test_what_repeats_is_compressed() -> None:
    paths = [f"/a/long/folder/of/many/images/{number:08d}.jpg" for number in range(1000)]
    assert len(pack(paths)) < sum(map(len, paths)) / 3
