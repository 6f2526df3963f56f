"""The members of a tar by an index or a Parquet are those of a walk, or neither is used."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from support.exports import SHARED
from support.foreign_tars import TRIPLES, make_tar, own_table

from beam_export.naming import ShardNames
from beam_export.sources.entries import BrokenSourceError, Entry, Source
from beam_export.sources.tar.exports import read_export_table
from beam_export.sources.tar.members import (
    TarIndexError,
    dali_members,
    find_members,
    missing_shards,
    own_members,
    read_companion,
)
from beam_export.sources.tar.walk import TarMember, walk_members

TARS = SHARED / "data" / "webdataset"
HASH = "0123456789ab"
NAMES = ["a.jpg", "a.json", "b.jpg", "b.json", "c.jpg", "c.json"]


def tar_of_names(names: list[str], fmt: int = tarfile.USTAR_FORMAT, mtime: float = 0) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=fmt) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 400 * number, mtime
            info.type = tarfile.SYMTYPE if name.startswith("link") else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return file.getvalue()


def members_of(tar: bytes) -> list[TarMember]:
    return [item for item in walk_members(io.BytesIO(tar)) if isinstance(item, TarMember)]


def make_index(members: list[TarMember]) -> bytes:
    """Returns an index as wds2idx writes it."""
    lines: dict[str, list[str]] = {}
    for name, offset, size in members:
        key, _, ext = name.partition(".")
        lines.setdefault(key, []).append(f"{ext} {offset} {size} {name}")
    rows = [f"v1.2 {len(lines)}", *(" ".join(line) for line in lines.values())]
    return ("\n".join(rows) + "\n").encode()


def read(index: bytes, tar: bytes) -> list[TarMember]:
    return dali_members(io.BytesIO(index), io.BytesIO(tar), len(tar))


TAR = tar_of_names(NAMES)
MEMBERS = members_of(TAR)
INDEX = make_index(MEMBERS)


class Counting(io.BytesIO):
    count = 0

    def read(self, size: int | None = -1) -> bytes:
        self.count += 1
        return super().read(size)


@pytest.mark.parametrize("number", range(3))
def test_an_index_of_dali_gives_what_the_walk_gives(number: int) -> None:
    path = TARS / f"clothing-{number:06d}.tar"
    if not path.exists():
        pytest.skip("needs the shared data sets")
    tar = Counting(path.read_bytes())
    with path.with_suffix(".idx").open("rb") as index:
        found = dali_members(index, tar, path.stat().st_size)
    assert len(found) == 300
    assert found == members_of(path.read_bytes())
    assert tar.count < 40


@pytest.mark.parametrize(
    ("fmt", "mtime"),
    [(tarfile.USTAR_FORMAT, 0), (tarfile.GNU_FORMAT, 0), (tarfile.PAX_FORMAT, 1.5)],
)
def test_indexes_of_any_dialect(fmt: int, mtime: float) -> None:
    tar = tar_of_names(NAMES, fmt, mtime)
    assert read(make_index(members_of(tar)), tar) == members_of(tar)


def test_long_names_with_right_offsets() -> None:
    tar = tar_of_names([*NAMES, 120 * "d" + ".jpg", "e.jpg"], tarfile.GNU_FORMAT)
    assert read(make_index(members_of(tar)), tar) == members_of(tar)


def test_offsets_that_wds2idx_gets_wrong_for_long_names() -> None:
    tar = tar_of_names([*NAMES, 120 * "d" + ".jpg", "e.jpg"], tarfile.GNU_FORMAT)
    wrong = members_of(tar)
    wrong[6] = wrong[6]._replace(offset=wrong[6].offset - 1024)
    with pytest.raises(TarIndexError, match="no such member"):
        read(make_index(wrong), tar)


@pytest.mark.parametrize("left_out", range(len(NAMES)))
def test_a_member_that_is_left_out_is_seen(left_out: int) -> None:
    some = [*MEMBERS[:left_out], *MEMBERS[left_out + 1 :]]
    with pytest.raises(TarIndexError):
        read(make_index(some), TAR)


@pytest.mark.parametrize("place", range(len(NAMES) + 1))
def test_a_link_that_the_index_does_not_list_is_seen(place: int) -> None:
    tar = tar_of_names([*NAMES[:place], "link.jpg", *NAMES[place:]])
    with pytest.raises(TarIndexError):
        read(make_index(members_of(tar)), tar)


def test_an_index_of_another_tar_is_seen() -> None:
    with pytest.raises(TarIndexError, match="no such member"):
        read(INDEX, tar_of_names(["x" + name for name in NAMES]))


def test_an_index_of_a_tar_that_was_cut_is_seen() -> None:
    with pytest.raises(TarIndexError, match="beyond the 4000 bytes"):
        read(INDEX, TAR[:4000])


def test_a_tar_that_goes_on_is_seen() -> None:
    with pytest.raises(TarIndexError, match="goes on"):
        read(INDEX, TAR + tar_of_names(["z.jpg"]))


def line(text: str) -> bytes:
    return f"v1.2 1\n{text}\n".encode()


@pytest.mark.parametrize(
    ("index", "match"),
    [
        (b"", "version"),
        (b"\x00\x02\x00\x00\x00\x00\x00\x00", "version"),
        (b"v1.3 1\n", "version"),
        (b"v1.1 1\njpg 512 0\n", "1.1 has no names"),
        (b"v1.2 2\njpg 512 0 a.jpg\n", "lists 1 samples and says 2"),
        (b"v1.2 1\n", "not made of"),
        (line("jpg 512 0"), "not made of"),
        (line("jpg 512 0 a b.jpg"), "not made of"),
        (line("jpg x 0 a.jpg"), "not a number"),
        (line("jpg 512 -1 a.jpg"), "not a number"),
        (line("jpg 512 " + 5000 * "9" + " a.jpg"), "not a number"),
        (line("png 512 0 a.jpg"), "does not have its extension"),
        (line("jpg 512 0 caf\\303\\251.jpg"), "not a plain one"),
        (line("jpg 0 0 a.jpg"), "offset 0 in it is wrong"),
        (line("jpg 513 0 a.jpg"), "offset 513 in it is wrong"),
        (line("jpg 1536 400 a.jpg json 1536 400 a.json"), "offset 1536 in it is wrong"),
        (line("jpg 1536 400 a.jpg json 512 0 a.json"), "offset 512 in it is wrong"),
        (line("jpg 512 99999999 a.jpg"), "beyond"),
    ],
)
def test_what_is_wrong_is_said(index: bytes, match: str) -> None:
    with pytest.raises(TarIndexError, match=match):
        read(index, TAR)


# The Parquet of an export of ours.


@pytest.mark.parametrize("ext", ["jpg", "txt"])
def test_its_parquet_spares_the_walk_and_finds_the_same_members(ext: str) -> None:
    tar = make_tar([member for member in TRIPLES if ext == "txt" or member[0].endswith("jpg")])
    beside = read_export_table(own_table(tar, {}, pa.schema([])))
    assert beside is not None
    reads: list[int] = []

    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(self.tell())
            return super().read(size)

    found = own_members(Counted(tar), len(tar), beside)
    assert found is not None
    assert list(found) == list(walk_members(io.BytesIO(tar)))


@pytest.mark.parametrize("change", ["size", "offset", "name", "order"])
def test_a_parquet_that_does_not_fit_its_tar_is_not_believed(change: str) -> None:
    tar = make_tar(TRIPLES)
    beside = read_export_table(own_table(tar, {}, pa.schema([])))
    assert beside is not None
    first, *rest = beside.rows
    if change == "size":
        beside = beside._replace(tar_bytes=len(tar) - 1)
    elif change == "offset":
        beside = beside._replace(rows=[first._replace(offset=1024), *rest])
    elif change == "name":
        beside = beside._replace(rows=[first._replace(member="z.jpg"), *rest])
    else:
        beside = beside._replace(rows=[first._replace(size=10_000), *rest])
    assert own_members(io.BytesIO(tar), len(tar), beside) is None


# What the manifest of an export counts, and what the Parquet beside a tar is.


def manifest(tmp_path: Path, text: str, *names: str) -> Source:
    path = tmp_path / f"images-{HASH}-manifest.json"
    path.write_text(text)
    there = tuple(Entry(name, "", 0) for name in names)
    return Source("webdataset", path.name, str(path), path.stat().st_size, companions=there)


def test_a_shard_that_the_manifest_counts_and_that_is_not_there_is_a_failure(
    tmp_path: Path,
) -> None:
    names = ShardNames(HASH)
    source = manifest(tmp_path, '{"totals": {"shards": 3}}', names.tar(0), names.parquet(2))
    (failure,) = missing_shards(source)
    assert (failure.image_id, failure.error) == (names.tar(1), "BrokenSource")
    assert failure.original_path == str(tmp_path / names.tar(1))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"totals": {"shards": "x"}}'])
def test_a_damaged_manifest_is_a_broken_source(tmp_path: Path, text: str) -> None:
    with pytest.raises(BrokenSourceError, match="the manifest of an export is damaged"):
        list(missing_shards(manifest(tmp_path, text)))


def test_a_companion_is_read_if_an_export_wrote_it(tmp_path: Path) -> None:
    tar = make_tar(TRIPLES)
    (tmp_path / "t.tar").write_bytes(tar)
    source = Source("webdataset", "t.tar", str(tmp_path / "t.tar"), len(tar))
    assert read_companion(source) is None
    path = tmp_path / "t.parquet"
    source = source._replace(companions=(Entry("t.parquet", str(path), 0),))
    path.write_bytes(own_table(tar, {}, pa.schema([])))
    found = read_companion(source)
    assert found is not None
    assert found.tar_bytes == len(tar)
    with open(source.uri, "rb") as file:
        assert list(find_members(file, source, found)) == list(walk_members(file))
    path.write_bytes(b"no Parquet")
    with pytest.raises(BrokenSourceError, match="damaged"):
        read_companion(source)
