from __future__ import annotations

import io
import json

import pytest
from support.exports import SHARED, picture
from support.tars import make_tar

from beam_export.verify.foreign import ForeignShard, check_foreign, find_foreign
from beam_export.verify.members import ImageCheck


def foreign(data: bytes, table: bytes | None = None, stats: bytes | None = None) -> list[str]:
    shard = ForeignShard("s", "s.tar", "s.parquet" if table else "", "s_stats.json")
    checked = check_foreign(shard, io.BytesIO(data), table, stats, ImageCheck(10**6, 10**6))
    return [fault.line() for fault in checked.faults]


def test_a_foreign_tar_is_read_to_its_end() -> None:
    data = make_tar(("a.jpg", picture(1)), ("b.jpg", picture(2)))
    assert foreign(data) == []
    assert "without the zero blocks" in foreign(data[:-1024])[0]
    assert any("ends within" in line for line in foreign(data[:900]))
    assert any("cannot be decoded" in line for line in foreign(make_tar(("a.jpg", b"no"))))


def test_counts_of_img2dataset() -> None:
    data = make_tar(("a.jpg", picture(1)))
    assert foreign(data, stats=json.dumps({"successes": 1, "count": 1}).encode()) == []
    assert "2 successes" in foreign(data, stats=b'{"successes": 2, "count": 2}')[0]
    assert "not what img2dataset writes" in foreign(data, stats=b"[]")[0]


def test_files_of_one_stem_are_a_shard() -> None:
    found = find_foreign(["a.tar", "a.parquet", "a_stats.json", "b.tar.gz", "c.parquet", "d.txt"])
    assert found == [
        ForeignShard("a", "a.tar", "a.parquet", "a_stats.json"),
        ForeignShard("b", "b.tar.gz", "", ""),
        ForeignShard("c", "", "c.parquet", ""),
    ]


@pytest.mark.parametrize(
    "folder", ["img2dataset/webdataset", "img2dataset/parquet", "nemo-curator"]
)
def test_exports_of_others(folder: str) -> None:
    place = SHARED / "data" / folder
    if not place.is_dir():
        pytest.skip(f"no {place}: exports of other tools are not part of the repository")
    for shard in find_foreign([path.name for path in place.iterdir()]):
        table = (place / shard.parquet).read_bytes()
        stats = (place / shard.stats).read_bytes() if shard.stats else None
        tar = io.BytesIO((place / shard.tar).read_bytes()) if shard.tar else None
        assert check_foreign(shard, tar, table, stats).faults == []
        if tar is not None:
            # The last sample is lost with its member, and its row remains.
            short = io.BytesIO(tar.getvalue()[: len(tar.getvalue()) // 2])
            assert check_foreign(shard, short, table, stats).faults != []
