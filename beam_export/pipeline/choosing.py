"""Between keys and the plan: what else is known of the samples, and which of them are planned."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
from apache_beam.pvalue import PCollection

from beam_export.options import ExportOptions
from beam_export.pipeline.find_columns import FindColumns
from beam_export.pipeline.measure_images import MeasureImages
from beam_export.pipeline.probe_images import ProbeImages
from beam_export.pipeline.select_samples import JoinTables, SelectSamples
from beam_export.planning.join import Tally
from beam_export.samples import Failure

__all__ = ["ChooseSamples", "Chosen"]


class Chosen(NamedTuple):
    """The samples that are planned.

    Attributes:
        blocks: packed refs.
        columns: metadata columns of all samples as a serialized Arrow schema, of one element.
        lost: samples of tables that have no image.
        failures: samples whose images proved bad.
        tally: what matched and what was left out, of one element.
    """

    blocks: PCollection[bytes]
    columns: PCollection[bytes]
    lost: PCollection[Failure]
    failures: PCollection[Failure]
    tally: PCollection[Tally]


@dataclasses.dataclass
class ChooseSamples(beam.PTransform):
    """Joins tables, looks at images and leaves samples out, each if it is asked for.

    In this order: no image is looked at that `--ids` leaves out, and a filter knows all columns,
    with the types that they have over the whole of the input. Images of tables are measured after
    the filter, unless it or a probe asks for that.

    Attributes:
        options: of the export.
        threads: images in work at the same time in each worker process.
        schema: the metadata columns, if they are declared.
        columns: (serialized Arrow schema, where it is from) of the samples' own columns.
    """

    options: ExportOptions
    threads: int
    schema: pa.Schema | None
    columns: PCollection[tuple[bytes, str]] | None

    def expand(self, blocks: PCollection[bytes]) -> Chosen:
        joined = blocks | "JoinTables" >> JoinTables(self.options, self.columns)
        columns = joined.blocks | "FindColumns" >> FindColumns(self.schema, joined.columns)
        measure, blocks = MeasureImages(), joined.blocks
        if self.options.asks_sizes:
            blocks, lost = blocks | "MeasureImages" >> measure
        probed = blocks | "ProbeImages" >> ProbeImages(self.options, self.threads)
        selected = probed.blocks | "SelectSamples" >> SelectSamples(
            self.options, columns, joined.tally
        )
        blocks = selected.blocks
        if not self.options.asks_sizes:
            blocks, lost = blocks | "MeasureImages" >> measure
        return Chosen(blocks, columns, lost, probed.failures, selected.tally)
