"""Reads the pages of the repository: the rows of their tables of flags."""

from __future__ import annotations

import re


def flag_rows(text: str) -> dict[str, tuple[str, str]]:
    """Returns the default and the whole row of each flag in a page's tables."""
    rows = {}
    for line in re.findall(r"^\| `--.*$", text, re.MULTILINE):
        _, flags, defaults, *_ = line.split("|")
        names = re.findall(r"`--(\w+)`", flags)
        cells = [cell.strip().strip("`") for cell in defaults.split(",")]
        if len(cells) == 1 or not any(cells):  # one default of several flags
            cells = cells[:1] * len(names)
        for name, cell in zip(names, cells, strict=True):
            assert name not in rows, f"--{name} has two rows"
            rows[name] = (cell, line)
    return rows
