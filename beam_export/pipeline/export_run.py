"""ExportRun: options, output, encoder and progress address of one run, for every writing step."""

from __future__ import annotations

import dataclasses

from beam_export.images.encoder import Encoder
from beam_export.images.idle_cores import Cores
from beam_export.options import ExportOptions
from beam_export.shards.output import Output

__all__ = ["ExportRun"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportRun:
    """One run of an export: made when its pipeline is built, and sent to its workers.

    Attributes:
        options: of the export.
        output: the output directory, locked for this run.
        encoder: of the images that are encoded.
        progress_address: where workers send counts (`progress.report`); None if nobody listens.
        cores: what the worker processes share, if they are of this machine.
    """

    options: ExportOptions
    output: Output
    encoder: Encoder
    progress_address: str | None = None
    cores: Cores | None = None
