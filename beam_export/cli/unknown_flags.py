"""Refuses flags and paths that neither this tool nor Beam knows, by what was probably meant."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from beam_export.cli.parser import FlagParser
from beam_export.errors import InputError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["refuse_unknown"]


def refuse_unknown(
    command: str,
    rest: Sequence[str],
    parsed: argparse.Namespace,
    *,
    names: Mapping[str, Sequence[str]],
) -> None:
    """Refuses flags that Beam does not know either, which it would ignore with a warning.

    Args:
        command: its name.
        rest: what is left of the arguments without the flags of this tool.
        parsed: those flags.
        names: of all flags of this tool, by command.

    Raises:
        InputError: if there are any.
    """
    # Loaded only if there are other flags, so that a mistake in ours is reported at once.
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = FlagParser(prog=f"beam-export {command}", allow_abbrev=False, add_help=False)
    for kind in _all_options(PipelineOptions):
        kind._add_argparse_args(parser)
    unknown = parser.parse_known_args(list(rest))[1]
    flag = next((one for one in unknown if one.startswith("-")), None)
    if flag is not None:
        near = _nearest(flag, command, names=names, beam=parser)
        raise InputError(
            f"{flag} is no flag of beam-export nor of Beam{near}: see beam-export {command} --help."
        )
    if unknown:
        raise InputError(_without_flags(command, unknown, parsed))


def _nearest(
    flag: str, command: str, *, names: Mapping[str, Sequence[str]], beam: argparse.ArgumentParser
) -> str:
    """Returns the flags that are spelled most like an unknown one, in words; "" if none is."""
    name = flag.partition("=")[0].lstrip("-").replace("-", "_").lower()
    ours = names[command]
    others = (one for one in names if one != command)
    if other := next((one for one in others if name in names[one]), None):
        return f", but of beam-export {other}"
    begun = [name] if name in ours else [one for one in ours if name and one.startswith(name)]
    theirs = [one.removeprefix("--") for one in beam._option_string_actions]
    found = begun or difflib.get_close_matches(name, ours, n=1)
    found = found or difflib.get_close_matches(name, theirs, n=1, cutoff=0.75)
    return f", the nearest is {' or '.join(f'--{one}' for one in found[:3])}" if found else ""


def _without_flags(command: str, paths: Sequence[str], parsed: argparse.Namespace) -> str:
    """Returns the error for paths that are given without a flag: it has the command to write."""
    shown = " ".join(map(shlex.quote, paths[:3])) + (" ..." if len(paths) > 3 else "")
    verb = "is" if len(paths) == 1 else "are"
    if command != "export":
        return f"{shown} {verb} too much: give one directory, beam-export {command} OUT."
    source, place = parsed.input, parsed.output_dir
    left = [*paths]
    if source is not None and len(left) > (place is None):
        return (
            f"{shown} {verb} given without a flag: if the shell made them of a pattern, quote it, "
            f"--input '*.jpg' say; else write --input with commas between all that is meant."
        )
    if source is None:
        # Of several without a flag the last is the output, as for `cp`.
        source = ",".join(left[:-1] if place is None and len(left) > 1 else left)
        left = left[-1:] if place is None and len(left) > 1 else []
    place = place or (left[0] if left else "OUT")
    words = ["--input", shlex.quote(source), "--output_dir", shlex.quote(place)]
    return f"{shown} {verb} given without a flag: write beam-export export {' '.join(words)}."


def _all_options(kind: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    found = []
    for below in kind.__subclasses__():
        # Only classes that add flags of their own; an inherited method would add them twice.
        if "_add_argparse_args" in below.__dict__:
            found.append(below)
        found.extend(_all_options(below))
    return found
