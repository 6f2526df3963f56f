"""`images.resize`: a JPEG decoded at a fraction of its size is what decoding in full would give."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from support.exports import PHOTOS
from support.profiles import rgb_profile

from beam_export.errors import SampleError
from beam_export.images import pillow_decoder
from beam_export.images.encoder import EncodeSpec
from beam_export.images.geometry import MODES
from beam_export.images.jpeg.decoder import decode_sound
from beam_export.images.pillow_decoder import decode
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.resize import SCALES, planned_resize, reduced_by, reduction, resize
from beam_export.samples import EncodedImage

#: What photographs must keep against decoding in full, in dB.
LEAST_PSNR = 50


def photo(mode: str = "RGB", width: int = 1613, height: int = 1210) -> Image.Image:
    """Returns smooth waves of all directions, as a photograph has, with odd sides."""
    across, down = np.linspace(0, 40, width)[None, :], np.linspace(0, 25, height)[:, None]
    waves = [np.sin(across * a + down * b) for a, b in ((1, 0.3), (0.2, 1), (0.7, -0.8))]
    pixels = np.stack([127 + 120 * wave for wave in waves], axis=2).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def saved(im: Image.Image, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    im.save(buffer, "JPEG", exif=exif.tobytes(), quality=95, **options)
    return buffer.getvalue()


def resized(data: bytes, spec: EncodeSpec) -> Image.Image:
    with contextlib.ExitStack() as held:
        decoded = decode(data, spec, held)
        return resize(decoded.picture, planned_resize(decoded.size, spec), decoded.reduced)


def in_full(data: bytes, spec: EncodeSpec) -> Image.Image:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pillow_decoder, "reduced_by", lambda size, spec: 1)
        return resized(data, spec)


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as im:
        return im.size


def psnr(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    assert one.mode == other.mode
    error = np.mean((np.asarray(one, float) - np.asarray(other, float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


@pytest.mark.parametrize(
    ("mode", "orientation"),
    [
        pytest.param(mode, way, marks=() if mode == "border" or way in (1, 6) else pytest.mark.slow)
        for mode, way in itertools.product(MODES[1:], range(1, 9))
    ],
)
def test_every_mode_and_orientation(mode: str, orientation: int) -> None:
    data = saved(photo(), orientation)
    spec = EncodeSpec(mode="always", resize=150, resize_mode=mode)
    ours, full = resized(data, spec), in_full(data, spec)
    assert psnr(ours, full) >= LEAST_PSNR
    # A box that is off by one pixel of the reduced image would show at an edge.
    for edge in ((0, 0, 8, ours.height), (ours.width - 8, 0, ours.width, ours.height)):
        assert psnr(ours.crop(edge), full.crop(edge)) >= 44


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("L", {}),
        ("CMYK", {}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 2, "optimize": True, "restart_marker_rows": 1}),
        ("RGB", {"icc_profile": rgb_profile(swapped=True)}),
    ],
)
def test_every_kind_of_jpeg(kind: str, options: dict[str, object]) -> None:
    data = saved(photo(kind), 6, **options)
    spec = EncodeSpec(mode="always", resize=100, resize_mode="keep_ratio")
    assert psnr(resized(data, spec), in_full(data, spec)) >= LEAST_PSNR


@pytest.mark.parametrize("kind", ["RGB", "L", "CMYK"])
def test_what_is_reduced_is_decoded_small(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def spy(source: Image.Image, **rest: object) -> Image.Image:
        sizes.append(source.size)
        return source

    monkeypatch.setattr(pillow_decoder.tiles, "converted_upright", spy)
    spec = EncodeSpec(mode="always", resize=75, resize_mode="keep_ratio")
    with contextlib.ExitStack() as held:
        found = decode(saved(photo(kind)), spec, held)
    assert sizes == [(404, 303)]
    assert found.size == (1613, 1210)


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(1, 700),
    st.sampled_from(MODES),
)
@example(1, 251, 261, "keep_ratio")
def test_at_least_twice_the_target_is_decoded(w: int, h: int, size: int, mode: str) -> None:
    spec = EncodeSpec(resize=size, resize_mode=mode)
    try:
        plan = planned_resize((w, h), spec)
    except SampleError:
        return  # larger than a JPEG can be: nothing is made of it
    scale = reduced_by((w, h), spec)
    assert plan is not None
    if scale == 1:
        return
    assert w * h >= 1_500_000
    assert -(-w // scale) >= 2 * plan.scaled_width
    assert -(-h // scale) >= 2 * plan.scaled_height
    for orientation in range(1, 9):
        whole, box = reduction((w, h), scale, orientation)
        turned = orientation >= 5
        assert whole == ((h, w) if turned else (w, h))
        assert min(box) >= 0
        assert (box[2] - box[0], box[3] - box[1]) == (whole[0] / scale, whole[1] / scale)


@pytest.mark.parametrize("step", [27, pytest.param(1, marks=pytest.mark.slow)])
def test_photographs_are_those_of_decoding_in_full(step: int) -> None:
    if not PHOTOS.exists():
        pytest.skip(f"no photographs in {PHOTOS}")
    spec = EncodeSpec(mode="always", resize=1)
    sizes = {path: size_of(path) for path in sorted(PHOTOS.rglob("*.jp*g"))}
    large = [path for path, size in sizes.items() if reduced_by(size, spec) > 1][::step]
    found, worst = 0, float("inf")
    for path in large:
        data = path.read_bytes()
        # About as much reduced as an eighth, a quarter and half allow.
        for size in (int(min(sizes[path]) / (k * 2.92)) for k in SCALES):
            spec = EncodeSpec(mode="always", resize=size, damaged="keep")
            if reduced_by(sizes[path], spec) > 1:
                found += 1
                worst = min(worst, psnr(resized(data, spec), in_full(data, spec)))
    assert found > len(large) > 0
    assert worst >= LEAST_PSNR


@pytest.mark.parametrize("cut", [None, 20_000])
def test_a_damaged_jpeg_is_a_failure_or_kept_at_any_size(cut: int | None) -> None:
    data = saved(photo())
    spec = EncodeSpec(mode="always", resize=75, resize_mode="keep_ratio")
    damaged = data if cut is None else data[:cut] + b"\xff\xd9"
    result = PillowEncoder(spec).encode_batch([damaged])[0]
    kept = PillowEncoder(dataclasses.replace(spec, damaged="keep")).encode_batch([damaged])[0]
    assert isinstance(result, EncodedImage) == (cut is None)
    assert isinstance(kept, EncodedImage)
    assert (kept.width, kept.height) == (100, 75)
    assert ("damaged" in kept.remarks) == (cut is not None)


def test_a_resized_export_has_another_digest_than_before_and_others_have_theirs() -> None:
    assert "simplejpeg" in PillowEncoder(EncodeSpec(resize=64)).identity()
    assert "simplejpeg" not in PillowEncoder(EncodeSpec()).identity()


@pytest.mark.parametrize("step", [20, pytest.param(1, marks=pytest.mark.slow)])
def test_photographs_have_the_pixels_that_pillow_makes(step: int) -> None:
    """Two builds of libjpeg-turbo, one arithmetic."""
    if not PHOTOS.exists():
        pytest.skip(f"no photographs in {PHOTOS}")
    paths = sorted(PHOTOS.rglob("*.jp*g"))[::step]
    found = 0
    for path in paths:
        data = path.read_bytes()
        with Image.open(path) as im:
            for scale in (1, 2, 4, 8):
                ours = decode_sound(im, data, scale) if im.format == "JPEG" else None
                if ours is None:
                    continue
                found += 1
                with Image.open(path) as theirs:
                    if scale > 1:
                        theirs.draft(None, (theirs.width // scale, theirs.height // scale))
                    assert np.array_equal(np.asarray(ours), np.asarray(theirs)), (path, scale)
    assert found > len(paths)
