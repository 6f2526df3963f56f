"""Exports images as exact, reproducible shards of tar and Parquet, with Apache Beam.

The public names below are imported at their first use, so that `beam-export --help`, which needs
none of them, answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from beam_export._version import __version__

if TYPE_CHECKING:
    from beam_export.errors import InputError, RunError
    from beam_export.images.encoder import Encoder
    from beam_export.options import ExportOptions
    from beam_export.pipeline.export import ExportImages, ExportResult, WriteShards
    from beam_export.samples import Failure, Sample
    from beam_export.shards.manifest import Manifest
    from beam_export.shards.writer import ShardResult

__all__ = [
    "Encoder",
    "ExportImages",
    "ExportOptions",
    "ExportResult",
    "Failure",
    "InputError",
    "Manifest",
    "RunError",
    "Sample",
    "ShardResult",
    "WriteShards",
    "__version__",
]

_HOMES = {
    "Encoder": "images.encoder",
    "ExportImages": "pipeline.export",
    "ExportOptions": "options",
    "ExportResult": "pipeline.export",
    "Failure": "samples",
    "InputError": "errors",
    "Manifest": "shards.manifest",
    "RunError": "errors",
    "Sample": "samples",
    "ShardResult": "shards.writer",
    "WriteShards": "pipeline.export",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"beam_export.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'beam_export' has no attribute {name!r}")
