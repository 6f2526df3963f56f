"""The fewest globs that match a run of consecutive shards, and no shard of others.

A glob has digits and classes `[a-b]` alone, since the readers of a dataset card know no ranges in
braces. Each matches shards that follow one another, so that a reader that takes the globs in turn,
and the files of each by name, reads the shards in their order; no shard is matched twice, which
such a reader would read twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from beam_export.naming import ShardNames

__all__ = ["number_globs", "tar_globs"]

#: Digits that numbers are padded to.
_WIDTH = 6


def tar_globs(names: ShardNames, shards: range, total: int) -> list[str]:
    """Returns the globs of the tars of consecutive shards.

    Args:
        names: of the dataset's files.
        shards: numbers of the shards, at least one.
        total: shards of the dataset: a glob may match numbers beyond, of which there are none.
    """
    return [f"images-{names.hash}-{one}.tar" for one in number_globs(shards, total)]


def number_globs(shards: range, total: int) -> list[str]:
    """Returns globs for numbers as they stand in names.

    >>> number_globs(range(0, 98), 100), number_globs(range(98, 100), 100)
    (['0000[0-8][0-9]', '00009[0-7]'], ['00009[8-9]'])

    Args:
        shards, total: as of `tar_globs`.
    """
    stops = [shards.stop]
    if shards.stop == total:
        # Beyond the last shard all numbers are free: rounded up, fewer globs may do.
        width = max(_WIDTH, len(str(total - 1)))
        stops += [-(-shards.stop // 10**digits) * 10**digits for digits in range(1, width + 1)]
    candidates = [list(_globs(shards.start, stop)) for stop in stops]
    # Of as few, the first, which matches the fewest numbers.
    return min(candidates, key=len)


def _globs(start: int, stop: int) -> Iterator[str]:
    """Yields globs for the numbers from `start` to before `stop`: the longest run, again and again.

    A run is of one digit that varies, or has several values, and of any digits behind it.
    """
    while start < stop:
        width = max(_WIDTH, len(str(start)))
        free = 0
        while (
            free + 1 < width and start % 10 ** (free + 1) == 0 and start + 10 ** (free + 1) <= stop
        ):
            free += 1
        block = 10**free
        digit = start // block % 10
        count = min(10 - digit, (stop - start) // block)
        head = f"{start:0{width}d}"[: width - free - 1]
        yield head + _class(digit, digit + count - 1) + "[0-9]" * free
        start += count * block


def _class(first: int, last: int) -> str:
    return str(first) if first == last else f"[{first}-{last}]"
