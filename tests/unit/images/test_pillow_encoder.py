"""`beam_export.images.pillow_encoder`: the JPEG that is written, and what becomes of arrays."""

from __future__ import annotations

import io
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.exports import PHOTOS
from support.pictures import EXACT, assert_close, encode, encoded, failed, pixels, save, smooth

from beam_export.errors import SampleError
from beam_export.images import color
from beam_export.images.encoder import EncodeSpec
from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.pillow_encoder import PillowEncoder


def test_jpeg_is_baseline_with_the_sampling_asked_for_and_nothing_else() -> None:
    source = save(
        Image.fromarray(smooth()), "JPEG", comment=b"made by", dpi=(300, 300), exif=b"Exif\0\0"
    )
    for subsampling, factors in [("444", 0x11), ("422", 0x21), ("420", 0x22)]:
        data = encoded(source, subsampling=subsampling).data
        assert jpeg.is_copyable(jpeg.inspect(data))
        frame = data.index(b"\xff\xc0")
        assert data[frame + 11] == factors
        assert b"made by" not in data
        assert b"Exif" not in data
        assert jpeg.inspect(data).process == "baseline"


def test_bytes_are_those_of_plain_pillow() -> None:
    im = Image.fromarray(smooth())
    expected = save(im, "JPEG", quality=85, subsampling="4:2:2")
    assert encoded(save(im, "PNG"), quality=85, subsampling="422").data == expected


def test_bytes_do_not_depend_on_threads_or_on_where_they_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    images = [
        save(Image.fromarray(rng.integers(0, 256, (40 + n, 50, 3), dtype=np.uint8)), "PNG")
        for n in range(12)
    ]
    images[5] = b"junk"
    spec = EncodeSpec(mode="always", resize=33)
    with_threads = PillowEncoder(spec, threads=4)
    with_threads.open()
    with_threads.open()
    several = with_threads.encode_batch(images)
    with_threads.close()
    alone = PillowEncoder(spec).encode_batch(images)
    monkeypatch.delattr(os, "memfd_create", raising=False)
    in_memory = PillowEncoder(spec).encode_batch(images)
    assert list(map(str, alone)) == list(map(str, several)) == list(map(str, in_memory))
    assert [at for at, r in enumerate(alone) if isinstance(r, SampleError)] == [5]


def test_nothing_of_a_larger_image_is_left_in_a_smaller_one() -> None:
    rng = np.random.default_rng(2)
    large = rng.integers(0, 256, (900, 900, 3), dtype=np.uint8)
    encoder = PillowEncoder(EncodeSpec(mode="always"))
    images = [large, smooth(), large[:300, :300], smooth()]
    assert [one.data for one in encoder.encode_batch(images)] == [  # type: ignore[union-attr]
        encoded(image, quality=92).data for image in images
    ]


def test_save_falls_back_where_memory_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise OSError("refused")

    expected = encoded(smooth())
    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert encoded(smooth()) == expected


@pytest.mark.parametrize(
    ("mode", "size"),
    [
        ("no", (48, 32)),
        ("keep_ratio", (24, 16)),
        ("keep_ratio_largest", (16, 11)),
        ("center_crop", (16, 16)),
        ("border", (16, 16)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_resized_sizes(mode: str, size: tuple[int, int], channels: int) -> None:
    array = smooth() if channels == 3 else smooth()[:, :, 0]
    result = encoded(array, resize=16, resize_mode=mode, **EXACT)
    assert (result.width, result.height) == size
    assert pixels(result).ndim == array.ndim


def test_resized_pixels() -> None:
    im = Image.fromarray(smooth())
    small = np.asarray(im.resize((24, 16), Image.Resampling.LANCZOS))
    options = {"resize": 16, **EXACT}
    assert_close(pixels(encoded(smooth(), resize_mode="keep_ratio", **options)), small)
    assert_close(pixels(encoded(smooth(), resize_mode="center_crop", **options)), small[:, 4:20])
    bordered = pixels(encoded(np.zeros((32, 64, 3), np.uint8), resize_mode="border", **options))
    assert bordered[:4].min() >= 250
    assert bordered[12:].min() >= 250
    assert bordered[5:11].max() <= 5


def test_small_images_are_enlarged() -> None:
    result = encoded(np.zeros((4, 6, 3), np.uint8), resize=8)
    assert (result.width, result.height) == (12, 8)


def test_resizing_cannot_make_a_bomb() -> None:
    error = failed(np.zeros((1, 6_000), np.uint8), resize=512, max_pixels=1_000_000)
    assert error.stage == "encode"
    assert "max_pixels=1000000" in error.message


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), bool),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
)
def test_other_arrays_are_failures_that_say_what_was_given(array: np.ndarray) -> None:
    error = failed(array)
    assert (error.stage, error.error) == ("encode", "ValueError")
    assert str(array.dtype) in error.message
    assert str(array.shape) in error.message
    assert "uint8" in error.message


def test_arrays_of_any_memory_order() -> None:
    expected = encoded(np.ascontiguousarray(smooth()[::-1, ::2]))
    assert encoded(smooth()[::-1, ::2]) == expected
    assert encoded(np.asfortranarray(smooth()[::-1, ::2])) == expected


def test_what_is_neither_bytes_nor_array_is_a_failure() -> None:
    error = failed("photo.jpg")  # type: ignore[arg-type]
    assert error.message == "the image is a str; it must be bytes or an array"


def test_sides_that_jpeg_does_not_have_are_failures() -> None:
    result = encoded(np.zeros((1, 65_500), np.uint8))
    assert result.width == 65_500
    error = failed(np.zeros((1, 65_501), np.uint8))
    assert (error.stage, error.error) == ("encode", "ValueError")
    assert "65501 x 1" in error.message


def test_lack_of_memory_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(color, "split_alpha", fail)
    with pytest.raises(MemoryError):
        encode(save(Image.fromarray(smooth()), "PNG"))


KINDS = [save(Image.fromarray(smooth()), kind) for kind in ("JPEG", "PNG", "GIF", "TIFF", "WEBP")]


@given(st.data())
def test_damaged_images_are_results(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(KINDS)))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    first, second = (encode(bytes(damaged), max_pixels=1_000_000) for _ in range(2))
    assert str(first) == str(second)


def test_encoder_pickles_as_its_options() -> None:
    encoder = PillowEncoder(EncodeSpec(quality=70), threads=3)
    fresh = pickle.dumps(encoder)
    encoder.open()
    expected = encoder.encode_batch([smooth(), smooth()])
    assert pickle.dumps(encoder) == fresh
    copy = pickle.loads(pickle.dumps(encoder))
    encoder.close()
    encoder.close()
    assert (copy.spec, copy.threads) == (encoder.spec, 3)
    assert copy.encode_batch([smooth(), smooth()]) == expected
    copy.open()
    assert copy.encode_batch([smooth(), smooth()]) == expected
    copy.close()
    copy.open()
    assert copy.encode_batch([smooth(), smooth()]) == expected
    copy.close()


def test_identity_names_the_codecs() -> None:
    identity = PillowEncoder(EncodeSpec()).identity()
    assert identity["encoder"] == "pillow"
    assert identity["device"] == "cpu"
    assert identity["pillow"] == Image.__version__
    assert all(isinstance(value, str) for value in identity.values())
    assert {"libjpeg_turbo", "littlecms2", "webp", "libtiff", "avif", "zlib"} <= identity.keys()


@pytest.mark.parametrize(
    ("options", "threads", "reason"),
    [
        ({"quality": 0}, 1, "quality is 0"),
        ({"quality": 101}, 1, "quality is 101"),
        ({"subsampling": "411"}, 1, "subsampling is '411'"),
        ({"resize": 0}, 1, "1 or more"),
        ({"resize": 8, "resize_mode": "fit"}, 1, "resize_mode is 'fit'"),
        ({}, 0, "threads is 0"),
    ],
)
def test_options_that_cannot_be(options: dict, threads: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PillowEncoder(EncodeSpec(**options), threads)


def test_photos_are_turned_as_pillow_turns_them() -> None:
    files = sorted((PHOTOS / "exif-orientation").rglob("*.jpg"))
    if not files:
        pytest.skip("shared/data/photos is not here")
    for file in files:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as im:
            upright = ImageOps.exif_transpose(im)
            expected = save(upright.convert(im.mode), "JPEG", quality=92, subsampling="4:2:0")
        with Image.open(io.BytesIO(data)) as im:
            if "icc_profile" not in im.info:
                assert encoded(data).data == expected, file
