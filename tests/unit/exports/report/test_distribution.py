from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.exports.report.distribution import Distribution

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.lists(finite | st.integers(-50, 50).map(float), max_size=60)


def distribution_of(values: list[float], pieces: int = 1, most: int = 16_384) -> Distribution:
    made = Distribution(most)
    for piece in np.array_split(np.array(values, np.float64), pieces):
        made.add(piece)
    return made


@given(numbers)
def test_few_values_are_counted_as_they_are(values: list[float]) -> None:
    found, counts = distribution_of(values).entries()
    wanted, wanted_counts = np.unique(np.array(values) + 0.0, return_counts=True)
    assert found.tolist() == wanted.tolist()
    assert counts.tolist() == wanted_counts.tolist()


@given(numbers, st.integers(1, 5), st.randoms())
def test_order_and_pieces_do_not_matter(values: list[float], pieces: int, dice: object) -> None:
    mixed = values.copy()
    dice.shuffle(mixed)  # type: ignore[attr-defined]
    one, other = distribution_of(values, most=8), distribution_of(mixed, pieces, most=8)
    for mine, its in zip(one.entries(), other.entries(), strict=True):
        assert mine.tolist() == its.tolist()
    assert (one.least, one.most, one.whole, one.count) == (
        other.least,
        other.most,
        other.whole,
        other.count,
    )


def test_order_does_not_matter_where_pieces_are_merged_on_the_way() -> None:
    values = np.random.default_rng(0).lognormal(size=200_000)
    one, other = Distribution(), Distribution()
    one.add(values)
    for piece in np.array_split(np.sort(values), 7):
        other.add(piece)
    for mine, its in zip(one.entries(), other.entries(), strict=True):
        assert mine.tolist() == its.tolist()


def test_many_values_take_little_and_stay_close() -> None:
    values = np.random.default_rng(0).normal(100, 30, 300_000)
    made = distribution_of(list(values), 5)
    found, counts = made.entries()
    assert len(found) <= 16_384
    assert int(counts.sum()) == made.count == 300_000
    assert (np.diff(found) > 0).all()
    for share in (0.0, 0.01, 0.5, 0.99, 1.0):
        assert made.quantile(share) == pytest.approx(np.quantile(values, share), rel=2e-3)


@given(st.lists(finite, min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_values_between_the_ends(values: list[float], share: float) -> None:
    for most in (16_384, 3):
        found = distribution_of(values, most=most).quantile(share)
        assert min(values) <= found <= max(values)


def test_what_is_no_number_is_counted_apart() -> None:
    made = Distribution()
    made.add(np.array([1.0, np.nan, np.inf, -np.inf, 2.5]), missing=4)
    made.add(np.array([]), missing=1)
    assert (made.missing, made.infinite, made.count) == (6, 2, 2)
    assert (made.least, made.most, made.whole) == (1.0, 2.5, False)


def test_without_values_there_is_no_quantile() -> None:
    made = Distribution()
    made.add(np.array([np.nan]))
    assert made.least is None
    with pytest.raises(ValueError, match="no quantile"):
        made.quantile(0.5)


def test_whole_numbers_of_any_type_are_whole() -> None:
    made = Distribution()
    made.add(np.array([3, 2**40], np.int64))
    assert made.whole
    assert made.entries().values.tolist() == [3.0, 2.0**40]
