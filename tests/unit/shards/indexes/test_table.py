from __future__ import annotations

import io

import pyarrow as pa
import pytest
from support.indexes import MEMBERS, indexed

from beam_export.naming import ShardNames
from beam_export.shards.indexes.table import IndexedShard, indexes_table, read_indexes
from beam_export.shards.parquet import write_table

NAMES = ShardNames("0123456789ab")


@pytest.mark.parametrize("kinds", [("counts", "dali", "energon", "wids"), ("wids",), ("energon",)])
def test_what_is_written_is_read(kinds: tuple[str, ...]) -> None:
    known = indexed(*MEMBERS, kinds=kinds)[1].known(NAMES, 0)
    shard = IndexedShard(number=0, samples=2, bytes=5632, tar_sha256="aa", indexes=known)
    made = indexes_table([shard], NAMES)
    assert read_indexes(made) == (kinds, {0: ("aa", known)})
    assert made == indexes_table([shard], NAMES)


def test_another_table_is_none() -> None:
    buffer = io.BytesIO()
    write_table(buffer, pa.table({"shard": [0]}))
    with pytest.raises(ValueError, match="not a table of indexes"):
        read_indexes(buffer.getvalue())
