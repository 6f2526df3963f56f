"""Says in lines of text what each split has, which have none, and under which names they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from beam_export.text import cut, quantity

__all__ = ["key_lines", "split_lines"]

#: Splits that are named, and letters of each.
_MOST, _LETTERS = 20, 60


def split_lines(splits: Iterable[tuple[str, int, int]], more: int = 0) -> Iterator[str]:
    r"""Yields a line about the splits, and one about those that are empty.

    >>> print("\n".join(split_lines([("train", 98, 10), ("val", 0, 0)])))
      splits: train 98 in 10 shards
      no sample falls into the split val: it is left out of card and indexes

    Args:
        splits: (name, samples, shards), in the order of their shards.
        more: how many there are beside those.
    """
    given = list(splits)
    full = [
        f"{cut(name, _LETTERS)} {samples} in {quantity(shards, 'shard')}"
        for name, samples, shards in given
        if shards
    ]
    if full:
        yield f"  splits: {_listed(full, more)}"
    empty = [cut(name, _LETTERS) for name, _, shards in given if not shards]
    if empty:
        words = ("split", "it is") if len(empty) == 1 else ("splits", "they are")
        yield (
            f"  no sample falls into the {words[0]} {_listed(empty)}: {words[1]} left out of card "
            "and indexes"
        )


def key_lines(splits: Iterable[tuple[str, str]]) -> Iterator[str]:
    r"""Yields a line about the splits that loaders know by another name; none if there are none.

    >>> print("\n".join(key_lines([("train", "train"), ("b-c", "b_c")])))
      under another name in card and indexes, which loaders take: b-c is b_c

    Args:
        splits: (name, that which files and loaders give it: `naming.split_key`).
    """
    other = [f"{cut(name, _LETTERS)} is {key}" for name, key in splits if key != name]
    if other:
        yield f"  under another name in card and indexes, which loaders take: {_listed(other)}"


def _listed(items: list[str], more: int = 0) -> str:
    left_out = len(items[_MOST:]) + more
    return ", ".join([*items[:_MOST], *([f"{left_out} more"] if left_out else [])])
