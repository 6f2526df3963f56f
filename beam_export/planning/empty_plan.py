"""The error when no sample is left to export: it says why, and lists the failures."""

from __future__ import annotations

import collections
import io
from collections.abc import Iterable, Sequence

from beam_export.errors import InputError
from beam_export.naming import ShardNames
from beam_export.samples import Failure
from beam_export.shards.manifest import failures_table
from beam_export.shards.output import Output
from beam_export.shards.parquet import write_table

__all__ = ["nothing_to_plan"]

#: Kinds of failures that are named; the rest are counted.
_KINDS = 3


def nothing_to_plan(
    failures: Iterable[Failure], selects: bool, *, output: Output | None, hash_: str
) -> InputError:
    """Returns the error for an input of which no sample is left.

    The failures are listed in the output, which holds nothing else then: not beside a dataset.

    Args:
        failures: all that there were before planning.
        selects: whether samples may have been left out on purpose.
        output: where the list goes; None if nothing is to be written.
        hash_: names the list.
    """
    # Sorted: the runner may bring them in any order, and the message names the first of each kind.
    lost = sorted(Failure(*one) for one in failures)
    if not lost and selects:
        return InputError(
            "no sample is left to export after --filter, --ids and --exclude_ids: ask for less."
        )
    if not lost:
        return InputError(
            "the input holds no image that can be exported: give a directory, a file or a pattern "
            "with images in it."
        )
    where = _list(lost, output, hash_)
    whole = f" (all are listed in {where})" if where else ""
    what = f"{len(lost)} failed{whole}, {_reasons(lost)}"
    if selects:
        return InputError(
            f"no sample is left to export: {what}; --filter, --ids and --exclude_ids leave out all "
            "others: mend the input, or ask for less."
        )
    return InputError(
        f"the input holds no image that can be exported: {what}: mend them, or give another input."
    )


def _list(failures: Sequence[Failure], output: Output | None, hash_: str) -> str | None:
    """Writes the list of failures, unless a dataset stands there; returns its path."""
    if output is None:
        return None
    names = ShardNames(hash_)
    standing = output.list_files()
    if any(name != names.failures for name in standing):
        return None
    # A list of an earlier run may be replaced, a file of the same name by somebody else not.
    if standing and not output.ownership(hash_, standing).owns(names.failures):
        return None
    buffer = io.BytesIO()
    write_table(buffer, failures_table(failures))
    output.put(names.failures, buffer.getvalue())
    return output.path(names.failures)


def _reasons(failures: Sequence[Failure]) -> str:
    kinds: dict[str, list[Failure]] = collections.defaultdict(list)
    for one in failures:
        kinds[one.error].append(one)
    ranked = sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    named = [f"{len(found)} with {error} ({_example(found)})" for error, found in ranked[:_KINDS]]
    rest = sum(len(found) for _, found in ranked[_KINDS:])
    return ", ".join([*named, *([f"{rest} with other errors"] if rest else [])])


def _example(found: Sequence[Failure]) -> str:
    first = "the first, " if len(found) > 1 else ""
    return f"{first}{found[0].original_path or found[0].image_id}: {found[0].message}"
