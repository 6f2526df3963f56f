"""The lines at the end of a command about files that it kept, and that may be of another export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from beam_export.cli import display
from beam_export.shards.index_owners import find_kept, stale_index
from beam_export.shards.leftovers import CARD, find_card, stale_header
from beam_export.shards.output import Output

__all__ = ["card_lines", "index_lines"]


def card_lines(output: Output, hash_: str) -> Iterator[str]:
    """Yields the lines about a README that is not the card of an export, if one was kept."""
    if find_card(output) == "kept":
        yield display.CARD_KEPT
        if output.kind(CARD) == "file":
            yield from _indented(stale_header(_content(output, CARD), hash_))


def index_lines(output: Output, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines about indexes that were kept, of those that a manifest lists."""
    for name in find_kept(output, manifest):
        yield display.INDEX_KEPT.format(name)
        yield from _indented(stale_index(_content(output, name), manifest["hash"]))


def _content(output: Output, name: str) -> bytes:
    with output.read(name) as source:
        return source.read()


def _indented(said: str) -> Iterator[str]:
    if said:
        yield f"  {said}"
