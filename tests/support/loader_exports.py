"""Three exports that loaders read, beside their input as it was written, not as it was read back.

All images are JPEGs, which are copied, so that every byte is known from the input alone.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.exports import Export, picture
from support.runs import run_export

__all__ = ["KINDS", "Loaded", "export_for_loaders"]

KINDS = ("plain", "metadata", "labels")

#: A sample is in `val` by this: fixed, so that the split is known from the input.
_VAL = 4


@dataclasses.dataclass(frozen=True)
class Loaded:
    """An export, and what is in it by its input.

    Attributes:
        export: as it stands on disk.
        members: bytes of each sample's members by their extensions, by key, in order.
        columns: metadata of each sample, by key.
        splits: keys of each split's samples, in order; all are `train` without splits.
        classes: names of the classes, by number.
    """

    export: Export
    members: dict[str, dict[str, bytes]]
    columns: dict[str, dict[str, Any]]
    splits: dict[str, list[str]]
    classes: list[str]

    @property
    def exts(self) -> list[str]:
        """The extensions of all samples."""
        return sorted({ext for sample in self.members.values() for ext in sample})

    @property
    def are_equal(self) -> bool:
        """Whether all samples have the same members."""
        return len({frozenset(sample) for sample in self.members.values()}) == 1

    def tars(self, split: str) -> list[str]:
        """Returns the paths of the tars of a split."""
        found = [str(shard.tar) for shard in self.export.shards]
        for one in self.export.manifest.get("splits", ()):
            if one["key"] == split:
                return found[one["first_shard"] : one["first_shard"] + one["shards"]]
        return found

    @property
    def tables(self) -> str:
        """Matches all Parquet files."""
        return str(self.export.out / f"images-{self.export.hash}-*.parquet")


def export_for_loaders(kind: str, folder: Path) -> Loaded:
    """Writes an input, exports it, and returns both.

    Args:
        kind: `plain`: images alone, of which some late ones have an `.xml`; `metadata`: with a
            table of scores, captions, lists and times, of which captions and JSON are in the tars
            too; `labels`: with classes, splits, captions, arrays and JSON that some lack.
        folder: an empty one.
    """
    return {"plain": _plain, "metadata": _metadata, "labels": _labels}[kind](folder)


def _image(folder: Path, key: str, number: int) -> bytes:
    data = picture(number)
    path = folder / f"{key}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def _plain(folder: Path) -> Loaded:
    members: dict[str, dict[str, bytes]] = {}
    for number in range(30):
        key = f"part{number // 10}/img{number:03d}"
        members[key] = {"jpg": _image(folder / "in", key, number)}
        if number % 3 == 2 and number > 10:
            members[key]["xml"] = f"<number>{number}</number>".encode()
            (folder / f"in/{key}.xml").write_bytes(members[key]["xml"])
    export = run_export(folder / "in", folder / "out", images_per_tar=7)
    return Loaded(export, members, {key: {} for key in members}, {"train": list(members)}, [])


def _metadata(folder: Path) -> Loaded:
    members: dict[str, dict[str, bytes]] = {}
    columns: dict[str, dict[str, Any]] = {}
    for number in range(30):
        key = f"img{number:03d}"
        columns[key] = {
            "caption": f"a p\u00efcture, {number}: \u732b",
            "embedding": [one / 8 for one in range(number % 4)] if number >= 8 else [],
            # Whole numbers first, and nulls: what guesses types by the first rows is wrong.
            "score": None if number == 3 else float(number) if number < 12 else number + 0.25,
            "taken": None if number < 6 else datetime.datetime(2026, 1, number, 12),
        }
        said = {**columns[key], "taken": columns[key]["taken"] and f"2026-01-{number:02d}T12:00:00"}
        members[key] = {
            "jpg": _image(folder / "in", key, number),
            "json": json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode(),
            "txt": columns[key]["caption"].encode(),
        }
    types = {"caption": pa.string(), "embedding": pa.list_(pa.float32()), "score": pa.float64()}
    types |= {"image_id": pa.string(), "taken": pa.timestamp("us")}
    rows = [{"image_id": key, **values} for key, values in columns.items()]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(types)), folder / "scores.parquet")
    export = run_export(
        folder / "in",
        folder / "out",
        images_per_tar=7,
        metadata=str(folder / "scores.parquet"),
        caption_column="caption",
        json_columns="all",
        index="all",
    )
    return Loaded(export, members, columns, {"train": list(members)}, [])


def _labels(folder: Path) -> Loaded:
    members: dict[str, dict[str, bytes]] = {}
    columns: dict[str, dict[str, Any]] = {}
    classes = ["bird", "cat", "dog_2"]
    rows = []
    for number in range(36):
        label = number // 12
        key = f"{classes[label]}/img{number:03d}"
        sample = {"jpg": _image(folder / "in", key, number), "cls": str(label).encode()}
        sample["txt"] = f"picture {number}".encode()
        # Some have more than the first five, of other types.
        if number % 4:
            sample["json"] = json.dumps({"a": number if number < 9 else number + 0.5}).encode()
        if number >= 6:
            sample["clip.npy"] = _npy(np.arange(number % 5, dtype=np.float32) / 8)
        for ext in sample.keys() - {"jpg", "cls"}:
            (folder / f"in/{key}.{ext}").write_bytes(sample[ext])
        members[key] = sample
        part = "val" if number % _VAL == 1 else "train"
        columns[key] = {"label": classes[label], "cls": label, "split": part}
        columns[key]["a"] = json.loads(sample["json"])["a"] if "json" in sample else None
        rows.append((key, part))
    table = folder / "parts.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "part"), *rows])
    for key, part in rows:
        columns[key]["part"] = part
    export = run_export(
        folder / "in",
        folder / "out",
        images_per_tar=8,
        metadata=str(table),
        labels="folder",
        split="part",
        index="all",
    )
    splits = {name: [key for key, part in rows if part == name] for name in ("train", "val")}
    return Loaded(export, members, columns, splits, classes)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
