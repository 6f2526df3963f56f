"""Groups failures by their reason, with an example each, for people to read.

A reason is the class of the error and its message without what differs from image to image: two
images of which one is empty and one has no palette have failed for two reasons, whatever the class.
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow.parquet as pq

from beam_export.samples import MISSING_CODEC, SOURCE_CHANGED, Failure
from beam_export.text import cut, quantity

__all__ = [
    "describe_all",
    "describe_failures",
    "read_failures",
    "reason_of",
    "reasons",
    "remedy_of",
]

#: Reasons that are named in a sentence, and where each has a line; the rest are counted.
_KINDS, _LINES = 5, 8
#: Characters of an example's message: those of codecs and tables may be a screen long.
_MESSAGE = 300
#: Characters that tell reasons apart.
_CORE = 200
_REMEDIES = {
    SOURCE_CHANGED: "run again, when nobody writes to the sources",
    MISSING_CODEC: "install what reads them where the workers run",
}
#: What differs from image to image in messages of one reason, and what stands for it.
_VARYING = (
    # Quoted names and values, but no apostrophes.
    (re.compile(r"""(?<!\w)(['"]).*?\1(?!\w)""", re.DOTALL), "''"),
    # Paths and URIs, names of files, and extensions.
    (re.compile(r"\S*/\S*"), "/"),
    (re.compile(r"(?<!\w)\.\w[\w.-]*(?:, \.\w[\w.-]*)*"), "."),
    (re.compile(r"\w[\w-]*(?:\.[\w-]+)*\.[A-Za-z]\w{0,4}\b"), "."),
    # Numbers, digests, whatever has a digit, and a plural behind it.
    (re.compile(r"[+-]?\w*\d\w*(?:[.,]\w*\d\w*)*"), "0"),
    (re.compile(r"(?<=\b0 )(\w+?)s\b"), r"\1"),
)


def reason_of(failure: Failure) -> tuple[str, str]:
    """Returns what is the same of all failures of one reason: the error, and the core of its text.

    >>> texts = "the image has 7 bytes", "the image has 1 byte", "the image is empty"
    >>> [reason_of(Failure("a", "", "read", "E", text))[1] for text in texts]
    ['the image has 0 byte', 'the image has 0 byte', 'the image is empty']
    """
    message = failure.message
    for own in failure.original_path, failure.image_id:
        # Anything shorter may be a word of the message.
        if len(own) > 3 and own in message:
            message = message.replace(own, "/")
    # Its beginning is what people read of it.
    return failure.error, _core(message[:_MESSAGE])


@functools.lru_cache(maxsize=4096)
def _core(message: str) -> str:
    for varying, instead in _VARYING:
        message = varying.sub(instead, message)
    # Shorter than what was looked at, which may end within what differs.
    return message[:_CORE]


def reasons(failures: Iterable[Failure], most: int = _LINES) -> list[str]:
    """Returns how many failed for each reason, the commonest first, and of each the first one.

    >>> failure = Failure("a", "in/a.jpg", "decode", "UnknownFormat", "it is no image")
    >>> reasons([failure, failure._replace(image_id="b", original_path="")])
    ['2 with UnknownFormat (the first, in/a.jpg: it is no image)']

    Args:
        failures: in any order.
        most: how many reasons are named; the rest are counted.
    """
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    first: dict[tuple[str, str], Failure] = {}
    for one in failures:
        reason = reason_of(one)
        counts[reason] += 1
        # The smallest: the same in whatever order a runner brings them.
        if reason not in first or one < first[reason]:
            first[reason] = one
    ranked = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    named = [
        f"{count} with {reason[0]} ({_example(first[reason], count)})"
        for reason, count in ranked[:most]
    ]
    rest = ranked[most:]
    further = f"{sum(count for _, count in rest)} for {quantity(len(rest), 'further reason')}"
    return [*named, *([further] if rest else [])]


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
    return ", ".join(reasons(failures, _KINDS))


def describe_all(failures: Iterable[Failure], where: str | None) -> str:
    """Returns the reasons as one clause, and the path of the whole list, if there is one."""
    return describe_failures(failures) + (f"; all are listed in {where}" if where else "")


def _example(one: Failure, count: int) -> str:
    first = "the first" if count > 1 else ""
    which = ", ".join(filter(None, (first, one.original_path or one.image_id)))
    return f"{which}: {cut(one.message, _MESSAGE)}" if which else cut(one.message, _MESSAGE)
