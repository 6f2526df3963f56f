"""Columns of tables and sidecars: what is kept, left out, kept as text, described, and joined."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import picture, read_export
from support.runs import run_export

from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.metadata.features import features_of, with_features
from beam_export.planning.steps import UNLIKE
from beam_export.shards.manifest import unseal

CLASSES = {"_type": "ClassLabel", "names": ["cat", "dog"]}
FEATURES = {
    "label": CLASSES,
    "tags": {"_type": "List", "feature": CLASSES},
    "box": {"at": {"_type": "List", "feature": {"_type": "Value"}}, "category": CLASSES},
}


def test_categories_are_text_and_classes_of_hugging_face_stay(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(picture(number))
    table = pa.table(
        {
            "image_id": pa.array(["k0", "k1", "k2"]).dictionary_encode(),
            "file_name": pa.array(["0.jpg", "1.jpg", "2.jpg"]).dictionary_encode(),
            "label": [0, 1, 0],
            "kind": pa.array(["x", "y", None]).dictionary_encode(),
            "gone": [1, 2, 3],
            "odd": [[1], None, [2, 3]],
            "tags": [[0], [], [1, 0]],
            "box": [{"at": [0.5], "category": 1}] * 3,
            "unlike": [0, 1, 0],
        }
    )
    described = with_features(table.schema, {**FEATURES, "gone": CLASSES, "unlike": CLASSES})
    pq.write_table(table.cast(described), folder / "t.parquet")
    # Without a row, and with no class names of its column.
    pq.write_table(table.select(["file_name", "unlike"]).slice(3), folder / "u.parquet")
    export = run_export(
        f"{folder}/*.parquet", tmp_path / "out", drop_columns="go*", text_columns="odd"
    )
    assert export.ids == ["k0", "k1", "k2"]
    found = [{name: row[name] for name in ("label", "kind", "odd")} for row in export.rows]
    assert found == [
        {"label": 0, "kind": "x", "odd": "[1]"},
        {"label": 1, "kind": "y", "odd": None},
        {"label": 0, "kind": None, "odd": "[2,3]"},
    ]
    assert "gone" not in export.rows[0]
    schema = pq.read_schema(next((tmp_path / "out").glob("*.parquet")))
    assert features_of(schema) == FEATURES
    assert schema.field("kind").type == pa.string()
    facts = unseal(next((tmp_path / "out/_meta").glob("*-run.json")).read_bytes())
    assert facts[UNLIKE] == 1
    assert "'unlike'" in facts[f"{UNLIKE}_examples"][0]
    # And in an export of the export.
    run_export(tmp_path / "out", tmp_path / "again")
    schema = pq.read_schema(next((tmp_path / "again").glob("*.parquet")))
    assert features_of(schema) == FEATURES


def test_sidecars_that_no_one_type_holds_have_a_way_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, label in enumerate([1, "cat", [2], None]):
        (folder / f"{number}.jpg").write_bytes(picture(number))
        scores = {f"c{number * 300 + key}": key for key in range(300)}
        text = json.dumps({"label": label, "n": number, "scores": scores})
        (folder / f"{number}.json").write_text(text)
    with pytest.raises(InputError, match=r"--text_columns=label.*--drop_columns=label"):
        run_export(folder, tmp_path / "refused")
    with pytest.raises(InputError, match=r"1000 different fields.*--drop_columns=scores"):
        run_export(folder, tmp_path / "refused", text_columns="label")
    export = run_export(folder, tmp_path / "out", text_columns="label", drop_columns="scores")
    assert [row["label"] for row in export.rows] == ["1", '"cat"', "[2]", None]
    assert [row["n"] for row in export.rows] == [0, 1, 2, 3]
    # The member is copied in any case.
    (shard,) = export.shards
    assert json.loads(shard.members["1.json"])["label"] == "cat"
    # What is compared with the members, and with the input, is compared as it was chosen.
    given = [str(tmp_path / "out"), f"--against={folder}", "--direct_num_workers=1"]
    assert cli.main(["verify", *given]) == 0
    assert capsys.readouterr().out.startswith("sound: 4 samples")


def test_a_column_that_no_table_has_is_refused_before_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "t.csv").write_text("file_name,score\n0.jpg,1\n")
    for flag in ("drop_columns", "text_columns"):
        with pytest.raises(InputError, match=f"--{flag} names a column 'socre' that is not there"):
            run_export(folder, tmp_path / "out", **{flag: "socre"})


def test_several_tables_join_in_turn_also_by_names_in_another_form_and_after_renaming(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for folder, names in ((first, ["a", "ba\u0308r"]), (second, ["a", "c"])):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.jpg").write_bytes(picture(len(name)))
    (tmp_path / "s.csv").write_text("image_id,s\na,1\na-1,2\nb\xe4r,3\nz,4\n", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text('{"image_id": "c.jpg", "t": "x"}\n')
    flags = {
        "input": f"{first},{second}",
        "output_dir": str(tmp_path / "out"),
        "metadata": f"{tmp_path}/s.csv,{tmp_path}/t.jsonl",
        "duplicates": "rename",
    }
    line = [f"--{name}={value}" for name, value in flags.items()]
    assert cli.main(["export", *line, "--dry_run", "--direct_num_workers=1"]) == 0
    said = capsys.readouterr().out
    table = "--metadata=s.csv: 3 of 4 samples have a row ('c' has none); 3 of 4 rows have a sample"
    assert f"{table} ('z' has none)" in said
    assert "--metadata=t.jsonl: 1 of 4 samples have a row" in said
    del flags["input"]
    export = run_export(f"{first},{second}", flags.pop("output_dir"), **flags)
    found = {row["image_id"]: (row["s"], row["t"]) for row in export.rows}
    assert found == {
        "a": (1, None),
        "a-1": (2, None),
        "ba\u0308r": (3, None),
        "c": (None, "x"),
    }
    joins = [step["table"] for step in export.manifest["steps"] if step["step"] == "join"]
    assert joins == ["s.csv", "t.jsonl"]


def test_images_in_base64_are_read_from_tables_of_each_format(tmp_path: Path) -> None:
    kinds = ["jpg", "png", "jpg", "jpg", "jpg", "png"]
    images = [picture(number, kind) for number, kind in enumerate(kinds)]
    texts = [base64.b64encode(image).decode() for image in images]
    (tmp_path / "a.csv").write_text(
        f'id,image\na0,{texts[0]}\na1,"data:image/png;base64,{texts[1]}"\n'
    )
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "b2", "image_b64": texts[2], "n": 1}))
    pq.write_table(
        pa.table({"id": ["c3", "c4"], "image": [texts[3], None]}), tmp_path / "c.parquet"
    )
    # Neither its name nor a type, but its content alone says what this is.
    pq.write_table(pa.table({"id": ["d5"], "payload": texts[4:5]}), tmp_path / "d.parquet")
    named = pa.table({"id": ["e6"], "image": texts[5:], "file_name": ["6.png"]})
    pq.write_table(named, tmp_path / "e.parquet")
    tables = ("a.csv", "b.jsonl", "c.parquet", "d.parquet", "e.parquet")
    source = ",".join(f"{tmp_path}/{name}" for name in tables)
    export = run_export(source, tmp_path / "out", encode="never", max_failed_fraction=0.5)
    assert export.ids == ["a0", "a1", "b2", "c3", "d5", "e6"]
    assert [export.image(row) for row in export.rows] == images
    assert [Path(row["member_name"]).suffix[1:] for row in export.rows] == kinds
    assert [row["image_id"] for row in export.failures] == ["c4"]
    assert export.shards[0].table.schema.names[11:] == ["n"]
    assert not list((tmp_path / "out").glob("_tmp*"))


def test_the_tables_of_image_folders_join_by_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    for number, name in enumerate(["0", "1", "cats/2", "dogs/3", "dogs/4"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.jpg").write_bytes(picture(number))
    (folder / "4.json").write_text("{}")
    (folder / "0.json").write_text('{"own": 1}')
    (folder / "metadata.csv").write_text("file_name,text,own\n0.jpg,a,x\n1.jpg,b,y\n9.jpg,c,z\n")
    (folder / "cats" / "metadata.jsonl").write_text('{"file_name": "2.jpg", "text": "d"}\n')
    described = with_features(pa.schema([("label", pa.int64())]), {"label": CLASSES})
    table = pa.table({"file_name": ["3.jpg", "4.jpg"], "label": [1, 0]})
    table = table.replace_schema_metadata(described.metadata)
    pq.write_table(table, folder / "dogs" / "metadata.parquet")
    (tmp_path / "ids.txt").write_text("0\n1\ncats/2\ndogs/3\n")
    out = tmp_path / "out"
    line = ["export", f"--input={folder}", f"--output_dir={out}", f"--ids={tmp_path}/ids.txt"]
    assert cli.main([*line, "--caption_column=text", "--direct_num_workers=1"]) == 0
    export = read_export(out)
    found = {row["image_id"]: (row["text"], row["label"], row["own"]) for row in export.rows}
    assert found == {
        "0": ("a", None, 1),
        "1": ("b", None, None),
        "cats/2": ("d", None, None),
        "dogs/3": (None, 1, None),
    }
    assert export.shards[0].members["0.txt"] == b"a"
    schema = pq.read_schema(next(out.glob("*.parquet")))
    assert features_of(schema) == {"label": CLASSES}
    said = capsys.readouterr().out
    assert "cats/metadata.jsonl and 2 more, joined by file_name" in said
    assert "5 of 5 samples have a row; 5 of 6 rows have a sample ('9.jpg' has none)" in said
    assert "columns of their own called 'own'" in said
    plain = run_export(folder, tmp_path / "plain", metadata="none")
    assert plain.shards[0].table.schema.names[11:] == ["own"]
    skipped = plain.manifest["steps"][0]["skipped"]
    assert {name: skipped[name] for name in (".csv", ".jsonl", ".parquet")} == {
        ".csv": 1,
        ".jsonl": 1,
        ".parquet": 1,
    }
