"""Guesses how long this machine takes to write what is planned, for `--dry_run`."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["guess_seconds", "in_words"]


class _Cost(NamedTuple):
    """Seconds of a core that an image takes, and each byte of its source."""

    image: float
    byte: float


# Of benchmarks/speed/export_speed.py on an AMD EPYC, by images of 50 KB (copied, encoded) and of 12
# megapixels (resized); files that are in memory already.
_COPIED = _Cost(80e-6, 3e-9)
_ENCODED = _Cost(200e-6, 45e-9)
_RESIZED = _Cost(200e-6, 12e-9)
#: To start, to plan and to end.
_ALWAYS = 3.0


def guess_seconds(
    copied: tuple[int, int], encoded: tuple[int, int], *, resizes: bool, cores: int
) -> float:
    """Returns the seconds that an export may take on a machine like ours.

    Args:
        copied, encoded: (images, bytes of their sources).
        resizes: whether those that are encoded are resized, and so hardly decoded.
        cores: that work on it.

    >>> guess_seconds((1_000_000, 50_000_000_000), (0, 0), resizes=False, cores=2)
    118.0
    """
    work = 0.0
    for (images, bytes_), cost in ((copied, _COPIED), (encoded, _RESIZED if resizes else _ENCODED)):
        work += images * cost.image + bytes_ * cost.byte
    return round(_ALWAYS + work / cores, 1)


def in_words(seconds: float) -> str:
    """Returns a duration as it is said, no more exact than a guess is.

    >>> in_words(7), in_words(94), in_words(2_700), in_words(20_000), in_words(400_000)
    ('10 s', '2 min', '45 min', '6 h', '5 days')
    """
    if seconds < 60:
        return f"{max(10, 10 * round(seconds / 10))} s"
    if seconds < 5_400:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h" if seconds < 172_800 else f"{round(seconds / 86_400)} days"
