from __future__ import annotations

import csv
import datetime
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import SHARED, Export, check_export, picture
from support.runs import run_export

from beam_export.errors import InputError, RunError

MOMENT = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
needs_data = pytest.mark.skipif(
    not (SHARED / "data").exists(), reason="the shared data are not here"
)


def write(path: Path, table: pa.Table, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def columns(export: Export) -> pa.Schema:
    schema = export.shards[0].table.schema
    return pa.schema([(field.name, field.type) for field in list(schema)[11:]])


def images(export: Export) -> list[bytes]:
    return [export.image(row) for row in export.rows]


def sentence(source: Path | str, out: Path, **options: Any) -> str:
    with pytest.raises((InputError, RunError)) as caught:
        run_export(source, out, **options)
    return caught.value.sentence


# Images inside Parquet.


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Export, list[bytes]]:
    """25 images in three row groups of two files, with a column of every sort."""
    folder = tmp_path_factory.mktemp("inside")
    data = [picture(number) for number in range(25)]
    schema = pa.schema(
        [
            ("image", HF),
            ("score", pa.float32()),
            ("small", pa.int16()),
            ("when", pa.timestamp("ns", "UTC")),
            ("tags", pa.list_(pa.string())),
            ("box", pa.struct([("x", pa.int32()), ("note", pa.large_string())])),
            ("embedding", pa.list_(pa.float32())),
            ("width", pa.int32()),
        ]
    )
    rows = [
        {
            "image": {"bytes": one, "path": f"p/{number:03d}.jpg"},
            "score": number / 3,
            "small": number if number % 2 else None,
            "when": MOMENT,
            "tags": ["a", None] if number else None,
            "box": {"x": number, "note": "é"} if number != 3 else None,
            "embedding": [0.1, number],
            "width": -number,
        }
        for number, one in enumerate(data)
    ]
    table = pa.Table.from_pylist(rows, schema)
    write(folder / "in" / "a.parquet", table.slice(0, 20), row_group_size=13)
    write(folder / "in" / "b.parquet", table.slice(20))
    return run_export(folder / "in", folder / "out", images_per_tar=7), data


def test_images_inside_parquet_come_in_order_as_they_are(
    inside: tuple[Export, list[bytes]],
) -> None:
    export, data = inside
    assert export.sizes == [7, 7, 7, 4]
    assert export.ids == [f"p/{number:03d}" for number in range(25)]
    assert [row["original_path"] for row in export.rows] == [
        f"p/{number:03d}.jpg" for number in range(25)
    ]
    assert images(export) == data
    check_export(export.out, 7)


def test_all_columns_come_back_with_their_types(inside: tuple[Export, list[bytes]]) -> None:
    export, _ = inside
    assert columns(export) == pa.schema(
        [
            ("box", pa.struct([("note", pa.large_string()), ("x", pa.int32())])),
            ("embedding", pa.list_(pa.float32())),
            ("input_width", pa.int32()),
            ("score", pa.float32()),
            ("small", pa.int16()),
            ("tags", pa.list_(pa.string())),
            ("when", pa.timestamp("ns", "UTC")),
        ]
    )
    row = export.rows[5]
    assert (row["small"], row["tags"], row["input_width"]) == (5, ["a", None], -5)
    assert row["box"] == {"x": 5, "note": "é"}
    assert export.rows[3]["box"] is None
    assert row["when"] == MOMENT
    assert [one["score"] for one in export.rows] == pytest.approx([n / 3 for n in range(25)])


@pytest.mark.slow
def test_a_shuffle_over_row_groups_is_the_same_with_other_workers(tmp_path: Path) -> None:
    data = [picture(number) for number in range(12)]
    table = pa.table({"jpg": data, "key": [f"k{number}" for number in range(12)]})
    source = write(tmp_path / "t.parquet", table, row_group_size=5)
    one, two = (
        run_export(source, tmp_path / f"out{n}", workers=n, order="shuffled", images_per_tar=5)
        for n in (1, 2)
    )
    assert one.hash == two.hash
    assert one.ids == two.ids != sorted(one.ids)
    by_id = {f"k{number}": image for number, image in enumerate(data)}
    assert images(one) == [by_id[name] for name in one.ids]


def test_rows_without_an_image_are_listed_and_those_with_a_path_are_read(tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(picture(1))
    rows = [
        {"image": {"bytes": picture(2), "path": None}},
        {"image": {"bytes": None, "path": "there.jpg"}},
        {"image": {"bytes": None, "path": "gone.jpg"}},
        {"image": {"bytes": None, "path": None}},
        {"image": None},
    ]
    source = write(tmp_path / "t.parquet", pa.Table.from_pylist(rows, pa.schema([("image", HF)])))
    export = run_export(source, tmp_path / "out", max_failed_fraction=1)
    assert export.ids == ["t-0", "there"]
    assert images(export) == [picture(2), picture(1)]
    assert export.rows[0]["original_path"] == f"{source}#0"
    assert [(one["image_id"], one["stage"]) for one in export.failures] == [
        ("gone", "list"),
        ("t-3", "list"),
        ("t-4", "list"),
    ]


@needs_data
def test_a_hugging_face_export_comes_back_whole(tmp_path: Path) -> None:
    source = SHARED / "data" / "huggingface"
    export = run_export(source, tmp_path / "out", images_per_tar=50)
    expected = pq.read_table(source).to_pylist()
    assert images(export) == [row["image"]["bytes"] for row in expected]
    assert [row["original_path"] for row in export.rows] == [
        row["image"]["path"] for row in expected
    ]
    assert [row["label"] for row in export.rows] == [row["label"] for row in expected]
    assert columns(export) == pa.schema([("label", pa.int64())])


def _downloads() -> pa.Table:
    """Returns what img2dataset says of three downloads, the second of which failed."""
    return pa.table(
        {
            "id": pa.array([5, 6, 7], pa.int64()),
            "url": ["http://a", "http://b", "http://c"],
            "key": ["000", "001", "002"],
            "status": ["success", "failed_to_download", "success"],
            "error_message": [None, "HTTP Error 404", None],
        }
    )


def test_failed_rows_of_img2dataset_are_failures(tmp_path: Path) -> None:
    images = pa.array([picture(1), None, picture(2)])
    table = _downloads().append_column("jpg", images)
    source = write(tmp_path / "00000.parquet", table)
    export = run_export(source, tmp_path / "out", max_failed_fraction=0.5)
    assert export.ids == ["000", "002"]
    assert [row["id"] for row in export.rows] == [5, 7]
    (failure,) = export.failures
    assert failure == {
        "image_id": "001",
        "original_path": "http://b",
        "stage": "list",
        "error": "failed_to_download",
        "message": "HTTP Error 404",
    }


CHOSEN = [{"filter": "id >= 7"}, {"ids": "ids.txt"}, {"exclude_ids": "ids.txt"}, {"limit": 1}]


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [
        pytest.param(kind, one, marks=() if (at + turn) % 2 else pytest.mark.slow)
        for turn, kind in enumerate(["parquet", "tar"])
        for at, one in enumerate(CHOSEN)
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_failed_rows_of_img2dataset_are_failures_whatever_is_chosen(
    tmp_path: Path, kind: str, chosen: dict[str, Any]
) -> None:
    """Their other columns are those of a download that there is none of: no filter can judge."""
    table = _downloads()
    if kind == "parquet":
        table = table.append_column("jpg", pa.array([picture(1), None, picture(2)]))
    source = write(tmp_path / "in" / "00000.parquet", table)
    if kind == "tar":
        with tarfile.open(source.with_suffix(".tar"), "w") as tar:
            for key in ("000", "002"):
                member = tarfile.TarInfo(f"{key}.jpg")
                member.size = len(picture(int(key)))
                tar.addfile(member, io.BytesIO(picture(int(key))))
    (tmp_path / "ids.txt").write_text("002\n")
    given = {name: str(tmp_path / one) if one == "ids.txt" else one for name, one in chosen.items()}
    export = run_export(source.parent, tmp_path / "out", max_failed_fraction=0.5, **given)
    left = ["002"] if {"filter", "ids"} & chosen.keys() else ["000"]
    assert export.ids == left
    assert [one["image_id"] for one in export.failures] == ["001"]
    totals = export.manifest["totals"]
    assert (totals["read"], totals["failed"], totals["written"]) == (3, 1, 1)
    assert totals["filtered"] + totals["limited"] == 1
    with pytest.raises(RunError, match="1 of 2 images failed"):
        run_export(source.parent, tmp_path / "strict", **given)


@needs_data
def test_the_parquet_of_img2dataset_comes_back_whole(tmp_path: Path) -> None:
    source = SHARED / "data" / "img2dataset" / "parquet"
    export = run_export(source, tmp_path / "out", images_per_tar=7)
    assert len(export.sizes) > 1
    expected = pq.read_table(source / "00002.parquet").to_pylist()
    assert images(export) == [row["jpg"] for row in expected]
    assert export.ids == [row["key"] for row in expected]
    stored = {"width": "input_width", "height": "input_height", "sha256": "input_sha256"}
    for name in expected[0].keys() - {"jpg", "key"}:
        assert [row[stored.get(name, name)] for row in export.rows] == [
            row[name] for row in expected
        ]


# Tables of paths.


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, one of them below and one elsewhere."""
    folder = tmp_path_factory.mktemp("places")
    for number, name in enumerate(["a.jpg", "sub/b.jpg", "../elsewhere-c.jpg", "d é.png"]):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture(number, "png" if name.endswith("png") else "jpg"))
    return folder


ROWS = [
    {"path": "a.jpg", "n": "1", "code": "007"},
    {"path": "./sub/b.jpg", "n": "", "code": "8"},
    {"path": "gone.jpg", "n": "2", "code": ""},
    {"path": "../elsewhere-c.jpg", "n": "2.5", "code": "9"},
    {"path": "d é.png", "n": "3", "code": "x"},
    {"path": "", "n": "3", "code": "x"},
]


def as_csv(path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def as_jsonl(path: Path) -> Path:
    numbers = [float(row["n"]) if "." in row["n"] else int(row["n"] or 0) for row in ROWS]
    rows = [{**row, "n": n if row["n"] else None} for row, n in zip(ROWS, numbers, strict=True)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def as_parquet(path: Path) -> Path:
    table = pa.table(
        {
            "path": [row["path"] or None for row in ROWS],
            "n": pa.array([float(row["n"]) if row["n"] else None for row in ROWS]),
            "code": [row["code"] for row in ROWS],
        }
    )
    return write(path, table)


@pytest.mark.parametrize(
    "make", [as_csv, as_jsonl, pytest.param(as_parquet, marks=pytest.mark.slow)]
)
def test_tables_of_paths(make: Any, places: Path, tmp_path: Path) -> None:
    suffix = make.__name__.removeprefix("as_")
    source = make(places / f"table.{suffix}")
    export = run_export(source, tmp_path / "out", max_failed_fraction=0.5)
    assert export.ids == ["a", "sub/b", "elsewhere-c", "d é"]
    assert export.rows[1]["original_path"] == str(places / "sub/b.jpg")
    assert [row["n"] for row in export.rows] == [1.0, None, 2.5, 3.0]
    assert [row["code"] for row in export.rows] == ["007", "8", "9", "x"]
    assert columns(export) == pa.schema([("code", pa.string()), ("n", pa.float64())])
    assert images(export)[0] == picture(0)
    gone, null = sorted(export.failures, key=lambda one: one["image_id"] != "gone")
    assert (gone["stage"], gone["original_path"]) == ("list", str(places / "gone.jpg"))
    assert "no file" in gone["message"]
    assert (null["image_id"], null["stage"]) == ("table-5", "list")


def test_several_tables_have_one_schema(places: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.parquet", table_of(places / "a.jpg", 1, pa.int32(), "1"))
    write(tmp_path / "in" / "b.parquet", table_of(places / "sub/b.jpg", 2, pa.int64(), "2"))
    (tmp_path / "in" / "c.csv").write_text(f"path,n\n{places / 'd é.png'},2.5\n")
    export = run_export(tmp_path / "in", tmp_path / "out")
    assert [row["n"] for row in export.rows] == [1.0, 2.0, 2.5]
    assert columns(export).field("n").type == pa.float64()
    (tmp_path / "in" / "c.csv").write_text(f"path,n\n{places / 'd é.png'},x\n")
    told = sentence(tmp_path / "in", tmp_path / "out2")
    for part in ("'n'", "a.parquet", "string", "int32"):
        assert part in told


def table_of(path: Path, number: int, kind: pa.DataType, ident: str) -> pa.Table:
    return pa.table({"path": [str(path)], "n": pa.array([number], kind), "id": [ident]})


def test_an_id_column_that_is_no_text_keeps_its_type(places: Path, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": 7, "image": str(places / "a.jpg")}))
    export = run_export(tmp_path / "t.jsonl", tmp_path / "out")
    assert export.ids == ["7"]
    assert export.rows[0]["id"] == 7
    assert columns(export) == pa.schema([("id", pa.int64())])


# What is wrong with tables.


def corrupt(path: Path) -> Path:
    path.write_bytes(b"PAR1" + b"\0" * 99 + b"PAR1")
    return path


def test_a_broken_table_ends_the_run_unless_that_is_allowed(places: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "good.parquet", table_of(places / "a.jpg", 1, pa.int32(), "1"))
    corrupt(folder / "bad.parquet")
    told = sentence(folder, tmp_path / "out", max_failed_fraction=1)
    assert "bad.parquet" in told
    assert "--allow_broken_sources" in told
    export = run_export(folder, tmp_path / "out", max_failed_fraction=1, allow_broken_sources=True)
    assert export.ids == ["1"]
    assert [(one["error"], one["stage"]) for one in export.failures] == [("BrokenSource", "list")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.parquet", pa.table({"score": [1], "label": ["a"]}), "'score', 'label'"),
        ("t.csv", b"score,label\n1,a\n", "'score', 'label'"),
        ("t.jsonl", b'{"score": 1}\n{"label": 2}\n', "'score'"),
        (
            "t.parquet",
            pa.table({"tar_file": ["a"], "member_name": ["b"], "original_path": ["c"]}),
            "describes the samples of tars",
        ),
        ("t.parquet", pa.table({"path": pa.array([], pa.string())}), "no image"),
        ("t.csv", b"path\n", "no image"),
        ("t.jsonl", b"", "no image"),
    ],
)
def test_a_table_that_cannot_be_one_is_one_sentence(
    name: str, content: pa.Table | bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    assert told in sentence(path, tmp_path / "out")


def test_bad_rows_are_listed(places: Path, tmp_path: Path) -> None:
    good = json.dumps({"path": str(places / "a.jpg")})
    (tmp_path / "t.jsonl").write_text(f'{good}\n{{"n": 1}}\nnonsense\n')
    export = run_export(tmp_path / "t.jsonl", tmp_path / "out", max_failed_fraction=1)
    assert len(export.ids) == 1
    assert [one["image_id"] for one in export.failures] == ["t-1", "t-2"]


def test_tables_beside_images_are_counted_and_read_if_asked_for(
    places: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.jpg").write_bytes(picture(9))
    (folder / "t.csv").write_text(f"path\n{places / 'a.jpg'}\n")
    export = run_export(folder, tmp_path / "out")
    assert export.ids == ["x"]
    read = next(step for step in export.manifest["steps"] if step["step"] == "read")
    assert read["skipped"] == {".csv": 1}
    tabled = run_export(folder, tmp_path / "out2", input_format="table")
    assert images(tabled) == [picture(0)]
