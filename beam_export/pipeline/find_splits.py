"""FindSplits: the splits of all samples that come to planning (`--split`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_export.metadata.split_rule import SplitRule
from beam_export.pipeline.beam_utils import CallOnce, MergeBundle, merge_parts
from beam_export.planning.blocks import open_block
from beam_export.planning.splits import SplitNames, Splits, with_split_column

__all__ = ["FindSplits", "add_split_column"]


@dataclasses.dataclass
class FindSplits(beam.PTransform):
    """Finds the splits of blocks of refs; gives packed `Splits`, one element.

    Attributes:
        rule: of `--split`; its fractions are known without a look at samples.
        columns: metadata columns as a serialized Arrow schema, of one element.
    """

    rule: SplitRule
    columns: PCollection[bytes]

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        if self.rule.fractions:
            splits = Splits(self.rule, self.rule.names).pack()
            return blocks.pipeline | "Fractions" >> beam.Create([splits], reshuffle=False)
        add = functools.partial(_add_block, rule=self.rule)
        # SplitNames, one per bundle
        found = blocks | "SplitNames" >> beam.ParDo(MergeBundle(SplitNames, add))
        return blocks.pipeline | "AllSplits" >> CallOnce(
            bytes, _finish, AsIter(found), rule=self.rule, columns=AsSingleton(self.columns)
        )


def _add_block(names: SplitNames, block: bytes, rule: SplitRule) -> None:
    names.add(open_block(block).refs(), rule)


def _finish(parts: Iterable[SplitNames], *, rule: SplitRule, columns: bytes) -> bytes:
    names: SplitNames = merge_parts(parts, SplitNames)
    return names.finish(rule, pa.ipc.read_schema(pa.py_buffer(columns))).pack()


def add_split_column(declared: bool) -> beam.PTransform:
    """Returns the step that adds the column `split` to a serialized Arrow schema."""
    return beam.Map(_add_split_column, declared).with_output_types(bytes)


def _add_split_column(columns: bytes, declared: bool) -> bytes:
    schema = with_split_column(pa.ipc.read_schema(pa.py_buffer(columns)), declared)
    serialized: bytes = schema.serialize().to_pybytes()
    return serialized
