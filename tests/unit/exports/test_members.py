from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.exports.members import DamagedSampleError, SamplePlace, key_in, members_in
from beam_export.shards.tar import TarWriter

fields = st.dictionaries(st.sampled_from(["txt", "json", "seg.png"]), st.binary(max_size=1_300))


def stored(image: bytes, others: dict[str, bytes], before: int = 0) -> tuple[bytes, SamplePlace]:
    """Returns the bytes of a sample in a tar, and where they lie."""
    file = io.BytesIO()
    tar = TarWriter(file)
    tar.add("before.jpg", bytes(before))
    start = tar.add("a/cat.jpg", image) - 512
    for ext, data in sorted(others.items()):
        tar.add(f"a/cat.{ext}", data)
    end = tar.offset
    tar.close()
    place = SamplePlace(
        member="a/cat.jpg",
        offset=start + 512,
        size=len(image),
        end=end,
        sha256=hashlib.sha256(image).hexdigest(),
    )
    return file.getvalue()[start:end], place


@given(st.binary(max_size=1_300), fields, st.integers(0, 1_000))
def test_members_are_those_that_were_written(
    image: bytes, others: dict[str, bytes], before: int
) -> None:
    data, place = stored(image, others, before)
    found = members_in(memoryview(data), place)
    assert list(found) == ["jpg", *sorted(others)]
    assert found == {"jpg": image, **others}


@given(st.binary(min_size=1, max_size=600), fields, st.data())
def test_a_changed_bit_of_image_or_headers_is_found(
    image: bytes, others: dict[str, bytes], draw: st.DataObject
) -> None:
    data, place = stored(image, others)
    # Other members have no digest: of them, the headers show damage.
    at = draw.draw(st.integers(0, 511 + len(image)))
    changed = bytearray(data)
    changed[at] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(DamagedSampleError):
        members_in(bytes(changed), place)


@given(st.binary(max_size=600), fields, st.data())
def test_a_cut_is_found(image: bytes, others: dict[str, bytes], draw: st.DataObject) -> None:
    data, place = stored(image, others)
    with pytest.raises(DamagedSampleError, match="its tar ends within it"):
        members_in(data[: draw.draw(st.integers(0, len(data) - 1))], place)


def test_the_member_of_another_sample_is_found() -> None:
    data, place = stored(b"image", {"txt": b"text"})
    file = io.BytesIO()
    TarWriter(file).add("a/dog.txt", b"text")
    other = data[:1024] + file.getvalue().ljust(1024, b"\0")
    with pytest.raises(DamagedSampleError, match="another member in its place"):
        members_in(other, place)


def test_keys_end_at_the_first_dot_of_the_name() -> None:
    assert [key_in(name) for name in ("a.jpg", "b.c/d.e.f", "g/h.png")] == ["a", "b.c/d", "g/h"]
