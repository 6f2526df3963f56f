"""Images of tables are looked at late: only those that are left, and each row group once."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import check_export, directory_hashes, picture
from support.runs import run_export

from beam_export.errors import RunError

ROWS, PER_GROUP = 24, 6
IDS = [f"s{number:02d}" for number in range(ROWS)]


def write_rows(path: Path, **columns: Any) -> Path:
    """Writes a Parquet of images in row groups of 6, whose scores are their numbers."""
    table = pa.table(
        {
            "id": IDS,
            "jpg": [picture(number) for number in range(ROWS)],
            "score": list(range(ROWS)),
            **columns,
        }
    )
    pq.write_table(table, path, row_group_size=PER_GROUP, use_dictionary=False)
    return path


def spoil(path: Path, groups: list[int], column: str = "jpg") -> None:
    """Makes a column of row groups unreadable: whoever reads it gets an error."""
    metadata = pq.read_metadata(path)
    data = bytearray(path.read_bytes())
    at = metadata.schema.to_arrow_schema().get_field_index(column)
    for group in groups:
        chunk = metadata.row_group(group).column(at)
        data[chunk.data_page_offset : chunk.data_page_offset + 64] = b"\xff" * 64
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["filter", "ids"])
def test_row_groups_of_which_nothing_is_left_are_not_read(how: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.parquet")
    spoil(source, [0, 1, 3])
    (tmp_path / "ids.txt").write_text("s13\ns15\n")
    options = {"filter": "score in (13, 15)", "ids": str(tmp_path / "ids.txt")}
    export = run_export(source, tmp_path / "out", **{how: options[how]})
    assert export.ids == ["s13", "s15"]
    assert [export.image(row) for row in export.rows] == [picture(13), picture(15)]
    assert export.manifest["totals"]["filtered"] == ROWS - 2
    check_export(export.out, 1000)


def test_a_filter_on_sizes_is_asked_of_all(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.parquet")
    sizes = [len(picture(number)) for number in range(ROWS)]
    bound = sorted(sizes)[ROWS // 2]
    export = run_export(source, tmp_path / "out", filter=f"size >= {bound}")
    assert export.ids == [one for one, size in zip(IDS, sizes, strict=True) if size >= bound]
    assert 0 < len(export.ids) < ROWS


@pytest.mark.slow
def test_rows_that_travelled_apart_are_read_the_same_by_any_number_of_workers(
    tmp_path: Path,
) -> None:
    source = write_rows(tmp_path / "t.parquet")
    (tmp_path / "ids.txt").write_text("\n".join(IDS[::2]))
    one, two = (
        run_export(
            source,
            tmp_path / f"out{workers}",
            workers=workers,
            ids=str(tmp_path / "ids.txt"),
            order="shuffled",
            images_per_tar=5,
        )
        for workers in (1, 2)
    )
    assert sorted(one.ids) == IDS[::2]
    assert directory_hashes(one.out) == directory_hashes(two.out)


def test_the_same_samples_have_the_same_hash_wherever_they_are(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.parquet")
    pq.write_table(pq.read_table(source).drop_columns(["score"]), source, row_group_size=5)
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for number, ident in enumerate(IDS):
            info = tarfile.TarInfo(f"{ident}.jpg")
            info.size = len(picture(number))
            tar.addfile(info, io.BytesIO(picture(number)))
    rows, members = (
        run_export(tmp_path / name, tmp_path / f"out-{name}", order="shuffled", images_per_tar=9)
        for name in ("t.parquet", "t.tar")
    )
    assert rows.hash == members.hash
    assert [one.members for one in rows.shards] == [one.members for one in members.shards]


def test_a_file_that_is_given_twice(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.parquet")
    export = run_export(f"{source},{source}", tmp_path / "out", duplicates="rename")
    assert export.ids == [*IDS, *(f"{ident}-1" for ident in IDS)]
    assert [export.image(row) for row in export.rows] == 2 * [picture(n) for n in range(ROWS)]


def test_rows_of_a_damaged_row_group_are_listed_one_by_one(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "t.parquet")
    spoil(source, [1])
    with pytest.raises(RunError, match=r"t\.parquet.*allow_broken_sources"):
        run_export(source, tmp_path / "out", max_failed_fraction=1)
    export = run_export(source, tmp_path / "out", max_failed_fraction=1, allow_broken_sources=True)
    assert export.ids == [*IDS[:6], *IDS[12:]]
    assert [one["image_id"] for one in export.failures] == [*IDS[6:12], "t.parquet"]
    assert {one["stage"] for one in export.failures} == {"list"}
    assert export.failures[-1]["error"] == "BrokenSource"
