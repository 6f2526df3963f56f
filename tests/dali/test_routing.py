"""`beam_export.images.dali.routing`: which images DALI takes, and which go the Pillow way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from support.pictures import OnDevice, exif, save, smooth

from beam_export.errors import SampleError
from beam_export.images.dali.routing import DaliImage, route
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_encoder import PillowEncoder

ALWAYS = EncodeSpec(mode="always")
RGB = Image.fromarray(smooth())
RGBA = Image.merge("RGBA", [*RGB.split(), RGB.getchannel(0)])
GRAY = RGB.convert("L")
JPEG, PNG = save(RGB, "JPEG"), save(RGB, "PNG")
P3 = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
OTHER = P3.replace(b"curv", b"????", 1).replace(b"para", b"????")


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (JPEG, 3),
        (save(RGB, "JPEG", progressive=True), 3),
        (save(GRAY, "JPEG"), 1),
        (PNG, 3),
        (save(GRAY, "PNG"), 1),
        (save(GRAY.convert("1"), "PNG"), 1),
        (save(RGB.quantize(9), "PNG"), 3),
        (save(RGB.quantize(9), "PNG", transparency=2), 4),
        (save(RGB, "PNG", transparency=(0, 0, 40)), 4),
        (save(RGBA, "PNG"), 4),
        (save(RGB, "WEBP"), 3),
        (save(RGBA, "WEBP"), 4),
        (smooth(), 3),
        (smooth()[..., 0], 1),
        (np.dstack([smooth(), smooth()[..., 0]]), 4),
    ],
)
def test_what_dali_takes(image: Any, channels: int) -> None:
    for on_gpu in (False, True):
        job = route(image, ALWAYS, on_gpu)
        assert isinstance(job, DaliImage), job
        assert (job.width, job.height, job.channels) == (48, 32, channels)
        assert job.is_plain is (channels != 4)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "unread"),
        (b"<html>", "format"),
        (JPEG[:200], "unread"),
        (PNG[:20], "unread"),
        (save(RGB, "GIF"), "format"),
        (save(RGB, "BMP"), "format"),
        (save(RGB, "TIFF"), "format"),
        (save(RGB.convert("CMYK"), "JPEG"), "kind"),
        (save(RGB, "JPEG", keep_rgb=True), "kind"),
        (save(RGBA.convert("LA"), "PNG"), "kind"),
        (save(GRAY, "PNG", transparency=7), "kind"),
        (save(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(90)]), "kind"),
        (PNG[:-12] + b"\0\0\0\0eXIf\0\0\0\0" + PNG[-12:], "kind"),
        (save(RGB, "JPEG", icc_profile=OTHER), "profile"),
        (np.zeros((4, 4)), "unread"),
        ("photo.jpg", "unread"),
        (np.zeros((1, 65_501), np.uint8), "size"),
    ],
)
def test_what_goes_the_pillow_way(image: Any, reason: str) -> None:
    assert route(image, ALWAYS, False) == reason


@pytest.mark.parametrize("image", [save(GRAY, "JPEG"), save(GRAY, "PNG"), smooth()[..., 0]])
def test_gray_that_is_to_be_rgb_goes_the_pillow_way(image: Any) -> None:
    ensure = EncodeSpec(ensure=("upright", "rgb"))
    assert route(image, ensure, True) == "gray"
    assert isinstance(route(image, EncodeSpec(ensure=("upright", "srgb")), True), DaliImage)
    assert isinstance(route(JPEG, ensure, True), DaliImage)


def test_16_bit_gray_goes_the_pillow_way() -> None:
    deep = Image.fromarray(np.zeros((9, 9), np.uint16))
    assert route(save(deep, "PNG"), ALWAYS, False) == "kind"


def test_limits_and_tiny_images_go_the_pillow_way() -> None:
    assert route(JPEG, EncodeSpec(mode="always", max_pixels=48 * 32 - 1), False) == "unread"
    assert route(JPEG, EncodeSpec(mode="always", max_image_bytes=9), False) == "unread"
    tiny = smooth(15, 40)
    assert isinstance(route(tiny, ALWAYS, False), DaliImage)
    assert route(tiny, ALWAYS, True) == "size"
    assert route(smooth(), EncodeSpec(mode="always", resize=8), True) == "size"
    strip = np.zeros((60_000, 1, 3), np.uint8)
    assert route(strip, EncodeSpec(mode="always", resize=300), False) == "unread"


def test_jobs_say_what_is_to_be_done() -> None:
    turned = save(RGB, "JPEG", exif=exif(6))
    job = route(turned, ALWAYS, False)
    assert isinstance(job, DaliImage)
    assert (job.orientation, job.size, job.is_plain) == (6, (32, 48), False)
    job = route(turned, EncodeSpec(mode="always", resize=16, resize_mode="center_crop"), False)
    assert isinstance(job, DaliImage)
    assert job.size == (16, 16)
    assert job.pixels == 48 * 32 + 16 * 24
    same = route(turned, EncodeSpec(mode="always", resize=32), False)
    assert isinstance(same, DaliImage)
    assert same.plan is None


def test_arrays_on_devices_are_dalis_and_failures_elsewhere() -> None:
    array = OnDevice((32, 48, 3))
    job = route(array, ALWAYS, True)  # type: ignore[arg-type]
    assert isinstance(job, DaliImage)
    assert job.data is array
    (error,) = PillowEncoder(ALWAYS).encode_batch([array])  # type: ignore[list-item]
    assert isinstance(error, SampleError)
    assert error.message.startswith("the image is a OnDevice on a GPU, where only --encoder=dali")
