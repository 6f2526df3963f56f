from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random

import pytest
import zstandard
from support.foreign_tars import END, unended_tar
from support.tar_items import WHOLE, items_of

from beam_export.sources.tar.walk import (
    TarFault,
    stream_members,
    walk_members,
)

PACK = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "none": bytes,
}


def test_a_file_that_shrank_since_it_was_listed_is_a_fault() -> None:
    data = unended_tar([("a.jpg", b"1"), ("b.jpg", b"2")])
    *_, fault = walk_members(io.BytesIO(data[:1024]), len(data) + 5000)
    assert fault == TarFault(1024, f"the file had {len(data) + 5000} bytes when it was listed")


class Counting(io.BytesIO):
    """Counts the bytes that are read, at most some at a time, as a raw file may give them."""

    def __init__(self, data: bytes, at_most: int = 1 << 30) -> None:
        super().__init__(data)
        self.count = 0
        self.at_most = at_most

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        data = super().read(min(size, self.at_most))
        self.count += len(data)
        return data


def test_data_are_not_read() -> None:
    data = unended_tar([(f"{number}.jpg", bytes(100_000)) for number in range(20)]) + END
    file = Counting(data)
    assert len(list(walk_members(file, len(data)))) == 20
    assert file.count < 22 * 4096


def test_many_small_members_are_read_once() -> None:
    data = unended_tar([(f"{number}.txt", b"x") for number in range(100)]) + END
    file = Counting(data)
    assert len(list(walk_members(file, len(data)))) == 100
    assert file.count < 1.2 * len(data)


def test_short_reads_are_read_on() -> None:
    assert list(walk_members(Counting(WHOLE, 100), len(WHOLE))) == items_of(WHOLE)
    streamed = list(stream_members(Counting(WHOLE, 100), 1000))
    assert [item.member for item in streamed] == items_of(WHOLE)


def test_a_failing_disk_is_not_a_fault() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is slow today")

    for read in [
        lambda: list(walk_members(Failing(), 1024)),
        lambda: list(stream_members(Failing(), 1024)),
    ]:
        with pytest.raises(OSError, match="slow"):
            read()


@pytest.mark.parametrize("kind", sorted(PACK))
def test_compressed_tars_are_read_in_order(kind: str) -> None:
    dice = random.Random(1)
    members = [(f"{number}.jpg", dice.randbytes(dice.randrange(3000))) for number in range(30)]
    packed = PACK[kind](unended_tar(members, "pax", 1.5) + END)
    found = list(stream_members(io.BytesIO(packed), 1 << 20))
    assert [(item.member.name, item.data) for item in found] == members


@pytest.mark.parametrize("kind", ["bzip2", "gzip", "xz"])
def test_a_compressed_tar_that_breaks_off_is_a_fault(kind: str) -> None:
    noise = random.Random(2).randbytes(5000)
    packed = PACK[kind](unended_tar([("a.jpg", noise), ("b.jpg", noise[::-1])]) + END)
    *_, fault = stream_members(io.BytesIO(packed[:-2000]), 1 << 20)
    assert isinstance(fault, TarFault)
    assert fault.reason == f"the {kind} stream breaks off"
