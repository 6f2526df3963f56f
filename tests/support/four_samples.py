"""Four samples with columns of the main kinds, and which of them a filter keeps."""

from __future__ import annotations

import pyarrow as pa
from support.filter_rows import DAYS

from beam_export.metadata.filter import Filter

COLUMNS = {
    "score": pa.array([0.1, float("nan"), None, 0.9], pa.float32()),
    "caption": pa.array(["a cat", "dog", None, "it's"]),
    "Tags": pa.array([["a"], [], None, ["b", "c"]]),
    "my col": pa.array([1, 2, 3, 4]),
    "half": pa.array([1.5, 2.5, None, 1.0], pa.float16()),
    "big": pa.array([1, 2, 3, 4], pa.decimal256(50, 2)),
    "day": pa.array(DAYS[:4], pa.timestamp("us", "UTC")),
    "nothing": pa.nulls(4),
    "meta": pa.array([{"x": 1}, {"x": 2}, None, {"x": 3}]),
    "split": pa.array(["train", "val", "train", "test"]).dictionary_encode(),
}
TYPES = {name: column.type for name, column in COLUMNS.items()}


def kept(text: str) -> list[int]:
    """Returns the places of the samples that a filter keeps."""
    bound = Filter(text).bind(TYPES)
    keep = bound.keep({name: COLUMNS[name] for name in bound.types}, 4)
    return [place for place, one in enumerate(keep) if one]
