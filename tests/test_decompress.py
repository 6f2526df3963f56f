"""Tests of compressed streams: whole, joined, cut, damaged and too good to be true."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.decompress import CompressionError, Decompressed, compression_of

DATA = random.Random(0).randbytes(70_000) + bytes(200_000)
PACK = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
KINDS = sorted(PACK)


def unpack(packed: bytes, kind: str, piece: int = 1 << 16) -> bytes:
    source = Decompressed(io.BytesIO(packed[10:]), kind, packed[:10])
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_read_by_pieces(kind: str) -> None:
    source = Decompressed(io.BytesIO(PACK[kind](bytes(10_000_000))), kind, b"")
    first = source.read(1000)
    assert len(first) <= 1000
    assert len(source._input) < 100_000


def test_a_network_that_fails_is_no_damage() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the network is down")

    source = Decompressed(Failing(), "gzip", gzip.compress(DATA)[:1000])
    source.read(1 << 20)
    with pytest.raises(OSError, match="network"):
        source.read(1 << 20)


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


def test_zstd_is_named() -> None:
    start = b"\x28\xb5\x2f\xfd" + bytes(6)
    assert compression_of(start) == "zstd"
    with pytest.raises(CompressionError, match="zstd"):
        Decompressed(io.BytesIO(), "zstd", start)
