"""The processing steps of an export, with their counts, as the manifest lists them.

Their form is that of format.md, part 4.4; the card words the same steps for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beam_export.options import ExportOptions
from beam_export.planning.join import Tally
from beam_export.shards.manifest import Totals
from beam_export.sources.patterns import split_inputs

__all__ = ["lookup_steps", "processing_steps", "selection_steps"]


def processing_steps(
    options: ExportOptions,
    totals: Totals,
    tally: Tally,
    *,
    skipped: Mapping[str, int],
    unread: int,
    probed: int,
    renamed: int,
    remarks: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Returns the steps in the order of processing, with how many samples each let through.

    Args:
        options: of the export.
        totals: sums over the dataset.
        tally: what lookups matched, and what was left out before planning.
        skipped: files that are no samples, counted by what they are.
        unread: failures found while the inputs were read.
        probed: failures found by `--probe`.
        renamed: samples renamed by `--duplicates=rename`.
        remarks: samples per remark of the encoder (`manifest.remarks`).
    """
    return [
        {
            "step": "read",
            "samples": totals.read,
            "failed": unread,
            "skipped": dict(sorted(skipped.items())),
        },
        # Before the probe, which is spared what they leave out; the filter comes behind it, as it
        # may ask for the width and height that the probe finds.
        *lookup_steps(options, tally),
        {"step": "probe", "probe": options.probe, "failed": probed},
        *selection_steps(options, tally),
        {
            # A name that stands in manifests on disk, and that `verify` reads figures by: it stays.
            "step": "settle equal ids",
            "duplicates": options.duplicates,
            "dropped": totals.duplicate,
            "renamed": renamed,
        },
        {"step": "order", "order": options.order, "seed": options.seed},
        {"step": "limit", "limit": options.limit, "dropped": totals.limited},
        {
            "step": "encode",
            "encode": options.encode,
            "copied": totals.copied,
            "encoded": totals.encoded,
            # The total is of all stages; those found earlier stand in their own steps.
            "failed": totals.failed - unread - probed,
            **remarks,
        },
        {"step": "write", "samples": totals.written, "shards": totals.shards},
    ]


def lookup_steps(options: ExportOptions, tally: Tally) -> list[dict[str, Any]]:
    """Returns the steps of `--ids`, `--exclude_ids` and `--metadata`, those that were given."""
    steps: list[dict[str, Any]] = []
    for name, step in (("ids", "keep ids"), ("exclude_ids", "leave out ids")):
        path = getattr(options, name)
        if path is not None:
            unmatched = _unmatched(f"{name}_unmatched", "ids", tally)
            steps.append(
                {
                    "step": step,
                    "file": _file_names(path),
                    "ids": tally[name],
                    **unmatched,
                    "dropped": tally[f"{name}_dropped"],
                }
            )
    if options.metadata is not None:
        steps.append(
            {
                "step": "join",
                "table": _file_names(options.metadata),
                "key": options.metadata_key,
                "rows": tally["rows"],
                "samples_matched": tally["samples_matched"],
                **_unmatched("samples_unmatched", "samples", tally),
                **_unmatched("rows_unmatched", "rows", tally),
            }
        )
    return steps


def selection_steps(options: ExportOptions, tally: Tally) -> list[dict[str, Any]]:
    """Returns the steps of `--filter` and `--caption_column`, those that were given."""
    steps: list[dict[str, Any]] = []
    if options.filter is not None:
        dropped = tally["filter_dropped"]
        steps.append({"step": "filter", "filter": options.filter, "dropped": dropped})
    if options.caption_column is not None:
        steps.append({"step": "caption", "column": options.caption_column})
    return steps


def _unmatched(name: str, what: str, tally: Tally) -> dict[str, Any]:
    counted = {f"{what}_unmatched": tally[name]}
    shown = tally.shown(name)
    return {**counted, f"{what}_unmatched_examples": shown} if shown else counted


def _file_names(path: str) -> str:
    """Returns the names of the files given, without directories, so that those do not matter.

    >>> _file_names("/data/ids.txt,gs://bucket/tables/")
    'ids.txt,tables'
    """
    return ",".join(one.rstrip("/").rpartition("/")[2] for one in split_inputs(path))
