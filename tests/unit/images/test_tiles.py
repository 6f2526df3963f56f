"""`images.tiles`: images that are worked on a tile at a time are those worked on as a whole."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.profiles import rgb_profile

from beam_export.images import tiles
from beam_export.images.encoder import EncodeSpec
from beam_export.images.geometry import upright, upright_corner
from beam_export.images.pillow_decoder import decode

SPEC = EncodeSpec(mode="always")
ORIENTATIONS = range(1, 9)


def textured(width: int = 23, height: int = 17) -> Image.Image:
    random = np.random.default_rng(width * height)
    return Image.fromarray(random.integers(0, 256, (height, width, 4), dtype=np.uint8), "RGBA")


def deep(width: int = 23, height: int = 17) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 65_536, (height, width)).astype(np.uint16)


def saved(im: Image.Image, kind: str, orientation: int, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if kind not in ("GIF", "BMP"):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    im.save(buffer, kind, **options)
    return buffer.getvalue()


def in_tiles(data: bytes, tile: int, side: int, patch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    with patch.context() as patched:
        patched.setattr(tiles, "MOST_AT_ONCE", 0)
        patched.setattr(tiles, "PLAIN", 0)
        patched.setattr(tiles, "TILE", tile)
        patched.setattr(tiles, "SIDE", side)
        return decoded(data)


def decoded(data: bytes) -> tuple[Any, ...]:
    with contextlib.ExitStack() as held:
        picture, profile, *_ = decode(data, SPEC, held)
        return picture.mode, picture.size, picture.tobytes(), profile


def kinds() -> Iterator[tuple[str, Image.Image, str, dict[str, Any]]]:
    rgba = textured()
    rgb, gray, numbers = rgba.convert("RGB"), rgba.convert("L"), Image.fromarray(deep())
    palette, swapped = rgb.quantize(50), {"icc_profile": rgb_profile(swapped=True)}
    for kind in ("PNG", "TIFF", "WEBP"):
        yield f"rgba-{kind}", rgba, kind, {}
        yield f"rgba-icc-{kind}", rgba, kind, swapped
        yield f"rgb-{kind}", rgb, kind, {}
        yield f"rgb-icc-{kind}", rgb, kind, swapped
    for kind in ("PNG", "TIFF"):
        yield f"gray-{kind}", gray, kind, {}
        yield f"gray-alpha-{kind}", Image.merge("LA", (gray, rgba.getchannel("A"))), kind, {}
        yield f"16-bit-{kind}", numbers, kind, {}
        yield f"palette-{kind}", palette, kind, {}
        yield f"bits-{kind}", gray.convert("1"), kind, {}
    yield "lzw", rgba, "TIFF", {"compression": "tiff_lzw"}
    yield "32-bit", numbers.convert("I"), "TIFF", {}
    yield "inverted", numbers, "TIFF", {"tiffinfo": {262: 0}}
    yield "lab", rgb.convert("LAB"), "TIFF", {}
    yield "cmyk", rgb.convert("CMYK"), "TIFF", {}
    yield "gray-key", gray, "PNG", {"transparency": 7}
    yield "rgb-key", rgb, "PNG", {"transparency": rgb.getpixel((5, 5))}
    yield "16-bit-key", numbers, "PNG", {"transparency": int(deep()[3, 3])}
    yield "palette-key", palette, "PNG", {"transparency": bytes(range(50))}
    yield "cmyk-jpeg", rgb.convert("CMYK"), "JPEG", {}
    yield "jpeg", rgb, "JPEG", {}
    yield "progressive", rgb, "JPEG", {"progressive": True}
    yield "gif", palette, "GIF", {}
    yield "gif-key", palette, "GIF", {"transparency": 3}
    yield "bmp", rgb, "BMP", {}
    yield "bmp-palette", palette, "BMP", {}


KINDS = [pytest.param(*kind, id=name) for name, *kind in kinds()]


@pytest.mark.parametrize(("im", "kind", "options"), KINDS)
def test_tiles_make_the_whole(
    im: Image.Image, kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of pixels, every orientation, tiles of many heights and widths."""
    for orientation in ORIENTATIONS if kind not in ("GIF", "BMP") else (1,):
        data = saved(im, kind, orientation, **options)
        whole = decoded(data)
        for tile, side in ((46, 7),) if im.mode == "LAB" else ((7, 3), (23, 7), (150, 10)):
            assert in_tiles(data, tile, side, monkeypatch) == whole, (orientation, tile, side)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    tile=st.integers(1, 400),
    side=st.integers(1, 50),
    orientation=st.sampled_from(ORIENTATIONS),
)
def test_tiles_cover_each_pixel_once_and_come_to_their_place(
    width: int, height: int, tile: int, side: int, orientation: int
) -> None:
    im = textured(width, height)
    expected = upright(im, orientation)
    made = Image.new("RGBA", expected.size)
    seen = np.zeros((height, width), int)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        patch.setattr(tiles, "SIDE", side)
        for box in tiles.tiles(im.size, orientation):
            seen[box[1] : box[3], box[0] : box[2]] += 1
            made.paste(
                upright(im.crop(box), orientation), upright_corner(box, im.size, orientation)
            )
    assert (seen == 1).all()
    assert made.tobytes() == expected.tobytes()


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("by_column", [False, True])
def test_memory_goes_back_row_by_row(by_column: bool) -> None:
    canvas = tiles.Canvas("RGB", (4096, 4096), by_column)
    im = Image.new("RGB", (0, 0))._new(canvas.core)
    before = resident()
    im.paste("red", (0, 0, 4096, 4096))
    full = resident() - before
    assert full > 60 << 20
    canvas.give_back(2048)
    canvas.give_back(3072)
    assert resident() - before < full // 3
    assert im.getpixel((7, 3071)) == (0, 0, 0)
    assert im.getpixel((7, 3072)) == (255, 0, 0)
    canvas.give_back(1024)
    assert im.getpixel((7, 3072)) == (255, 0, 0)


def test_lack_of_memory_is_told_as_such() -> None:
    with pytest.raises(MemoryError):
        tiles.Canvas("RGB", (1 << 24, 1 << 24))


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_what_has_nothing_to_decode_fails_however_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """An animated PNG of no frames: Pillow has no pixels of it, and memory alone are none."""
    head = struct.pack(">IIBBBBB", 128, 64, 8, 6, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"acTL", bytes(8)), chunk(b"IEND", b"")
    data = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    for whole in (tiles.MOST_AT_ONCE, 0):
        monkeypatch.setattr(tiles, "MOST_AT_ONCE", whole)
        with pytest.raises(OSError, match="cannot load this image"):
            decoded(data)
