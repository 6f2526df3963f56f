"""Damaged images of every format: the failure says in plain words what is wrong with each."""

from __future__ import annotations

import contextlib
import functools
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features
from support.pictures import failed, smooth

from beam_export.errors import SampleError
from beam_export.images import header, pillow_decoder
from beam_export.images.encoder import EncodeSpec
from beam_export.images.header import sniff
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.transcode import transcode_batch
from beam_export.images.truncation import is_cut
from beam_export.samples import EncodedImage

#: By name, how Pillow writes them.
WRITTEN = {
    "jpg": {"format": "JPEG"},
    "progressive": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP"},
    "webp_lossless": {"format": "WEBP", "lossless": True},
    "gif": {"format": "GIF"},
    "tiff": {"format": "TIFF"},
    "tiff_lzw": {"format": "TIFF", "compression": "tiff_lzw"},
    "bigtiff": {"format": "TIFF", "big_tiff": True},
    "bmp": {"format": "BMP"},
    "jp2": {"format": "JPEG2000"},
    "j2k": {"format": "JPEG2000", "no_jp2": True},
    "avif": {"format": "AVIF"},
    "heic": {},
    "ppm": {"format": "PPM"},
    "pgm": {"format": "PPM"},
    "pbm": {"format": "PPM"},
}
MODES = {"pgm": "L", "pbm": "1"}
PLAIN = {
    b"P1\n#a\n4 2\n0 1 0 1\n1 0 1 0\n": "pbm",
    b"P2 2 2 9\n1 2 3 9\n": "pgm",
    b"P3 1 2 255\n1 2 3 4 5 6\n": "ppm",
}
REASONS = {"TruncatedImage", "UndecodableImage", "DamagedImage"}


@functools.cache
def image(name: str) -> bytes:
    """Returns an image of a format; skips the test where it cannot be written."""
    picture = Image.fromarray(smooth()).resize((96, 64)).convert(MODES.get(name, "RGB"))
    target = io.BytesIO()
    if name == "heic":
        pytest.importorskip("pillow_heif").from_pillow(picture).save(target)
        return target.getvalue()
    if name == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    picture.save(target, **WRITTEN[name])
    return target.getvalue()


def result(data: bytes) -> SampleError | None:
    encoder = PillowEncoder(EncodeSpec(), threads=1)
    encoder.open()
    try:
        (found,) = encoder.encode_batch([data])
    finally:
        encoder.close()
    return found if isinstance(found, SampleError) else None


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.8])
def test_one_that_is_cut_short_is_said_to_be(name: str, share: float) -> None:
    data = image(name)
    assert result(data) is None
    error = result(data[: max(20, int(len(data) * share))])
    assert error is not None
    # Of a JPEG, the decoder says what is lost.
    assert error.error == "TruncatedImage" or (sniff(data), error.error) == ("jpg", "DamagedImage")
    assert (
        "ends before it should: it was cut short" in error.message or "lost data" in error.message
    )


@pytest.mark.parametrize("name", [*WRITTEN, "apng", "gif of two", "png without filters"])
def test_wherever_one_is_cut_it_fails_or_has_all_its_pixels(name: str) -> None:
    data = small(name)
    whole, all_there, unsaid = pixels(data), [], []
    for end in range(len(data)):
        try:
            found = pixels(data[:end])
        except Exception as error:
            said = header.failure("decode", error, data[:end]).error
            unsaid += [] if said in ("TruncatedImage", "DamagedImage") else [(end, said)]
            continue
        assert np.array_equal(found, whole), end
        all_there.append(len(data) - end)
    # Shorter than any mark of a format is no image at all.
    assert [one for one in unsaid if one[0] > 20] == []
    # Of a PNG the end mark (12 bytes), and before it checksums (4 + 4), of a GIF a byte.
    least = {"png": 20, "apng": 20, "png without filters": 20, "gif": 1, "gif of two": 200}
    assert set(range(1, least.get(name, 0) + 1)) <= set(all_there)
    assert len(all_there) <= least.get(name, 0) + 4 or name in ("gif of two", "apng")


def small(name: str) -> bytes:
    """Returns an image of few bytes, so that each cut of it can be tried."""
    pictures = [
        Image.fromarray(smooth()).resize((24, 16)).rotate(angle).convert(MODES.get(name, "RGB"))
        for angle in (0, 180)
    ]
    target = io.BytesIO()
    more = {"save_all": True, "append_images": pictures[1:]}
    if name == "heic":
        pytest.importorskip("pillow_heif").from_pillow(pictures[0]).save(target)
    elif name == "avif" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    elif name == "png without filters":
        pictures[0].save(target, "PNG", compress_level=0)
    elif name in ("apng", "gif of two"):
        pictures[0].save(target, "PNG" if name == "apng" else "GIF", **more)
    else:
        pictures[0].save(target, **WRITTEN[name])
    return target.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with contextlib.ExitStack() as held:
        return np.asarray(pillow_decoder.decode(data, EncodeSpec(), held).picture)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_one_without_its_end_mark_is_exported_as_it_would_be_with_it(kind: str, mode: str) -> None:
    target = io.BytesIO()
    Image.fromarray(smooth()).save(target, kind)
    data = target.getvalue()
    cut = data[: -20 if kind == "PNG" else -1]
    encoder = PillowEncoder(EncodeSpec(mode=mode), threads=1)
    encoder.open()
    whole, found = transcode_batch([data, cut], ["x", "x"], encoder)
    encoder.close()
    assert isinstance(whole, EncodedImage)
    assert isinstance(found, EncodedImage)
    # Where nothing is decoded, the bytes are those that came.
    assert found.data == (cut if mode == "never" else whole.data)


@pytest.mark.parametrize("data", PLAIN)
def test_numbers_of_netpbm_in_letters_are_counted(data: bytes) -> None:
    kind = PLAIN[data]
    assert sniff(data) == kind
    assert not is_cut(data, kind)
    assert all(is_cut(data[:end], kind) for end in range(8, len(data) - 2))


@pytest.mark.parametrize("name", WRITTEN)
def test_flipped_bytes_fail_with_a_reason_or_decode(name: str) -> None:
    data, rng = image(name), np.random.default_rng(7)
    for at in {*range(16, 32), *rng.integers(32, len(data), 8).tolist()}:
        changed = bytearray(data)
        changed[at] ^= 0xFF
        error = result(bytes(changed))
        if error is None or "pixels" in error.message:
            # More pixels than are allowed, or than a JPEG has, is a reason as well.
            continue
        assert error.error in REASONS | {"UnidentifiedImageError"}
        assert error.message.startswith(("the ", "its "))


@pytest.mark.parametrize("name", WRITTEN)
def test_a_whole_one_is_not_cut(name: str) -> None:
    data = image(name)
    kind = sniff(data)
    assert kind is not None
    assert not is_cut(data, kind)
    assert not is_cut(data, "unknown")


@given(st.sampled_from(sorted(WRITTEN)), st.binary(max_size=60), st.integers(0, 40))
def test_whatever_follows_a_beginning_ends(name: str, more: bytes, kept: int) -> None:
    data = image("png" if name in ("heic", "avif") else name)[:kept] + more
    for kind in ("jpg", "png", "webp", "gif", "tiff", "bmp", "heic", "jp2", "j2k"):
        assert is_cut(data, kind) in (True, False)
    if sniff(data) in ("pbm", "pgm", "ppm"):
        assert is_cut(data, "ppm") in (True, False)


def test_a_bmp_of_a_header_that_nobody_knows_has_a_reason() -> None:
    changed = bytearray(image("bmp"))
    changed[14] = 215
    error = failed(bytes(changed))
    assert error.error == "UndecodableImage"
    assert error.message.startswith("the image cannot be decoded: it is damaged, or of a kind that")


@pytest.mark.parametrize(
    "data",
    [
        b"II+\0\x08\0\0\0\0\0\0\0\0\0\0\x80",
        b"P5 " + b"9" * 5000 + b" 1 255\n",
        b"RIFF\xff\xff\xff\xffWEBP",
        b"\0\0\0\x01ftypavif" + b"\xff" * 8,
    ],
)
def test_a_length_beyond_all_files_is_one_that_is_cut(data: bytes) -> None:
    kind = sniff(data)
    assert kind is not None
    assert is_cut(data, kind)
