"""How a dataset came to be, as far as samples were joined, left out and captioned: in the manifest
for programs, in the card for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from beam_export.options import ExportOptions
from beam_export.planning.join import Tally
from beam_export.shards.markdown import plain
from beam_export.sources.patterns import split_inputs

__all__ = ["lookup_steps", "selection_steps", "tell_step"]

#: Kinds of files that the card tells of, and characters of a filter: the manifest has them all.
_MOST_KINDS = 100
_LONGEST_FILTER = 2000


def lookup_steps(options: ExportOptions, tally: Tally) -> list[dict[str, Any]]:
    """Returns the manifest's steps of what samples were looked up in, those that there were."""
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
    """Returns the manifest's steps of what was chosen by the samples' own columns."""
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
    """Returns what was given without directories: the dataset is the same wherever they lie."""
    return ",".join(one.rstrip("/").rpartition("/")[2] for one in split_inputs(path))


def tell_step(step: Mapping[str, Any]) -> str:
    """Returns what a step of the manifest did, for people: Markdown for a cell of a table."""
    tell = _TOLD.get(step["step"])
    if tell is not None:
        return tell(step)
    return ", ".join(
        f"{plain(name)}: {_told(value)}" for name, value in step.items() if name != "step"
    )


def _told(value: Any) -> str:
    if not isinstance(value, Mapping):
        return plain(str(value))
    items = [f"{plain(repr(name))}: {count}" for name, count in list(value.items())[:_MOST_KINDS]]
    left_out = len(value) - len(items)
    return f"{{{', '.join([*items, *([f'{left_out:,} more'] if left_out else [])])}}}"


def _tell_kept(step: Mapping[str, Any]) -> str:
    return f"kept only the {_ids(step)}; left out {_count(step['dropped'], 'sample')}"


def _tell_left_out(step: Mapping[str, Any]) -> str:
    return f"left out {_count(step['dropped'], 'sample')} by the {_ids(step)}"


def _ids(step: Mapping[str, Any]) -> str:
    unmatched = step["ids_unmatched"]
    none = f" ({unmatched:,} of which match no sample{_like(step, 'ids')})" if unmatched else ""
    return f"{_count(step['ids'], 'id')} of {plain(step['file'])}{none}"


def _tell_join(step: Mapping[str, Any]) -> str:
    return (
        f"joined the columns of {plain(step['table'])} ({_count(step['rows'], 'row')}) by "
        f"{plain(step['key'])}: "
        f"{_count(step['samples_matched'], 'sample')} with a row, "
        f"{step['samples_unmatched']:,} without{_like(step, 'samples')}, and "
        f"{_count(step['rows_unmatched'], 'row')} without a sample{_like(step, 'rows')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _like(step: Mapping[str, Any], what: str) -> str:
    shown: Sequence[str] = step.get(f"{what}_unmatched_examples", ())
    return f", like {', '.join(map(plain, shown[:3]))}" if shown else ""


def _tell_filter(step: Mapping[str, Any]) -> str:
    kept = plain(step["filter"], _LONGEST_FILTER)
    return f"kept where {kept}; left out {_count(step['dropped'], 'sample')}"


def _tell_caption(step: Mapping[str, Any]) -> str:
    return f"wrote column {plain(step['column'])} as each sample's .txt, empty where there is none"


_TOLD = {
    "keep ids": _tell_kept,
    "leave out ids": _tell_left_out,
    "join": _tell_join,
    "filter": _tell_filter,
    "caption": _tell_caption,
}
