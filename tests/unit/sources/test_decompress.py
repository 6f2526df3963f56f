"""Tests of compressed streams: whole, joined, cut, damaged and too good to be true."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import random
import zlib
from collections.abc import Callable

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from beam_export.sources.decompress import (
    CompressionError,
    Decompressed,
    compression_of,
    decompress,
)

DATA = random.Random(0).randbytes(70_000) + bytes(200_000)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    # As its command writes it; without a checksum it would not tell damage to the data.
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
KINDS = sorted(PACK)


def unpack(packed: bytes, kind: str, piece: int = 1 << 16) -> bytes:
    source = decompress(io.BytesIO(packed[10:]), kind, packed[:10])
    parts = []
    while part := source.read(piece):
        assert len(part) <= piece
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [DATA, b"", b"x"], ids=["long", "empty", "short"])
def test_reads_what_was_packed(kind: str, data: bytes) -> None:
    packed = PACK[kind](data)
    assert compression_of(packed[:10]) == kind
    assert unpack(packed, kind) == data


@pytest.mark.parametrize("kind", KINDS)
def test_reads_in_small_pieces(kind: str) -> None:
    assert unpack(PACK[kind](DATA[:5000]), kind, 7) == DATA[:5000]


@pytest.mark.parametrize("start", [b"", b"BZ", b"BZh91AYxxx", b"BZh-a.jpg\0", b"a.jpg\0\0\0\0\0"])
def test_what_is_not_compressed_is_seen(start: bytes) -> None:
    assert compression_of(start) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("between", [b"", bytes(512), bytes(200_000)], ids=len)
def test_joined_streams_are_one(kind: str, between: bytes) -> None:
    if kind == "zstd" and between:
        pytest.skip("zstd knows no padding: it would be a frame of a kind that is not there")
    packed = PACK[kind](b"one") + between + PACK[kind](b"") + PACK[kind](b"two") + between
    assert unpack(packed, kind) == b"onetwo"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [11, -40, -1])
def test_a_stream_that_breaks_off_is_an_error(kind: str, cut: int) -> None:
    with pytest.raises(CompressionError, match=f"{kind} stream breaks off"):
        unpack(PACK[kind](DATA)[:cut], kind)


@pytest.mark.parametrize("kind", KINDS)
def test_garbage_after_a_stream_is_an_error(kind: str) -> None:
    with pytest.raises(CompressionError, match="damaged"):
        unpack(PACK[kind](DATA) + 100 * b"garbage", kind)


@pytest.mark.parametrize("kind", KINDS)
@given(at=st.integers(10, 100_000), change=st.integers(1, 255))
def test_damage_never_gives_other_bytes(kind: str, at: int, change: int) -> None:
    packed = bytearray(PACK[kind](DATA[:3000]))
    packed[10 + at % (len(packed) - 10)] ^= change
    try:
        assert unpack(bytes(packed), kind) == DATA[:3000]
    except CompressionError:
        return


def test_a_bomb_of_zstd_is_read_by_pieces() -> None:
    source = decompress(io.BytesIO(PACK["zstd"](bytes(100_000_000))), "zstd", b"")
    before = pa.total_allocated_bytes()
    assert source.read(1000) == bytes(1000)
    assert pa.total_allocated_bytes() - before < 10_000_000


@pytest.mark.parametrize("kind", sorted(PACK.keys() - {"zstd"}))
def test_a_bomb_is_read_by_pieces(kind: str) -> None:
    source = Decompressed(io.BytesIO(PACK[kind](bytes(10_000_000))), kind, b"")
    first = source.read(1000)
    assert len(first) <= 1000
    assert len(source._input) < 100_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_fails_is_no_damage(kind: str) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "the network is down")

    source = decompress(Failing(), kind, PACK[kind](DATA)[:1000])
    with pytest.raises(OSError, match="network"):
        list(iter(lambda: source.read(1 << 20), b""))


def test_a_memory_limit_holds_for_xz() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]
    packed = bytearray(lzma.compress(b"x", filters=filters))
    # The header of the block: its size, flags, filter 0x21 and one byte of size of dictionary.
    end = 12 + 4 * packed[12]
    assert packed[14:16] == b"\x21\x01"
    packed[16] = 37
    packed[end : end + 4] = zlib.crc32(packed[12:end]).to_bytes(4, "little")
    assert lzma.decompress(packed) == b"x"
    with pytest.raises(CompressionError, match="damaged"):
        unpack(bytes(packed), "xz")


def test_zstd_begins_with_frames_to_be_skipped_too() -> None:
    skipped = b"\x5a\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    assert compression_of(skipped) == "zstd"
    assert unpack(skipped + PACK["zstd"](DATA), "zstd") == DATA


def test_a_window_of_zstd_that_is_too_large_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=30)
    packed = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    with pytest.raises(CompressionError, match="damaged"):
        unpack(packed.compress(DATA) + packed.flush(), "zstd")
