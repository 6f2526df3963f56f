"""Makes a histogram of a distribution: round edges, and a logarithmic axis for wide ranges."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from beam_export.exports.report.distribution import Distribution

__all__ = ["Histogram", "histogram_of", "ticks"]

#: About so many bars.
_BARS = 32
#: An axis is logarithmic if nearly all values are above 0, and that far apart.
_DECADES = 50.0
_NEARLY_ALL = (0.05, 0.95)
#: Shares of the values beyond which they are counted beside the axis, if it would be mostly empty.
_TAILS = (0.001, 0.999)
_MOST_TICKS = 6


class Histogram(NamedTuple):
    """Counts of values between edges.

    Attributes:
        edges: one more than counts; values at an inner edge are counted above it.
        counts: of values.
        logarithmic: whether edges are equally far apart by their logarithms.
        below, above: values beyond the edges.
        unit: edges and ticks are round in units of so much, as days of seconds are.
    """

    edges: list[float]
    counts: list[int]
    logarithmic: bool
    below: int = 0
    above: int = 0
    unit: float = 1.0


def histogram_of(distribution: Distribution, *, moments: bool = False) -> Histogram | None:
    """Returns the histogram of a distribution; None if it has fewer than two different values.

    Args:
        distribution: of the values.
        moments: whether they are seconds since the epoch.
    """
    values, counts = distribution.entries()
    if len(values) < 2:
        return None
    logarithmic = not moments and _spans_decades(distribution)
    low, high = _ends(distribution, logarithmic)
    unit = _unit_of_time(high - low) if moments else 1.0
    if logarithmic:
        edges = _even_ratios(low, high)
    else:
        edges = _round_edges(low, high, whole=distribution.whole, unit=unit)
    if edges is None:
        return None
    places = np.searchsorted(edges, values, side="right") - 1
    # The last edge belongs to the last bar.
    places[values == edges[-1]] = len(edges) - 2
    inside = (places >= 0) & (places < len(edges) - 1)
    bars = np.bincount(places[inside], weights=counts[inside], minlength=len(edges) - 1)
    return Histogram(
        edges=[float(edge) for edge in edges],
        counts=[int(count) for count in bars],
        logarithmic=logarithmic,
        below=int(counts[places < 0].sum()),
        above=int(counts[places >= len(edges) - 1].sum()),
        unit=unit,
    )


def _unit_of_time(span: float) -> float:
    """Returns a day, an hour or a second, of which a span of time has a few."""
    return next((unit for unit in (86_400.0, 3_600.0) if span >= 4 * unit), 1.0)


def _spans_decades(distribution: Distribution) -> bool:
    low, high = (distribution.quantile(share) for share in _NEARLY_ALL)
    return distribution.quantile(0.0) > 0 and high / low >= _DECADES


def _ends(distribution: Distribution, logarithmic: bool) -> tuple[float, float]:
    """Returns where the axis begins and ends: without its tails if they would fill most of it."""
    least, most = distribution.quantile(0.0), distribution.quantile(1.0)
    low, high = (distribution.quantile(share) for share in _TAILS)
    if logarithmic or low == high or most - least <= 3 * (high - low):
        return least, most
    return low, high


def _even_ratios(low: float, high: float) -> np.ndarray | None:
    ratio = math.log(high) - math.log(low)
    edges = np.exp(math.log(low) + ratio * np.arange(_BARS + 1) / _BARS)
    edges[0], edges[-1] = low, high
    return edges if (np.diff(edges) > 0).all() else None


def _round_edges(low: float, high: float, *, whole: bool, unit: float) -> np.ndarray | None:
    """Returns multiples of 1, 2 or 5 times a power of ten units that hold all values."""
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return None
    step = unit * _round_step(span / _BARS / unit)
    if whole:
        step = max(unit, step)
    if not step or not math.isfinite(low / step) or not math.isfinite(high / step):
        return None
    first, last = math.floor(low / step), math.floor(high / step) + 1
    if not all(math.isfinite(one * step) for one in (first, last, last - first)):
        return None
    edges = np.arange(first, last + 1, dtype=np.float64) * step
    if whole and step == 1:
        # A bar for each number, in the middle of which it stands.
        edges = edges - 0.5
    return edges if len(edges) > 1 and (np.diff(edges) > 0).all() else None


def _round_step(least: float) -> float:
    """Returns the smallest 1, 2 or 5 times a power of ten that is not below a number.

    >>> _round_step(0.03), _round_step(700.0)
    (0.05, 1000.0)
    """
    power = math.floor(math.log10(least)) if least else 0
    for exponent in (power, power + 1):
        for digit in (1, 2, 5):
            # As text, so that 0.05 is what is written so.
            step = float(f"{digit}e{exponent}")
            if step >= least:
                return step
    return least


def ticks(histogram: Histogram, most: int = _MOST_TICKS) -> list[float]:
    """Returns the numbers that are written below the axis: about as many as there may be."""
    low, high = histogram.edges[0], histogram.edges[-1]
    if histogram.logarithmic:
        return _powers(low, high)
    step = histogram.unit * _round_step((high - low) / most / histogram.unit)
    if low % 1 == 0.5 and histogram.edges[1] - low == 1:
        # A bar for each whole number.
        step = max(1.0, step)
    first = math.ceil(low / step)
    found = [(first + number) * step for number in range(most + 1)]
    return [float(f"{one:.12g}") for one in found if one <= high]


def _powers(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times powers of ten between two numbers; fewer if those are many."""
    exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        found = [one for one in found if low <= one <= high]
        if len(found) <= _MOST_TICKS:
            return found
    return found[:: -(-len(found) // _MOST_TICKS)]
