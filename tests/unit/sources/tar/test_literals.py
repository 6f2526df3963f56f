"""Literals: what `repr` prints comes back, and nothing else is taken."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.sources.tar.literals import MAX_CHARS, parse_literal

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_what_repr_prints_comes_back(value: Any) -> None:
    assert parse_literal(repr(value)) == value


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ((1, ("a",)), [1, ["a"]]),
        ({"b", "a"}, ["a", "b"]),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (np.float32(0.5), 0.5),
        (np.float64(-2.5), -2.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array([[1.5, -2.0]], np.float32), [[1.5, -2.0]]),
        (np.array(["a"]), ["a"]),
        (datetime.datetime(2024, 1, 2, 3, 4, 5, 6), datetime.datetime(2024, 1, 2, 3, 4, 5, 6)),
        (datetime.date(2024, 1, 2), datetime.date(2024, 1, 2)),
        (datetime.timedelta(days=1, seconds=2), datetime.timedelta(days=1, seconds=2)),
    ],
)
def test_values_of_numpy_and_times(value: Any, found: Any) -> None:
    assert parse_literal(repr({"x": value})) == {"x": found}


def test_nan_is_a_number() -> None:
    assert math.isnan(parse_literal("{'x': nan}")["x"])
    assert math.isnan(parse_literal(repr(np.float32("nan"))))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "__import__('os').system('true')",
        "().__class__",
        "open('x')",
        "os.array([1])",
        "np.load('x')",
        "[x for x in (1,)]",
        "lambda: 1",
        "f'{1}'",
        "1 + 1",
        "-'a'",
        "-True",
        "...",
        "1j",
        "array([1., ..., 2.], dtype=float32)",
        "array([1], copy=open)",
        "datetime.datetime(1)",
        "datetime.datetime(2024, 1, 10**9)",
        "np.int64([1])",
        "{1: 2}",
        "{**{}}",
        "[*[1]]",
        "<PIL.Image.Image image mode=RGB>",
        "[" * 60 + "]" * 60,
        "(" * 100_000,
        "-" * 100_000 + "1",
        "9" * 5000,
        "'" + "x" * MAX_CHARS + "'",
        "'\0'",
    ],
)
def test_what_is_no_literal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"literal|arguments|mapping|minus|datetime"):
        parse_literal(text)


def test_an_array_that_numpy_has_shortened_is_refused() -> None:
    with pytest.raises(ValueError, match="Constant"):
        parse_literal(repr({"embedding": np.zeros(2000)}))
