"""The words of `--ensure`: what images can be made to be, so that readers show all of them alike.

A reader that knows nothing of EXIF shows an image turned; one that knows nothing of colour profiles
shows wrong colours; one that does not convert gray gives arrays of another shape for it.
"""

from __future__ import annotations

from beam_export.errors import InputError

__all__ = ["RGB", "SRGB", "UPRIGHT", "WORDS", "ensured"]

UPRIGHT, SRGB, RGB = "upright", "srgb", "rgb"
#: The words of `--ensure`, in the order in which hash and manifest have them.
WORDS = (UPRIGHT, SRGB, RGB)


def ensured(given: str | None) -> tuple[str, ...]:
    """Returns the words of `--ensure`, each once, in the order of `WORDS`.

    >>> ensured("rgb, upright"), ensured(None)
    (('upright', 'rgb'), ())

    Raises:
        InputError: if one is none of them.
    """
    if given is None:
        return ()
    words = [word.strip() for word in given.split(",")]
    unknown = next((word for word in words if word not in WORDS), None)
    if unknown is not None:
        raise InputError(
            f"--ensure={given} has {unknown!r}, which is none of {', '.join(WORDS)}: give some of "
            "those, separated by commas."
        )
    return tuple(word for word in WORDS if word in words)
