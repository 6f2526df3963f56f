"""Looks at input and flags before Beam is loaded: which steps and processes an export needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from beam_export.cli.flags import ExportCommand
from beam_export.cli.system_limits import usable_cores
from beam_export.planning.small_input import is_copied_at_once
from beam_export.sources.contents import look_at, look_at_names
from beam_export.sources.patterns import parse_inputs

__all__ = ["Look", "look_first", "needs_workers"]

#: Beam's flags that say how many workers there are, or where.
_NUMBER, _MODE, _RUNNER = "--direct_num_workers", "--direct_running_mode", "--runner"


class Look(NamedTuple):
    """What is known of an export before Beam is loaded.

    Attributes:
        kinds: what the input can hold; None if it has not been looked at.
        alone: whether this process copies all of it sooner than workers could start.
        many: whether there are so many files that several workers list them sooner.
    """

    kinds: frozenset[str] | None
    alone: bool
    many: bool = False


def look_first(command: ExportCommand) -> Look:
    """Looks at the input of an export that runs on this machine; of others, nothing is known.

    Raises:
        InputError: if there is nothing at a path.
    """
    if command.dry_run or _given(command.beam_flags, _RUNNER) is not None:
        return Look(None, alone=False)
    patterns = parse_inputs(command.input)
    contents = look_at(patterns, command.options.output_dir, command.options.input_format)
    chosen = any(_given(command.beam_flags, flag) is not None for flag in (_NUMBER, _MODE))
    alone = not chosen and is_copied_at_once(contents, command.options)
    if contents is not None:
        return Look(contents.kinds, alone=alone)
    names = look_at_names(patterns)
    return Look(names.kinds, alone=alone, many=names.many)


def needs_workers(command: ExportCommand, look: Look) -> bool:
    """Returns whether an export is going to start worker processes on this machine."""
    flags = command.beam_flags
    if look.alone or command.dry_run or _given(flags, _RUNNER) is not None:
        return False
    number = _given(flags, _NUMBER) or "0"
    if number == "0":
        return _given(flags, _MODE) != "in_memory" and usable_cores() > 1
    return number != "1" and _given(flags, _MODE) != "in_memory"


def _given(flags: Sequence[str], name: str) -> str | None:
    """Returns the value of a flag of Beam's; None if it is not given.

    >>> _given(["--a=1", "--b", "2", "--b"], "--a"), _given(["--a=1", "--b", "2"], "--b")
    ('1', '2')
    >>> _given(["--a=1"], "--c") is None
    True
    """
    found = None
    for at, flag in enumerate(flags):
        if flag == name:
            found = flags[at + 1] if at + 1 < len(flags) else ""
        elif flag.startswith(f"{name}="):
            found = flag.partition("=")[2]
    return found
