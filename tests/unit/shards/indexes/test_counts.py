from __future__ import annotations

import json

import pytest

from beam_export.naming import ShardNames
from beam_export.shards.indexes.counts import count_of_sizes, nshards_txt, sizes_json

NAMES = ShardNames("0123456789ab")


def test_open_clip_and_clip_benchmark_read_them() -> None:
    made = sizes_json({NAMES.tar(0): 5, NAMES.tar(1): 3})
    assert json.loads(made) == {NAMES.tar(0): 5, NAMES.tar(1): 3}
    assert int(nshards_txt(2)) == count_of_sizes(made) == 2


@pytest.mark.parametrize(
    "data", [b"{}", b"{", b"[1]", b'{"00000.tar": 5}', b'{"images-0123456789ab-000000.tar": "5"}']
)
def test_sizes_of_others_are_not_ours(data: bytes) -> None:
    assert count_of_sizes(data) is None
