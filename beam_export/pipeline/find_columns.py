"""FindColumns, ChooseColumns: the schema of the metadata columns, and which of them are left."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsIter, PCollection, TaggedOutput

from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.schema import ColumnTypes, check_declared
from beam_export.pipeline.beam_utils import CallOnce, MergeBundle, merge_parts
from beam_export.planning.blocks import open_block, untyped_metadata
from beam_export.planning.join import Tally, columns_named
from beam_export.planning.steps import UNLIKE

__all__ = ["ChooseColumns", "FindColumns", "choose_types"]

#: Returns a packed value with the columns that are left, and the names of all that it had.
_Choose = Callable[[bytes, ColumnChoice], tuple[bytes, frozenset[str]]]


class ChosenColumns(NamedTuple):
    """Packed samples or rows with the columns that are left, and which names were met."""

    values: PCollection[bytes]
    tally: PCollection[Tally]


@dataclasses.dataclass
class ChooseColumns(beam.PTransform):
    """Leaves columns out, and makes text of others, as `--drop_columns` and `--text_columns` say.

    Attributes:
        choice: of columns.
        choose: does it with one packed value.
    """

    choice: ColumnChoice
    choose: _Choose

    def expand(self, values: PCollection[bytes]) -> ChosenColumns:
        # values: packed samples or rows; tally: Tally
        chosen = values | beam.ParDo(_ChooseOfValue(self.choice, self.choose)).with_outputs(
            "tally", main="values"
        )
        return ChosenColumns(chosen.values, chosen.tally)


class _ChooseOfValue(beam.DoFn):
    def __init__(self, choice: ColumnChoice, choose: _Choose) -> None:
        self._choice, self._choose = choice, choose

    def process(self, value: bytes) -> Iterator[Any]:
        chosen, names = self._choose(value, self._choice)
        tally = Tally()
        for given in self._choice.naming(names):
            tally.add(columns_named(given), 1)
        yield TaggedOutput("tally", tally)
        yield chosen


class FoundColumns(NamedTuple):
    """The metadata columns as a serialized Arrow schema, and notes of what is lost of them."""

    schema: PCollection[bytes]
    notes: tuple[PCollection[Tally], ...]


@dataclasses.dataclass
class FindColumns(beam.PTransform):
    """Finds the metadata columns.

    Attributes:
        schema: all columns, if the user has declared them.
        columns: (serialized Arrow schema, where it is from) of columns whose types the inputs
            declare. These are joined with what the other columns' values show.
    """

    schema: pa.Schema | None
    columns: Sequence[PCollection[tuple[bytes, str]]] = ()

    def expand(self, blocks: PCollection[bytes]) -> FoundColumns:
        if self.schema is not None:
            declared = check_declared(self.schema).serialize().to_pybytes()
            return FoundColumns(blocks.pipeline | "Declared" >> beam.Create([declared]), ())
        # ColumnTypes, one per bundle
        inferred = blocks | "InferColumns" >> beam.ParDo(MergeBundle(ColumnTypes, _infer))
        typed = [
            one | f"TypedColumns{number}" >> beam.ParDo(MergeBundle(ColumnTypes, _declare))
            for number, one in enumerate(self.columns)
        ]
        # (serialized Arrow schema, Tally)
        found = blocks.pipeline | "Finish" >> CallOnce(
            tuple[bytes, Tally], _finish, *map(AsIter, (inferred, *typed))
        )
        schema = found | "Schema" >> beam.Map(lambda both: both[0]).with_output_types(bytes)
        if not typed:
            return FoundColumns(schema, ())
        notes = found | "Notes" >> beam.Map(lambda both: both[1]).with_output_types(Tally)
        return FoundColumns(schema, (notes,))


def choose_types(choice: ColumnChoice) -> beam.PTransform:
    """Returns the step that leaves of declared columns those that are exported."""
    return beam.Map(_choose, choice).with_output_types(tuple[bytes, str])


def _choose(declared: tuple[bytes, str], choice: ColumnChoice) -> tuple[bytes, str]:
    schema = choice.of_schema(pa.ipc.read_schema(pa.py_buffer(declared[0])))
    return schema.serialize().to_pybytes(), declared[1]


def _infer(types: ColumnTypes, block: bytes) -> None:
    """Adds what the values of a block's samples show."""
    for packed in open_block(block).refs():
        for metadata, where in untyped_metadata(packed):
            types.add(metadata, where)


def _declare(types: ColumnTypes, declared: tuple[bytes, str]) -> None:
    """Adds what a schema declares."""
    schema, where = declared
    types.add_schema(pa.ipc.read_schema(pa.py_buffer(schema)), where)


def _finish(*parts: Iterable[ColumnTypes]) -> tuple[bytes, Tally]:
    types: ColumnTypes = merge_parts(itertools.chain.from_iterable(parts), ColumnTypes)
    schema, notes = types.finish(), Tally()
    notes.note(UNLIKE, types.disagreed(schema))
    return schema.serialize().to_pybytes(), notes
