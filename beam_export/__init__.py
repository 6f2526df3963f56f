"""Exports images as exact, reproducible shards of tar and Parquet, with Apache Beam.

The public names below are imported at their first use, so that `beam-export --help`, which needs
none of them, answers at once.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from beam_export._version import __version__

if TYPE_CHECKING:
    from beam_export.errors import InputError, RunError
    from beam_export.exports.dataset import ExportedDataset, open_export
    from beam_export.images.encoder import Encoder
    from beam_export.options import ExportOptions
    from beam_export.pipeline.export import ExportImages, WriteShards
    from beam_export.pipeline.result import ExportResult
    from beam_export.samples import Failure, Sample
    from beam_export.shards.manifest import Manifest
    from beam_export.shards.writer import ShardResult

__all__ = [
    "Encoder",
    "ExportImages",
    "ExportOptions",
    "ExportResult",
    "ExportedDataset",
    "Failure",
    "InputError",
    "Manifest",
    "RunError",
    "Sample",
    "ShardResult",
    "WriteShards",
    "__version__",
    "open_export",
]

_HOMES = {
    "Encoder": "images.encoder",
    "ExportImages": "pipeline.export",
    "ExportOptions": "options",
    "ExportResult": "pipeline.result",
    "ExportedDataset": "exports.dataset",
    "Failure": "samples",
    "InputError": "errors",
    "Manifest": "shards.manifest",
    "RunError": "errors",
    "Sample": "samples",
    "ShardResult": "shards.writer",
    "WriteShards": "pipeline.export",
    "open_export": "exports.dataset",
}


#: What a pipeline is built with. Asked for before Beam meets it, so that what is wrong with Beam in
#: a notebook is said in one sentence.
_OF_PIPELINES = ("ExportImages", "Sample", "WriteShards")


def _is_of_use(record: logging.LogRecord) -> bool:
    """Returns whether a message is not the one that Beam logs for want of BigQuery's client."""
    return "apitools not found" not in record.getMessage()


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        logging.root.addFilter(_is_of_use)
        try:
            if name in _OF_PIPELINES:
                importlib.import_module("beam_export.pipeline.notebook").check_notebook()
            return getattr(importlib.import_module(f"beam_export.{_HOMES[name]}"), name)
        except ValueError as error:
            notebook = importlib.import_module("beam_export.pipeline.notebook")
            raise notebook.pandas_misfit(error) or error from None
        finally:
            logging.root.removeFilter(_is_of_use)
    raise AttributeError(f"module 'beam_export' has no attribute {name!r}")
