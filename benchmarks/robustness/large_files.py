"""Makes images of any number of pixels, one of each kind, in little time and memory.

Flat colours compress to little, so that hundreds of megapixels are a small file; a decoder holds
the same for them. What a decoder holds by what it finds (coefficients, the JPEG that is made) has
a variant with noise.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageCms

__all__ = ["CASES", "make_case"]

_ROWS = 64


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _deflated(parts: Iterator[bytes]) -> bytes:
    squeeze = zlib.compressobj(1)
    return b"".join([*map(squeeze.compress, parts), squeeze.flush()])


def _png(side: int, depth: int, kind: int, pixel: bytes, *chunks: bytes, **options: bool) -> bytes:
    """Returns a square PNG of one colour (PNG, third edition, 5 and 11).

    Args:
        side: pixels.
        depth, kind: bits of a sample, type of colour.
        pixel: so many bytes that whole pixels fill them.
        chunks: to stand before the pixels.
        options: `interlaced`.
    """
    interlaced = options.get("interlaced", False)
    head = struct.pack(">IIBBBBB", side, side, depth, kind, 0, 0, interlaced)
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]

    def rows(width: int, height: int) -> Iterator[bytes]:
        size = -(-width * samples * depth // 8)
        row = b"\0" + (pixel * (size // len(pixel) + 1))[:size]
        for top in range(0, height, _ROWS):
            yield row * min(_ROWS, height - top)

    def passes() -> Iterator[bytes]:
        starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
        for left, top, across, down in [*starts, (1, 0, 2, 2), (0, 1, 1, 2)]:
            yield from rows(-(-(side - left) // across), -(-(side - top) // down))

    data = _deflated(passes() if interlaced else rows(side, side))
    parts = [_chunk(b"IHDR", head), *chunks, _chunk(b"IDAT", data), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _noisy_png(side: int) -> bytes:
    """Returns 8-bit gray noise: as large a file as has pixels."""
    random = np.random.default_rng(1)
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)

    def rows() -> Iterator[bytes]:
        for top in range(0, side, _ROWS):
            count = min(_ROWS, side - top)
            levels = random.integers(64, 128, (count, side + 1), dtype=np.uint8)
            levels[:, 0] = 0
            yield levels.tobytes()

    parts = [_chunk(b"IHDR", head), _chunk(b"IDAT", _deflated(rows())), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def _swapped() -> bytes:
    """Returns a profile that no conversion can pass over: half of sRGB's green is its red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", profile, 128)[0]
    tags = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(count)]
    places = {name: at for name, at, _ in tags}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    profile[red : red + 20], profile[green : green + 20] = (
        profile[green : green + 20],
        profile[red : red + 20],
    )
    return bytes(profile)


_TIFF_TYPES = {"H": 3, "I": 4}


def _tiff(
    side: int,
    bits: tuple[int, ...],
    photometric: int,
    *,
    rows: int = _ROWS,
    compression: int = 8,
    orientation: int = 1,
    extra: int | None = None,
    numbers: int = 1,
) -> bytes:
    """Returns a TIFF whose strips are one and the same (TIFF 6.0, 2 and 8).

    Args:
        side: pixels.
        bits: of each sample.
        photometric: its tag.
        rows: of a strip, which divides `side`.
        compression: 8 for deflate.
        orientation: its tag.
        extra: what the last sample is, if there is one too many.
        numbers: 1 for unsigned samples, 2 for signed ones.
    """
    pixel = b"\x30\0\0\0" if numbers == 2 else b"\x30" * 4
    strip = pixel * (-(-side * sum(bits) // 8) * rows // 4)
    packed = zlib.compress(strip, 1)
    count = side // rows
    tags: list[tuple[int, str, list[int]]] = [
        (256, "I", [side]),
        (257, "I", [side]),
        (258, "H", list(bits)),
        (259, "H", [compression]),
        (262, "H", [photometric]),
        (273, "I", [8] * count),
        (274, "H", [orientation]),
        (277, "H", [len(bits)]),
        (278, "I", [rows]),
        (279, "I", [len(packed)] * count),
        (284, "H", [1]),
        (339, "H", [numbers] * len(bits)),
    ]
    if photometric == 3:
        tags.append((320, "H", [value * 257 for _ in range(3) for value in range(256)]))
    if extra is not None:
        tags.append((338, "H", [extra]))
    body, entries = packed + bytes(len(packed) % 2), []
    for tag, kind, values in sorted(tags):
        data = struct.pack(f"<{len(values)}{kind}", *values)
        where = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", 8 + len(body))
        body += data if len(data) > 4 else b""
        entries.append(struct.pack("<HHI", tag, _TIFF_TYPES[kind], len(values)) + where)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def _saved(mode: str, kind: str, **options: object) -> Callable[[int], bytes]:
    def make(side: int) -> bytes:
        color = {"L": 90, "P": 3, "1": 1}.get(mode, (200, 100, 50, 90)[: len(mode)])
        buffer = io.BytesIO()
        Image.new(mode, (side, side), color).save(buffer, kind, **options)
        return buffer.getvalue()

    return make


def _noisy_jpeg(side: int) -> bytes:
    """Returns noise in colour, whose JPEG is large."""
    noise = np.random.default_rng(1).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    tile, im = Image.fromarray(noise), Image.new("RGB", (side, side))
    for left in range(0, side, 1024):
        for top in range(0, side, 1024):
            im.paste(tile, (left, top))
    buffer = io.BytesIO()
    im.save(buffer, "JPEG", quality=60, subsampling="4:2:0")
    return buffer.getvalue()


def _webp(side: int, mode: str) -> bytes:
    """Returns a lossless WebP of one colour: 38 bytes, whatever its size (RFC 9649, 3)."""
    small = io.BytesIO()
    color = (200, 100, 50, 90)[: len(mode)]
    Image.new(mode, (8, 8), color).save(small, "WEBP", lossless=True)
    data = bytearray(small.getvalue())
    at = data.index(b"VP8L") + 9
    bits = struct.unpack_from("<I", data, at)[0]
    bits = bits & ~((1 << 28) - 1) | (side - 1) << 14 | side - 1
    struct.pack_into("<I", data, at, bits)
    return bytes(data)


def _bmp(side: int, bits: int) -> bytes:
    """Returns a BMP of gray or black and white."""
    colors = b"".join(bytes([n * 255 // (2**bits - 1)] * 3) + b"\0" for n in range(2**bits))
    row = bytes((side * bits + 31) // 32 * 4)
    start = 54 + len(colors)
    info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, bits, 0, 0, 0, 0, 2**bits, 0)
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(row) * side, 0, 0, start)
        + info
        + (colors + row * side)
    )


def _png_exif(orientation: int) -> bytes:
    return _chunk(b"eXIf", _exif(orientation).removeprefix(b"Exif\0\0"))


def _icc_chunk() -> bytes:
    return _chunk(b"iCCP", b"x\0\0" + zlib.compress(_swapped()))


_PLTE = _chunk(b"PLTE", bytes(range(48)))
_TRNS = _chunk(b"tRNS", bytes(range(0, 240, 15)))

#: What is made: a name, with its suffix, and how, by the side in pixels.
CASES: dict[str, Callable[[int], bytes]] = {
    "rgb.png": lambda side: _png(side, 8, 2, b"\x20\x60\xa0"),
    "rgb-icc.png": lambda side: _png(side, 8, 2, b"\x20\x60\xa0", _icc_chunk()),
    "rgb-key.png": lambda side: _png(side, 8, 2, b"\1\2\3", _chunk(b"tRNS", b"\0\1\0\2\0\3")),
    "rgb-interlaced.png": lambda side: _png(side, 8, 2, b"\x20\x60\xa0", interlaced=True),
    "rgb-16-bit.png": lambda side: _png(side, 16, 2, b"\x20\0\x60\0\xa0\0"),
    "rgba.png": lambda side: _png(side, 8, 6, b"\x20\x60\xa0\x80"),
    "rgba-turned.png": lambda side: _png(side, 8, 6, b"\x20\x60\xa0\x80", _png_exif(6)),
    "rgba-icc.png": lambda side: _png(side, 8, 6, b"\x20\x60\xa0\x80", _icc_chunk()),
    "rgba-16-bit.png": lambda side: _png(side, 16, 6, b"\x20\0\x60\0\xa0\0\x80\0"),
    "gray.png": lambda side: _png(side, 8, 0, b"\x60"),
    "gray-noise.png": _noisy_png,
    "gray-alpha.png": lambda side: _png(side, 8, 4, b"\x60\x80"),
    "gray-alpha-16-bit.png": lambda side: _png(side, 16, 4, b"\x60\0\x80\0"),
    "gray-16-bit.png": lambda side: _png(side, 16, 0, b"\x60\0"),
    "gray-16-bit-key.png": lambda side: _png(side, 16, 0, b"\x60\0", _chunk(b"tRNS", b"\x60\0")),
    "palette.png": lambda side: _png(side, 4, 3, b"\x37", _PLTE),
    "palette-alpha-turned.png": lambda side: _png(side, 4, 3, b"\x37", _PLTE, _TRNS, _png_exif(8)),
    "bits.png": lambda side: _png(side, 1, 0, b"\x55"),
    "rgb.tif": lambda side: _tiff(side, (8, 8, 8), 2),
    "rgb-one-strip.tif": lambda side: _tiff(side, (8, 8, 8), 2, rows=side),
    "rgb-16-bit.tif": lambda side: _tiff(side, (16, 16, 16), 2, orientation=5),
    "rgba.tif": lambda side: _tiff(side, (8, 8, 8, 8), 2, extra=2),
    "rgba-turned.tif": lambda side: _tiff(side, (8, 8, 8, 8), 2, extra=2, orientation=6),
    "rgba-16-bit.tif": lambda side: _tiff(side, (16, 16, 16, 16), 2, extra=2),
    "gray-16-bit.tif": lambda side: _tiff(side, (16,), 1),
    "gray-16-bit-inverted.tif": lambda side: _tiff(side, (16,), 0, orientation=3),
    "palette.tif": lambda side: _tiff(side, (8,), 3),
    "bits.tif": lambda side: _tiff(side, (1,), 1),
    "int32.tif": lambda side: _tiff(side, (32,), 1, numbers=2),
    "cmyk.tif": lambda side: _tiff(side, (8, 8, 8, 8), 5),
    "rgb.jpg": _saved("RGB", "JPEG"),
    "rgb-noise.jpg": _noisy_jpeg,
    "rgb-turned.jpg": _saved("RGB", "JPEG", exif=_exif(6)),
    "gray.jpg": _saved("L", "JPEG"),
    "cmyk.jpg": _saved("CMYK", "JPEG"),
    "cmyk-turned.jpg": _saved("CMYK", "JPEG", exif=_exif(7)),
    "progressive.jpg": _saved("RGB", "JPEG", progressive=True),
    "progressive-444.jpg": _saved("RGB", "JPEG", progressive=True, subsampling="4:4:4"),
    "progressive-cmyk.jpg": _saved("CMYK", "JPEG", progressive=True),
    "rgb.webp": lambda side: _webp(side, "RGB"),
    "rgba.webp": lambda side: _webp(side, "RGBA"),
    "gray.gif": _saved("L", "GIF"),
    "key.gif": _saved("P", "GIF", transparency=3),
    "gray.bmp": lambda side: _bmp(side, 8),
    "bits.bmp": lambda side: _bmp(side, 1),
    "rgb.avif": _saved("RGB", "AVIF", speed=10, quality=30),
    "rgba.avif": _saved("RGBA", "AVIF", speed=10, quality=30),
}


def make_case(name: str, megapixels: int) -> bytes:
    """Returns the image of a name, of so many megapixels, a little less."""
    side = int((megapixels * 1_000_000) ** 0.5) // _ROWS * _ROWS
    return CASES[name](side)
