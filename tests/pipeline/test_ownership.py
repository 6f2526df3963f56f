"""Whether a file with a name of ours is ours, on files in memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import Export, make_images
from support.runs import run_export

from beam_export.naming import ShardNames
from beam_export.shards.ownership import FileInfo, Ownership

KINDS = ("tar", "parquet", "manifest", "shards", "failures", "run")


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Export:
    source = make_images(tmp_path_factory.mktemp("in"), 5)
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    out = tmp_path_factory.mktemp("plain") / "out"
    return run_export(source, out, images_per_tar=2, max_failed_fraction=0.5)


class Shelf:
    """Files in memory."""

    def __init__(self, export: Export) -> None:
        self.hash = export.hash
        names = ShardNames(self.hash)
        self.names = {
            "tar": names.tar(1),
            "parquet": names.parquet(1),
            "manifest": names.manifest,
            "shards": names.shards,
            "failures": names.failures,
            "run": names.run,
        }
        paths = [path for path in export.out.rglob("*") if path.is_file()]
        found = {path.relative_to(export.out).as_posix(): path.read_bytes() for path in paths}
        self.files = {name: data for name, data in found.items() if name != "README.md"}
        self.records: set[tuple[str, str]] = set()
        self.kinds: dict[str, str] = {}
        self.owners: dict[str, str] = {}

    def read(self, name: str) -> io.BytesIO:
        if name not in self.files:
            raise FileNotFoundError(name)
        return io.BytesIO(self.files[name])

    def recorded_tars(self) -> set[tuple[str, str]]:
        return self.records

    def owned(self, kind: str) -> bool:
        standing = {
            name: FileInfo(len(data), 1.0, self.kinds.get(name, "file"), self.owners.get(name, ""))
            for name, data in self.files.items()
        }
        return Ownership(self.hash, standing, self).owns(self.names[kind])

    def only(self, *kinds: str) -> None:
        self.files = {self.names[kind]: self.files[self.names[kind]] for kind in kinds}


@pytest.fixture
def shelf(lossy: Export) -> Shelf:
    return Shelf(lossy)


@pytest.mark.parametrize("kind", KINDS)
def test_each_file_is_ours_alone_but_for_a_tar(shelf: Shelf, kind: str) -> None:
    assert shelf.owned(kind)
    shelf.only(kind)
    assert shelf.owned(kind) == (kind != "tar")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["directory", "symbolic link", "special file"])
def test_what_is_no_file_never_is(shelf: Shelf, kind: str, what: str) -> None:
    shelf.kinds[shelf.names[kind]] = what
    shelf.owners[shelf.names[kind]] = "run"
    assert not shelf.owned(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mark_tells_of_any(shelf: Shelf, kind: str) -> None:
    shelf.only(kind)
    shelf.files[shelf.names[kind]] = b"x"
    assert not shelf.owned(kind)
    shelf.owners[shelf.names[kind]] = "run"
    assert shelf.owned(kind)


@pytest.mark.parametrize("beside", ["parquet", "manifest", "shards"])
def test_what_vouches_for_a_tar(shelf: Shelf, beside: str) -> None:
    shelf.only("tar", beside)
    assert shelf.owned("tar")
    # And what does not: the same of another export, or of other shards.
    shelf.files[shelf.names[beside]] = shelf.files[shelf.names[beside]].replace(
        shelf.hash.encode(), b"0" * 12
    )
    assert not shelf.owned("tar")


def test_a_tar_is_known_by_its_record(shelf: Shelf) -> None:
    shelf.only("tar")
    name = shelf.names["tar"]
    shelf.records = {(name, "0" * 64), ("images-other", sha256(shelf.files[name]))}
    assert not shelf.owned("tar")
    shelf.records.add((name, sha256(shelf.files[name])))
    assert shelf.owned("tar")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def shorter(data: bytes) -> bytes:
    return data[:-100]


def flipped(data: bytes) -> bytes:
    at = len(data) // 3
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


@pytest.mark.parametrize("damage", [shorter, flipped])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_one_is_still_ours(
    shelf: Shelf, kind: str, damage: Callable[[bytes], bytes]
) -> None:
    shelf.files[shelf.names[kind]] = damage(shelf.files[shelf.names[kind]])
    assert shelf.owned(kind)


def table(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["manifest", "shards", "failures", "run"])
@pytest.mark.parametrize(
    "content", [b"", b"mine", b'{"hash": "0123456789ab"}', b"{}\n", b"[]", table(shard=[1])]
)
def test_what_others_wrote_under_our_names_is_theirs(
    shelf: Shelf, kind: str, content: bytes
) -> None:
    """Even beside an export of ours."""
    shelf.files[shelf.names[kind]] = content
    assert not shelf.owned(kind)


def test_a_parquet_of_another_shard_is_not_this_ones(shelf: Shelf) -> None:
    names = ShardNames(shelf.hash)
    other = shelf.files[names.parquet(0)]
    shelf.only("tar", "parquet")
    shelf.files[shelf.names["parquet"]] = other
    assert not shelf.owned("parquet")
    assert not shelf.owned("tar")
    shelf.files[shelf.names["parquet"]] = table(image_id=["x"], tar_file=[shelf.names["tar"]])
    assert not shelf.owned("parquet")


def test_what_was_removed_meanwhile_is_in_nobodys_way(shelf: Shelf, tmp_path: Path) -> None:
    standing = {shelf.names["parquet"]: FileInfo(1, 1.0)}
    shelf.files.clear()
    assert Ownership(shelf.hash, standing, shelf).owns(shelf.names["parquet"])
