"""FindColumns: the schema of the metadata columns, declared or inferred from all samples."""

from __future__ import annotations

import dataclasses

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.metadata.schema import ColumnTypes, check_declared
from beam_export.pipeline.beam_utils import MergeAll
from beam_export.planning.blocks import open_block, untyped_metadata

__all__ = ["FindColumns"]


@dataclasses.dataclass
class FindColumns(beam.PTransform):
    """Finds the metadata columns; gives a serialized Arrow schema.

    Attributes:
        schema: all columns, if the user has declared them.
        columns: (serialized Arrow schema, where it is from) of columns whose types the inputs
            declare. These are joined with what the other columns' values show.
    """

    schema: pa.Schema | None
    columns: PCollection[tuple[bytes, str]] | None = None

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        if self.schema is not None:
            declared = check_declared(self.schema).serialize().to_pybytes()
            return blocks.pipeline | "Declared" >> beam.Create([declared])
        # PCollection[ColumnTypes], of one element.
        inferred = blocks | "InferColumns" >> beam.CombineGlobally(MergeAll(ColumnTypes, _infer))
        if self.columns is None:
            return inferred | "Finish" >> beam.Map(_finish)
        typed = self.columns | "TypedColumns" >> beam.CombineGlobally(
            MergeAll(ColumnTypes, _declare)
        )
        return inferred | "Finish" >> beam.Map(_finish, AsSingleton(typed))


def _infer(types: ColumnTypes, block: bytes) -> None:
    """Adds what the values of a block's samples show."""
    for packed in open_block(block).refs():
        metadata, path = untyped_metadata(packed)
        if metadata:
            types.add(metadata, path or packed.id)


def _declare(types: ColumnTypes, declared: tuple[bytes, str]) -> None:
    """Adds what a schema declares."""
    schema, where = declared
    types.add_schema(pa.ipc.read_schema(pa.py_buffer(schema)), where)


def _finish(inferred: ColumnTypes, typed: ColumnTypes | None = None) -> bytes:
    types = ColumnTypes()
    types.merge(inferred)
    if typed is not None:
        types.merge(typed)
    serialized: bytes = types.finish().serialize().to_pybytes()
    return serialized
