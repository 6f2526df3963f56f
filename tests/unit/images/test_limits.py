"""`images.limits` and what follows from it: pixels by the header, and what an image may take."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from beam_export.images import limits
from beam_export.images.encoder import EncodeSpec
from beam_export.images.limits import DeclaredSize, read_declared_size

FORMATS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("PNG", {}),
    ("GIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"big_tiff": True}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
]
if features.check("avif"):
    FORMATS.append(("AVIF", {}))


def saved(kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((61, 47), 50).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "options"), FORMATS)
def test_pixels_are_those_of_the_header(kind: str, options: dict[str, Any]) -> None:
    data = saved(kind, **options)
    assert read_declared_size(data) == DeclaredSize(61 * 47)
    for at in range(min(len(data), 300)):
        read_declared_size(data[:at])


def test_scans_of_a_progressive_jpeg_count() -> None:
    found = read_declared_size(saved("JPEG", progressive=True))
    assert found is not None
    assert found.pixels == 61 * 47
    assert 5 < found.scans < 20


def test_a_gif_whose_first_image_is_larger_than_its_screen() -> None:
    data = saved("GIF")
    assert read_declared_size(data[:6] + struct.pack("<HH", 5, 5) + data[10:]) == DeclaredSize(
        61 * 47
    )


STARTS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"RIFF\0\0\0\0WEBPVP8L",
    b"GIF89a",
    b"II*\0",
    b"MM\0+",
    b"BM" + bytes(12) + b"\x28\0\0\0",
    b"\0\0\0\x20ftypavif",
]


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=200))
def test_junk_never_raises(start: bytes, rest: bytes) -> None:
    found = read_declared_size(start + rest)
    assert found is None or found.pixels > 0


def test_time_follows_pixels_and_scans() -> None:
    spec = EncodeSpec()
    small = limits.cpu_seconds(limits.declared_size(saved("PNG"), spec))
    assert small == limits.SECONDS
    large = limits.cpu_seconds(DeclaredSize(250_000_000))
    # 0.2 microseconds a pixel are what a plain machine takes: fifty times as much.
    assert large >= small + 50 * 0.2e-6 * 250_000_000 - 1
    assert limits.cpu_seconds(DeclaredSize(10_000_000, 200)) > limits.cpu_seconds(
        DeclaredSize(10_000_000)
    )
    pixels = np.zeros((30, 20, 3), np.uint8)
    assert limits.declared_size(pixels, spec) == DeclaredSize(1800)
    lying = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1 << 30, 1 << 30)
    assert limits.declared_size(lying, spec).pixels == spec.max_pixels
    assert limits.declared_size(b"no image", spec) == DeclaredSize(64)
    assert limits.most_memory(b"no image", spec) < limits.most_memory(lying, spec)
