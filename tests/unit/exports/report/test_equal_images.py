from __future__ import annotations

import collections
import hashlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.exports.report.equal_images import EqualImages, ImageDigests


def digests_of(names: list[int], pieces: int = 2) -> ImageDigests:
    found = ImageDigests(len(names))
    hexes = [hashlib.sha256(str(name).encode()).hexdigest() for name in names]
    step = max(1, len(hexes) // pieces)
    for start in range(0, len(hexes), step):
        found.add(pa.array(hexes[start : start + step], pa.string()))
    return found


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(1, 5))
def test_equal_images_are_those_of_equal_digests(names: list[int], most: int) -> None:
    found = digests_of(names).equal(groups=most, examples=3)
    counts = {name: n for name, n in collections.Counter(names).items() if n > 1}
    assert found.images == sum(counts.values())
    assert found.kinds == len(counts)
    ranked = sorted(counts.items(), key=lambda one: (-one[1], names.index(one[0])))
    places = {name: [at for at, one in enumerate(names) if one == name][:3] for name in counts}
    assert found.groups == [(count, places[name]) for name, count in ranked[:most]]


def test_without_images_none_are_equal() -> None:
    assert digests_of([]).equal(groups=3, examples=3) == EqualImages(0, 0, [])


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab"])
def test_what_is_no_digest_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"hex|digest"):
        ImageDigests(1).add(pa.array([text]))
