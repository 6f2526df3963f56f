"""`beam_export.images.dali.engine`: what it hands to NVIDIA's libraries."""

from __future__ import annotations

import io

from PIL import Image
from support.pictures import OnDevice

from beam_export.images.dali.engine import plain_jpeg


def test_turned_views_are_made_dense() -> None:
    from beam_export.images.dali.engine import _contiguous

    class Tensor(OnDevice):
        def contiguous(self) -> str:
            return "dense"

    assert _contiguous(Tensor((2, 3, 3), strides=(3, 6, 1))) == "dense"
    for strides in (None, (9, 3, 1)):
        array = Tensor((2, 3, 3), strides=strides)
        assert _contiguous(array) is array


def test_plain_jpegs_are_plain() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        with Image.open(io.BytesIO(plain_jpeg(7, 5, channels))) as im:
            assert (im.size, im.mode) == ((7, 5), mode)
