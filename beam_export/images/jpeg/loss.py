"""Finds lost data of a JPEG: what libjpeg reports while it decodes, which Pillow does not pass on.

libjpeg-turbo, through simplejpeg, decodes to an eighth of the size, gray where it can: the
entropy-coded data is read in full, and hardly a pixel is made. It stops at its first warning. If
that is no loss (some bytes too many, an odd revision number), the image is decoded again part by
part, so that no loss after it is missed. Few files need that.

JPEGs of odd sampling, which simplejpeg does not take, are checked by Pillow's pixels alone: bytes
appended to a scan's data change no pixel unless blocks were missing, and last bytes that can be
replaced without changing a pixel are too many.

Source: libjpeg-turbo 3.1, jerror.h (messages), jdmarker.c (`next_marker`, `read_restart_marker`),
jdhuff.c (`process_restart`).
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import JpegImagePlugin

from beam_export.images.jpeg.inspect import inspect
from beam_export.images.jpeg.intervals import split_intervals
from beam_export.images.jpeg.scans import Scan, close, one_interval, open_scans
from beam_export.images.jpeg.segments import frame_components
from beam_export.images.jpeg.structure import MissingScansError

__all__ = ["MOST_EXTRA", "lost_data", "missing_scans"]

#: Most bytes too many before a marker that are no loss (format.md, part 5).
MOST_EXTRA = 16

_EXTRA = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_LOSSES = ("Corrupt JPEG data", "Premature end", "Inconsistent progression")
_REMARKS = (
    "Warning: unknown JFIF",
    "Unknown Adobe color",
    "Invalid SOS parameters",
    "Corrupt JPEG data: bad ICC marker",
)
_ODD_SAMPLING = "Could not determine subsampling"
_END = 0xD9

#: libjpeg's warning for a sound interval with a restart marker out of order after it: the end of
#: its data was reached, and no byte was missing. See `scans.one_interval`.
_SOUND_INTERVAL = "Corrupt JPEG data: found marker 0xd1 instead of RST0"

#: Markers of application segments put after scans: a warning names the marker, and so the scan.
_TAGS = (*range(0xE1, 0xEE), 0xEF)
#: Most pixels and intervals that are decoded again of a file with many warnings.
_MOST_PIXELS_AGAIN = 2_000_000_000
_MOST_INTERVALS = 100_000
#: Most pixels and scans of an image of odd sampling, which is decoded several times per scan.
_MOST_PIXELS_OF_TAILS = 50_000_000
_MOST_SCANS_OF_TAILS = 16
_OTHERS = (b"\x6d\xb3\x5a\xc5", b"\x92\x4c\xa5\x3a")
_MORE = 64
#: Last bytes of a scan that may be of pixels beyond the edge.
_LAST = 9


def lost_data(data: bytes) -> str | None:
    """Returns what a JPEG has lost, in libjpeg's words; None if nothing.

    A file that libjpeg refuses altogether has lost nothing by this: decoding it fails anyway. Some
    damage decodes to some picture and is not reported (docs/reliability.md).

    Args:
        data: a JPEG, within the limits of pixels and scans.
    """
    components = frame_components(data)
    found = _first_warning(data, components)
    if found is None:
        return missing_scans(data)
    if _ODD_SAMPLING in found and components:
        return _loss_of_odd(data)
    if not found.startswith((*_LOSSES, *_REMARKS)):
        return None
    if found.startswith(_REMARKS):
        return _part_by_part(data, components)
    extra = _EXTRA.fullmatch(found)
    if extra is None:
        return found
    if int(extra[1]) > MOST_EXTRA:
        return found
    # Nothing comes after the end of the image.
    return None if int(extra[2], 16) == _END else _part_by_part(data, components)


def _loss_of_odd(data: bytes) -> str | None:
    """Returns what a JPEG has lost whose sampling simplejpeg does not take; None if nothing."""
    try:
        scans = open_scans(data, MOST_EXTRA)
    except ValueError as error:
        return f"Corrupt JPEG data: {error}"
    return _loss_at_tails(scans, MOST_EXTRA)


def missing_scans(data: bytes) -> str | None:
    """Returns which scans are missing of a JPEG that ends between two, which no decoder reports."""
    try:
        inspect(data)
    except MissingScansError as error:
        return f"{error}"
    except ValueError:
        pass
    return None


def _first_warning(data: bytes, components: int) -> str | None:
    """Returns libjpeg's first warning or error for a JPEG; None if there is none."""
    try:
        simplejpeg.decode_jpeg(
            data,
            "CMYK" if components == 4 else "GRAY",
            fastdct=True,
            fastupsample=True,
            min_height=1,
            min_width=1,
            min_factor=8,
            strict=True,
        )
    except ValueError as error:
        return str(error)
    return None


def _part_by_part(data: bytes, components: int) -> str | None:
    """Returns the first loss of a JPEG, decoded in parts; None if it has none.

    For one whose first warning is of no loss: it hides the warnings that follow.
    """
    try:
        scans = open_scans(data, MOST_EXTRA)
    except ValueError as error:
        return f"Corrupt JPEG data: {error}"
    if scans[0].is_sequential and all(scan.coded.interval for scan in scans):
        return next(_losses_of_intervals(scans), None)
    return _loss_of_scans(scans, components)


def _loss_of_scans(scans: list[Scan], components: int) -> str | None:
    """Returns the first loss of scans, decoded in order: later ones may need the earlier ones.

    Bytes too many after a scan are cut off when they are found, since libjpeg stops there.
    """
    first = 0
    rounds = max(2 * len(scans), 8)
    rounds = min(rounds, max(4, _MOST_PIXELS_AGAIN // (scans[0].pixels * len(scans))))
    for _ in range(rounds):
        window = scans[first : first + len(_TAGS)]
        found = _first_warning(
            close(scans[:first], list(zip(window, _TAGS, strict=False))), components
        )
        if found is None or not found.startswith(_LOSSES):
            first += len(_TAGS)
            if first >= len(scans):
                return None
            continue
        extra = _EXTRA.fullmatch(found)
        number = int(extra[2], 16) if extra else 0
        if extra is None or int(extra[1]) > MOST_EXTRA or number not in _TAGS[: len(window)]:
            return found
        first += _TAGS.index(number)
        scans[first] = scans[first].shortened(int(extra[1]))
    return "Corrupt JPEG data: bytes too many in more places than are looked into"


def _losses_of_intervals(scans: list[Scan]) -> Iterator[str]:
    """Yields the loss of each restart interval, decoded alone: it needs no other interval."""
    seen = 0
    for scan in scans:
        whole, interval = scan.coded, scan.coded.interval
        for number, part in enumerate(split_intervals(scan.data, whole)):
            seen += 1
            if seen > _MOST_INTERVALS:
                yield "Corrupt JPEG data: bytes too many among more intervals than are looked into"
            units = min(interval, whole.units - number * interval)
            found = _first_warning(one_interval(scan, part, units), scan.components)
            if found is None or found == _SOUND_INTERVAL or not found.startswith(_LOSSES):
                continue
            extra = _EXTRA.fullmatch(found)
            if extra is None or int(extra[1]) > MOST_EXTRA:
                yield found


def _loss_at_tails(scans: list[Scan], most_extra: int) -> str | None:
    """Returns the loss at the end of a scan's data; None if there is none, or it is not seen.

    Args:
        scans: of a JPEG that Pillow decodes.
        most_extra: most bytes too many that are no loss.
    """
    if scans[0].pixels > _MOST_PIXELS_OF_TAILS or len(scans) > _MOST_SCANS_OF_TAILS:
        return None
    try:
        pixels = _digest(scans)
        for at, scan in enumerate(scans):
            more = [scan.data + (other * _MORE)[:_MORE] for other in _OTHERS]
            if any(_digest(_with_data(scans, at, data)) != pixels for data in more):
                return "Corrupt JPEG data: premature end of data segment"
            kept = scan.data[: -(most_extra + _LAST)]
            others = [kept + (other * _MORE)[: most_extra + _LAST] for other in _OTHERS]
            if kept and all(_digest(_with_data(scans, at, data)) == pixels for data in others):
                return f"Corrupt JPEG data: more than {most_extra} extraneous bytes behind a scan"
    except (OSError, SyntaxError, ValueError):
        # Decoding the image fails with the reason.
        pass
    return None


def _with_data(scans: list[Scan], at: int, data: bytes) -> list[Scan]:
    return [*scans[:at], scans[at]._replace(data=data), *scans[at + 1 :]]


def _digest(scans: list[Scan]) -> bytes:
    with JpegImagePlugin.JpegImageFile(io.BytesIO(close(scans, []))) as im:
        return hashlib.sha256(np.asarray(im).data).digest()
