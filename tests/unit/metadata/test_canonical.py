from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.metadata.canonical import encode

# Text that looks like the encoding itself is what could break it.
TEXT = st.text("sil1:2m\ud800é", max_size=4)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-12, 12) | st.integers(),
    st.floats() | st.sampled_from([0.0, -0.0, 1.0, math.nan]),
    TEXT,
    st.binary(max_size=3) | TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.datetimes() | st.dates() | st.times() | st.timedeltas(),
    st.decimals(allow_nan=False, places=2) | st.sampled_from([decimal.Decimal("1.0")]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def identity(value: Any) -> Any:
    """Returns something that is equal for values that are the same, found without `encode`."""
    if isinstance(value, dict):
        items = [(name, identity(value[name])) for name in sorted(value)]
        return ("dict", *items)
    if isinstance(value, list):
        return ("list", *map(identity, value))
    return type(value).__name__, repr(value)


@given(VALUES, VALUES)
def test_two_values_never_share_their_bytes(a: Any, b: Any) -> None:
    assert (encode(a) == encode(b)) == (identity(a) == identity(b))


@given(st.lists(TEXT | st.lists(TEXT, max_size=2), max_size=4), st.data())
def test_near_values_never_share_their_bytes(items: list[Any], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(items)))
    moved = [*items[:place], items[place:]]
    assert (encode(items) == encode(moved)) == (identity(items) == identity(moved))


@given(st.lists(VALUES, min_size=2, max_size=4))
def test_no_encoding_begins_another(values: list[Any]) -> None:
    first, *others = values
    for other in others:
        if identity(other) != identity(first):
            assert not encode(other).startswith(encode(first))


@given(st.dictionaries(TEXT, VALUES, max_size=5), st.data())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], data: st.DataObject) -> None:
    names = data.draw(st.permutations(list(value)))
    assert encode({name: value[name] for name in names}) == encode(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"n0:"),
        (True, b"b1:1"),
        (-12, b"i3:-12"),
        (1.0, b"f8:\x3f\xf0\0\0\0\0\0\0"),
        ("é", b"s2:\xc3\xa9"),
        (b"ab", b"y2:ab"),
        (["a", []], b"l2:s1:al0:"),
        ({"b": 1, "a": None}, b"m2:s1:an0:s1:bi1:1"),
        (datetime.date(2024, 5, 6), b"t15:date 2024-05-06"),
        (decimal.Decimal("1.50"), b"d12:Decimal 1.50"),
    ],
)
def test_bytes_never_change(value: Any, expected: bytes) -> None:
    # Hashes in the names of exports that exist depend on these.
    assert encode(value) == expected


def test_containers_and_numpy_values_are_what_they_hold() -> None:
    assert encode((1, 2)) == encode([1, 2]) == encode(np.array([1, 2]))
    assert encode(np.float32(0.5)) == encode(0.5)
    assert encode({"a": np.bool_(True)}) == encode({"a": True})
    assert encode(bytearray(b"a")) == encode(memoryview(b"a")) == encode(b"a")


def test_moments_are_the_same_however_finely_they_are_told() -> None:
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9)
    for unit in ("s", "ms", "us", "ns"):
        assert encode(np.datetime64(moment, unit)) == encode(moment)
        assert encode(np.array([moment], f"M8[{unit}]")) == encode([moment])
        assert encode(np.timedelta64(5, "s").astype(f"m8[{unit}]")) == encode(
            datetime.timedelta(seconds=5)
        )
    assert encode(np.datetime64("NaT", "ns")) == encode(None)


@pytest.mark.parametrize("kind", ["M8[ns]", "m8[ns]"])
def test_nanoseconds_are_neither_cut_nor_numbers(kind: str) -> None:
    one, other = np.array([1, 2], kind)
    assert len({encode(one), encode(other), encode(1), encode(np.array(one))}) == 3
    assert encode(np.array([one, other])) == encode([one, other])


def test_every_nan_is_one() -> None:
    assert encode(math.nan) == encode(-math.nan) == encode(np.float32("nan"))


@pytest.mark.parametrize("value", [{1}, 1j, object(), [object()], {"a": {1}}])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be a metadata value"):
        encode(value)


@pytest.mark.parametrize("length", [1, 100, 101, 5000])
def test_a_name_is_encoded_as_text_whether_its_bytes_are_kept_or_not(length: int) -> None:
    name = "é" * length
    assert encode({name: 1}) == b"m1:" + encode(name) + b"i1:1" == encode({name: 1})
