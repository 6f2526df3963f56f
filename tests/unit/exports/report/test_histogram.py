from __future__ import annotations

import datetime
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.exports.report.distribution import Distribution
from beam_export.exports.report.histogram import histogram_of, ticks

finite = st.floats(allow_nan=False, allow_infinity=False)


def made_of(values: list[float]) -> Distribution:
    found = Distribution()
    found.add(np.array(values, np.float64))
    return found


@given(st.lists(finite | st.integers(0, 9).map(float), max_size=80))
@example([5e-324, 0.0])
@example([1.7e308, -1.7e308])
@example([1.0, 1.0 + 2**-52])
@example([1e16, 1e16 + 2])
@example([1e-300, 1e300])
@example([0.0, -1.45e255])
def test_every_value_is_in_a_bar_or_beyond(values: list[float]) -> None:
    found = histogram_of(made_of(values))
    if found is None:
        return
    assert len(found.edges) == len(found.counts) + 1
    assert found.edges == sorted(set(found.edges))
    assert sum(found.counts) + found.below + found.above == len(values)
    assert len(found.counts) <= 80
    for value in ticks(found):
        assert found.edges[0] <= value <= found.edges[-1] or math.isclose(value, found.edges[-1])
    assert len(ticks(found)) <= 7


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [1.7e308, -1.7e308]])
def test_what_has_no_width_has_no_histogram(values: list[float]) -> None:
    assert histogram_of(made_of(values)) is None


def test_small_whole_numbers_have_a_bar_each() -> None:
    found = histogram_of(made_of([1, 2, 2, 3, 5]))
    assert found is not None
    assert found.edges == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert found.counts == [1, 2, 1, 0, 1]
    assert ticks(found) == [1, 2, 3, 4, 5]


def test_few_whole_numbers_have_no_halves_between_them() -> None:
    found = histogram_of(made_of([0, 1, 2]))
    assert found is not None
    assert ticks(found) == [0, 1, 2]


def test_edges_are_round() -> None:
    found = histogram_of(made_of([0.0, 0.31, 0.62, 1.0]))
    assert found is not None
    assert not found.logarithmic
    assert found.edges[:3] == [0.0, 0.05, 0.1]
    assert ticks(found) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_values_that_span_decades_have_a_logarithmic_axis() -> None:
    found = histogram_of(made_of([10, 100, 1_000, 10_000]))
    assert found is not None
    assert found.logarithmic
    assert ticks(found) == [10, 100, 1_000, 10_000]
    assert sum(found.counts) == 4


def moment(year: int, month: int, day: int) -> float:
    return datetime.datetime(year, month, day, tzinfo=datetime.UTC).timestamp()


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        ((2015, 3, 7), (2024, 9, 30), [(2015, 1, 1), (2020, 1, 1)]),
        ((2023, 12, 20), (2024, 4, 10), [(2024, 1, 1), (2024, 3, 1)]),
        ((1, 1, 1), (9999, 12, 31), [(5000, 1, 1)]),
    ],
)
def test_years_and_months_are_told_by_their_first_days(
    first: tuple[int, int, int], last: tuple[int, int, int], wanted: list[tuple[int, int, int]]
) -> None:
    moments = [moment(*first), moment(*last)]
    found = histogram_of(made_of(moments), moments=True)
    assert found is not None
    assert ticks(found, 3) == [moment(*one) for one in wanted]


def test_one_far_away_of_a_few_hundred_does_not_flatten_the_rest() -> None:
    values = [*np.random.default_rng(0).normal(0, 1, 300), 1e9]
    found = histogram_of(made_of(values))
    assert found is not None
    assert found.edges[-1] < 10
    assert found.above <= 4


def test_one_far_away_does_not_flatten_the_rest() -> None:
    values = [*np.random.default_rng(0).normal(0, 1, 10_000), 1e9]
    found = histogram_of(made_of(values))
    assert found is not None
    assert found.edges[-1] < 10
    assert found.above >= 1
    assert sum(count > 0 for count in found.counts) > 10


def test_bars_hold_what_numpy_counts() -> None:
    values = np.random.default_rng(1).normal(50, 10, 5_000)
    found = histogram_of(made_of(list(values)))
    assert found is not None
    counts, _ = np.histogram(values, found.edges)
    assert found.counts == counts.tolist()


def test_moments_have_edges_at_days_and_hours() -> None:
    day = 86_400.0
    found = histogram_of(made_of([19_700 * day, 19_727.5 * day]), moments=True)
    assert found is not None
    assert found.edges[:2] == [19_700 * day, 19_701 * day]
    assert ticks(found, 3) == [19_700 * day, 19_710 * day, 19_720 * day]
    hours = histogram_of(made_of([day, day + 40_000]), moments=True)
    assert hours is not None
    assert hours.edges[1] - hours.edges[0] == 3_600
    assert not hours.logarithmic


def test_a_few_very_small_values_make_no_logarithmic_axis() -> None:
    values = [*np.random.default_rng(0).random(10_000), 1e-9]
    found = histogram_of(made_of(values))
    assert found is not None
    assert not found.logarithmic
    assert max(found.counts) < 2 * min(found.counts[:-1])
