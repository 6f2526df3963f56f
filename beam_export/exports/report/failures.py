"""Groups the failures of an export by their reason, with a few examples each."""

from __future__ import annotations

import io
from typing import NamedTuple

from beam_export.exports.opening import Catalog, damaged
from beam_export.samples import Failure
from beam_export.shards.parquet import PARQUET_ERRORS
from beam_export.shards.reasons import read_failures, reason_of

__all__ = ["FailureGroup", "failure_groups"]

_EXAMPLES = 5
#: Reasons that are told apart: more than are looked at, since the commonest may come late.
_MOST_GROUPS = 1_000
_OTHERS = ("", "other reasons", "")


class FailureGroup(NamedTuple):
    """Failures of one reason: of one stage, with one error and one message but for what varies.

    Attributes:
        stage, error: as of `Failure`.
        failed: how many there are.
        examples: the first of them.
    """

    stage: str
    error: str
    failed: int
    examples: list[Failure]


def failure_groups(catalog: Catalog) -> list[FailureGroup]:
    """Returns the failures by reason, the most frequent first, and last what was not told apart.

    Raises:
        RunError: if the table of failures is missing or damaged.
    """
    name = catalog.names.failures
    if not any(table["name"] == name for table in catalog.manifest["tables"]):
        return []
    found: dict[tuple[str, str, str], tuple[int, list[Failure]]] = {}
    try:
        for one in read_failures(io.BytesIO(catalog.sidecar(name))):
            key = (one.stage, *reason_of(one))
            if key not in found and len(found) >= _MOST_GROUPS:
                key = _OTHERS
            count, examples = found.get(key, (0, []))
            found[key] = (count + 1, [*examples, one][:_EXAMPLES])
    except PARQUET_ERRORS as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise damaged(catalog.place, name, said) from error
    ranked = sorted(found.items(), key=lambda one: (one[0] == _OTHERS, -one[1][0], one[0]))
    return [FailureGroup(*key[:2], *group) for key, group in ranked]
