"""TIFF files of any layout, written with nothing but `struct` and `zlib`.

Source: TIFF 6.0, sections 2, 8, 9, 14, 15 and 21; BigTIFF is left out.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

NONE, DEFLATE, PACKBITS = 1, 8, 32773
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, CIELAB = 0, 1, 2, 3, 5, 6, 8


class Layout(NamedTuple):
    """How samples lie in a TIFF; the names are those of its tags."""

    bits: int = 8
    photometric: int = RGB
    planar: int = 1
    compression: int = NONE
    predictor: int = 1
    tile: int = 0
    rows: int = 0
    order: str = "<"
    fill: int = 1
    extra: tuple[int, ...] = ()
    signed: bool = False


def write_tiff(samples: np.ndarray, layout: Layout) -> bytes:
    """Returns a TIFF of samples of shape (H, W, N), unsigned numbers of `layout.bits` bits."""
    height, width, count = samples.shape
    planes = np.moveaxis(samples, 2, 0)[..., None] if layout.planar == 2 else samples[None]
    chunks = [_pack(part, layout) for plane in planes for part in _parts(plane, layout)]
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [layout.bits] * count),
        259: ("H", [layout.compression]),
        262: ("H", [layout.photometric]),
        266: ("H", [layout.fill]),
        277: ("H", [count]),
        284: ("H", [layout.planar]),
    }
    if layout.predictor != 1:
        tags[317] = ("H", [layout.predictor])
    if layout.photometric == PALETTE:
        tags[320] = ("H", [int(v) for v in palette(layout.bits).T.ravel()])
    if layout.extra:
        tags[338] = ("H", [*layout.extra])
    if layout.signed:
        tags[339] = ("H", [2] * count)
    if layout.photometric == YCBCR:
        tags[530] = ("H", [1, 1])
    if layout.tile:
        tags[322] = tags[323] = ("I", [layout.tile])
    else:
        tags[278] = ("I", [layout.rows or height])
    return _file(tags, chunks, layout)


def palette(bits: int) -> np.ndarray:
    """Returns the colours of a palette, (2**bits, 3), of 16 bits."""
    return np.random.default_rng(9).integers(0, 65_536, (2**bits, 3))


def _parts(plane: np.ndarray, layout: Layout) -> list[np.ndarray]:
    if not layout.tile:
        rows = layout.rows or len(plane)
        return [plane[at : at + rows] for at in range(0, len(plane), rows)]
    side = layout.tile
    down, across = -len(plane) % side, -plane.shape[1] % side
    padded = np.pad(plane, ((0, down), (0, across), (0, 0)), mode="edge")
    return [
        padded[top : top + side, left : left + side]
        for top in range(0, len(padded), side)
        for left in range(0, padded.shape[1], side)
    ]


def _pack(part: np.ndarray, layout: Layout) -> bytes:
    bits = layout.bits
    if layout.predictor == 2:
        part = np.diff(part.astype(np.int64), axis=1, prepend=0) % (1 << bits)
    rows = part.reshape(len(part), -1)
    if bits in (8, 16, 32):
        data = rows.astype(f"{layout.order}u{bits // 8}").tobytes()
    else:
        places = np.arange(bits - 1, -1, -1)
        data = np.packbits((rows[..., None] >> places & 1).reshape(len(rows), -1), 1).tobytes()
    if layout.compression == DEFLATE:
        data = zlib.compress(data)
    elif layout.compression == PACKBITS:
        runs = [data[at : at + 128] for at in range(0, len(data), 128)]
        data = b"".join(bytes([len(run) - 1]) + run for run in runs)
    if layout.fill == 2:
        # The bits of each byte as it is stored (libtiff, `TIFFReverseBits`).
        bits_of = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        data = np.packbits(bits_of).tobytes()
    return data


def _file(tags: dict[int, tuple[str, list[int]]], chunks: list[bytes], layout: Layout) -> bytes:
    order = layout.order
    at, places = 8, []
    for chunk in chunks:
        places.append(at)
        at += len(chunk)
    tags[324 if layout.tile else 273] = ("I", places)
    tags[325 if layout.tile else 279] = ("I", [len(chunk) for chunk in chunks])
    body = b"".join(chunks) + b"\0" * (at % 2)
    at += at % 2
    entries, beyond = b"", b""
    behind = at + 2 + 12 * len(tags) + 4
    for number, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        field = packed.ljust(4, b"\0")
        if len(packed) > 4:
            field = struct.pack(f"{order}I", behind + len(beyond))
            beyond += packed + b"\0" * (len(packed) % 2)
        entries += struct.pack(f"{order}HHI", number, {"H": 3, "I": 4}[kind], len(values)) + field
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", at)
    return head + body + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + beyond
