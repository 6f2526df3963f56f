from __future__ import annotations

import io
import random
import tarfile

import pytest
from support.tars import make_tar

from beam_export.verify.findings import Faults
from beam_export.verify.shard_tar import StrictTar

TAR = make_tar(("a.jpg", b"x" * 700), ("a.txt", b"words"), ("b/c.jpg", b""), ("d.jpg", b"y" * 512))


def faults_of(data: bytes) -> list[str]:
    faults = Faults()
    list(StrictTar(io.BytesIO(data), "t.tar", faults).samples())
    return [fault.problem for fault in faults.all()]


def test_a_tar_of_ours_is_sound() -> None:
    faults = Faults()
    tar = StrictTar(io.BytesIO(TAR), "t.tar", faults, wants=lambda name, size: name == "d.jpg")
    samples = list(tar.samples())
    assert faults.all() == []
    assert [sample.key for sample in samples] == ["a", "b/c", "d"]
    assert [member.name for member in samples[0].members] == ["a.jpg", "a.txt"]
    assert (samples[0].members[0].offset, samples[0].members[0].size) == (512, 700)
    assert [member.data for member in samples[2].members] == [b"y" * 512]
    assert samples[0].members[0].data is None
    assert tar.size == len(TAR)


def test_every_byte_outside_the_data_is_held() -> None:
    inside = {*range(512, 512 + 700), *range(2048, 2048 + 5), *range(3584, 3584 + 512)}
    dice = random.Random(0)
    for place in range(len(TAR)):
        if place not in inside:
            data = bytearray(TAR)
            data[place] ^= 1 << dice.randrange(8)
            assert faults_of(bytes(data)), place


@pytest.mark.parametrize("size", [0, 1, 512, 600, 1024, len(TAR) - 1024, len(TAR) - 512])
def test_a_tar_that_ends_early_is_seen(size: int) -> None:
    assert faults_of(TAR[:size])


@pytest.mark.parametrize("more", [b"\0", bytes(512), TAR])
def test_what_lies_behind_the_end_is_seen(more: bytes) -> None:
    assert "lie behind its end" in faults_of(TAR + more)[0]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.jpg", "b.jpg", "a.txt"], "not adjacent"),
        (["a.jpg", "a.txt", "a.json"], "not sorted"),
        (["a.jpg", "a.jpg"], "comes twice"),
    ],
)
def test_order_of_members(names: list[str], words: str) -> None:
    assert words in faults_of(make_tar(*[(name, b"") for name in names]))[0]


def test_names_that_the_dialect_lacks() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("../a.jpg", "_b.jpg", "UPPER.JPG"):
            tar.addfile(tarfile.TarInfo(name))
    found = faults_of(file.getvalue())
    assert sum("a name that no member may have" in one for one in found) == 3
