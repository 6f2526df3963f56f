"""Damages exports in thousands of ways, and counts what `beam-export verify` finds of it.

    python benchmarks/robustness/damages.py [--count 2000] [--commands 100] [--against 60]
        [--seed 0] [--save]

Each damage changes bytes or names of one small export: bits, ranges and ends of files, files that
are swapped, missing, doubled or renamed, rows and fields with another value, and forgeries, where
every digest was made to fit the edited Parquet. All are checked in this process by the functions
that the pipeline runs; `--commands` of them by the command itself too, and by an independent
checker if one is given. `--against` more are of kinds that nothing in the export tells: they are
checked by the command with `--against` and `--decode`. What must hold: each damage is found, with
the name of a file that it touched, and the undamaged export has no fault.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import random
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))

from beam_export.cli import main as cli
from beam_export.metadata.schema import STRUCTURAL
from beam_export.naming import ShardNames
from beam_export.shards.indexes.dataset import dataset_files, is_setting
from beam_export.shards.indexes.shard import index_tar
from beam_export.shards.indexes.table import IndexedShard, indexes_table, read_indexes
from beam_export.shards.manifest import SplitShards, seal, unseal, with_indexes
from beam_export.shards.parquet import (
    ShardRow,
    ShardTable,
    read_facts,
    read_shard_rows,
    write_table,
)
from beam_export.shards.tar import TarWriter
from beam_export.sources.tar.webdataset import split_member
from beam_export.verify.dataset import find_hash, open_for_checks
from beam_export.verify.findings import Fault, in_order
from beam_export.verify.indexes import IndexTask, OpenedIndexes
from beam_export.verify.members import origin_of
from beam_export.verify.shard import ShardChecker
from beam_export.verify.splits import check_of
from beam_export.verify.totals import check_dataset
from beam_export.verify.unique_names import check_bucket
from benchmarks.common import save

Files = dict[str, bytes]
#: Of a row, what the tar or the other rows prove; a score that was forged along with every digest
#: is a score like any other. An export without splits has no column of them.
_PROVEN = frozenset(
    {"image_id", "tar_file", "member_name", "offset", "size", "sha256", "encoding", "split"}
)


class Damage(NamedTuple):
    """What was done: kind, the files that it touched, and all files as they are now."""

    kind: str
    touched: frozenset[str]
    files: Files


def check(files: Files) -> list[Fault]:
    """Returns the faults of an export, found as the pipeline does, without Beam."""
    hash_ = find_hash(files, files.__getitem__)
    if hash_ is None:
        return [Fault("", "", "it is not an export", "")]
    opened = open_for_checks(hash_, files, files.__getitem__)
    options = opened.manifest["options"] if opened.manifest else {}
    origin = origin_of(opened.manifest, opened.run)
    sequential = options.get("member_names") == "sequential"
    splits = check_of(opened.manifest)
    checker = ShardChecker(opened.names, sequential, origin=origin, splits=splits)
    shards = []
    for number in opened.numbers:
        tar, table = files[opened.names.tar(number)], files[opened.names.parquet(number)]
        listed = (opened.shards or {}).get(number)
        indexes = index_task(opened.names, opened.indexes, number, files)
        shards.append(checker.check(number, io.BytesIO(tar), table, listed, indexes=indexes))
    doubles = check_bucket([use for shard in shards for use in shard.name_uses], None).faults
    found = [fault for shard in shards for fault in shard.faults]
    return in_order([*opened.faults, *found, *doubles, *check_dataset(opened, shards)])


def index_task(
    names: ShardNames, opened: OpenedIndexes | None, number: int, files: Files
) -> IndexTask | None:
    """Returns what is checked of a shard's indexes, as the pipeline does."""
    if opened is None:
        return None
    own = {"dali": names.dali_index(number), "energon": names.energon_index(number)}
    read = {name: files.get(name) for kind, name in own.items() if kind in opened.kinds}
    return IndexTask(opened.kinds, opened.shards.get(number), read)


def make_export(folder: pathlib.Path, seed: int) -> pathlib.Path:
    """Makes a small export with everything in it: fields, columns, failures, several shards."""
    dice = random.Random(seed)
    source = folder / "in"
    source.mkdir(parents=True)
    for number in range(38):
        size = dice.randint(8, 40), dice.randint(8, 40)
        image = Image.frombytes("RGB", (2, 2), dice.randbytes(12)).resize(size)
        image.save(source / f"{number:03d}.{'png' if number % 5 == 4 else 'jpg'}")
        facts = {"score": dice.random(), "label": dice.choice("abc"), "place": number}
        (source / f"{number:03d}.json").write_text(json.dumps(facts))
        (source / f"{number:03d}.txt").write_text(f"picture {number}")
    (source / "017.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    out = folder / "out"
    flags = [f"--input={source}", f"--output_dir={out}", "--images_per_tar=10"]
    flags += ["--max_failed_fraction=0.5", "--direct_num_workers=1", "--split=train=0.7,val=0.3"]
    flags += ["--index=all", "--json_columns=place", "--ragged_fields=error"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main(["export", *flags])
    if code:
        raise RuntimeError(f"the export ended with {code}")
    return out


def read_files(out: pathlib.Path) -> Files:
    """Returns the files of an export: all but the card, which anybody may edit."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "README.md"
    }


class Damager:
    """Damages one export, again and again, each time from the whole one."""

    def __init__(self, files: Files, seed: int) -> None:
        self._whole, self._dice = files, random.Random(seed)
        # What people set by hand may be edited: that is a note.
        self._names = [name for name in files if not is_setting(name)]
        self._kinds: list[Callable[[], Damage | None]] = [
            self.flip_bit,
            self.overwrite,
            self.truncate,
            self.append,
            self.cut,
            self.insert,
            self.swap_blocks,
            self.swap_files,
            self.lose,
            self.double,
            self.rename,
            self.edit_row,
            self.edit_field,
            self.forge_row,
            self.forge_json,
            self.forge_column,
        ]
        name = next((one for one in files if one.endswith("-manifest.json")), None)
        options = {} if name is None else unseal(files[name])["options"]
        if options.get("json_columns"):
            self._kinds.append(self.forge_json_of_columns)
        if options.get("ragged_fields", "keep") != "keep":
            self._kinds.append(self.lose_member)

        #: Those that only the input tells.
        self._kinds_against: list[Callable[[], Damage | None]] = [
            self.forge_sidecar,
            self.forge_image,
            self.swap_samples,
            self.forge_both,
        ]

    def damage(self, place: int) -> Damage:
        """Returns the damage of that number; kinds take turns."""
        return self._made(self._kinds, place)

    def damage_against(self, place: int) -> Damage:
        """Returns a damage that is found with the input at hand alone; kinds take turns."""
        return self._made(self._kinds_against, place)

    def _made(self, kinds: list[Callable[[], Damage | None]], place: int) -> Damage:
        while True:
            found = kinds[place % len(kinds)]()
            if found is not None and found.files != self._whole:
                return found

    def _any(self, *suffixes: str) -> str:
        names = [name for name in self._names if not suffixes or name.endswith(suffixes)]
        return self._dice.choice(names)

    def _changed(self, kind: str, name: str, data: bytes) -> Damage:
        return Damage(kind, frozenset({name}), {**self._whole, name: data})

    def flip_bit(self) -> Damage:
        name = self._any()
        data = bytearray(self._whole[name])
        data[self._dice.randrange(len(data))] ^= 1 << self._dice.randrange(8)
        return self._changed("flipped bit", name, bytes(data))

    def overwrite(self) -> Damage:
        name = self._any()
        data = bytearray(self._whole[name])
        size = self._dice.randint(1, min(600, len(data)))
        start = self._dice.randrange(len(data) - size + 1)
        fill = self._dice.choice([bytes(size), self._dice.randbytes(size)])
        data[start : start + size] = fill
        return self._changed("overwritten range", name, bytes(data))

    def truncate(self) -> Damage:
        name = self._any()
        data = self._whole[name]
        size = self._dice.choice(
            [0, len(data) - 1, len(data) - 512, self._dice.randrange(len(data))]
        )
        return self._changed("truncated", name, data[: max(0, size)])

    def append(self) -> Damage:
        name = self._any()
        more = self._dice.choice([b"\0", b"\n", bytes(512), self._dice.randbytes(100)])
        return self._changed("appended to", name, self._whole[name] + more)

    def cut(self) -> Damage:
        name = self._any()
        data = self._whole[name]
        start = self._dice.randrange(len(data))
        size = self._dice.choice([1, 4, 512, 1024])
        return self._changed("cut out of", name, data[:start] + data[start + size :])

    def insert(self) -> Damage:
        name = self._any()
        data = self._whole[name]
        start = self._dice.randrange(len(data))
        more = self._dice.choice([b"\0", b" ", bytes(512), self._dice.randbytes(16)])
        return self._changed("inserted into", name, data[:start] + more + data[start:])

    def swap_blocks(self) -> Damage:
        name = self._any(".tar")
        data = self._whole[name]
        one, other = (512 * self._dice.randrange(len(data) // 512) for _ in range(2))
        blocks = bytearray(data)
        blocks[one : one + 512], blocks[other : other + 512] = (
            data[other : other + 512],
            data[one : one + 512],
        )
        return self._changed("swapped blocks", name, bytes(blocks))

    def swap_files(self) -> Damage:
        suffix = self._dice.choice([".tar", ".parquet", ".json"])
        one, other = self._any(suffix), self._any(suffix)
        files = {**self._whole, one: self._whole[other], other: self._whole[one]}
        return Damage("swapped files", frozenset({one, other}), files)

    def lose(self) -> Damage:
        name = self._any()
        files = {key: data for key, data in self._whole.items() if key != name}
        return Damage("missing file", frozenset({name}), files)

    def _other_name(self, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        digits = "".join(self._dice.choice("0123456789abcdef") for _ in range(12))
        return self._dice.choice(
            [
                f"{stem} (copy){dot}{suffix}",
                f"{name}.bak" if "_meta" in name or "images" in name else name,
                name.replace("-00000", "-00001"),
                re.sub(r"(?<=images-)[0-9a-f]{12}", digits, name),
                name.removeprefix("_meta/") if "_meta" in name else f"_meta/{name}",
            ]
        )

    def double(self) -> Damage | None:
        # Beside files under other names, a copy does no harm.
        name = self._dice.choice([one for one in self._names if "images-" in one])
        new = self._other_name(name)
        files = {**self._whole, new: self._whole[name]}
        return None if new in self._whole else Damage("doubled file", frozenset({new}), files)

    def rename(self) -> Damage | None:
        name = self._any()
        new = self._other_name(name)
        files = {new if key == name else key: data for key, data in self._whole.items()}
        return None if new in self._whole else Damage("renamed file", frozenset({name, new}), files)

    def _edited(self, name: str, *, proven: bool = False) -> bytes:
        """Returns a Parquet with one value changed, written as the package itself does."""
        table = pq.read_table(io.BytesIO(self._whole[name]))
        row = self._dice.randrange(table.num_rows)
        columns = [one for one in table.schema.names if one in _PROVEN or not proven]
        column = self._dice.choice(columns)
        value = self._another(table.column(column)[row].as_py())
        return edited(self._whole[name], row, column, value)

    def _another(self, value: Any) -> Any:
        if isinstance(value, str):
            digit = self._dice.choice("0123456789abcdef")
            place = self._dice.randrange(len(value) + 1)
            return value[:place] + digit + value[place + 1 :]
        if isinstance(value, float):
            return value + 0.5
        return 7 if value is None else value + self._dice.choice([-1, 1, 512])

    def edit_row(self) -> Damage:
        name = self._any(".parquet")
        return self._changed("edited row", name, self._edited(name))

    def edit_field(self) -> Damage:
        """Another value in a JSON file, in the same form, with the digest as it was."""
        name = self._any(".json")
        content = json.loads(self._whole[name])
        place: Any = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = self._dice.choice(keys)
            if isinstance(place[key], (dict, list)) and place[key]:
                place = place[key]
            else:
                break
        value = place[key]
        place[key] = self._another(value) if isinstance(value, (str, int, float)) else 1
        text = json.dumps(content, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
        return self._changed("edited field", name, text.encode())

    def forge_row(self) -> Damage | None:
        """A row that tells of its image what is not so, with every digest made to fit."""
        name = self._a_shard()
        data = self._edited(name, proven=True)
        if pq.read_table(io.BytesIO(data)).equals(pq.read_table(io.BytesIO(self._whole[name]))):
            return None
        files = reseal({**self._whole, name: data}, name)
        return Damage("forged row", frozenset({name}), files)

    def _a_shard(self) -> str:
        shards = [name for name in self._whole if "_meta" not in name and name.endswith(".parquet")]
        return self._dice.choice(shards)

    def forge_json(self) -> Damage | None:
        """Another value in the `.json` of a sample, with every digest made to fit."""
        return self._forged("forged JSON", _has_json, self._change_json)

    def _change_json(self, sample: Sample) -> dict[str, Any]:
        """Changes a value in the `.json` of a sample; returns it with its key."""
        content = json.loads(sample.members["json"])
        key = self._dice.choice(_scalars(content))
        content[key] = self._another(content[key])
        sample.members["json"] = json.dumps(content).encode()
        return {key: content[key]}

    def forge_column(self) -> Damage | None:
        """Another value in a column that was made of JSON, with every digest made to fit."""

        def change(sample: Sample) -> None:
            key = self._dice.choice(_scalars(sample.row.metadata))
            _set_columns(sample, {key: self._another(sample.row.metadata[key])})

        return self._forged("forged column", _has_json, change)

    def forge_json_of_columns(self) -> Damage | None:
        """Another value in the member of `--json_columns`, with every digest made to fit."""

        def change(sample: Sample) -> None:
            content = json.loads(sample.members["meta.json"])
            key = self._dice.choice(_scalars(content))
            content[key] = self._another(content[key])
            text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            sample.members["meta.json"] = text.encode()

        return self._forged(
            "forged JSON of columns", lambda one: "meta.json" in one.members, change
        )

    def lose_member(self) -> Damage | None:
        """A member that one sample lacks, with every digest made to fit."""

        def change(sample: Sample) -> None:
            del sample.members["txt"]

        return self._forged("missing member", lambda one: "txt" in one.members, change)

    def forge_sidecar(self) -> Damage | None:
        """Another text in the `.txt` of a sample, with every digest made to fit."""

        def change(sample: Sample) -> None:
            sample.members["txt"] = self._another(sample.members["txt"].decode()).encode()

        return self._forged("forged sidecar", lambda sample: "txt" in sample.members, change)

    def forge_image(self) -> Damage | None:
        """Another image, whole and of the same size, in place of an encoded one."""

        def change(sample: Sample) -> None:
            image = Image.open(io.BytesIO(sample.members["jpg"]))
            image.putpixel((0, 0), tuple(self._dice.randbytes(3)))
            file = io.BytesIO()
            image.save(file, "JPEG", quality=95)
            sample.members["jpg"] = file.getvalue()

        return self._forged("forged image", lambda one: one.row.encoding == "encoded", change)

    def swap_samples(self) -> Damage | None:
        """Two samples of a shard in each other's place."""
        name = self._a_shard()

        def change(samples: list[Sample]) -> None:
            one, other = self._dice.sample(range(len(samples)), 2)
            samples[one], samples[other] = samples[other], samples[one]

        files = forged(self._whole, name, change)
        return Damage("swapped samples", _files_of(name), files)

    def forge_both(self) -> Damage | None:
        """Another value in a `.json` and in its column."""

        def change(sample: Sample) -> None:
            _set_columns(sample, self._change_json(sample))

        return self._forged("forged JSON and column", _has_json, change)

    def _forged(
        self, kind: str, fits: Callable[[Sample], bool], change: Callable[[Sample], object]
    ) -> Damage | None:
        """Changes one sample of those of a shard that fit; None if none does."""
        name = self._a_shard()
        fitting = [at for at, one in enumerate(_samples(self._whole, name)) if fits(one)]
        if not fitting:
            return None
        place = self._dice.choice(fitting)
        files = forged(self._whole, name, lambda samples: change(samples[place]))
        return Damage(kind, _files_of(name), files)


@dataclasses.dataclass
class Sample:
    """A sample of a shard: its row, and its members by extension, the image first."""

    row: ShardRow
    members: dict[str, bytes]


def _has_json(sample: Sample) -> bool:
    return "json" in sample.members


def _has_meta_json(sample: Sample) -> bool:
    return "meta.json" in sample.members


def _set_columns(sample: Sample, values: Mapping[str, Any]) -> None:
    sample.row = sample.row._replace(metadata={**sample.row.metadata, **values})


def _scalars(content: Mapping[str, Any]) -> list[str]:
    return [key for key, value in content.items() if isinstance(value, (int, float, str))]


def _files_of(name: str) -> frozenset[str]:
    return frozenset({name, name.replace(".parquet", ".tar")})


def forged(files: Files, name: str, change: Callable[[list[Sample]], None]) -> Files:
    """Returns an export of which one shard holds what it did not, with every digest made to fit.

    Args:
        files: of the export.
        name: of the shard's Parquet.
        change: changes the shard's samples in place; where the images lie, and their sums, follow.
    """
    tar_name = name.replace(".parquet", ".tar")
    samples = _samples(files, name)
    change(samples)
    tar, table = io.BytesIO(), io.BytesIO()
    writer = TarWriter(tar)
    stored = pq.read_schema(io.BytesIO(files[name]))
    columns = [field for field in stored if field.name not in STRUCTURAL.names]
    shard = ShardTable(table, pa.schema(columns))
    for sample in samples:
        key = split_member(sample.row.member_name)[0]
        offsets = [writer.add(f"{key}.{ext}", data) for ext, data in sample.members.items()]
        image = next(iter(sample.members.values()))
        sha256 = hashlib.sha256(image).hexdigest()
        found = {"offset": offsets[0], "size": len(image), "sha256": sha256}
        if sample.row.encoding == "copied":
            found["source_sha256"] = sha256
        shard.append(sample.row._replace(**found))
    writer.close()
    facts = {
        **read_facts(io.BytesIO(files[name])),
        "beam_export.tar_sha256": hashlib.sha256(tar.getvalue()).hexdigest(),
        "beam_export.tar_bytes": str(len(tar.getvalue())),
    }
    shard.close(facts)
    return reseal({**files, tar_name: tar.getvalue(), name: table.getvalue()}, name)


def _samples(files: Files, name: str) -> list[Sample]:
    with tarfile.open(fileobj=io.BytesIO(files[name.replace(".parquet", ".tar")])) as tar:
        members = [(one.name, tar.extractfile(one).read()) for one in tar]
    samples = []
    for row in read_shard_rows(io.BytesIO(files[name])):
        key = split_member(row.member_name)[0]
        own = [(split_member(one), data) for one, data in members]
        samples.append(Sample(row, {ext: data for (of, ext), data in own if of == key}))
    return samples


def edited(data: bytes, row: int, column: str, value: Any) -> bytes:
    """Returns a Parquet with another value at one place, in the form that the package writes."""
    table = pq.read_table(io.BytesIO(data))
    field = table.schema.field(column)
    values = table.column(column).to_pylist()
    values[row] = value
    place = table.schema.get_field_index(column)
    table = table.set_column(place, field, pa.array(values, field.type))
    buffer = io.BytesIO()
    facts = read_facts(io.BytesIO(data))
    if not facts:
        write_table(buffer, table)
        return buffer.getvalue()
    columns = [field for field in table.schema if field.name not in STRUCTURAL.names]
    shard = ShardTable(buffer, pa.schema(columns, table.schema.metadata))
    written = io.BytesIO()
    write_table(written, table)
    for one in read_shard_rows(written):
        shard.append(one)
    shard.close(facts)
    return buffer.getvalue()


def reseal(files: Files, name: str) -> Files:
    """Makes the table of shards, the indexes and the manifest fit a shard that was edited."""
    table_name = next(key for key in files if key.endswith("-shards.parquet"))
    manifest_name = next(key for key in files if key.endswith("-manifest.json"))
    table = pq.read_table(io.BytesIO(files[table_name]))
    rows = table.to_pylist()
    manifest = unseal(files[manifest_name])
    for row in rows:
        if row["parquet_file"] == name:
            tar = files[row["tar_file"]]
            manifest["totals"]["bytes"] += len(tar) - row["bytes"]
            row["bytes"], row["tar_sha256"] = len(tar), hashlib.sha256(tar).hexdigest()
            manifest["totals"]["parquet_bytes"] += len(files[name]) - row["parquet_bytes"]
            row["parquet_bytes"] = len(files[name])
            row["parquet_sha256"] = hashlib.sha256(files[name]).hexdigest()
    buffer = io.BytesIO()
    write_table(buffer, pa.Table.from_pylist(rows, schema=table.schema))
    for one in manifest["tables"]:
        if one["name"] == table_name:
            one["sha256"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    files = {**files, table_name: buffer.getvalue(), manifest_name: seal(manifest)}
    return reindexed(files, manifest, rows)


def reindexed(files: Files, manifest: dict[str, Any], rows: list[dict[str, Any]]) -> Files:
    """Makes the indexes of an export anew, if it has some.

    Args:
        files: of the export.
        manifest: its content.
        rows: of the table of shards.
    """
    names = ShardNames(manifest["hash"])
    if names.indexes not in files:
        return files
    kinds, _ = read_indexes(files[names.indexes])
    made, shards = {}, []
    for row in rows:
        number, sha256 = row["shard"], row["tar_sha256"]
        indexer = index_tar(io.BytesIO(files[row["tar_file"]]), kinds, sha256=sha256)
        made |= indexer.files(names, number)
        known = {"tar_sha256": sha256, "indexes": indexer.known(names, number)}
        shards.append(
            IndexedShard(number=number, samples=row["samples"], bytes=row["bytes"], **known)
        )
    splits = [SplitShards(**one) for one in manifest.get("splits", ())]
    parts = {one.key: one.numbers for one in splits if one.shards}
    once = dataset_files(names, shards, parts)
    table = indexes_table(shards, names)
    (listed, *indexes) = (
        {"name": name, "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in ((names.indexes, table), *sorted(once.items()))
    )
    sealed = with_indexes(manifest, names, table=[listed], indexes=indexes)
    return {**files, **made, **once, names.indexes: table, names.manifest: sealed}


def run_command(files: Files, folder: pathlib.Path, *flags: str) -> tuple[int, set[str]]:
    """Runs the real command over a damaged export; returns its exit code and the files named."""
    write_files(files, folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        code = cli.main(["verify", str(folder), "--json", "--direct_num_workers=1", *flags])
    if code == 2:
        return code, set()
    return code, {fault["file"] for fault in json.loads(said.getvalue())["faults"]}


def write_files(files: Files, folder: pathlib.Path) -> None:
    """Writes an export."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def run_checker(checker: pathlib.Path, folder: pathlib.Path) -> bool:
    """Returns whether an independent checker finds a fault."""
    command = [sys.executable, str(checker), str(folder), "--n=10", "--allow-short"]
    return subprocess.run(command, capture_output=True, check=False).returncode != 0


def main() -> int:
    """Damages, checks, counts; returns 1 if a damage went unseen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--commands", type=int, default=100)
    parser.add_argument("--against", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checker", type=pathlib.Path)
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        result, bad = measure(arguments, pathlib.Path(scratch))
    if arguments.save:
        save("damages", result)
    else:
        print(json.dumps(result, indent=2))
    for words in bad[:20]:
        print(words)
    return bool(bad)


def measure(
    arguments: argparse.Namespace, scratch: pathlib.Path
) -> tuple[dict[str, Any], list[str]]:
    """Returns the counts, and what went unseen."""
    files = read_files(make_export(scratch, arguments.seed))
    bad = [f"undamaged: {fault.line()}" for fault in check(files)]
    with_input = measure_against(files, arguments, scratch, bad)
    damager = Damager(files, arguments.seed)
    kinds: collections.Counter[str] = collections.Counter()
    found = named = by_command = by_checker = 0
    only_checker: collections.Counter[str] = collections.Counter()
    only_verify: collections.Counter[str] = collections.Counter()
    started = time.monotonic()
    for place in range(arguments.count):
        damage = damager.damage(place)
        kinds[damage.kind] += 1
        faults = check(damage.files)
        found += bool(faults)
        hit = any(fault.file in damage.touched for fault in faults)
        named += hit
        if not hit:
            told = "; ".join(fault.line() for fault in faults[:3])
            bad.append(f"{damage.kind} of {sorted(damage.touched)}: {told or 'unseen'}")
        if place < arguments.commands:
            folder = scratch / f"damaged-{place}"
            code, names = run_command(damage.files, folder)
            by_command += code == 1 and not damage.touched.isdisjoint(names)
            if code == 0 or (faults and code == 1 and names != {one.file for one in faults}):
                bad.append(f"the command, on {damage.kind} of {sorted(damage.touched)}: {code}")
            if arguments.checker:
                other = run_checker(arguments.checker, folder)
                by_checker += other
                only_checker[damage.kind] += other and not faults
                only_verify[damage.kind] += bool(faults) and not other
    result = {
        "damages": arguments.count,
        "seed": arguments.seed,
        "found": found,
        "naming a damaged file": named,
        "kinds": dict(sorted(kinds.items())),
        "through the command": arguments.commands,
        "found by the command, naming a damaged file": by_command,
        "false alarms on the undamaged export": sum(one.startswith("undamaged") for one in bad),
        "seconds": round(time.monotonic() - started, 1),
        "with the input at hand": with_input,
    }
    if arguments.checker:
        result["found by an independent checker"] = by_checker
        result["found by it alone"] = dict(+only_checker)
        result["found by verify alone"] = dict(+only_verify)
    return result, bad


def measure_against(
    files: Files, arguments: argparse.Namespace, scratch: pathlib.Path, bad: list[str]
) -> dict[str, Any]:
    """Returns the counts of what only the input tells; adds to `bad` what went unseen."""
    damager = Damager(files, arguments.seed)
    flags = [f"--against={scratch / 'in'}", "--decode"]
    kinds: collections.Counter[str] = collections.Counter()
    alone = found = 0
    if run_command(files, scratch / "whole", *flags)[0]:
        bad.append("undamaged: a fault, with the input at hand")
    for place in range(arguments.against):
        damage = damager.damage_against(place)
        kinds[damage.kind] += 1
        alone += bool(check(damage.files))
        code, names = run_command(damage.files, scratch / f"against-{place}", *flags)
        hit = code == 1 and not damage.touched.isdisjoint(names)
        found += hit
        if not hit:
            bad.append(f"{damage.kind} of {sorted(damage.touched)}, with the input: {code}")
    return {
        "damages": arguments.against,
        "found by --against --decode, naming a damaged file": found,
        "found without": alone,
        "kinds": dict(sorted(kinds.items())),
    }


if __name__ == "__main__":
    sys.exit(main())
