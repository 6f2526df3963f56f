from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.text import printable, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (2, "2 bytes"),
        (999, "999 bytes"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (1_234_567, "1.23 MB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (999_950_000, "1 GB"),
        (12_345_678_901, "12.3 GB"),
        (5 * 10**15, "5 PB"),
    ],
)
def test_size(count: float, text: str) -> None:
    assert size(count) == text


@given(st.floats(0, 9e17))
def test_size_has_three_digits_at_most(count: float) -> None:
    number, unit = size(count).split()
    assert 0 <= float(number) < 1000
    assert unit in ("byte", "bytes", "kB", "MB", "GB", "TB", "PB")
    if count >= 2:
        assert "e" not in number


@given(st.text(st.characters(codec="utf-8")))
def test_valid_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters(exclude_categories=[])))
def test_any_text_becomes_valid(text: str) -> None:
    printable(text).encode("utf-8")


def test_bytes_of_a_name_that_are_no_text_are_shown() -> None:
    assert printable("café/\udce9.jpg") == "café/\\xe9.jpg"
