"""Reads the blocks of the pages that show a task, and runs them as a reader would."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from support.exports import ROOT

#: Stands above a block that is not run, in the page itself.
NOT_RUN = "Not run by the test"

_SHELL = ("bash", "-euc")
_COMMAND = re.compile(r"^(?:.*\| )?(beam-export .*)$")


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        line: of the page, from 1.
        language: behind the fence; "" for none.
        code: what stands in it.
        printed: the `text` block behind it: what it prints.
        is_run: whether the page does not say that it is not.
    """

    line: int
    language: str
    code: str
    printed: str
    is_run: bool


def blocks_of(page: Path) -> list[Block]:
    """Returns the blocks of a page, in order, each with the `text` block that follows it."""
    found: list[Block] = []
    above = ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        line = (token.map or [0])[0] + 1
        if token.type == "inline":
            above = token.content
        elif token.type == "fence" and token.info == "text" and found and not found[-1].printed:
            found[-1] = found[-1]._replace(printed=token.content)
        elif token.type == "fence":
            found.append(Block(line, token.info, token.content, "", NOT_RUN not in above))
            above = ""
    return found


def commands_in(code: str) -> list[list[str]]:
    """Returns the arguments of each `beam-export` of a shell block, with lines that go on joined.

    >>> commands_in("ls  # a list\\nbeam-export verify \\\\\\n  'a b/'  # proves it\\n")
    [['verify', 'a b/']]
    """
    lines = code.replace("\\\n", " ").splitlines()
    found = [match[1] for line in lines if (match := _COMMAND.match(line))]
    return [shlex.split(command, comments=True)[1:] for command in found]


def run_block(block: Block, folder: Path) -> str:
    """Runs a block in a folder, as a shell or Python does, and returns what it has printed.

    `beam-export` and `python` are those of these tests, and nothing reaches a network.
    """
    program = (sys.executable, "-c") if block.language == "python" else _SHELL
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        # Beam would fetch Prism, and does without where it cannot.
        "https_proxy": "http://localhost:9",
        "no_proxy": "localhost,127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(folder / "_home"),
    }
    done = subprocess.run(
        [*program, block.code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"line {block.line}: {done.stdout}{done.stderr}"
    return done.stdout


def line_not_printed(printed: str, shown: str) -> str | None:
    """Returns the first line of what a page shows that is not printed, in that order; or None.

    `...` stands for anything within a line, and lines that the page leaves out may lie between.

    >>> line_not_printed("60 images in 3 s\\n  copied 60\\n  path\\n", "60 ...\\n  copied 60\\n")
    >>> line_not_printed("60 images\\n", "6 images\\n")
    '6 images'
    """
    lines = iter(printed.splitlines())
    for line in shown.splitlines():
        pattern = ".*".join(re.escape(part) for part in line.split("..."))
        if not any(re.fullmatch(pattern, one) for one in lines):
            return line
    return None
