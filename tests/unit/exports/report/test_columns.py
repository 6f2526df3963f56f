from __future__ import annotations

import datetime
import decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_export.exports.report.columns import (
    ClassSummary,
    NumberSummary,
    TextSummary,
    TruthSummary,
    moment_text,
    summary_for,
)


def summed(kind: pa.DataType, values: list[Any], names: list[str] | None = None) -> Any:
    found = summary_for(pa.field("x", kind), names, 1_024)
    assert found is not None
    half = len(values) // 2
    for part in (values[:half], values[half:]):
        found.add(pa.array(part, kind))
    return found


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 2)],
    ids=str,
)
def test_numbers_of_every_type_are_counted(kind: pa.DataType) -> None:
    values: list[Any] = [1, 2, None, 2]
    if pa.types.is_decimal(kind):
        values = [None if one is None else decimal.Decimal(one) for one in values]
    if kind == pa.float16():
        import numpy as np

        values = [None if one is None else np.float16(one) for one in values]
    found = summed(kind, values)
    assert isinstance(found, NumberSummary)
    assert found.distribution.entries().values.tolist() == [1, 2]
    assert found.distribution.entries().counts.tolist() == [1, 2]
    assert found.distribution.missing == 1


@pytest.mark.parametrize(
    "kind",
    [pa.date32(), pa.date64(), *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns"))],
    ids=str,
)
def test_moments_are_seconds_whatever_their_unit(kind: pa.DataType) -> None:
    day: Any = datetime.date(2024, 2, 29)
    if pa.types.is_timestamp(kind):
        day = datetime.datetime(2024, 2, 29)
    found = summed(kind, [day, None])
    assert found.moments
    (value,) = found.distribution.entries().values
    assert moment_text(value) == "2024-02-29"


def test_moments_far_away_are_text_too() -> None:
    assert moment_text(1e18) == "1e+18 s"


def test_classes_have_names_and_the_most_frequent_comes_first() -> None:
    found = summed(pa.int64(), [1, 1, 0, None, 2, 2, -1], ["cat", "dog", "<b>"])
    assert isinstance(found, ClassSummary)
    assert found.counts() == [("<b>", 2), ("dog", 2), ("-1", 1), ("cat", 1)]
    assert found.missing == 1


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_texts_are_counted_while_they_are_few(kind: pa.DataType) -> None:
    found = summed(kind, ["b", "a", None, "b"])
    assert found.counts() == [("b", 2), ("a", 1)]
    assert found.missing == 1


def test_of_many_texts_only_the_lengths_are_kept() -> None:
    found = summed(pa.string(), [f"caption {number}" for number in range(1_200)])
    assert found.counts() is None
    assert found.lengths.count == 1_200
    assert found.lengths.most == len("caption 1199")


def test_long_texts_are_told_apart_and_take_little() -> None:
    long = "x" * 10_000
    found = summed(pa.string(), [long + "a", long + "b", long + "b", "short"])
    counts = found.counts()
    assert sorted(count for _, count in counts) == [1, 1, 2]
    assert all(len(text) <= 200 for text, _ in counts)
    assert found.lengths.most == 10_001


def test_truth_values_are_words() -> None:
    found = summed(pa.bool_(), [True, False, True, None])
    assert isinstance(found, TruthSummary)
    assert found.counts() == [("true", 2), ("false", 1)]


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.list_(pa.float32()), pa.struct([("x", pa.int8())]), pa.null(), pa.time32("s")],
    ids=str,
)
def test_other_types_have_no_summary(kind: pa.DataType) -> None:
    assert summary_for(pa.field("x", kind), None, 1_024) is None


def test_classes_of_another_type_are_what_their_type_says() -> None:
    assert isinstance(summary_for(pa.field("x", pa.string()), ["a"], 1_024), TextSummary)
