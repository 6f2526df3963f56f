"""What tests of listing share: files to list, and what a listing gives."""

from __future__ import annotations

import itertools
import operator
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.samples import Failure
from beam_export.shards.tar import TarWriter
from beam_export.sources.entries import FolderTable, Item, Listed, ListedItem, Skipped, Source
from beam_export.sources.input_format import Choice, choose, choose_held
from beam_export.sources.listing import list_images
from beam_export.sources.listing_parts import divide, list_part
from beam_export.sources.patterns import Pattern, parse_inputs
from beam_export.storage.uris import pin_file


def make(root: Path, *names: str | bytes) -> None:
    """Makes files, each with its own number of bytes."""
    for at, name in enumerate(names, 1):
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as target:
            target.write(b"x" * at)


def listed(given_input: object, exclude: str = "") -> list[Item]:
    """Returns what is listed; the listing in parts gives the same."""
    found = []
    for pattern in parse_inputs(str(given_input)):
        whole = list(list_images(pattern, exclude))
        in_parts = sorted(_in_parts(pattern, exclude), key=operator.itemgetter(0))
        assert _but_near([item for _, item in in_parts]) == _but_near(whole)
        found += whole
    return found


def _in_parts(pattern: Pattern, exclude: str) -> Iterator[tuple[int, ListedItem]]:
    # Workers list them in any order.
    for part in reversed(divide(pattern, exclude)):
        yield from list_part(part, exclude)


def _but_near(items: list[ListedItem]) -> list[ListedItem]:
    # A part does not know whether another has images; without any, those tables are nobody's.
    return [item for item in items if not (isinstance(item, FolderTable) and item.near)]


def relatives(items: list[Item]) -> list[str]:
    return [item.relative for item in items if isinstance(item, Listed)]


def skipped(items: list[Item]) -> list[str]:
    return sorted(item.kind for item in items if isinstance(item, Skipped))


def failures(items: list[Item]) -> list[Failure]:
    return [item for item in items if isinstance(item, Failure)]


def pinned(path: object) -> str:
    """Returns the URI that a file is listed with."""
    status = os.stat(str(path))
    return pin_file(str(path), status.st_size, status.st_mtime_ns)


def only_images(given_input: object, exclude: str = "") -> list[str]:
    """Returns what is listed where nothing else may come of it."""
    items = listed(given_input, exclude)
    assert not failures(items)
    assert not skipped(items)
    return relatives(items)


def parquet(path: Path, *, ours: bool = True) -> None:
    """Writes a Parquet file, of an export of ours or of something else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {b"beam_export.version": b"0.1.0"} if ours else {}
    pq.write_table(pa.table({"image_id": ["a"]}).replace_schema_metadata(facts), path)


def own_tar(path: Path) -> None:
    """Writes a tar of one image, as this tool does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as target:
        writer = TarWriter(target)
        writer.add("a.jpg", b"1")
        writer.close()


def chosen(folder: object, input_format: str = "auto") -> list[Item]:
    """Returns what is read of an input, and what is passed by; in parts it is the same."""
    whole = list(choose(listed(folder), input_format))
    assert _chosen_in_parts(folder, input_format) == whole
    return whole


def _chosen_in_parts(folder: object, input_format: str) -> list[Item]:
    (pattern,) = parse_inputs(str(folder))
    found: list[tuple[int, Item]] = []
    held = []
    for part in reversed(divide(pattern, "")):
        choice = Choice(input_format)
        for segment, group in itertools.groupby(list_part(part, ""), key=operator.itemgetter(0)):
            items = choice.take((item for _, item in group), segment)
            found += [(segment, item) for item in items]
        held.append(choice.held())
    found.sort(key=operator.itemgetter(0))
    return [item for _, item in found] + list(choose_held(held, input_format))


def read(items: list[Item]) -> list[str]:
    """Returns the relative paths of what is read."""
    return [one.relative for one in items if isinstance(one, (Listed, Source))]


def counts(items: list[Item]) -> dict[str, int]:
    """Returns how many files of each kind are passed by."""
    return dict(Counter(one.kind for one in items if isinstance(one, Skipped)))
