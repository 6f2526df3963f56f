"""Refuses flags and paths that neither this tool nor Beam knows, by what was probably meant.

And a flag that Beam does know, and that is a letter away from one of ours whose value it has:
`--label=folder` would name a job on Dataflow, and make no classes.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from beam_export.cli.parser import FlagParser
from beam_export.errors import InputError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["refuse_labels_of_jobs", "refuse_unknown"]

#: How like a name of Beam's is to one of ours that is a letter away, and a value to a choice.
_A_LETTER, _A_CHOICE = 0.85, 0.75


def refuse_unknown(
    command: str,
    rest: Sequence[str],
    parsed: argparse.Namespace,
    *,
    names: Mapping[str, Sequence[str]],
    choices: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Refuses flags that Beam does not know either, which it would ignore with a warning.

    Args:
        command: its name.
        rest: what is left of the arguments without the flags of this tool.
        parsed: those flags.
        names: of all flags of this tool, by command.
        choices: of those flags of the command that have some, by name.

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
    for name, value in _values(rest):
        _refuse_near(name, value, choices or {})


def refuse_labels_of_jobs(argv: Sequence[str]) -> None:
    """Refuses labels of a job on Dataflow in `--labels`, which is another flag here.

    Raises:
        InputError: if there are any: it says how to give them.
    """
    for name, value in _values(argv):
        if name == "labels" and ("=" in value or "{" in value):
            raise InputError(
                f"--labels={value} is no way to label images, which is --labels=folder: labels of "
                "a job on Dataflow are given by --label=key=value."
            )


def _values(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yields the names of flags with their values, which may be arguments of their own."""
    for one, after in itertools.pairwise([*argv, ""]):
        name, equals, value = one.partition("=")
        if name.startswith("--"):
            yield name.removeprefix("--"), value if equals else after


def _refuse_near(name: str, value: str, choices: Mapping[str, Sequence[str]]) -> None:
    """Refuses a flag of Beam's that is a letter away from one of ours, with a value of ours."""
    for ours in difflib.get_close_matches(name, choices, n=1, cutoff=_A_LETTER):
        meant = difflib.get_close_matches(value, choices[ours], n=1, cutoff=_A_CHOICE)
        if meant and "=" not in value:
            raise InputError(
                f"--{name}={value} is a flag of Beam's, and does nothing to images: write "
                f"--{ours}={meant[0]}; for Beam, as key=value, --{name}={value}=."
            )


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
