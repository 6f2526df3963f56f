"""Inputs of each kind, small, for tests of what is known of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.exports import picture

from beam_export.options import ExportOptions
from beam_export.planning.preflight import check_columns, preview_columns
from beam_export.sources.patterns import parse_inputs


def make_inputs(folder: Path) -> Path:
    """Makes images with and without JSON, and tables of each format, in a folder; returns it."""
    (folder / "plain").mkdir()
    (folder / "plain" / "a.jpg").write_bytes(picture(1))
    (folder / "plain" / "a.txt").write_text("a")
    (folder / "json").mkdir()
    (folder / "json" / "a.jpg").write_bytes(picture(1))
    (folder / "json" / "a.json").write_text('{"own": 1}')
    table = pa.table(
        {
            "image": [picture(2), picture(3)],
            "key": ["x", "y"],
            "score": pa.array([0.25, 0.75], pa.float32()),
            "width": pa.array([1, 2], pa.int16()),
            "caption": ["a cat", None],
        }
    )
    pq.write_table(table, folder / "images.parquet")
    (folder / "paths.csv").write_text("path,score,word\nplain/a.jpg,1,x\n")
    (folder / "paths.jsonl").write_text(json.dumps({"path": "plain/a.jpg", "score": 1}))
    pq.write_table(pa.table({"image_id": ["a"], "rank": [1]}), folder / "ranks.parquet")
    (folder / "ranks.csv").write_text("image_id,rank\na,1\n")
    return folder


def known(source: Path | str, **options: Any) -> dict[str, pa.DataType | None] | None:
    """Returns the columns that are known of an input before any run, and their types."""
    made = ExportOptions(output_dir="out", **options)
    return preview_columns(parse_inputs(str(source)), made)


def check(source: Path | str, **options: Any) -> None:
    """Raises what is refused before any run: filter, caption or key that fit no column."""
    check_columns(parse_inputs(str(source)), ExportOptions(output_dir="out", **options))
