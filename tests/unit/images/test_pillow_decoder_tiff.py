"""TIFFs of every layout: right, or a listed failure; never other pixels than the file has."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from support.tiff_files import (
    BLACK_IS_ZERO,
    CIELAB,
    CMYK,
    DEFLATE,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    WHITE_IS_ZERO,
    YCBCR,
    Layout,
    palette,
    write_tiff,
)

from beam_export.errors import SampleError
from beam_export.images import header
from beam_export.images.encoder import EncodeSpec
from beam_export.images.pillow_decoder import decode
from beam_export.images.pillow_encoder import PillowEncoder

HEIGHT, WIDTH = 21, 37
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, CIELAB: 3}


def samples(layout: Layout) -> np.ndarray:
    count = COLORS[layout.photometric] + len(layout.extra)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    parts = [((x * 3 + y * 5 + 29 * c + (x * y) % 11) % 97) / 96 for c in range(count)]
    made = np.round(np.stack(parts, -1) * (2**layout.bits - 1)).astype(np.int64)
    if layout.extra[:1] == (ASSOCIATED,):
        alpha = made[..., COLORS[layout.photometric], None]
        made[..., : COLORS[layout.photometric]] = np.minimum(made, alpha)[
            ..., : COLORS[layout.photometric]
        ]
    return made


def expected(values: np.ndarray, layout: Layout) -> np.ndarray:
    """Returns the levels, 0 to 255, that a TIFF stands for: (H, W, 1 | 3)."""
    levels = values / (2**layout.bits - 1) * 255
    count = COLORS[layout.photometric]
    colors, extra = levels[..., :count], levels[..., count:]
    if layout.photometric == WHITE_IS_ZERO:
        colors = 255 - colors
    elif layout.photometric == PALETTE:
        colors = palette(layout.bits)[values[..., 0]] / 257
    elif layout.photometric == CMYK:
        colors = (255 - colors[..., :3]) * (255 - colors[..., 3:]) / 255
    elif layout.photometric == YCBCR:
        y, cb, cr = (colors[..., at] for at in range(3))
        cb, cr = cb - 128, cr - 128
        rgb = [y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb]
        colors = np.clip(np.stack(rgb, -1), 0, 255)
    alpha = extra[..., :1] / 255
    if layout.extra[:1] == (UNASSOCIATED,):
        colors = colors * alpha + 255 * (1 - alpha)
    elif layout.extra[:1] == (ASSOCIATED,):
        colors = np.clip(colors + 255 * (1 - alpha), 0, 255)
    return colors


def read(layout: Layout) -> np.ndarray | None:
    """Returns the levels that are encoded; None for a failure."""
    data = write_tiff(samples(layout), layout)
    try:
        with contextlib.ExitStack() as held:
            picture = decode(data, EncodeSpec(), held).picture
    except (OSError, ValueError, SampleError):
        return None
    pixels = np.asarray(picture).astype(float)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def is_right(layout: Layout) -> bool | None:
    """Tells whether a layout is read right; None if it is a failure."""
    pixels = read(layout)
    if pixels is None:
        return None
    wanted = expected(samples(layout), layout)
    # The high byte of 16 bits, twice: of colour and of alpha.
    return bool(np.abs(pixels - wanted).max() <= 3)


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(planar=2),
        Layout(planar=2, compression=DEFLATE, predictor=2),
        Layout(16),
        Layout(16, planar=2, compression=DEFLATE, tile=16),
        Layout(16, extra=(UNASSOCIATED,), order=">"),
        Layout(8, BLACK_IS_ZERO, extra=(UNASSOCIATED,)),
        Layout(8, BLACK_IS_ZERO, extra=(UNASSOCIATED,), compression=DEFLATE),
        Layout(16, BLACK_IS_ZERO, compression=DEFLATE, predictor=2),
        Layout(16, WHITE_IS_ZERO),
        Layout(12, BLACK_IS_ZERO),
        Layout(12, BLACK_IS_ZERO, 2, DEFLATE, extra=(UNSPECIFIED,)),
        Layout(1, BLACK_IS_ZERO, fill=2),
        Layout(4, PALETTE, compression=PACKBITS, rows=4),
        Layout(8, PALETTE, tile=16),
        Layout(8, CMYK, planar=2, compression=PACKBITS),
        Layout(16, CMYK),
        Layout(8, YCBCR, compression=DEFLATE),
    ],
    ids=str,
)
def test_these_are_read_right(layout: Layout) -> None:
    assert is_right(layout)


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (Layout(16, planar=2), "planes of 16 bits without compression"),
        (Layout(16, planar=2, tile=16), "planes of 16 bits without compression"),
        (Layout(16, planar=2, extra=(UNASSOCIATED,), order=">"), "planes of 16 bits"),
        (Layout(16, CMYK, planar=2), "planes of 16 bits"),
        (Layout(8, planar=2, fill=2), "in reverse"),
        (Layout(8, BLACK_IS_ZERO, 2, DEFLATE, extra=(UNASSOCIATED,)), "gray and alpha"),
        (Layout(8, CIELAB, planar=2), "CIE"),
        (Layout(8, YCBCR, tile=16), "YCbCr without"),
        (Layout(8, YCBCR, planar=2), "YCbCr without"),
        (Layout(8, compression=PACKBITS, predictor=2), "predictor"),
    ],
    ids=str,
)
def test_these_are_failures_that_say_why(layout: Layout, why: str) -> None:
    encoder = PillowEncoder(EncodeSpec())
    (result,) = encoder.encode_batch([write_tiff(samples(layout), layout)])
    assert isinstance(result, SampleError)
    assert (result.stage, result.error) == ("decode", "ValueError")
    assert why in result.message
    assert "convert it" in result.message


def test_signed_samples_are_white_at_their_highest() -> None:
    layout = Layout(16, BLACK_IS_ZERO, signed=True)
    values = samples(layout)
    with contextlib.ExitStack() as held:
        picture = decode(write_tiff(values // 2, layout), EncodeSpec(), held).picture
    assert np.abs(np.asarray(picture) - expected(values, layout)[..., 0]).max() <= 1
    # Which value is black is not known then.
    (result,) = PillowEncoder(EncodeSpec()).encode_batch([write_tiff(values, layout)])
    assert isinstance(result, SampleError)


def layouts() -> Iterator[Layout]:
    extras = [(), (0,), (1,), (2,), (0, 0), (2, 0)]
    for photometric, extra in itertools.product(COLORS, extras):
        for bits, planar, compression, predictor, cut, order, fill in itertools.product(
            (1, 2, 4, 8, 12, 16),
            (1, 2),
            (NONE, DEFLATE, PACKBITS),
            (1, 2),
            ((0, 0), (0, 4), (16, 0)),
            "<>",
            (1, 2),
        ):
            alone = COLORS[photometric] + len(extra) == 1
            if (alone and planar == 2) or photometric == CIELAB:
                continue
            if predictor == 2 and (compression == NONE or bits not in (8, 16)):
                continue
            if photometric == PALETTE and bits > 8:
                continue
            yield Layout(
                bits, photometric, planar, compression, predictor, *cut, order, fill, extra
            )


@pytest.mark.slow
def test_every_layout_is_right_or_a_failure() -> None:
    header.silence_pillow()
    found = {layout: is_right(layout) for layout in layouts()}
    assert not [layout for layout, right in found.items() if right is False]
    assert sum(right is True for right in found.values()) > 1000
