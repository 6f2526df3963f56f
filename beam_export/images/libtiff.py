"""Silences libtiff, which writes of each damaged TIFF to the terminal, past Python's own streams.

What is wrong with an image is a row of the table of failures; a line for each of millions of images
hides what a run says.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re

__all__ = ["silence_libtiff"]

#: The file of the library among those that this process has loaded, behind the fields of a line.
_LOADED = re.compile(r"\s(/\S.*/libtiff[^/\n]*\.so[^/\n]*)$", re.MULTILINE)


@functools.cache
def silence_libtiff() -> bool:
    """Takes away libtiff's handler of errors, for the whole process; returns whether it could.

    A Pillow that was built with libtiff inside leaves nothing to be found, and stays as it is.
    """
    with contextlib.suppress(OSError, AttributeError, UnicodeDecodeError):
        with open("/proc/self/maps", encoding="utf-8") as maps:
            found = _LOADED.search(maps.read())
        if found is not None:
            # Loaded already: this is the copy that Pillow uses.
            set_handler = ctypes.CDLL(found[1]).TIFFSetErrorHandler
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
            return True
    return False
