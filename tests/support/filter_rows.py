"""Eight samples with columns of all kinds, which filters of tests are evaluated on."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

import pyarrow as pa

from beam_export.metadata.filter import BoundFilter

nan, inf = float("nan"), float("inf")
DAYS = [datetime.datetime(2024, 5, day, tzinfo=datetime.UTC) for day in range(1, 9)]
COLUMNS: Mapping[str, pa.Array] = {
    "score": pa.array([0.1, 0.5, 0.9, nan, None, inf, -inf, 0.0], pa.float32()),
    "d": pa.array([1.0, 2.0, -4.0, nan, None, inf, -inf, 0.0]),
    "i": pa.array([0, 1, 2, 3, None, 5, 2147483647, -1], pa.int32()),
    "big": pa.array([0, 1, 2**63 - 1, -(2**63), None, 5, 6, 7], pa.int64()),
    "u": pa.array([0, 1, 2, 3, None, 5, 6, 255], pa.uint8()),
    "caption": pa.array(["a cat", "A Dog", "it's", "nan", None, "12", "", "é😀"]),
    "tags": pa.array([["a"], [], ["b", "c"], ["a", None], None, ["cat"], ["nan"], [""]]),
    "vec": pa.array(
        [[1.0, 0.0], [0.5, nan], [0.1, None], [], None, [inf, 1], [nan, nan], [2, 2]],
        pa.list_(pa.float32()),
    ),
    "emb": pa.array(
        [[1.0, 0.0], [0.0, 1], [0.1, 0.2], [1, 1], None, [inf, 1], [nan, nan], [2, 2]],
        pa.list_(pa.float32(), 2),
    ),
    "day": pa.array([*DAYS[:4], None, *DAYS[5:]], pa.timestamp("us", "UTC")),
    "date": pa.array([*(day.date() for day in DAYS[:4]), None, *(day.date() for day in DAYS[5:])]),
    "ok": pa.array([True, False, True, False, None, True, False, True]),
    "meta": pa.array(
        [
            {"x": 1.5, "t": "a"},
            {"x": nan, "t": "b"},
            {"x": None, "t": None},
            {"x": inf, "t": "nan"},
            None,
            {"x": 0.0, "t": ""},
            {"x": 2.0, "t": "c"},
            {"x": -1.0, "t": "d"},
        ]
    ),
    "attrs": pa.array(
        [
            [("k", 1.0)],
            [("k", nan)],
            [],
            [("k", None)],
            None,
            [("j", 2.0)],
            [("k", inf)],
            [("k", 0.0)],
        ],
        pa.map_(pa.string(), pa.float64()),
    ),
    "js": pa.array(
        ['{"x":1}', '{"x":"nan"}', '{"x":null}', "[]", None, "bad", '{"x":{"y":2}}', '{"x":1e999}']
    ),
    "select": pa.array([1, 2, 3, 4, None, 6, 7, 8]),
    "Größe": pa.array([1, 2, 3, 4, None, 6, 7, 8]),
    "my col": pa.array([1, 2, 3, 4, None, 6, 7, 8]),
    'q"t': pa.array([1, 2, 3, 4, None, 6, 7, 8]),
    "Score": pa.array([1, 2, 3, 4, None, 6, 7, 8]),
    "nothing": pa.nulls(8),
    "split": pa.array(["train", "val", "train", "test", None, "val", "a", "b"]).dictionary_encode(),
    "width": pa.array([10, 20, 30, 40, None, 60, 70, 80], pa.int32()),
}
TYPES = {name: column.type for name, column in COLUMNS.items()}
ROWS = 8


def kept(bound: BoundFilter, places: Iterable[int]) -> str:
    """Returns which of some rows a filter keeps, as digits in their order."""
    taken = pa.array(list(places), pa.int64())
    columns = {name: COLUMNS[name].take(taken) for name in bound.types}
    keep = bound.keep(columns, len(taken))
    return "".join(str(place) for place, one in zip(taken.to_pylist(), keep, strict=True) if one)
