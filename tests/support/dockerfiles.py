"""Reads Dockerfiles, as far as those of this repository go; what else one may hold is refused.

Source: docs.docker.com/reference/dockerfile.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Instruction", "Stage", "read_stages", "substituted"]

KNOWN = ("ARG", "COPY", "ENTRYPOINT", "ENV", "RUN", "WORKDIR")


class Instruction(NamedTuple):
    """One instruction of a stage: its name, and all that stands behind it."""

    name: str
    text: str

    def pairs(self) -> list[tuple[str, str]]:
        """Returns the names and values of ENV and ARG."""
        words = shlex.split(self.text)
        return [(name, value) for name, _, value in (word.partition("=") for word in words)]

    def argv(self) -> list[str]:
        """Returns the words of an ENTRYPOINT in JSON."""
        return [str(word) for word in json.loads(self.text)]


class Stage(NamedTuple):
    """One stage: its name, the image or the stage that it begins with, and its instructions."""

    name: str
    base: str
    instructions: list[Instruction]


def read_stages(text: str, arguments: Mapping[str, str]) -> dict[str, Stage]:
    """Returns the stages of a Dockerfile by their names, in order.

    Args:
        text: the Dockerfile.
        arguments: values of `--build-arg`, for what stands before the first stage.
    """
    stages: dict[str, Stage] = {}
    variables: dict[str, str] = {}
    for instruction in _instructions(text):
        if instruction.name == "FROM":
            base, word, name = substituted(instruction.text, variables).split()
            if word.upper() != "AS":
                raise ValueError(f"FROM {instruction.text}: a stage without a name")
            stages[name] = Stage(name, base, [])
        elif stages:
            [*stages.values()][-1].instructions.append(instruction)
        else:
            variables |= {name: arguments.get(name, value) for name, value in instruction.pairs()}
    return stages


def _instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name not in (*KNOWN, "FROM"):
            raise ValueError(f"{name} is not known here: {line}")
        found.append(Instruction(name, " ".join(rest.split())))
    return found


def substituted(text: str, variables: Mapping[str, str]) -> str:
    """Returns a text with `${NAME}` and `$NAME` replaced; a name without a value gives nothing."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: variables.get(m[1] or m[2], ""), text)
