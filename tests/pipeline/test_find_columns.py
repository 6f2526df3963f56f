from __future__ import annotations

import datetime
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from apache_beam.testing.util import assert_that, equal_to
from support.runs import run_pipeline

from beam_export.errors import InputError
from beam_export.pipeline.find_columns import FindColumns
from beam_export.planning.blocks import pack_block, pack_ref
from beam_export.samples import WHOLE, Member, SampleRef

FLOAT32 = pa.schema([("score", pa.float32()), ("when", pa.timestamp("ns", "UTC"))])


def ref(typed: tuple[str, ...] = (), **metadata: Any) -> SampleRef:
    image = Member("jpg", "/in/a.jpg", WHOLE, 9)
    return SampleRef(b"", "a", "/in/a.jpg", image, (), metadata, 9, typed=typed)


def find(
    refs: list[SampleRef], *declared: tuple[pa.Schema, str], expected: pa.Schema = FLOAT32
) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        plain = [(schema.serialize().to_pybytes(), where) for schema, where in declared]
        columns = pipeline | "Columns" >> beam.Create(plain, reshuffle=False)
        blocks = pipeline | "Blocks" >> beam.Create(
            [pack_block([pack_ref(one)]) for one in refs], reshuffle=False
        )
        found = blocks | FindColumns(None, (columns,))
        assert_that(found.schema, equal_to([expected.serialize().to_pybytes()]))

    run_pipeline(build)


def test_declared_types_stay_and_the_others_are_inferred() -> None:
    moment = np.datetime64(5, "ns")
    refs = [
        ref(("score", "when"), score=0.5, when=moment, label="a", count=1),
        ref(("score", "when"), score=1.0, when=None, label=None, count=2.5),
    ]
    all_of_them = [("count", pa.float64()), ("label", pa.string()), *FLOAT32]
    find(refs, (FLOAT32, "a.parquet"), expected=pa.schema(all_of_them))


def test_declared_columns_are_there_without_a_sample() -> None:
    find([], (FLOAT32, "a.parquet"), expected=FLOAT32)


def test_what_is_declared_twice_and_what_is_not_are_joined() -> None:
    narrow, wide, double = (
        pa.schema([("n", kind)]) for kind in (pa.int32(), pa.int64(), pa.float64())
    )
    find([], (wide, "a"), (narrow, "b"), expected=wide)
    find([ref(n=1.5)], (narrow, "a"), expected=double)
    find([ref(n=None)], (narrow, "a"), expected=narrow)


def test_what_no_type_holds_names_column_and_files() -> None:
    text = pa.schema([("n", pa.string())])
    with pytest.raises(InputError) as caught:
        find([ref(n=datetime.date(2024, 1, 2))], (text, "b.parquet"))
    for told in ("'n'", "/in/a.jpg", "b.parquet", "string", "date32"):
        assert told in caught.value.sentence
