"""`sizes.json`, samples per shard (open_clip), and `nshards.txt`, how many (CLIP_benchmark).

Sources: `get_dataset_size` of open_clip's `open_clip_train/data.py`; CLIP_benchmark's
`datasets/builder.py`, which reads the first line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from beam_export.naming import parse

__all__ = ["NSHARDS", "SIZES", "count_of_sizes", "nshards_txt", "sizes_json", "tars_of_one_export"]

SIZES, NSHARDS = "sizes.json", "nshards.txt"


def sizes_json(samples: Mapping[str, int]) -> bytes:
    """Returns `sizes.json` of the samples by the name of the tar.

    >>> sizes_json({"images-0123456789ab-000000.tar": 7})
    b'{\\n  "images-0123456789ab-000000.tar": 7\\n}\\n'
    """
    return json.dumps(samples, indent=2).encode("ascii") + b"\n"


def nshards_txt(shards: int) -> bytes:
    """Returns `nshards.txt` of a number of shards."""
    return f"{shards}\n".encode("ascii")


def count_of_sizes(data: bytes) -> int | None:
    """Returns how many shards a `sizes.json` of ours lists; None if it is not one."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return len(content) if tars_of_one_export(content) else None


def tars_of_one_export(samples: object) -> bool:
    """Returns whether something maps all tars of one export of ours to their samples.

    >>> tars_of_one_export({"images-0123456789ab-000000.tar": 7}), tars_of_one_export({"a.tar": 7})
    (True, False)
    """
    if not isinstance(samples, dict) or not samples:
        return False
    found = [parse(name) for name in samples]
    if not all(type(count) is int for count in samples.values()):
        return False
    tars = [one for one in found if one is not None and one.kind == "tar"]
    same = len({one.hash for one in tars}) == 1
    return same and [one.number for one in tars] == list(range(len(samples)))
