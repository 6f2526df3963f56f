"""Groups failures by their reason, with an example each, for people to read."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow.parquet as pq

from beam_export.samples import MISSING_CODEC, SOURCE_CHANGED, Failure

__all__ = ["describe_all", "describe_failures", "read_failures", "reasons", "remedy_of"]

#: Reasons that are named in a sentence; the rest are counted.
_KINDS = 3
_REMEDIES = {
    SOURCE_CHANGED: "run again, when nobody writes to the sources",
    MISSING_CODEC: "install what reads them where the workers run",
}


def reasons(failures: Iterable[Failure], most: int = _KINDS) -> list[str]:
    """Returns how many failed with each error, the commonest first, and of each the first one.

    >>> failure = Failure("a", "in/a.jpg", "decode", "UnknownFormat", "it is no image")
    >>> reasons([failure, failure._replace(image_id="b", original_path="")])
    ['2 with UnknownFormat (the first, in/a.jpg: it is no image)']

    Args:
        failures: in any order.
        most: how many reasons are named; the rest are counted.
    """
    counts: collections.Counter[str] = collections.Counter()
    first: dict[str, Failure] = {}
    for one in failures:
        counts[one.error] += 1
        # The smallest: the same in whatever order a runner brings them.
        if one.error not in first or one < first[one.error]:
            first[one.error] = one
    ranked = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [f"{count} with {error} ({_example(first[error], count)})" for error, count in ranked]
    rest = sum(count for _, count in ranked[most:])
    return [*named[:most], *([f"{rest} with other errors"] if rest else [])]


def remedy_of(failures: Iterable[Failure]) -> str | None:
    """Returns what to do where all failures are of one kind that has a remedy; else None.

    >>> remedy_of([Failure("a", "in/a.heic", "decode", MISSING_CODEC, "")])
    'install what reads them where the workers run'
    """
    errors = {failure.error for failure in failures}
    return _REMEDIES.get(errors.pop()) if len(errors) == 1 else None


def read_failures(table: BinaryIO) -> Iterator[Failure]:
    """Yields the failures of the table of failures, in their order."""
    for batch in pq.ParquetFile(table).iter_batches(
        columns=list(Failure._fields), use_threads=False
    ):
        yield from (Failure(**row) for row in batch.to_pylist())


def describe_failures(failures: Iterable[Failure]) -> str:
    """Returns the reasons as one clause."""
    return ", ".join(reasons(failures))


def describe_all(failures: Iterable[Failure], where: str | None) -> str:
    """Returns the reasons as one clause, and the path of the whole list, if there is one."""
    return describe_failures(failures) + (f"; all are listed in {where}" if where else "")


def _example(one: Failure, count: int) -> str:
    first = "the first, " if count > 1 else ""
    return f"{first}{one.original_path or one.image_id}: {one.message}"
