"""The error when no sample is left to export: it says why, and lists the failures."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Mapping

from beam_export.errors import InputError
from beam_export.samples import Failure
from beam_export.shards.meta_files import list_failures
from beam_export.shards.output import Output
from beam_export.shards.reasons import describe_failures, remedy_of
from beam_export.sources.entries import IMAGE_SUFFIXES, source_kind

__all__ = ["describe_skipped", "nothing_to_plan"]

#: What hidden files are counted as.
_HIDDEN = "(hidden)"
_PACKED = "unpack them first, and give the directory; of archives only tars are read"
_RAW = "have them developed first, as JPEG, PNG or TIFF"
#: What to do with files that are no input, by their kind.
_ADVICE = {
    **dict.fromkeys((".zip", ".7z", ".rar", ".gz", ".lzma"), _PACKED),
    **dict.fromkeys((".jxl", ".svg", ".pdf", ".psd"), "convert them first, as JPEG or PNG"),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), _RAW),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi", ".webm"), "take frames of the films first"),
    ".json": (
        "of JSON, tables are read that have one object per line: write it as .jsonl, with the path "
        "of an image in each"
    ),
    **dict.fromkeys(
        (".xlsx", ".xls", ".ods", ".arrow", ".feather", ".pkl", ".h5", ".npz", ".tfrecord"),
        "write the table as .parquet, .csv or .jsonl, with the path or the bytes of an image in "
        "each row",
    ),
    _HIDDEN: "name a hidden file or directory outright, if it is meant",
    "(an export)": "name the directory of an export outright, if it is meant",
    "(link to a directory above itself)": "name the directory that a link leads to",
    **dict.fromkeys(
        ("(FIFO)", "(socket)", "(character device)", "(block device)"), "give regular files"
    ),
}
#: Of tars and tables, and of images, that were passed by though their kind is read.
_UNDERSCORED = (
    "leave --input_format out, and name a directory that begins with _ outright, if it is meant"
)
_OTHER_FORMAT = "leave --input_format out"
#: Advices that are given at once.
_MOST_ADVICES = 3


def nothing_to_plan(
    failures: Iterable[Failure],
    selects: bool,
    *,
    output: Output | None,
    hash_: str,
    skipped: Iterable[str] = (),
) -> InputError:
    """Returns the error for an input of which no sample is left.

    The failures are listed in the output, which holds nothing else then: not beside a dataset.

    Args:
        failures: all that there were before planning.
        selects: whether samples may have been left out on purpose.
        output: where the list goes; None if nothing is to be written.
        hash_: names the list.
        skipped: the kind of each file that was passed by.
    """
    # Sorted: the runner may bring them in any order, and the message names the first of each kind.
    lost = sorted(Failure(*one) for one in failures)
    if not lost and selects:
        return InputError(
            "no sample is left to export after --filter, --ids and --exclude_ids: ask for less."
        )
    kinds = collections.Counter(skipped)
    passed_by = describe_skipped(kinds)
    if not lost:
        there = f", only {passed_by}" if passed_by else ", since it is empty"
        return InputError(
            f"the input holds no image that can be exported{there}: {_advice(kinds)}."
        )
    where = None if output is None else list_failures(lost, output, hash_)
    whole = f" (all are listed in {where})" if where else ""
    beside = f"; {passed_by} were passed by" if passed_by else ""
    what = f"{len(lost)} failed{whole}, {describe_failures(lost)}{beside}"
    if selects:
        return InputError(
            f"no sample is left to export: {what}; --filter, --ids and --exclude_ids leave out all "
            "others: mend the input, or ask for less."
        )
    remedy = remedy_of(lost) or "mend them, or give another input"
    return InputError(f"the input holds no image that can be exported: {what}: {remedy}.")


def describe_skipped(kinds: Mapping[str, int]) -> str:
    """Returns how many files were passed by, by kind, the commonest first.

    >>> describe_skipped({".txt": 2, ".jxl": 30, "(hidden)": 2})
    '30 .jxl, 2 (hidden), 2 .txt'
    """
    ranked = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ranked)


def _advice(kinds: Mapping[str, int]) -> str:
    """Returns what to do about the kinds of files that can be helped, those of most files first.

    Where several advices are given, each names its kinds. What is hidden comes last: it is seldom
    meant.
    """
    ranked = sorted(kinds.items(), key=lambda kind: (kind[0] == _HIDDEN, -kind[1], kind[0]))
    advices: dict[str, list[str]] = {}
    for kind, _ in ranked:
        if advice := _ADVICE.get(kind) or _of_what_is_read(kind):
            advices.setdefault(advice, []).append(kind)
    if not advices:
        return "give a directory, a file or a pattern with images in it"
    if len(advices) == 1:
        return next(iter(advices))
    most = itertools.islice(advices.items(), _MOST_ADVICES)
    return "; ".join(f"of {' and '.join(found)}, {advice}" for advice, found in most)


def _of_what_is_read(kind: str) -> str | None:
    """Returns what to do about files of a suffix that is read, and that were passed by."""
    if source_kind(f"x{kind}") is not None:
        return _UNDERSCORED
    return _OTHER_FORMAT if kind.removeprefix(".") in IMAGE_SUFFIXES else None
