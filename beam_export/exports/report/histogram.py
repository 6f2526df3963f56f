"""Makes a histogram of a distribution: round edges, and a logarithmic axis for wide ranges."""

from __future__ import annotations

import datetime
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
#: Shares of the values beyond which they are counted beside the axis, if it would be so many times
#: as long for them. Of a few hundred values, one is more than a thousandth.
_TAILS = ((0.001, 0.999, 3.0), (0.01, 0.99, 20.0))
_MOST_TICKS = 6
#: Seconds of a day, and of a span that is told by months and years.
_DAY, _MONTHS = 86_400.0, 90 * 86_400.0
_EPOCH = datetime.date(1970, 1, 1)
#: Months between two ticks.
_STEPS = (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1_200, 2_400, 6_000, 12_000, 24_000, 60_000)


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
    return next((unit for unit in (_DAY, 3_600.0) if span >= 4 * unit), 1.0)


def _spans_decades(distribution: Distribution) -> bool:
    low, high = (distribution.quantile(share) for share in _NEARLY_ALL)
    return distribution.quantile(0.0) > 0 and high / low >= _DECADES


def _ends(distribution: Distribution, logarithmic: bool) -> tuple[float, float]:
    """Returns where the axis begins and ends: without its tails if they would fill most of it."""
    least, most = distribution.quantile(0.0), distribution.quantile(1.0)
    for *shares, times in () if logarithmic else _TAILS:
        low, high = (distribution.quantile(share) for share in shares)
        if low < high and most - least > times * (high - low):
            return low, high
    return least, most


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
    if histogram.unit == _DAY and high - low >= _MONTHS:
        return _calendar(low, high, most)
    step = histogram.unit * _round_step((high - low) / most / histogram.unit)
    if low % 1 == 0.5 and histogram.edges[1] - low == 1:
        # A bar for each whole number.
        step = max(1.0, step)
    first = math.ceil(low / step)
    found = [(first + number) * step for number in range(most + 1)]
    # Rounding may put the first one a little before the axis.
    return [max(low, float(f"{one:.12g}")) for one in found if one <= high]


def _calendar(low: float, high: float, most: int) -> list[float]:
    """Returns the beginnings of months or years between two moments, in seconds since the epoch."""
    for step in _STEPS:
        found = [one for one in map(_month, range(step, 12 * 10_000, step)) if low <= one <= high]
        if len(found) <= most:
            break
    return found


def _month(number: int) -> float:
    """Returns when a month begins, counted from the beginning of the year 0.

    >>> _month(12 * 1970), _month(12 * 1970 + 1)
    (0.0, 2678400.0)
    """
    year, month = divmod(max(12, number), 12)
    return (datetime.date(year, month + 1, 1) - _EPOCH).days * _DAY


def _powers(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times powers of ten between two numbers; fewer if those are many."""
    exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{digit}e{exponent}") for exponent in exponents for digit in digits]
        found = [one for one in found if low <= one <= high]
        if len(found) <= _MOST_TICKS:
            return found
    return found[:: -(-len(found) // _MOST_TICKS)]
