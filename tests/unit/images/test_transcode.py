"""`beam_export.images.transcode`: what is copied, what is encoded, and how it is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from support.exports import PHOTOS
from support.pictures import exif, failed, needs_avif, png, save, smooth
from support.profiles import gray_profile, rgb_profile

from beam_export.errors import SampleError
from beam_export.images.encoder import EncodeSpec, ImageInput, Result
from beam_export.images.jpeg import inspect as jpeg
from beam_export.images.pillow_encoder import PillowEncoder
from beam_export.images.transcode import transcode_batch
from beam_export.samples import EncodedImage

#: Photographs whose sampling some readers refuse.
ODD_SAMPLING = {"peacock.s1x3", "peacock.s-weird", "peacock.s-very-weird"}


class CountingEncoder(PillowEncoder):
    def __init__(self, spec: EncodeSpec) -> None:
        super().__init__(spec)
        self.batches: list[int] = []

    def encode_batch(self, images: Any) -> list[Result]:
        self.batches.append(len(images))
        return super().encode_batch(images)


def process(
    images: list[ImageInput], exts: list[str] | None = None, **options: Any
) -> list[Result]:
    return transcode_batch(images, exts or [""] * len(images), PillowEncoder(EncodeSpec(**options)))


JPEG = save(Image.fromarray(smooth()), "JPEG", exif=exif(6), comment=b"kept")
PNG = save(Image.fromarray(smooth()), "PNG")


def test_auto_copies_whole_jpegs_and_encodes_the_rest_in_one_batch() -> None:
    rgb = save(Image.fromarray(smooth()), "JPEG", keep_rgb=True)
    cmyk = save(Image.fromarray(smooth()).convert("CMYK"), "JPEG")
    images = [JPEG, PNG, b"", JPEG + b"trailer", JPEG[:-200], smooth(), rgb, cmyk]
    encoder = CountingEncoder(EncodeSpec())
    results = transcode_batch(images, [""] * len(images), encoder)
    assert encoder.batches == [5]
    kinds = [r.stage if isinstance(r, SampleError) else r.encoding for r in results]
    assert kinds == [
        "copied", "encoded", "read", "copied", "decode", "encoded", "encoded", "encoded",
    ]  # fmt: skip
    turned = {"lacks": ("upright",)}
    assert results[0] == EncodedImage(JPEG, "jpg", 48, 32, "copied", **turned)
    assert results[3] == EncodedImage(JPEG + b"trailer", "jpg", 48, 32, "copied", **turned)
    assert transcode_batch([JPEG], [""], encoder)[0].encoding == "copied"
    assert len(encoder.batches) == 1


def test_resizing_encodes_every_image_and_no_resizing_none() -> None:
    assert process([JPEG], resize=16)[0].encoding == "encoded"
    assert process([JPEG], resize=48, resize_mode="keep_ratio_largest")[0].encoding == "encoded"
    assert process([JPEG], resize=16, resize_mode="no")[0].encoding == "copied"


def test_always_encodes_everything() -> None:
    (result,) = process([JPEG], mode="always")
    assert (result.encoding, result.width, result.height) == ("encoded", 32, 48)


def test_a_bad_image_never_takes_its_batch_with_it() -> None:
    bomb = png(8, 2, [b""] * 60_000, 60_000)
    bad = [b"", b"junk", JPEG[:300], np.zeros((2, 2), np.int64), PNG[:90], bomb]
    for mode in ("auto", "always"):
        mixed = [image for one in bad for image in (PNG, one, JPEG)]
        results = process(mixed, mode=mode)
        assert results[0::3] == process([PNG], mode=mode) * len(bad)
        assert results[2::3] == process([JPEG], mode=mode) * len(bad)
        assert all(isinstance(r, SampleError) for r in results[1::3])


@pytest.mark.parametrize("mode", ["auto", "always", "never"])
def test_limits_hold_in_every_mode(mode: str) -> None:
    (empty,) = process([b""], mode=mode)
    assert (empty.stage, empty.message) == ("read", "the image is empty: it has 0 bytes")
    size = len(JPEG)
    (large,) = process([JPEG], mode=mode, max_image_bytes=size - 1)
    assert (large.stage, large.error) == ("read", "ValueError")
    assert large.message == f"the image has {size} bytes, more than max_image_bytes={size - 1}"
    assert isinstance(process([JPEG], mode=mode, max_image_bytes=size)[0], EncodedImage)
    for data in (JPEG, PNG):
        (wide,) = process([data], mode=mode, max_pixels=48 * 32 - 1)
        assert wide.stage == "decode"
        assert "1536 pixels" in wide.message
        assert isinstance(process([data], mode=mode, max_pixels=48 * 32)[0], EncodedImage)


@pytest.mark.parametrize(
    ("kind", "ext", "options"),
    [
        ("JPEG", "jpg", {}),
        ("PNG", "png", {}),
        ("WEBP", "webp", {}),
        ("GIF", "gif", {}),
        ("TIFF", "tiff", {}),
        ("TIFF", "tiff", {"big_tiff": True}),
        ("BMP", "bmp", {}),
        pytest.param("AVIF", "avif", {}, marks=needs_avif),
    ],
)
def test_never_names_by_content_and_reads_sizes(kind: str, ext: str, options: dict) -> None:
    data = save(Image.fromarray(smooth()), kind, exif=exif(1), **options)
    assert process([data], ["xyz"], mode="never") == [EncodedImage(data, ext, 48, 32, "copied")]
    cut = data[: 200 if kind == "JPEG" else 40]
    (result,) = process([cut], [".Cut"], mode="never")
    assert (result.data, result.encoding) == (cut, "copied")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_never_gives_the_stored_size(kind: str) -> None:
    data = save(Image.fromarray(smooth()), kind, exif=exif(6))
    (result,) = process([data], mode="never")
    assert (result.width, result.height) == (48, 32)


@pytest.mark.parametrize(
    ("source_ext", "ext"),
    [("HEIC", "heic"), (".Svg", "svg"), ("", "bin"), ("a/b", "bin"), ("jpg?x=1", "bin")],
)
def test_never_keeps_what_it_does_not_know(source_ext: str, ext: str) -> None:
    (result,) = process([b"something else"], [source_ext], mode="never")
    assert result == EncodedImage(b"something else", ext, None, None, "copied")


def test_never_refuses_arrays() -> None:
    (error,) = process([smooth()], mode="never")
    assert (error.stage, error.error) == ("encode", "ValueError")


def test_every_photo_becomes_a_jpeg() -> None:
    suffixes = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".tiff", ".bmp", ".apng"}
    suffixes |= {".avif"} if features.check("avif") else set()
    files = sorted(f for f in PHOTOS.rglob("*") if f.suffix.lower() in suffixes)
    if not files:
        pytest.skip("shared/data/photos is not here")
    encoder = PillowEncoder(EncodeSpec(), threads=2)
    encoder.open()
    for file in files:
        data = file.read_bytes()
        (result,) = transcode_batch([data], [file.suffix], encoder)
        assert isinstance(result, EncodedImage), (file, result)
        is_copied = file.suffix.lower() in (".jpg", ".jpeg") and file.stem not in ODD_SAMPLING
        assert result.encoding == ("copied" if is_copied else "encoded"), file
        if not is_copied:
            assert jpeg.is_copyable(jpeg.inspect(result.data)), file
    encoder.close()


TURNED = JPEG
GRAY = save(Image.fromarray(smooth()[..., 0]), "JPEG")
WIDE = save(Image.fromarray(smooth()), "JPEG", icc_profile=rgb_profile(swapped=True))
ALL = save(Image.fromarray(smooth()[..., 0]), "JPEG", exif=exif(3), icc_profile=gray_profile(1.0))
NONE = save(Image.fromarray(smooth()), "JPEG", exif=exif(1), icc_profile=rgb_profile())


@pytest.mark.parametrize(
    ("data", "lacks"),
    [
        (TURNED, ("upright",)),
        (WIDE, ("srgb",)),
        (GRAY, ("rgb",)),
        (ALL, ("upright", "srgb", "rgb")),
        (NONE, ()),
    ],
)
def test_what_a_copied_jpeg_is_not_is_told_and_ensured(data: bytes, lacks: tuple) -> None:
    for mode in ("auto", "never"):
        (copied,) = process([data], mode=mode)
        assert (copied.encoding, copied.lacks, copied.remarks) == ("copied", lacks, ())
    for word in ("upright", "srgb", "rgb"):
        (result,) = process([data], ensure=(word,))
        assert result.encoding == ("encoded" if word in lacks else "copied")
        reasons = ("ensured", f"ensured_{word}") if word in lacks else ()
        assert result.remarks == reasons
        assert word not in result.lacks
    (result,) = process([data], ensure=("upright", "srgb", "rgb"))
    assert result.lacks == ()
    assert process([result.data]) == [result._replace(encoding="copied", remarks=())]


def test_what_is_encoded_in_any_case_is_no_work_of_ensure() -> None:
    gray = save(Image.fromarray(smooth()[..., 0]), "PNG")
    for image, options in ((gray, {}), (GRAY, {"mode": "always"}), (GRAY, {"resize": 16})):
        (result,) = process([image], ensure=("rgb",), **options)
        assert (result.encoding, result.remarks, result.lacks) == ("encoded", (), ())
        (result,) = process([image], **options)
        assert result.lacks == (() if result.encoding == "copied" else ("rgb",))


def test_failures_hold_no_frames() -> None:
    for error in (failed(b"junk"), failed(PNG, max_pixels=1), *process([b""])):
        assert error.__traceback__ is None
        assert error.__context__ is None
