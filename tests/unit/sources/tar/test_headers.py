"""Tests of headers of foreign tars against tarfile's."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.sources.tar.headers import HeaderError, parse_header, parse_pax
from beam_export.tar_blocks import BLOCK

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def header(name: str = "a.jpg", size: int = 3, fmt: int = tarfile.USTAR_FORMAT) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(fmt)


def with_field(block: bytes, start: int, field: bytes, *, signed: bool = False) -> bytes:
    """Returns the block with a field changed and its checksum made anew."""
    bare = block[:start] + field + block[start + len(field) :]
    bare = bare[:148] + 8 * b" " + bare[156:]
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in bare)
    return bare[:148] + b"%06o\0 " % total + bare[156:]


@given(
    name=st.text("abcé/", min_size=1, max_size=40),
    size=st.integers(0, 8**11 - 1),
    fmt=st.sampled_from(FORMATS[:2]),
)
def test_reads_what_tarfile_writes(name: str, size: int, fmt: int) -> None:
    found = parse_header(header(name, size, fmt))
    assert (found.name.decode(), found.size, found.kind) == (name, size, b"0")


def test_the_prefix_of_ustar_comes_before_the_name() -> None:
    name = 90 * "d" + "/" + 90 * "n"
    assert parse_header(header(name)).name == name.encode()


def test_what_gnu_tar_keeps_where_ustar_has_the_prefix_is_no_name() -> None:
    times = with_field(header(fmt=tarfile.GNU_FORMAT), 345, b"15300522212\0")
    assert parse_header(times).name == b"a.jpg"


def test_reads_v7_without_magic() -> None:
    block = with_field(header(), 257, bytes(BLOCK - 257))
    assert parse_header(block)[:3] == (b"a.jpg", 3, b"0")


@pytest.mark.parametrize("size", [8**11, 2**40 + 1, 2**80])
def test_reads_sizes_in_base_256(size: int) -> None:
    field = b"\x80" + size.to_bytes(11, "big")
    assert parse_header(with_field(header(), 124, field)).size == size


@pytest.mark.parametrize(
    "field", [b"       3    ", b"3\0garbage!!!", b"00000000003 ", b"000000000003"]
)
def test_reads_octal_sizes_however_padded(field: bytes) -> None:
    assert parse_header(with_field(header(), 124, field)).size == 3


def test_a_size_that_is_left_empty_is_0() -> None:
    assert parse_header(with_field(header(), 124, bytes(12))).size == 0


@pytest.mark.parametrize(
    "field",
    [
        b"00000000009\0",
        b"-0000000001\0",
        b"0o000000001\0",
        b"0_000000001\0",
        b"\01111111111\0",
        b"\xff-11 base256",
    ],
)
def test_refuses_sizes_that_are_none(field: bytes) -> None:
    with pytest.raises(HeaderError, match="size of a member is not a number"):
        parse_header(with_field(header(), 124, field))


def test_takes_sums_of_signed_bytes() -> None:
    name = "é\xff.jpg".encode("latin-1")
    assert parse_header(with_field(header(), 0, name, signed=True)).name == name


@given(at=st.integers(0, BLOCK - 1), change=st.integers(1, 127))
def test_sees_a_byte_that_is_changed(at: int, change: int) -> None:
    block = header(60 * "n" + ".jpg", 12345)
    damaged = block[:at] + bytes([block[at] ^ change]) + block[at + 1 :]
    if 148 <= at < 156:
        # The checksum's own padding may change.
        return
    with pytest.raises(HeaderError, match="checksum"):
        parse_header(damaged)


@given(st.dictionaries(st.sampled_from(["path", "size", "mtime", "comment"]), st.text(max_size=40)))
def test_pax_records_are_those_that_tarfile_writes(records: dict[str, str]) -> None:
    data = tarfile.TarInfo.create_pax_global_header(records)[BLOCK:]
    wanted = {key: value for key, value in records.items() if key in ("path", "size")}
    found = parse_pax(data)
    assert {key.decode(): value.decode() for key, value in found.items()} == wanted


def test_pax_records_of_sparse_files_are_marked() -> None:
    assert parse_pax(b"22 GNU.sparse.major=1\n") == {b"GNU.sparse.name": b""}
    both = b"22 GNU.sparse.major=1\n25 GNU.sparse.name=a.jpg\n"
    assert parse_pax(both) == {b"GNU.sparse.name": b"a.jpg"}


@pytest.mark.parametrize(
    "data",
    [
        *(b"x", b"9", b"0 a=b\n", b"-1 a=b\n", b"1 a=b\n", b"7 a=b\n", b"6 a=b", b"5 ab\n"),
        *(b"6 a=bc", b" 6 a=b\n", b"\xb2 a=b\n", 5000 * b"9" + b" a=b\n", b"6 a=b\nxx"),
    ],
)
def test_damaged_pax_records_are_refused(data: bytes) -> None:
    with pytest.raises(HeaderError, match="pax records"):
        parse_pax(data)


@given(st.binary(max_size=60))
def test_any_bytes_are_records_or_damage(data: bytes) -> None:
    try:
        parse_pax(data)
    except HeaderError:
        return
