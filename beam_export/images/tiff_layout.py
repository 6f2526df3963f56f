"""TIFF layouts that Pillow reads as something else than they are, without a word.

Found by reading files of every layout that could be made (planes, depths, compressions,
predictors, tiles, byte orders, colours, extra samples) and comparing their pixels.

Source: TIFF 6.0, sections 8 (planes), 14 (predictor), 21 (YCbCr), 23 (CIE
L*a*b*); libtiff 4.7, tif_predict.c, for the codecs that have a predictor.
"""

from __future__ import annotations

from PIL import TiffImagePlugin

__all__ = ["check_layout"]

_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR = 258, 259, 262, 284
_FILL_ORDER, _PREDICTOR = 266, 317
_YCBCR, _CIELAB = 6, 8
_IN_PLANES = 2
#: libtiff undoes no predictor of the second, which others write with one.
_NONE, _PACKBITS = 1, 32773


def check_layout(im: TiffImagePlugin.TiffImageFile) -> None:
    """Raises ValueError if Pillow would give other pixels than a TIFF has.

    Args:
        im: opened, and not loaded.
    """
    if (why := _misread(im)) is not None:
        raise ValueError(f"{why}, which is not read here: convert it to a TIFF of another layout")


def _misread(im: TiffImagePlugin.TiffImageFile) -> str | None:
    tags = im.tag_v2
    bits = tuple(tags.get(_BITS, (1,)))
    compression = tags.get(_COMPRESSION, _NONE)
    photometric = tags.get(_PHOTOMETRIC, 0)
    plain = compression == _NONE
    if tags.get(_PLANAR, 1) == _IN_PLANES and len(bits) > 1:
        if plain and max(bits) > 8:
            return f"it has planes of {max(bits)} bits without compression"
        if plain and tags.get(_FILL_ORDER, 1) != 1:
            return "it has planes without compression whose bits are in reverse"
        if im.mode in ("LA", "PA") and not plain:
            return "it has compressed planes of gray and alpha"
        if photometric == _CIELAB:
            return "it has planes of CIE L*a*b*"
    if photometric == _YCBCR and plain and len(bits) > 1:
        return "its pixels are YCbCr without compression"
    if tags.get(_PREDICTOR, 1) != 1 and compression == _PACKBITS:
        return "it has a predictor, which its compression (PackBits) does not know"
    return None
