"""What tests of listing share: files to list, and what a listing gives."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.samples import Failure
from beam_export.shards.tar import TarWriter
from beam_export.sources.entries import Item, Listed, Skipped, Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images
from beam_export.sources.patterns import parse_inputs
from beam_export.storage.uris import pin_file


def make(root: Path, *names: str | bytes) -> None:
    """Makes files, each with its own number of bytes."""
    for at, name in enumerate(names, 1):
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as target:
            target.write(b"x" * at)


def listed(given_input: object, exclude: str = "") -> list[Item]:
    patterns = parse_inputs(str(given_input))
    return [item for pattern in patterns for item in list_images(pattern, exclude)]


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
    """Returns what is read of an input, and what is passed by."""
    return list(choose(listed(folder), input_format))


def read(items: list[Item]) -> list[str]:
    """Returns the relative paths of what is read."""
    return [one.relative for one in items if isinstance(one, (Listed, Source))]


def counts(items: list[Item]) -> dict[str, int]:
    """Returns how many files of each kind are passed by."""
    return dict(Counter(one.kind for one in items if isinstance(one, Skipped)))
