"""`--labels=folder`: columns, members, names and numbers of a whole export."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import check_export, picture
from support.runs import run_export

from beam_export.cli.main import main
from beam_export.errors import InputError
from beam_export.shards.manifest import seal, unseal


def make(folder: Path) -> Path:
    for number, name in enumerate(["0", "cat/1", "cat/2", "dog/big/3", "a zebra/4"]):
        path = folder / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (folder / "cat/1.json").write_text(json.dumps({"label": "kitten", "n": 1}))
    return folder


def test_folders_are_classes_among_all_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "in")
    (tmp_path / "ids").write_text("a zebra/4\n")
    export = run_export(
        folder,
        tmp_path / "out",
        labels="folder",
        exclude_ids=str(tmp_path / "ids"),
        filter="label is null or label <> 'nothing'",
        images_per_tar=2,
    )
    check_export(export.out, 2)
    found = {row["image_id"]: (row["label"], row["cls"]) for row in export.rows}
    # `a zebra` has a number, though all that lies in it is left out.
    assert found == {
        "0": (None, None),
        "cat/1": ("cat", 2),
        "cat/2": ("cat", 2),
        "dog/big/3": ("big", 1),
    }
    assert export.rows[1]["input_label"] == "kitten"
    members = {name: data for shard in export.shards for name, data in shard.members.items()}
    assert {name: data for name, data in members.items() if name.endswith(".cls")} == {
        "cat/1.cls": b"2",
        "cat/2.cls": b"2",
        "dog/big/3.cls": b"1",
    }
    names = ["a zebra", "big", "cat"]
    (step,) = (one for one in export.manifest["steps"] if one["step"] == "label")
    assert step == {"step": "label", "labels": "folder", "classes": names}
    told = json.loads(pq.read_schema(next(export.out.glob("*.parquet"))).metadata[b"huggingface"])
    assert told["info"]["features"]["cls"] == {"_type": "ClassLabel", "names": names}
    assert (
        main(["verify", str(export.out), "--against", str(folder), "--direct_num_workers=1"]) == 0
    )
    assert "sound: 4 samples" in capsys.readouterr().out
    # A manifest with other classes, whose digest fits.
    path = export.out / f"images-{export.hash}-manifest.json"
    content = unseal(path.read_bytes())
    (step,) = (one for one in content["steps"] if one["step"] == "label")
    step["classes"] = ["cat", "big", "a zebra"]
    path.write_bytes(seal(content))
    assert main(["verify", str(export.out), "--direct_num_workers=1"]) == 1
    said = capsys.readouterr().out
    assert "000000.parquet: the names of its classes are not those of the manifest" in said
    assert "cat/1: its class is 'cat', and cls is 2" in said


def test_another_class_of_what_is_left_out_is_another_hash(tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    (tmp_path / "ids").write_text("a zebra/4\nzz/4\n")
    given = {"labels": "folder", "exclude_ids": str(tmp_path / "ids")}
    first = run_export(folder, tmp_path / "one", **given)
    # Behind all others: no sample that is left gets another number.
    (folder / "zz").mkdir()
    (folder / "a zebra/4.jpg").rename(folder / "zz/4.jpg")
    second = run_export(folder, tmp_path / "two", **given)
    assert first.hash != second.hash


def test_a_sample_with_a_class_of_its_own_ends_the_run(tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    (folder / "cat/1.cls").write_text("7")
    with pytest.raises(InputError, match=r"the \.cls of sample 'cat/1'"):
        run_export(folder, tmp_path / "out", labels="folder")


def test_shards_with_classes_are_kept_by_the_next_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = make(tmp_path / "in"), tmp_path / "out"
    flags = ["--labels=folder", "--images_per_tar=2", "--direct_running_mode=in_memory"]
    given = ["--input", str(folder), "--output_dir", str(out), *flags]
    assert main(given) == 0
    capsys.readouterr()
    assert main(given) == 0
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "bytes"])
def test_of_a_table_the_folder_of_the_path_is_the_class(tmp_path: Path, kind: str) -> None:
    make(tmp_path / "in")
    names = ["cat/1.jpg", "dog/big/3.jpg", "0.jpg"]
    rows = [{"id": f"x{number}", "path": name} for number, name in enumerate(names)]
    table = tmp_path / "in" / f"t.{'parquet' if kind == 'bytes' else kind}"
    if kind == "csv":
        table.write_text("id,path\n" + "".join(f"{row['id']},{row['path']}\n" for row in rows))
    elif kind == "jsonl":
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        if kind == "bytes":
            rows = [{**row, "jpg": (tmp_path / "in" / row["path"]).read_bytes()} for row in rows]
        pq.write_table(pa.Table.from_pylist(rows), table)
    export = run_export(table, tmp_path / "out", labels="folder")
    found = {row["image_id"]: (row["label"], row["cls"]) for row in export.rows}
    # Of the top of what is given, no folder is known but where paths lie below the table's.
    assert found["x0"][0] == "cat"
    assert found["x1"][0] == "big"
    assert export.shards[0].members["x0.cls"] == str(found["x0"][1]).encode()
