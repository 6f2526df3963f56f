"""Whether the data of a JPEG's scans ends where its blocks do, told by Pillow's pixels alone.

For the few JPEGs that `simplejpeg` does not take, those of odd sampling. Bytes put behind a scan's
data change no pixel, unless blocks were missing; and bytes that change none when they are others
are too many.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import JpegImagePlugin

from beam_export.images.jpeg.scans import Scan, close

__all__ = ["loss_at_tails"]

#: What is decoded several times is not to be large.
_MOST_PIXELS = 50_000_000
_MOST_SCANS = 16
_OTHERS = (b"\x6d\xb3\x5a\xc5", b"\x92\x4c\xa5\x3a")
_MORE = 64
#: The last bytes of a scan may be of pixels that nobody sees.
_LAST = 9


def loss_at_tails(scans: list[Scan], most_extra: int) -> str | None:
    """Returns what is wrong with the end of a scan's data; None if nothing is, or it is not seen.

    Args:
        scans: of a JPEG that Pillow decodes.
        most_extra: bytes too many that are no loss.
    """
    if scans[0].pixels > _MOST_PIXELS or len(scans) > _MOST_SCANS:
        return None
    try:
        pixels = _digest(scans)
        for at, scan in enumerate(scans):
            more = [scan.data + (other * _MORE)[:_MORE] for other in _OTHERS]
            if any(_digest(_with(scans, at, data)) != pixels for data in more):
                return "Corrupt JPEG data: premature end of data segment"
            kept = scan.data[: -(most_extra + _LAST)]
            others = [kept + (other * _MORE)[: most_extra + _LAST] for other in _OTHERS]
            if kept and all(_digest(_with(scans, at, data)) == pixels for data in others):
                return f"Corrupt JPEG data: more than {most_extra} extraneous bytes behind a scan"
    except (OSError, SyntaxError, ValueError):
        # Whoever decodes it says what is wrong.
        pass
    return None


def _with(scans: list[Scan], at: int, data: bytes) -> list[Scan]:
    return [*scans[:at], scans[at]._replace(data=data), *scans[at + 1 :]]


def _digest(scans: list[Scan]) -> bytes:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(close(scans, []))) as im:
        return hashlib.sha256(np.asarray(im).data).digest()
