"""Flags of `export` as the command parses them, or refuses them."""

from __future__ import annotations

import pytest

from beam_export.cli.flags import ExportCommand, parse_export
from beam_export.errors import InputError

PLACES = ["--input=in", "--output_dir=out"]


def parse(*flags: str) -> ExportCommand:
    return parse_export([*PLACES, *flags])


def refused(*flags: str) -> str:
    """Returns the sentence with which flags are refused."""
    with pytest.raises(InputError) as caught:
        parse(*flags)
    return caught.value.sentence
