"""What tests share without Beam: small images, and an independent look at exports."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from beam_export.declaration import Option

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
PHOTOS = SHARED / "data" / "photos"


def another_value(one: Option) -> Any:
    """Returns a value of an option that is not its default, and fits the others' defaults."""
    if one.choices:
        return next(word for word in reversed(one.choices) if word != one.default)
    if one.kind is bool:
        return not one.default
    if one.name == "table_encoding":
        return "cp1252"
    if one.name == "index":
        return "dali"
    if one.name == "ensure":
        return "upright"
    if one.kind is str:
        return f"another_{one.name}"
    return 0.5 if one.kind is float else (one.default or 1) // 2 + 1


def picture(seed: int, kind: str = "jpg") -> bytes:
    """Returns an encoded image whose size and pixels follow from `seed`."""
    dice = random.Random(seed)
    width, height = dice.randint(8, 48), dice.randint(8, 32)
    mode = dice.choice(["RGB", "RGB", "L"])
    noise = Image.frombytes(mode, (4, 4), dice.randbytes(4 * 4 * len(mode)))
    file = io.BytesIO()
    name = {"jpg": "JPEG", "png": "PNG"}[kind]
    noise.resize((width, height), Image.Resampling.BILINEAR).save(file, name)
    return file.getvalue()


def make_images(folder: Path, count: int, *, first: int = 0, seed: int = 0) -> Path:
    """Writes images of several formats and depths under `folder`, and returns it."""
    for number in range(first, first + count):
        kind = "png" if number % 4 == 3 else "jpg"
        below = folder / f"part{number % 3}" if number % 5 else folder
        below.mkdir(parents=True, exist_ok=True)
        (below / f"img{number:05d}.{kind}").write_bytes(picture(seed * 100_003 + number, kind))
    return folder


def make_images_behind_a_link(folder: Path) -> Path:
    """Writes eight images into `in` of a folder, beside an empty folder, and makes a link to it."""
    images = make_images(folder / "in", 8)
    (images / "new").mkdir()
    (folder / "link").symlink_to(images)
    return images


def directory_hashes(out: Path | str) -> dict[str, str]:
    """Returns the SHA-256 of every file but run.json, by its name relative to `out`."""
    files = [path for path in Path(out).rglob("*") if path.is_file()]
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not path.name.endswith("-run.json")
    }


@dataclasses.dataclass
class Shard:
    """A shard, read with nothing of the package."""

    tar: Path
    members: dict[str, bytes]
    table: pa.Table
    rows: list[dict[str, Any]]
    facts: dict[str, str]


@dataclasses.dataclass
class Export:
    """An export, read with nothing of the package."""

    out: Path
    hash: str
    shards: list[Shard]
    manifest: dict[str, Any]
    failures: list[dict[str, str]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All rows, in order."""
        return [row for shard in self.shards for row in shard.rows]

    @property
    def ids(self) -> list[str]:
        """All ids, in order."""
        return [row["image_id"] for row in self.rows]

    @property
    def sizes(self) -> list[int]:
        """Samples a shard."""
        return [len(shard.rows) for shard in self.shards]

    @property
    def samples(self) -> dict[str, dict[str, bytes]]:
        """The members of each sample by their extensions, by key, in order."""
        found: dict[str, dict[str, bytes]] = {}
        for shard in self.shards:
            for name, data in shard.members.items():
                key, _, ext = name.partition(".")
                found.setdefault(key, {})[ext] = data
        return found

    def image(self, row: Mapping[str, Any]) -> bytes:
        """Returns an image's bytes by its range in the tar."""
        with (self.out / row["tar_file"]).open("rb") as tar:
            tar.seek(row["offset"])
            return tar.read(row["size"])


def read_export(out: Path | str) -> Export:
    """Reads an export that is complete."""
    folder = Path(out)
    (manifest_path,) = folder.glob("images-*-manifest.json")
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    failures = list(folder.glob("_meta/images-*-failures.parquet"))
    return Export(
        out=folder,
        hash=manifest_path.name.split("-")[1],
        shards=[_read_shard(path) for path in sorted(folder.glob("images-*.tar"))],
        manifest=manifest,
        failures=pq.read_table(failures[0]).to_pylist() if failures else [],
    )


def _read_shard(path: Path) -> Shard:
    with tarfile.open(path) as tar:
        members = {
            member.name: tar.extractfile(member).read()  # type: ignore[union-attr]
            for member in tar.getmembers()
        }
    table = pq.read_table(path.with_suffix(".parquet"))
    facts = {
        key.decode(): value.decode()
        for key, value in (pq.read_metadata(path.with_suffix(".parquet")).metadata or {}).items()
    }
    return Shard(path, members, table, table.to_pylist(), facts)


def same_but_for_paths(ours: Export, theirs: Export) -> None:
    """Holds two exports to each other that were made of the same images in two places."""
    assert ours.hash == theirs.hash
    assert [shard.tar.name for shard in ours.shards] == [shard.tar.name for shard in theirs.shards]
    for one, other in zip(ours.shards, theirs.shards, strict=True):
        assert one.tar.read_bytes() == other.tar.read_bytes()
        assert one.table.schema.equals(other.table.schema, check_metadata=True)
        assert one.table.drop(["original_path"]).equals(other.table.drop(["original_path"]))
        assert one.facts == other.facts
    # Longer paths make larger tables.
    totals = [{**one.manifest["totals"], "parquet_bytes": 0} for one in (ours, theirs)]
    assert totals[0] == totals[1]


def check_export(out: Path | str, images_per_tar: int, *flags: str) -> None:
    """Holds an export against format.md with the checker of `../shared`, where there is one."""
    checker = SHARED / "tools" / "check_export.py"
    if not checker.exists():
        return
    command = [sys.executable, str(checker), str(out), "--n", str(images_per_tar), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def left_over(out: Path | str) -> list[str]:
    """Returns what of temporary files stands in an output directory."""
    return [str(path) for path in Path(out).glob("_tmp*")]
