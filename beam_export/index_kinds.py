"""The kinds of indexes that loaders read beside the shards, and the words that ask for them."""

from __future__ import annotations

from beam_export.errors import InputError

__all__ = ["COUNTS", "DALI", "ENERGON", "KINDS", "WIDS", "index_kinds"]

DALI, ENERGON, WIDS = "dali", "energon", "wids"
#: `sizes.json` and `nshards.txt`, which have no word of their own.
COUNTS = "counts"
KINDS = (COUNTS, DALI, ENERGON, WIDS)

_WORDS = {DALI: (DALI,), WIDS: (WIDS,), ENERGON: (ENERGON,), "all": KINDS}


def index_kinds(text: str | None) -> tuple[str, ...]:
    """Returns the kinds that a value of `--index` asks for, sorted.

    >>> index_kinds("wids,dali"), index_kinds("all"), index_kinds(None)
    (('dali', 'wids'), ('counts', 'dali', 'energon', 'wids'), ())

    Raises:
        InputError: if a word of it is not one.
    """
    if text is None:
        return ()
    words = [word.strip() for word in text.split(",")]
    return tuple(sorted({kind for word in words for kind in _kinds_of(word, text)}))


def _kinds_of(word: str, text: str) -> tuple[str, ...]:
    if word not in _WORDS:
        raise InputError(
            f"--index={text} names {word!r}, for which there is no index: give "
            f"{', '.join(_WORDS)}, or several with commas between them."
        )
    return _WORDS[word]
