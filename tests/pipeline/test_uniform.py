"""`--json_columns`, `--ragged_fields`, `--ensure`: whole exports of samples that are not alike."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.exports import Export, check_export, directory_hashes, picture, read_export
from support.pictures import exif, save, smooth
from support.profiles import gray_profile, rgb_profile
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.cli.main import main
from beam_export.errors import InputError
from beam_export.samples import Sample

COLOR, GRAY = Image.fromarray(smooth()), Image.fromarray(smooth()).convert("L")
#: By name: what is special about it, and the image.
KINDS = {
    "plain": save(COLOR, "JPEG"),
    "gray": save(GRAY, "JPEG"),
    "cmyk": save(COLOR.convert("CMYK"), "JPEG"),
    "wide": save(COLOR, "JPEG", icc_profile=rgb_profile(swapped=True)),
    "turned": save(COLOR, "JPEG", exif=exif(6)),
    "all": save(GRAY, "JPEG", icc_profile=gray_profile(1.0), exif=exif(3)),
    "graypng": save(GRAY, "PNG"),
    "srgb": save(COLOR, "JPEG", icc_profile=rgb_profile(), exif=exif(1)),
}
#: Those that are copied without `--ensure`, and what each is not.
LACKS = {
    "gray": {"rgb"},
    "wide": {"srgb"},
    "turned": {"upright"},
    "all": {"upright", "srgb", "rgb"},
}


def make(folder: Path, *, sidecars: bool = True) -> Path:
    """Makes images of every kind, and sidecars here and there."""
    for number, (name, data) in enumerate(KINDS.items()):
        path = folder / f"c{number % 2}" / f"{name}.{'png' if 'png' in name else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        if sidecars and number % 2:
            path.with_suffix(".txt").write_text(f"caption {number}")
        if sidecars and number % 3 == 0:
            path.with_suffix(".json").write_text(json.dumps({"score": number, "word": None}))
    return folder


def members(export: Export) -> dict[str, dict[str, bytes]]:
    """Returns the members of samples but the image, by key and extension."""
    return {
        key: {ext: data for ext, data in sample.items() if ext != "jpg"}
        for key, sample in export.samples.items()
    }


def step(export: Export, name: str = "members") -> dict[str, Any]:
    return next((one for one in export.manifest["steps"] if one["step"] == name), {})


def verify(export: Export, source: Path | None = None, *flags: str) -> int:
    against = [] if source is None else ["--against", str(source)]
    return main(["verify", str(export.out), *against, *flags, "--direct_num_workers=1"])


def test_columns_go_into_the_tar_under_another_name_beside_a_json_of_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "in")
    export = run_export(
        folder, tmp_path / "out", images_per_tar=3, json_columns="all", labels="folder"
    )
    check_export(export.out, 3)
    found = members(export)
    assert set(found) == {row["image_id"] for row in export.rows}
    for row in export.rows:
        own = found[row["image_id"]]
        wanted = {name: row[name] for name in ("cls", "label", "score", "word")}
        assert own["meta.json"] == json.dumps(wanted, separators=(",", ":")).encode()
    source = (folder / "c0/plain.json").read_bytes()
    assert found["c0/plain"]["json"] == source
    assert step(export)["json"] == "meta.json"
    assert step(export)["members"] == {"cls": 8, "json": 3, "meta.json": 8, "txt": 4}
    assert {shard.facts["beam_export.json_member"] for shard in export.shards} == {"meta.json"}
    assert verify(export, folder, "--decode") == 0
    out = capsys.readouterr().out
    assert "samples have unequal members: .json in 3, .txt in 4 of 8" in out
    assert (
        "samples have unequal members: .json in 3, .txt in 4 of 8"
        in (export.out / "README.md").read_text()
    )


def test_an_export_of_an_export_makes_its_json_anew(tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    rows = [f"c{number % 2}/{name},{number}" for number, name in enumerate(KINDS)]
    table.write_text("image_id,score\n" + "\n".join(rows) + "\n")
    folder = make(tmp_path / "in", sidecars=False)
    first = run_export(folder, tmp_path / "one", json_columns="score", metadata=str(table))
    assert {tuple(one) for one in members(first).values()} == {("json",)}
    more = tmp_path / "more.csv"
    more.write_text("image_id,word\nc0/plain,new\n")
    second = run_export(
        first.out, tmp_path / "two", json_columns="all", metadata=str(more), images_per_tar=3
    )
    assert {tuple(one) for one in members(second).values()} == {("json",)}
    assert json.loads(members(second)["c0/plain"]["json"]) == {"score": 0, "word": "new"}
    assert step(second)["json"] == "json"
    assert verify(second, first.out) == 0
    # Without the flag it is a member like any other.
    third = run_export(first.out, tmp_path / "three")
    assert members(third) == members(first)
    assert step(third) == {}
    # An image with a JSON of its own joins: the name changes for all, and the old ones go.
    (folder / "c0/plain.json").write_text('{"score": 3}')
    (folder / "c0/plain.jpg").rename(folder / "c0/other.jpg")
    (folder / "c0/plain.json").rename(folder / "c0/other.json")
    both = run_export(f"{first.out},{folder}/c0/other.*", tmp_path / "both", json_columns="all")
    found = members(both)
    assert [name for name, one in found.items() if "json" in one] == ["other"]
    assert all("meta.json" in one for one in found.values())


@pytest.mark.parametrize(
    "kind", ["tar", "table", pytest.param("paths", marks=pytest.mark.slow), "pipeline"]
)
def test_every_kind_of_source(kind: str, tmp_path: Path) -> None:
    export = run_kind(kind, tmp_path, json_columns="*ore", images_per_tar=2)
    check_export(export.out, 2)
    found = members(export)
    assert len(found) == 5
    for row in export.rows:
        assert json.loads(found[row["member_name"].partition(".")[0]]["json"]) == {
            "score": row["score"]
        }
    assert verify(export) == 0


def run_kind(kind: str, tmp_path: Path, **options: Any) -> Export:
    """Exports five images with scores, from a source of a kind."""
    images = {f"i{number}": picture(number) for number in range(5)}
    folder = tmp_path / "in"
    folder.mkdir()
    scores = [number / 2 for number in range(5)]
    if kind == "pipeline":
        samples = [
            Sample(name, data, metadata={"score": score, "other": 1})
            for (name, data), score in zip(images.items(), scores, strict=True)
        ]
        write = beam_export.WriteShards(str(tmp_path / "out"), **options)
        run_pipeline(lambda p: p | beam.Create(samples) | write)
        return read_export(tmp_path / "out")
    if kind == "table":
        columns = {"id": list(images), "image": list(images.values()), "score": scores}
        pq.write_table(pa.table(columns), folder / "a.parquet")
    elif kind == "paths":
        for name, data in images.items():
            (tmp_path / f"{name}.jpg").write_bytes(data)
        rows = [
            f"{tmp_path}/{name}.jpg,{score}" for name, score in zip(images, scores, strict=True)
        ]
        (folder / "a.csv").write_text("path,score\n" + "\n".join(rows) + "\n")
    else:
        with tarfile.open(folder / "a.tar", "w") as tar:
            for name, data in images.items():
                info = tarfile.TarInfo(f"{name}.jpg")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        table = tmp_path / "scores.csv"
        rows = [f"{name},{score}" for name, score in zip(images, scores, strict=True)]
        table.write_text("image_id,score\n" + "\n".join(rows) + "\n")
        options["metadata"] = str(table)
    return run_export(folder, tmp_path / "out", **options)


def test_no_shard_is_larger_than_planned_with_what_is_made(tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    plain = run_export(folder, tmp_path / "plain", encode="never", max_tar_bytes=12_000)
    given = {"encode": "never", "max_tar_bytes": 12_000, "json_columns": "all"}
    export = run_export(folder, tmp_path / "out", ragged_fields="fill", **given)
    assert max(shard.tar.stat().st_size for shard in export.shards) <= 12_000
    assert len(export.shards) > len(plain.shards)
    assert {tuple(one) for one in members(export).values()} == {("json", "meta.json", "txt")} | {
        ("png", "json", "meta.json", "txt")
    }
    assert verify(export, folder) == 0


@pytest.mark.parametrize("word", ["drop", "fill"])
def test_members_are_made_equal_over_planned_samples(word: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    (folder / "c1/zz.jpg").write_bytes(picture(1))
    (folder / "c1/zz.xml").write_text("<a/>")
    # What is beyond the limit has no say.
    export = run_export(folder, tmp_path / "out", ragged_fields=word, limit=8, images_per_tar=3)
    check_export(export.out, 3)
    exts = () if word == "drop" else ("json", "txt")
    assert {tuple(one) for one in members(export).values()} == {exts}
    if word == "fill":
        assert members(export)["c0/cmyk"] == {"json": b"{}", "txt": b""}
    assert step(export)["unequal"] is False
    assert verify(export, folder) == 0
    whole = run_export(folder, tmp_path / "equal", ragged_fields=word, limit=1)
    # Nothing was unequal: nothing was done, and the flag has a name of its own all the same.
    assert members(whole) == {"c0/cmyk": {}}


def test_unequal_members_are_kept_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "in")
    flags = [f"--input={folder}", f"--output_dir={tmp_path / 'out'}", "--direct_num_workers=1"]
    words = "samples have unequal members: .json in 3, .txt in 4 of 8"
    for _ in range(2):
        assert main(["export", *flags]) == 0
        assert words in capsys.readouterr().out
    export = read_export(tmp_path / "out")
    assert words in (export.out / "README.md").read_text()
    # Nothing was done: the manifest is that of an export without the flag.
    assert step(export) == {}
    assert verify(export) == 0
    assert f"note: {words}" in capsys.readouterr().out


def test_members_of_samples_that_failed_are_not_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "in", sidecars=False)
    (folder / "c0/broken.jpg").write_bytes(b"no image")
    (folder / "c0/broken.txt").write_text("a caption")
    out = tmp_path / "out"
    flags = ["export", f"--input={folder}", f"--output_dir={out}", "--direct_num_workers=1"]
    flags += ["--max_failed_fraction=0.2", "--images_per_tar=4", "--json_columns=label"]
    assert main([*flags, "--labels=folder"]) == 0
    assert "unequal" not in capsys.readouterr().out
    export = read_export(out)
    assert "unequal" not in (out / "README.md").read_text()
    assert step(export)["samples"] == 8
    assert step(export)["unequal"] is False
    before = directory_hashes(out)
    # Of shards that are found finished it is known, too.
    (out / f"images-{export.hash}-manifest.json").unlink()
    assert main([*flags, "--labels=folder"]) == 0
    assert directory_hashes(out) == before


def test_unequal_members_may_be_an_error(tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    with pytest.raises(InputError, match=r"samples 'c0/cmyk' \(none\) and 'c0/graypng' \(\.json\)"):
        run_export(folder, tmp_path / "out", ragged_fields="error")
    flags = ["--ragged_fields=error", "--dry_run", f"--output_dir={tmp_path / 'out'}"]
    assert main(["export", f"--input={folder}", *flags]) == 2
    assert not list((tmp_path / "out").glob("images-*"))


def test_columns_that_are_not_there_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    with pytest.raises(InputError, match="'nothing' that is not there: the metadata columns are"):
        run_export(folder, tmp_path / "out", json_columns="score,nothing")
    with pytest.raises(InputError, match="the samples have none"):
        run_export(make(tmp_path / "bare", sidecars=False), tmp_path / "out", json_columns="all")
    assert not list((tmp_path / "out").glob("images-*"))


ALL = {
    "ensure": "rgb,srgb,upright",
    "json_columns": "all",
    "ragged_fields": "fill",
    "split": "train=0.5,val=0.5",
    "labels": "folder",
    "images_per_tar": 3,
    "max_tar_bytes": 12_000,
}


def test_all_flags_make_the_same_bytes_with_any_workers_and_after_a_resume(tmp_path: Path) -> None:
    folder = make(tmp_path / "in")
    one = run_export(folder, tmp_path / "one", **ALL)
    for row in one.rows:
        made = json.loads(members(one)[row["image_id"]]["meta.json"])
        assert made == {name: row[name] for name in ("cls", "label", "score", "split", "word")}
    assert verify(one, folder, "--decode") == 0
    hashes = directory_hashes(one.out)
    two = run_export(folder, tmp_path / "two", workers=2, **ALL)
    assert directory_hashes(two.out) == hashes
    # As if it had ended after its first shard.
    for path in one.out.rglob("*"):
        if path.is_file() and "-000000." not in path.name:
            path.unlink()
    run_export(folder, one.out, **ALL)
    assert directory_hashes(one.out) == hashes


def test_images_are_what_was_ensured_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "in", sidecars=False)
    flags = ["export", f"--input={folder}", "--direct_num_workers=1"]
    assert main([*flags, f"--output_dir={tmp_path / 'plain'}"]) == 0
    told = capsys.readouterr().out
    for words in ("2 JPEGs carry an EXIF", "2 JPEGs have colours other", "3 JPEGs are gray"):
        assert words in told
    plain = read_export(tmp_path / "plain")
    copied = {row["image_id"][3:] for row in plain.rows if row["encoding"] == "copied"}
    assert copied == {*LACKS, "plain", "srgb"}
    # It is a fact of the run, and of no file that has to be the same.
    assert "lacks" not in json.dumps(plain.manifest)
    assert main([*flags, f"--output_dir={tmp_path / 'plain'}"]) == 0
    assert "2 JPEGs carry an EXIF" in capsys.readouterr().out

    assert main([*flags, f"--output_dir={tmp_path / 'out'}", "--ensure=srgb,rgb,upright"]) == 0
    assert (
        "4 JPEGs were not copied but encoded for --ensure: 2 turned upright, 2 converted to sRGB, "
        "2 made RGB" in capsys.readouterr().out
    )
    export = read_export(tmp_path / "out")
    for row in export.rows:
        with Image.open(io.BytesIO(export.image(row))) as im:
            assert im.mode == "RGB"
            assert im.getexif().get(0x0112, 1) == 1
        name = row["image_id"][3:]
        assert (row["encoding"] == "copied") is (name in copied - LACKS.keys()), name
    counts = {"ensured": 4, "ensured_rgb": 2, "ensured_srgb": 2, "ensured_upright": 2}
    assert step(export, "encode").items() >= counts.items()
    assert export.manifest["options"]["ensure"] == "upright,srgb,rgb"
    assert verify(export, folder, "--decode") == 0
    assert "JPEGs carry" not in capsys.readouterr().out


def test_ensure_and_never_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--encode=never", "--ensure=rgb", "--input=/in", "--output_dir=/out"]
    assert main(["export", *flags]) == 2
    assert "--encode=never with --ensure=rgb contradict each other" in capsys.readouterr().err
