"""PrepareMembers and DecideMembers: the members that samples get, which depend on all samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, AsSingleton, PCollection

from beam_export.options import ExportOptions
from beam_export.pipeline.beam_utils import CallOnce, MergeBundle, merge_parts
from beam_export.planning.blocks import open_block, pack_block, unpack_ref
from beam_export.planning.duplicates import open_decisions
from beam_export.planning.members import decide_members, prepared, prepares
from beam_export.planning.plan import open_plan
from beam_export.shards.member_sets import MemberSets

__all__ = ["DecideMembers", "PrepareMembers"]


@dataclasses.dataclass
class PrepareMembers(beam.PTransform):
    """Makes samples ready to be planned with `--json_columns`, or to be filled within a size.

    The last step before planning, since it needs all columns. Without either it does nothing.

    Attributes:
        options: of the export.
        columns: metadata columns as a serialized Arrow schema, of one element.
        splits: packed `Splits`, of one element; None for none.
    """

    options: ExportOptions
    columns: PCollection[bytes]
    splits: PCollection[bytes] | None

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        if not prepares(self.options):
            return blocks
        splits = None if self.splits is None else AsSingleton(self.splits)
        prepare = beam.Map(
            _prepare, columns=AsSingleton(self.columns), splits=splits, options=self.options
        )
        # packed refs
        return blocks | "Prepare" >> prepare.with_output_types(bytes)


def _prepare(block: bytes, columns: bytes, splits: bytes | None, options: ExportOptions) -> bytes:
    schema = pa.ipc.read_schema(pa.py_buffer(columns))
    return pack_block(
        prepared(open_block(block).refs(), options=options, columns=schema, splits=splits)
    )


@dataclasses.dataclass
class DecideMembers(beam.PTransform):
    """Decides on members over all planned samples; gives packed `MemberRules`, of one element.

    Attributes:
        options: of the export.
        plan: packed `Plan`, of one element.
        decisions: packed `Decisions`, of one element.
        columns: metadata columns as a serialized Arrow schema, of one element; None for none.
    """

    options: ExportOptions
    plan: PCollection[bytes]
    decisions: PCollection[bytes]
    columns: PCollection[bytes] | None

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        # MemberSets, one per block
        planned = blocks | "Planned" >> beam.Map(
            _sets_of, AsSingleton(self.plan), AsSingleton(self.decisions)
        )
        # MemberSets, one per bundle
        sets = planned | "AddUp" >> beam.ParDo(MergeBundle(MemberSets))
        named = {} if self.columns is None else {"columns": AsSingleton(self.columns)}
        # one packed MemberRules
        return blocks.pipeline | "Decide" >> CallOnce(
            bytes, _decide, AsIter(sets), options=self.options, **named
        )


def _sets_of(block: bytes, plan: bytes, decisions: bytes) -> MemberSets:
    """Returns the members of the samples of a block that are planned."""
    last, dropped = open_plan(plan).last, open_decisions(decisions).dropped
    sets = MemberSets()
    for packed in open_block(block).refs():
        if packed.order <= last and packed.order not in dropped:
            sets.add_sample(unpack_ref(packed))
    return sets


def _decide(
    parts: Iterator[MemberSets], *, options: ExportOptions, columns: bytes | None = None
) -> bytes:
    schema = pa.schema([]) if columns is None else pa.ipc.read_schema(pa.py_buffer(columns))
    return decide_members(merge_parts(parts, MemberSets), options, schema).pack()
