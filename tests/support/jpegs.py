"""JPEGs that tests take apart and put together again, segment by segment."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from beam_export.images.jpeg.segments import walk

SOF, DQT, DHT, APP0, EOI = 0xC0, 0xDB, 0xC4, 0xE0, b"\xff\xd9"


def picture(mode: str = "RGB", width: int = 61, height: int = 47) -> Image.Image:
    pixels = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encode(mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


BASELINE = encode()


PROGRESSIVE = encode(progressive=True)


def parts(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """Returns (marker, content, entropy-coded data behind it) of each segment."""
    found = list(walk(data))
    ends = [before for _, before, *_ in found[1:]] + [len(data)]
    after = [at for _, _, at, *_ in found[1:]] + [len(data)]
    return [
        (marker, data[start:end], data[old:new])
        for (marker, _, _, start, end, _), old, new in zip(found, ends, after, strict=True)
    ]


def build(segments: list[tuple[int, bytes, bytes]]) -> bytes:
    data = b"\xff\xd8"
    for marker, content, coded in segments:
        length = b"" if marker == 0xD9 else (len(content) + 2).to_bytes(2, "big")
        data += bytes([0xFF, marker]) + length + content + coded
    return data


def without(data: bytes, *markers: int) -> bytes:
    return build([part for part in parts(data) if part[0] not in markers])


def changed(data: bytes, marker: int, at: int, value: int, new_marker: int | None = None) -> bytes:
    """Returns the JPEG with one byte of a segment's content set to `value`."""
    result = []
    for number, content, coded in parts(data):
        if number == marker:
            content = content[:at] + bytes([value]) + content[at + 1 :]
            number = new_marker or number
        result.append((number, content, coded))
    return build(result)


LAST_SCAN = parts(PROGRESSIVE)[-2]
