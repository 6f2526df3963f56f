"""What the components of a JPEG stand for, and how its chroma is sampled.

Source: ITU-T T.81 (09/92), A.1.1; JFIF 1.02; for the colour space, which no standard settles, what
libjpeg does (`default_decompress_parms`).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["color_of", "sampling_of"]

#: Samples of luma for one of chroma, across and down, that every reader takes.
_SAMPLINGS = {(1, 1): "444", (1, 2): "440", (2, 1): "422", (2, 2): "420", (4, 1): "411"}
_FACTORS = {1, 2, 4}


def color_of(numbers: Sequence[int], jfif: bool, adobe: int | None) -> str:
    """Returns `gray`, `ycbcr`, `rgb`, `cmyk` or `ycck`, as libjpeg decides it.

    Args:
        numbers: of the components, in the frame's order.
        jfif: whether a JFIF segment has come.
        adobe: the transform of an Adobe segment; None for no such segment.
    """
    if len(numbers) == 1:
        return "gray"
    if len(numbers) == 4:
        return "ycck" if adobe == 2 else "cmyk"
    if jfif:
        return "ycbcr"
    if adobe is not None:
        return "rgb" if adobe == 0 else "ycbcr"
    return "rgb" if tuple(numbers) == tuple(b"RGB") else "ycbcr"


def sampling_of(factors: Sequence[tuple[int, int]]) -> str:
    """Returns `444`, `440`, `422`, `420` or `411` by the ratio of luma to chroma, or `""`.

    Args:
        factors: (horizontal, vertical) of each component; anything but three gives `""`.
    """
    if len(factors) != 3 or factors[1] != factors[2]:
        return ""
    if not {side for pair in factors for side in pair} <= _FACTORS:
        return ""
    (luma_h, luma_v), (chroma_h, chroma_v) = factors[:2]
    if luma_h % chroma_h or luma_v % chroma_v:
        return ""
    return _SAMPLINGS.get((luma_h // chroma_h, luma_v // chroma_v), "")
