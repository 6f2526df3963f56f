"""Says in lines of text how many samples and rows tables and lists of ids have matched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from beam_export.planning.join import NO_UTF8
from beam_export.text import cut, quantity

__all__ = ["join_lines"]

_FLAGS = {"keep ids": "ids", "leave out ids": "exclude_ids"}
#: Letters of an id that a line shows.
_LETTERS = 100
#: Columns that a line names.
_COLUMNS = 5


def join_lines(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yields a line per table and list of ids.

    Args:
        steps: of the manifest, or those of them that look samples up (`steps.lookup_steps`).
    """
    for step in steps:
        if step["step"] == "join":
            yield _join_line(step)
        elif step["step"] == "choose columns":
            names = ", ".join(map(repr, step["unknown"]))
            yield f"  --{step['flag']}: there is no column {names}, in no sample and no table"
        elif flag := _FLAGS.get(step["step"]):
            ids = quantity(step["ids"], "id is", "ids are")
            dropped = quantity(step["dropped"], "sample was", "samples were")
            yield (
                f"  --{flag}={step['file']}: {step['ids_unmatched']} of {ids} of no sample"
                f"{_such_as(step, 'ids')}, {dropped} left out"
                f"{_undecoded(step)}"
            )


def _join_line(step: Mapping[str, Any]) -> str:
    matched, alone = step["samples_matched"], step["samples_unmatched"]
    rows, unmatched = step["rows"], step["rows_unmatched"]
    auto = step.get("metadata") == "auto"
    if auto and not matched:
        shown = _example(step, "rows")
        named = f" ({shown} say)" if shown else ""
        return (
            f"  {step['table']} lies beside the images, and names none of them by {step['key']} in "
            f"its {quantity(rows, 'row')}{named}: nothing was joined"
        )
    named = f"--metadata={step['table']}"
    if auto:
        named = f"{step['table']}, joined by {step['key']} (--metadata=none would not)"
    return (
        f"  {named}: {matched} of {quantity(matched + alone, 'sample has', 'samples have')} a row"
        f"{_but_not(step, 'samples')}; {rows - unmatched} of "
        f"{quantity(rows, 'row has', 'rows have')} a sample"
        f"{_but_not(step, 'rows')}{_again(step)}{_left_out(step)}{_shared(step)}"
    )


def _again(step: Mapping[str, Any]) -> str:
    count = step.get("rows_again", 0)
    if not count:
        return ""
    row, name = ("row names", "") if count == 1 else ("rows name", " say")
    example = repr(cut(step["rows_again_examples"][0], _LETTERS))
    return f"; {count} {row} an image a second time ({example}{name}): the first row counts"


def _left_out(step: Mapping[str, Any]) -> str:
    names = ", ".join(map(repr, step.get("left_out", ())))
    return f"; images have columns of their own called {names}, which stay" if names else ""


def _shared(step: Mapping[str, Any]) -> str:
    names = step.get("shared_columns", ())
    if not names:
        return ""
    more = f" and {len(names) - _COLUMNS} more" if len(names) > _COLUMNS else ""
    shown = ", ".join(repr(cut(name, _LETTERS)) for name in names[:_COLUMNS])
    return (
        f"; samples without a row have its columns {shown}{more} from elsewhere (another table, or "
        "their own), which stay: no sample has two values"
    )


def _but_not(step: Mapping[str, Any], what: str) -> str:
    shown = _example(step, what)
    return f" ({shown} has none)" if shown else ""


def _such_as(step: Mapping[str, Any], what: str) -> str:
    shown = _example(step, what)
    return f", such as {shown}" if shown else ""


def _undecoded(step: Mapping[str, Any]) -> str:
    """Returns what to do if an id of a list, which no sample has, is not UTF-8."""
    unmatched = step.get("ids_unmatched_examples", ())
    return f"; {NO_UTF8}" if any("\ufffd" in one for one in unmatched) else ""


def _example(step: Mapping[str, Any], what: str) -> str:
    found = step.get(f"{what}_unmatched_examples")
    return repr(cut(found[0], _LETTERS)) if found else ""
