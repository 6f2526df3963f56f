"""The processing steps of an export, with their counts, as the manifest lists them.

Their form is that of format.md, part 4.4; the card words the same steps for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from beam_export.options import ExportOptions
from beam_export.planning.join import (
    ELSEWHERE,
    JOINED,
    Tally,
    columns_counted,
    columns_named,
    of_table,
)
from beam_export.shards.manifest import Totals
from beam_export.sources.patterns import names_in, split_inputs
from beam_export.sources.tables.folder_tables import FILE_NAME

__all__ = [
    "BESIDE",
    "LARGE_JSON",
    "ODD_IDS",
    "PARTS",
    "SEVERAL",
    "UNFIT",
    "UNJOINED",
    "UNLIKE",
    "column_notes",
    "lookup_steps",
    "processing_steps",
    "read_notes",
    "selection_steps",
]

#: Samples of tars that hold several images; image files that are named after another.
SEVERAL, PARTS = "several_images", "named_after_another"
#: Samples whose `.json` is too large to give columns; columns of ids that are no ids.
LARGE_JSON, ODD_IDS = "large_json", "columns_of_no_ids"
#: Tables in image folders: those of Hugging Face's name that are not joined, and columns of others
#: that are not, with the reason; and tables of other names that may name the images.
UNJOINED, UNFIT, BESIDE = "tables_not_joined", "columns_not_joined", "tables_beside_images"
#: Columns whose description by Hugging Face is left out, as tables do not agree on it.
UNLIKE = "columns_described_unlike"
_NOTES = (SEVERAL, PARTS, LARGE_JSON, ODD_IDS, UNJOINED, UNFIT, BESIDE)


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
    classes: Sequence[str] = (),
    splits: Sequence[tuple[str, int, int]] = (),
    members: Sequence[dict[str, Any]] = (),
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
        classes: names of the classes of `--labels`, in the order of their numbers.
        splits: (name, samples planned, shards) of `--split`, in the order of their shards.
        members: the step about members, if there is one (`members.members_steps`).
    """
    return [
        {
            "step": "read",
            "samples": totals.read,
            "failed": unread,
            "skipped": dict(sorted(skipped.items())),
            **read_notes(tally),
        },
        # Before the probe, which is spared what they leave out; the filter comes behind it, as it
        # may ask for the width and height that the probe finds.
        *lookup_steps(options, tally),
        *([{"step": "label", "labels": options.labels, "classes": list(classes)}] * bool(classes)),
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
        *([_split_step(options, splits)] * bool(splits)),
        *members,
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
    """Returns the steps of `--ids`, `--exclude_ids` and `--metadata`, those that were given.

    Names of columns that were given and that no column has stand before them.
    """
    steps: list[dict[str, Any]] = [*_choice_steps(options, tally), *_folder_steps(tally)]
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
    for number, table in enumerate(names_in(options.tables or "")):
        steps.append(
            {
                "step": "join",
                "table": _file_names(table),
                "key": options.metadata_key,
                "rows": tally[of_table("rows", number)],
                "samples_matched": tally[of_table("samples_matched", number)],
                **_unmatched(of_table("samples_unmatched", number), "samples", tally),
                **_unmatched(of_table("rows_unmatched", number), "rows", tally),
                **_shared(tally, number),
            }
        )
    return steps


def _shared(tally: Tally, number: int) -> dict[str, list[str]]:
    """Returns the columns of a table that samples without a row of it have too, if there are."""
    joined, others = (columns_counted(tally, name, number) for name in (JOINED, ELSEWHERE))
    return {"shared_columns": sorted(joined & others)} if joined & others else {}


def _choice_steps(options: ExportOptions, tally: Tally) -> Iterator[dict[str, Any]]:
    """Yields the step of `--drop_columns` and `--text_columns`, if one names what is not there."""
    choice = options.columns
    for flag, given in (("drop_columns", choice.drop), ("text_columns", choice.text)):
        # Where all columns are left out, not all are read.
        unknown = [] if choice.drops_all else [n for n in given if not tally[columns_named(n)]]
        if unknown:
            yield {"step": "choose columns", "flag": flag, "unknown": unknown}


def _folder_steps(tally: Tally) -> Iterator[dict[str, Any]]:
    """Yields the step of `--metadata=auto`, if image folders had tables."""
    if not tally["folder_tables"]:
        return
    more = tally["folder_tables"] - 1
    step = {
        "step": "join",
        "metadata": "auto",
        "table": tally.shown("folder_tables")[0] + (f" and {more} more" if more else ""),
        "key": FILE_NAME,
        "rows": tally["folder_rows"],
        "samples_matched": tally["folder_samples_matched"],
        **_unmatched("folder_samples_unmatched", "samples", tally),
        **_unmatched("folder_rows_unmatched", "rows", tally),
    }
    if again := tally["folder_rows_again"]:
        step |= {"rows_again": again, "rows_again_examples": tally.shown("folder_rows_again")}
    if shared := tally.shown("folder_shared"):
        step["left_out"] = shared
    yield step


def selection_steps(options: ExportOptions, tally: Tally) -> list[dict[str, Any]]:
    """Returns the steps of `--filter` and `--caption_column`, those that were given."""
    steps: list[dict[str, Any]] = []
    if options.filter is not None:
        dropped = tally["filter_dropped"]
        steps.append({"step": "filter", "filter": options.filter, "dropped": dropped})
    if options.caption_column is not None:
        steps.append({"step": "caption", "column": options.caption_column})
    return steps


def _split_step(options: ExportOptions, splits: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    # Samples that were planned: those that failed since are in the failures.
    samples = {name: count for name, count, _ in splits}
    return {"step": "split", "split": options.split, "samples": samples}


def read_notes(tally: Tally) -> dict[str, Any]:
    """Returns what was noted of the input as it was read; nothing where there was nothing."""
    return _noted(tally, _NOTES)


def column_notes(tally: Tally) -> dict[str, Any]:
    """Returns what was noted of the columns, in no manifest: those of before stay as they are."""
    return _noted(tally, [UNLIKE])


def _noted(tally: Tally, names: Iterable[str]) -> dict[str, Any]:
    noted: dict[str, Any] = {}
    for name in names:
        if tally[name]:
            noted |= {name: tally[name], f"{name}_examples": tally.shown(name)}
    return noted


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
