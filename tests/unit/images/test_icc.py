"""`beam_export.images.icc`: which profiles are as good as sRGB."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.profiles import gray_profile, rgb_profile

from beam_export.images.color import changes_nothing
from beam_export.images.icc import is_srgb

SRGB = rgb_profile()
#: Of an Adobe RGB profile: its curve, and its colours in XYZ under D50 (65,536ths).
ADOBE_GAMMA = 2.2
ADOBE = {b"rXYZ": (39_960, 20_389, 1_276), b"gXYZ": (13_453, 41_013, 3_995)}


def adobe() -> bytes:
    data = bytearray(rgb_profile(gamma=ADOBE_GAMMA))
    for name, xyz in ADOBE.items():
        entry = data.index(name, 132)
        at = int.from_bytes(data[entry + 4 : entry + 8], "big")
        data[at + 8 : at + 20] = b"".join(value.to_bytes(4, "big") for value in xyz)
    return bytes(data)


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize(
    "profile",
    [
        SRGB,
        rgb_profile(swapped=True),
        *(rgb_profile(gamma=gamma) for gamma in (1.0, 1.8, 2.2, 2.4)),
        *(gray_profile(gamma) for gamma in (1.0, 2.2)),
        adobe(),
        SRGB[:16] + b"CMYK" + SRGB[20:],
        b"",
    ],
)
def test_the_judgement_is_that_of_littlecms(profile: bytes, gray: bool) -> None:
    assert is_srgb(profile, gray) is changes_nothing("L" if gray else "RGB", profile)


def test_what_is_srgb_and_what_is_not() -> None:
    assert is_srgb(SRGB, False)
    assert not is_srgb(adobe(), False)
    # It is for pixels of another kind, and means nothing here.
    assert is_srgb(gray_profile(1.0), False)
    assert not is_srgb(gray_profile(1.0), True)


def test_a_profile_of_tables_is_not_read() -> None:
    assert not is_srgb(SRGB.replace(b"cprt", b"A2B0", 1), False)


def curve(kind: int, *parameters: float) -> bytes:
    words = [round(one * 65_536).to_bytes(4, "big", signed=True) for one in parameters]
    return b"para" + bytes(4) + kind.to_bytes(2, "big") + bytes(2) + b"".join(words)


def with_curve(tag: bytes) -> bytes:
    """Returns an sRGB profile of another curve."""
    data = bytearray(SRGB)
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        entry = data.index(name, 132)
        data[entry + 4 : entry + 12] = len(SRGB).to_bytes(4, "big") + len(tag).to_bytes(4, "big")
    return bytes(data) + tag


@pytest.mark.parametrize(
    ("tag", "same"),
    [
        (curve(3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045), True),
        (curve(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0, 0), True),
        (curve(4, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045, 0.1, 0.1), False),
        (curve(0, 2.2), False),
        (curve(1, 2.4, 1 / 1.055, 0.055 / 1.055), False),
        (curve(2, 2.4, 1 / 1.055, 0.055 / 1.055, 0.2), False),
        (curve(1, 2.4, 0, 0), False),
        (b"curv" + bytes(8), False),
    ],
)
def test_curves_of_every_form(tag: bytes, same: bool) -> None:
    assert is_srgb(with_curve(tag), False) is same


@given(st.data())
def test_damage_is_no_error(data: st.DataObject) -> None:
    damaged = bytearray(SRGB)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(SRGB) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(SRGB)))])
    assert is_srgb(cut, False) in (True, False)
