from __future__ import annotations

import json

import pytest

from beam_export.naming import ShardNames
from beam_export.shards.indexes.wids import WidsShard, is_wids_index, wids_index

NAMES = ShardNames("0123456789ab")
SHARDS = [WidsShard(NAMES.tar(number), "ab" * 16, 5 + number, 10_240) for number in (0, 1)]
MADE = wids_index(NAMES.wids_index(), SHARDS)


def test_it_is_what_widsindex_writes() -> None:
    assert MADE.decode() == (
        '{\n  "__kind__": "wids-shard-index-v1",\n  "wids_version": 1,\n  "shardlist": [\n'
        '    {\n      "url": "images-0123456789ab-000000.tar",\n'
        '      "md5sum": "abababababababababababababababab",\n'
        '      "nsamples": 5,\n      "filesize": 10240\n    },\n'
        '    {\n      "url": "images-0123456789ab-000001.tar",\n'
        '      "md5sum": "abababababababababababababababab",\n'
        '      "nsamples": 6,\n      "filesize": 10240\n    }\n'
        '  ],\n  "name": "images-0123456789ab"\n}'
    )
    assert is_wids_index(MADE, NAMES)


def test_an_index_of_a_split_is_named_after_it() -> None:
    made = json.loads(wids_index(NAMES.wids_index("val"), SHARDS[1:]))
    assert (made["name"], len(made["shardlist"])) == ("images-0123456789ab-val", 1)


@pytest.mark.parametrize(
    "data",
    [
        json.dumps({**json.loads(MADE), "base": "gs://mine"}).encode(),
        MADE.replace(b"000001.tar", b"000001.tgz"),
        MADE.replace(b"0123456789ab", b"ba9876543210"),
        MADE.replace(b"nsamples", b"samples"),
        MADE[:-1],
        b"[]",
    ],
)
def test_an_edited_one_is_somebody_elses(data: bytes) -> None:
    assert not is_wids_index(data, NAMES)
