"""ExportResult: the PCollections that an export returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam
from apache_beam.pvalue import AsSingleton, PCollection

from beam_export.naming import ShardNames
from beam_export.planning.plan import open_plan
from beam_export.samples import Failure, Sample
from beam_export.shards.manifest import Manifest
from beam_export.shards.output import Output
from beam_export.shards.parquet import read_shard_rows
from beam_export.shards.writer import ShardResult

__all__ = ["ExportResult"]


class _Outputs(NamedTuple):
    shards: PCollection[ShardResult]
    failures: PCollection[Failure]
    manifest: PCollection[Manifest]
    plan: PCollection[bytes]


class ExportResult(_Outputs):
    """The PCollections that an export returns.

    Attributes:
        shards: one `ShardResult` per shard; one without samples has no files, and fails the run.
        failures: every sample that is not in the export, and why.
        manifest: one `Manifest`, when everything is written.
        plan: the layout, packed.
    """

    _output: Output
    _with_images: bool
    _samples: PCollection[Sample] | None = None

    @classmethod
    def of(cls, given: tuple[PCollection, ...], output: Output, with_images: bool) -> ExportResult:
        """Returns the result of an export that lies in `output`."""
        result = cls(*given)
        result._output, result._with_images = output, with_images
        return result

    @property
    def samples(self) -> PCollection[Sample]:
        """A `Sample` each as it stands in the export; its metadata is its row of the Parquet.

        Read back from the shards, and only if this is used.
        """
        if self._samples is None:
            self._samples = self.shards | "ReadBack" >> beam.FlatMap(
                _read_back,
                plan=AsSingleton(self.plan),
                output=self._output,
                with_images=self._with_images,
            ).with_output_types(Sample)
        return self._samples


def _read_back(
    result: ShardResult, plan: bytes, output: Output, with_images: bool
) -> Iterator[Sample]:
    if not result.samples:
        # It has no files; `WriteManifest` says why.
        return
    names = ShardNames(open_plan(plan).hash)
    with (
        output.read(names.parquet(result.number)) as table,
        output.read(names.tar(result.number)) as tar,
    ):
        for row in read_shard_rows(table):
            image = None
            if with_images:
                tar.seek(row.offset)
                image = tar.read(row.size)
            facts = {**row._asdict(), **row.metadata}
            del facts["metadata"]
            yield Sample(id=row.image_id, image=image, path=row.original_path, metadata=facts)
