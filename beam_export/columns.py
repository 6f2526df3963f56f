"""The metadata columns of the whole dataset: declared, or inferred from all of its samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_export.blocks import has_metadata, open_block, unpack_ref
from beam_export.schema import ColumnTypes, check_declared

__all__ = ["FindColumns"]


@dataclasses.dataclass
class FindColumns(beam.PTransform):
    """Finds the metadata columns, declared or inferred from all of the input."""

    schema: pa.Schema | None

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        if self.schema is not None:
            declared = check_declared(self.schema).serialize().to_pybytes()
            return blocks.pipeline | "Declared" >> beam.Create([declared])
        return blocks | "InferColumns" >> beam.CombineGlobally(_ColumnTypes())


class _ColumnTypes(beam.CombineFn):
    """Infers one schema from the metadata of all samples."""

    def create_accumulator(self) -> ColumnTypes:
        return ColumnTypes()

    def add_input(self, types: ColumnTypes, block: bytes) -> ColumnTypes:
        for packed in open_block(block).refs():
            if has_metadata(packed):
                ref = unpack_ref(packed)
                types.add(ref.metadata, ref.path or ref.id)
        return types

    def merge_accumulators(self, parts: Iterable[ColumnTypes]) -> ColumnTypes:
        merged = ColumnTypes()
        for part in parts:
            merged.merge(part)
        return merged

    def extract_output(self, types: ColumnTypes) -> bytes:
        serialized: bytes = types.finish().serialize().to_pybytes()
        return serialized
