from __future__ import annotations

import pytest

from beam_export.naming import ShardNames
from beam_export.shards.ended_runs import failures_of_ended_run

ONE, OTHER = ShardNames("0" * 12), ShardNames("1" * 12)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], ""),
        (["a.tar", "notes.txt"], ""),
        ([ONE.failures], ONE.failures),
        ([ONE.failures, ONE.tar(0), ONE.parquet(0), "README.md"], ONE.failures),
        ([ONE.failures, OTHER.failures], ONE.failures),
        ([ONE.tar(0), ONE.parquet(0)], ""),
        # It ended well, and has lost its manifest.
        ([ONE.failures, ONE.shards], ""),
        ([ONE.failures, OTHER.tar(0)], ""),
    ],
)
def test_a_list_of_failures_without_a_table_of_shards_ended_its_run(
    files: list[str], found: str
) -> None:
    assert failures_of_ended_run(files) == found
