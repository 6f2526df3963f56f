"""Reads HEIC and HEIF with pillow-heif, if that is installed (the extra `heif`).

libheif applies the turns, mirrors and crops that the file states, so an image comes upright, and
its EXIF orientation, which the standard has no reader apply, does not count. Ten and twelve bits
come as eight. The primary image alone is read: no thumbnail, depth map or gain map.

Source: ISO/IEC 23008-12, 6.5 (properties) and A.2.1 (EXIF); ITU-T H.273 (colour codes).
"""

from __future__ import annotations

import contextlib
import functools
import io
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image, ImageFile

from beam_export.errors import SampleError
from beam_export.samples import MISSING_CODEC

__all__ = ["KINDS", "SUFFIXES", "color_codes", "heif_versions", "open_heif"]

#: What `header.sniff` calls these files.
KINDS = ("heic", "heif")
#: What people and phones call them.
SUFFIXES = frozenset({*KINDS, "hif"})

_MISSING = (
    "the image is HEIC or HEIF, which takes an extra to read: pip install 'beam_export[heif]', "
    "where the workers run"
)


#: Images beside the primary one would be parsed, and are never used; and there is a worker for each
#: core already.
_OPTIONS = {"THUMBNAILS": False, "DEPTH_IMAGES": False, "AUX_IMAGES": False, "DECODE_THREADS": 1}
_opening = threading.Lock()


@functools.cache
def _library() -> Any:
    """Returns the module `pillow_heif`; None if it is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return None
    return pillow_heif


def open_heif(data: bytes) -> ImageFile.ImageFile:
    """Returns an encoded image opened.

    Raises:
        SampleError: if the library is not installed.
        SyntaxError: if its header cannot be read.
    """
    library = _library()
    if library is None:
        raise SampleError("decode", MISSING_CODEC, _MISSING)
    # Its class itself and not `register_heif_opener`, which would change what all of the process
    # opens.
    with _opening, _set(library.options):
        im: ImageFile.ImageFile = library.HeifImageFile(io.BytesIO(data))
    return im


@contextlib.contextmanager
def _set(options: Any) -> Iterator[None]:
    """Sets the library's options, which are the whole process's, while an image is opened."""
    before = {name: getattr(options, name) for name in _OPTIONS}
    vars(options).update(_OPTIONS)
    try:
        yield
    finally:
        vars(options).update(before)


def color_codes(im: Image.Image) -> tuple[int, int] | None:
    """Returns the codes of primaries and transfer curve that a HEIF without a profile states."""
    stated = im.info.get("nclx_profile")
    if not isinstance(stated, Mapping):
        return None
    return int(stated["color_primaries"]), int(stated["transfer_characteristics"])


@functools.cache
def heif_versions() -> str | None:
    """Returns the versions of all that shapes the pixels; None if the library is not installed."""
    library = _library()
    if library is None:
        return None
    decoders = library.libheif_info()["decoders"]
    used = [str(text) for name, text in sorted(decoders.items()) if "265" in name or "265" in text]
    found = [f"pillow_heif {library.__version__}", f"libheif {library.libheif_version()}", *used]
    return ", ".join(found)
