"""Tests of walks over foreign tars: whole ones against tarfile, broken ones by what is said."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exports import SHARED
from support.foreign_tars import END, FORMATS, unended_tar
from support.tar_items import WHOLE, items_of

from beam_export.sources.decompress import compression_of
from beam_export.sources.tar.walk import (
    StreamedMember,
    TarFault,
    TarMember,
    TarNote,
    TarOther,
    stream_members,
    walk_members,
)

TARS = SHARED / "data" / "webdataset"


def raw(
    name: str, data: bytes = b"", kind: bytes = b"0", fmt: str = "gnu", link: str = ""
) -> bytes:
    """Returns a header of any type, with what follows it."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info.tobuf(FORMATS[fmt]) + data + bytes(-len(data) % 512)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return raw("pax", records, kind)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode() + rest


def by_tarfile(data: bytes | Path) -> list[TarMember]:
    """Returns the regular members of a tar as tarfile finds them."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
    with file, tarfile.open(fileobj=file, mode="r:") as tar:
        return [
            TarMember(member.name, member.offset_data, member.size)
            for member in tar
            if member.isreg()
        ]


def contents(data: bytes) -> list[tuple[str, bytes]]:
    items = items_of(data)
    assert all(isinstance(item, TarMember) for item in items), items
    return [(item.name, data[item.offset : item.offset + item.size]) for item in items]


def names_of(data: bytes) -> list[str]:
    """Returns the members of a tar that is read to its end."""
    items = items_of(data)
    assert not any(isinstance(item, TarFault | TarOther) for item in items)
    return [item.name for item in items if isinstance(item, TarMember)]


def reason_of(data: bytes) -> str:
    """Returns why the walk ended, which nothing may follow."""
    *items, fault = items_of(data)
    assert isinstance(fault, TarFault)
    assert not any(isinstance(item, TarFault) for item in items)
    return fault.reason


# Whole tars.

NAMES = st.one_of(
    st.text("ab/.é写 \n", min_size=1, max_size=12),
    st.integers(90, 300).map(lambda count: count * "n" + ".jpg"),
    st.sampled_from(["../a.jpg", "/abs/a.jpg", "./a.jpg", "caf\udce9.jpg", 80 * "d/" + "a.jpg"]),
)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6)
FEW = settings(max_examples=min(60, settings.default.max_examples))


@FEW
@given(members=MEMBERS, fmt=st.sampled_from(["gnu", "pax"]), mtime=st.sampled_from([0, 1.5]))
def test_reads_whatever_tarfile_writes(
    members: list[tuple[str, bytes]], fmt: str, mtime: float
) -> None:
    data = unended_tar(members, fmt, mtime) + END
    assert contents(data) == members
    # tarfile strips slashes at the end of a name; of what it finds the places count.
    assert [item[1:] for item in items_of(data)] == [item[1:] for item in by_tarfile(data)]


@FEW
@given(
    members=st.lists(st.tuples(st.text("abé/.", min_size=1, max_size=40), st.binary(max_size=600)))
)
def test_reads_ustar(members: list[tuple[str, bytes]]) -> None:
    assert contents(unended_tar(members) + END) == members


@pytest.mark.parametrize("name", ["clothing-000000.tar", "odd/names-gnu.tar", "odd/names-pax.tar"])
def test_agrees_with_tarfile_on_real_tars(name: str) -> None:
    path = TARS / name
    if not path.exists():
        pytest.skip("needs the shared data sets")
    with path.open("rb") as fh:
        found = list(walk_members(fh, path.stat().st_size))
    assert found == by_tarfile(path)


def test_an_empty_tar_has_no_members() -> None:
    assert items_of(bytes(10240)) == []


def test_zero_size_members_are_members() -> None:
    assert contents(unended_tar([("a.jpg", b""), ("b.jpg", b"x")]) + END) == [
        ("a.jpg", b""),
        ("b.jpg", b"x"),
    ]


@pytest.mark.parametrize("tail", [b"", bytes(100), bytes(511)])
def test_end_blocks_may_be_missing(tail: bytes) -> None:
    data = unended_tar([("a.jpg", b"one"), ("b.jpg", 600 * b"t")])
    assert names_of(data + tail) == ["a.jpg", "b.jpg"]


def test_missing_end_blocks_are_noted() -> None:
    data = unended_tar([("a.jpg", b"one")])
    assert items_of(data)[1:] == [
        TarNote(1024, "the file ends without the zero blocks of an archive's end")
    ]


def test_missing_padding_loses_nothing() -> None:
    data = unended_tar([("a.jpg", b"one")])[: 512 + 3]
    member, note = items_of(data)
    assert member == TarMember("a.jpg", 512, 3)
    assert isinstance(note, TarNote)


@pytest.mark.parametrize("zeros", [512, 1024, 10240])
def test_reads_on_after_zero_blocks(zeros: int) -> None:
    one, two = unended_tar([("a.jpg", b"one")]), unended_tar([("b.jpg", b"two")])
    first, note, second = items_of(one + bytes(zeros) + two + END)
    assert first == TarMember("a.jpg", 512, 3)
    assert note == TarNote(1024 + zeros, "an archive ends before this, and the file goes on")
    assert second == TarMember("b.jpg", 1024 + zeros + 512, 3)


# Extended headers.


def test_pax_records_hold_for_the_next_member_only() -> None:
    data = pax(record("path", "long.jpg")) + raw("short", b"1") + raw("b.jpg", b"2") + END
    assert contents(data) == [("long.jpg", b"1"), ("b.jpg", b"2")]


def test_shared_pax_records_hold_until_the_archive_ends() -> None:
    shared = pax(record("path", "all.jpg"), b"g")
    data = shared + raw("a.jpg", b"1") + pax(record("path", "")) + raw("b.jpg", b"2")
    assert names_of(data + END + raw("c.jpg") + END) == ["all.jpg", "b.jpg", "c.jpg"]


def test_shared_pax_records_need_no_member() -> None:
    assert items_of(pax(record("comment", "of git"), b"g") + END) == []


def test_a_size_in_pax_records_counts() -> None:
    block = raw("a.jpg", b"").ljust(512, b"\0")
    data = pax(record("size", "700")) + block + 700 * b"d" + bytes(324) + raw("b.jpg", b"2") + END
    assert contents(data) == [("a.jpg", 700 * b"d"), ("b.jpg", b"2")]


def test_a_long_link_name_is_not_the_name() -> None:
    data = raw("././@LongLink", 200 * b"k" + b"\0", b"K") + raw("a.jpg", b"1") + END
    assert contents(data) == [("a.jpg", b"1")]


@pytest.mark.parametrize(
    "extension", [raw("x", b"long.jpg\0", b"L"), pax(record("path", "long.jpg"))], ids=["L", "x"]
)
@pytest.mark.parametrize("tail", [b"", END])
def test_an_extended_header_without_its_member_is_a_fault(extension: bytes, tail: bytes) -> None:
    data = raw("a.jpg", b"1") + extension + tail
    assert reason_of(data) == "an extended header is not followed by its member"


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g"])
def test_an_extended_header_of_gigabytes_is_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 1 << 33
    data = info.tobuf(tarfile.GNU_FORMAT) + 2000 * bytes(512)
    assert reason_of(data) == f"an extended header has {1 << 33} bytes"


def test_damaged_pax_records_are_a_fault() -> None:
    assert reason_of(pax(b"12 path=a.jpg") + raw("a.jpg") + END) == (
        "the pax records of a member are damaged"
    )


@pytest.mark.parametrize("size", ["x", "-1", "1.5", 30 * "9", 100_000 * "9"])
def test_a_pax_size_that_is_no_number_is_a_fault(size: str) -> None:
    data = pax(record("size", size)) + raw("a.jpg") + END
    assert reason_of(data) == "the size of a member is not a number"


# Members without data.


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        (b"1", "hard link"),
        (b"2", "symbolic link"),
        (b"3", "character device"),
        (b"4", "block device"),
        (b"5", "directory"),
        (b"6", "FIFO"),
        (b"D", "directory"),
        (b"V", "volume label"),
    ],
)
def test_what_is_no_file_is_told_apart(kind: bytes, what: str) -> None:
    data = raw("a.jpg", b"1") + raw("b.jpg", kind=kind, link="a.jpg") + raw("c.jpg", b"3") + END
    _, other, after = items_of(data)
    assert isinstance(other, TarOther)
    assert other == TarOther(other.name, 1024, what, "NotAFile")
    assert after == TarMember("c.jpg", 2048, 1)


def test_a_directory_of_v7_is_one() -> None:
    assert items_of(raw("folder/", kind=b"\0") + END) == [
        TarOther("folder/", 0, "directory", "NotAFile")
    ]


@pytest.mark.parametrize("kind", [b"M", b"Z", b"\xff"])
def test_members_of_unknown_types_are_not_taken_for_data(kind: bytes) -> None:
    other, after = items_of(raw("a.jpg", b"what?", kind) + raw("b.jpg", b"1") + END)
    assert isinstance(other, TarOther)
    assert (other.name, other.error) == ("a.jpg", "UnknownType")
    assert after == TarMember("b.jpg", 1536, 1)


def sparse(blocks: int) -> bytes:
    """Returns an old GNU sparse member, its map going on in so many blocks."""
    info = tarfile.TarInfo("a.jpg")
    info.type, info.size = b"S", 5
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = blocks > 0
    block[148:156] = 8 * b" "
    block[148:156] = b"%06o\0 " % sum(block)
    more = b"".join(
        (bytes(504) + bytes([at < blocks - 1])).ljust(512, b"\0") for at in range(blocks)
    )
    return bytes(block) + more + b"data!" + bytes(507)


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_old_sparse_files_are_lost_and_said_so(blocks: int) -> None:
    data = sparse(blocks) + raw("b.jpg", b"1") + END
    after = TarMember("b.jpg", len(sparse(blocks)) + 512, 1)
    assert items_of(data) == [TarOther("a.jpg", 0, "sparse file", "SparseFile"), after]


@pytest.mark.parametrize("cut", [600, 1100, 2050])
def test_a_sparse_file_that_is_cut_is_a_fault(cut: int) -> None:
    assert reason_of(sparse(3)[:cut]).startswith("the file ends within")


@pytest.mark.parametrize(
    "records",
    [
        record("GNU.sparse.major", "1") + record("GNU.sparse.name", "a.jpg"),
        record("GNU.sparse.size", "99") + record("GNU.sparse.map", "0,5"),
    ],
    ids=["1.0", "0.1"],
)
def test_pax_sparse_files_are_lost_and_said_so(records: bytes) -> None:
    data = pax(records) + raw("a.jpg", b"data!") + raw("b.jpg", b"1") + END
    assert items_of(data) == [
        TarOther("a.jpg", 1024, "sparse file", "SparseFile"),
        TarMember("b.jpg", 2560, 1),
    ]


# Broken tars.


def test_a_file_of_no_bytes_is_a_fault() -> None:
    assert reason_of(b"") == "the file is empty, without even the end of an archive"


@pytest.mark.parametrize("data", [b"x", 100 * b"no tar ", 1000 * b"no tar "])
def test_what_is_no_tar_is_a_fault(data: bytes) -> None:
    assert reason_of(data) in (
        "the file ends within a header",
        "there is no header of a member: the checksum is wrong",
    )


@pytest.mark.parametrize("garbage", [b"x", 600 * b"garbage", bytes(512) + b"x"])
def test_garbage_after_the_end_is_a_fault(garbage: bytes) -> None:
    data = unended_tar([("a.jpg", b"1")]) + END + garbage
    member, note, fault = items_of(data)
    assert isinstance(member, TarMember)
    assert isinstance(note, TarNote)
    assert isinstance(fault, TarFault)


def test_a_bad_checksum_ends_the_walk() -> None:
    data = bytearray(unended_tar([("a.jpg", b"1"), ("b.jpg", b"2"), ("c.jpg", b"3")]) + END)
    data[1024] ^= 1
    member, fault = items_of(bytes(data))
    assert member == TarMember("a.jpg", 512, 1)
    assert fault == TarFault(1024, "there is no header of a member: the checksum is wrong")


def test_a_member_that_is_cut_is_named() -> None:
    data = unended_tar([("a.jpg", b"1"), ("b.jpg", 600 * b"2")])
    assert items_of(data[: 1536 + 599]) == [
        TarMember("a.jpg", 512, 1),
        TarOther("b.jpg", 1024, "truncated file", "Truncated"),
        TarFault(1024, "the file ends within the data of a member"),
    ]


def test_every_cut_is_a_fault_or_loses_nothing() -> None:
    whole = items_of(WHOLE)
    ends = [0, *(item.offset + item.size for item in whole)]
    for cut in range(len(WHOLE)):
        *items, last = items_of(WHOLE[:cut])
        members = [item for item in [*items, last] if isinstance(item, TarMember)]
        assert members == whole[: len(members)]
        if not isinstance(last, TarFault):
            # All that may be missing is padding and zero blocks: a cut between two members is
            # a tar of fewer members, which nobody can tell.
            assert members[-1].offset + members[-1].size <= cut
            assert cut <= ends[len(members)] + -ends[len(members)] % 512 + len(END)


@given(at=st.integers(0, len(WHOLE) - 1), change=st.integers(1, 255))
def test_a_byte_that_is_changed_is_a_fault_or_changes_nothing(at: int, change: int) -> None:
    data = bytearray(WHOLE)
    data[at] ^= change
    whole = items_of(WHOLE)
    items = items_of(bytes(data))
    if isinstance(items[-1], TarFault):
        assert items[0] in (whole[0], items[-1])
    else:
        # Pax records have no checksum: there a time or a comment may change.
        assert [item for item in items if isinstance(item, TarMember)] == whole


@given(
    data=st.lists(st.sampled_from([512 * b"\0", WHOLE[:512], WHOLE[512:1024], WHOLE[1024:1536]]))
)
def test_blocks_in_any_order_end(data: list[bytes]) -> None:
    items_of(b"".join(data))


@given(st.binary(max_size=3000).filter(lambda data: not compression_of(data[:10])))
def test_any_bytes_end_in_a_fault_or_nothing(data: bytes) -> None:
    items = items_of(data)
    assert isinstance(items[-1], TarFault) if data.strip(b"\0") or not data else items == []


# What is read.


def test_a_walk_can_begin_at_any_header() -> None:
    assert list(walk_members(io.BytesIO(WHOLE), len(WHOLE), start=2560)) == items_of(WHOLE)[1:]


# Compressed tars.


def test_damage_within_a_member_names_it() -> None:
    noise = random.Random(3).randbytes(200_000)
    packed = bytearray(gzip.compress(unended_tar([("a.jpg", b"1"), ("b.jpg", noise)]) + END))
    del packed[150_000:150_100]
    first, lost, fault = stream_members(io.BytesIO(bytes(packed)), 1 << 20)
    assert first == StreamedMember(TarMember("a.jpg", 512, 1), b"1")
    assert lost == TarOther("b.jpg", 1024, "truncated file", "Truncated")
    assert isinstance(fault, TarFault)


@given(at=st.integers(0, 10_000), change=st.integers(1, 255))
def test_a_compressed_byte_that_is_changed_is_a_fault_or_changes_nothing(
    at: int, change: int
) -> None:
    packed = bytearray(gzip.compress(WHOLE, mtime=0))
    packed[at % len(packed)] ^= change
    items = list(stream_members(io.BytesIO(bytes(packed)), 1 << 20))
    whole = list(stream_members(io.BytesIO(WHOLE), 1 << 20))
    assert isinstance(items[-1], TarFault) or items == whole


def test_a_member_that_is_too_large_is_not_held() -> None:
    big = unended_tar([("a.jpg", b"1"), ("b.jpg", bytes(30_000_000)), ("c.jpg", b"3")]) + END
    packed = gzip.compress(big, 1)
    del big
    before, large, after = stream_members(io.BytesIO(packed), 1000)
    assert isinstance(before, StreamedMember)
    assert large == TarOther("b.jpg", 1024, "file of 30000000 bytes, more than 1000", "TooLarge")
    assert isinstance(after, StreamedMember)
    assert (after.member.name, after.data) == ("c.jpg", b"3")


def test_a_size_that_is_a_lie_is_not_allocated() -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size = 1 << 60
    data = info.tobuf(tarfile.GNU_FORMAT) + b"little"
    for limit in (1000, 1 << 62):
        lost, fault = stream_members(io.BytesIO(gzip.compress(data)), limit)
        assert lost == TarOther("a.jpg", 0, "truncated file", "Truncated")
        assert fault == TarFault(0, "the file ends within the data of a member")


def test_the_gzip_tar_of_the_shared_data() -> None:
    path = TARS / "odd" / "gnutar.tar.gz"
    if not path.exists():
        pytest.skip("needs the shared data sets")
    with tarfile.open(path) as tar:
        wanted = [(one.name, tar.extractfile(one).read()) for one in tar if one.isreg()]
    with path.open("rb") as fh:
        found = [(item.member.name, item.data) for item in stream_members(fh, 1 << 20)]
    assert found == wanted


def test_many_empty_members_take_little_time() -> None:
    block = raw("a.jpg")
    file: BinaryIO = io.BytesIO(20_000 * block + END)
    assert sum(1 for _ in walk_members(file)) == 20_000
