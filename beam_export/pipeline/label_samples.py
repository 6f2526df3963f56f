"""LabelSamples: gives samples the class that their folder names (`--labels=folder`)."""

from __future__ import annotations

import dataclasses
import functools

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.pipeline.beam_utils import MergeAll
from beam_export.planning.blocks import open_block, pack_block
from beam_export.planning.labels import ClassNames, labelled, labelled_schema

__all__ = ["FindClasses", "LabelSamples", "label_types"]


@dataclasses.dataclass
class FindClasses(beam.PTransform):
    """Finds the names of all classes; gives one element: their list, in order.

    Attributes:
        by_path: whether the path of a table's row counts, and not its id.
    """

    by_path: bool

    def expand(self, blocks: PCollection[bytes]) -> PCollection[list[str]]:
        add = functools.partial(_add_block, by_path=self.by_path)
        names = MergeAll(ClassNames, add, ClassNames.finish)
        # one [name, ...]
        return blocks | "ClassNames" >> names.with_output_types(list[str])


def _add_block(names: ClassNames, block: bytes, by_path: bool) -> None:
    names.add(open_block(block).refs(), by_path)


@dataclasses.dataclass
class LabelSamples(beam.PTransform):
    """Adds `label`, `cls` and a `.cls` member to the samples of blocks.

    Attributes:
        classes: names of all classes in order, of one element.
        by_path: whether the path of a table's row counts, and not its id.
    """

    classes: PCollection[list[str]]
    by_path: bool

    def expand(self, blocks: PCollection[bytes]) -> PCollection[bytes]:
        # packed refs
        return blocks | "Label" >> beam.Map(
            _label_block, AsSingleton(self.classes), self.by_path
        ).with_output_types(bytes)


def _label_block(block: bytes, classes: list[str], by_path: bool) -> bytes:
    numbers = {name: number for number, name in enumerate(classes)}
    return pack_block(labelled(open_block(block).refs(), numbers, by_path))


def label_types() -> beam.PTransform:
    """Returns the step that renames declared columns whose names are those that are made."""
    return beam.MapTuple(_label_types).with_output_types(tuple[bytes, str])


def _label_types(declared: bytes, where: str) -> tuple[bytes, str]:
    schema = labelled_schema(pa.ipc.read_schema(pa.py_buffer(declared)))
    return schema.serialize().to_pybytes(), where
