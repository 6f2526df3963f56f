"""Sources that change while a run lasts: what was listed is read, or a listed failure.

A step of the run is made to change a source just before it goes on, so that each gap between
listing, walking, measuring and reading is met at will.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from support.exports import ROOT, Export, directory_hashes, picture, read_export
from support.runs import run_export, run_pipeline
from support.waiting import time_limit

import beam_export

# Loaded at once: a module that is loaded later would take over what a test has put into another.
import beam_export.planning.preflight
from beam_export.cli import main as cli
from beam_export.errors import InputError, RunError

COUNT = 12
IDS = [f"s{number:02d}" for number in range(COUNT)]
IMAGE = picture(1)
#: So that what fails is told, and the run goes on.
LENIENT: dict[str, Any] = {"max_failed_fraction": 1, "allow_broken_sources": True}
REPLACED = "has been replaced since it was listed"


@pytest.fixture(autouse=True)
def _limit() -> Iterator[None]:
    with time_limit(900):
        yield


def caption(number: int, turn: int = 0) -> bytes:
    return b"caption %02d" % ((number + turn) % COUNT)


def write_tar(path: Path, turn: int = 0, mode: str = "w") -> Path:
    """Writes samples of one image; all that tells one from the other are captions and scores.

    Whatever `turn`, size and layout are the same, where nothing is compressed.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for number, ident in enumerate(IDS):
            score = json.dumps({"score": 10 + (number + turn) % COUNT}).encode()
            for name, data in ("jpg", IMAGE), ("txt", caption(number, turn)), ("json", score):
                info = tarfile.TarInfo(f"{ident}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return put(path, buffer.getvalue())


#: A pipe in the place of a file is refused where any file is opened, which others try fast.
CHANGES = ["swapped", pytest.param("FIFO", marks=pytest.mark.slow)]


def put(path: Path, data: bytes) -> Path:
    """Puts a file in place of what is there, a nanosecond younger than that."""
    moment = path.stat().st_mtime_ns + 1 if path.exists() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    if moment is not None:
        os.utime(new, ns=(moment, moment))
    new.replace(path)
    return path


def write_table(path: Path, turn: int = 0, /, **columns: Any) -> Path:
    """Writes a table with captions; the same bytes long whatever `turn`."""
    texts = [caption(number, turn).decode() for number in range(COUNT)]
    table = pa.table({"id": IDS, **columns, "caption": texts})
    if path.suffix == ".csv":
        rows = [",".join(map(str, row.values())) for row in table.to_pylist()]
        return put(path, "\n".join([",".join(table.column_names), *rows, ""]).encode())
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=5, compression="none", use_dictionary=False)
    return put(path, buffer.getvalue())


def write_files(folder: Path) -> Path:
    for number, ident in enumerate(IDS):
        put(folder / f"{ident}.jpg", IMAGE)
        put(folder / f"{ident}.txt", caption(number))
        put(folder / f"{ident}.json", json.dumps({"score": 10 + number}).encode())
    return folder


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def before(
    monkeypatch: pytest.MonkeyPatch, where: str, act: Callable[[], object], nth: int = 1
) -> list[int]:
    """Has something happen just before a function of the package is called for the nth time.

    Returns:
        what is left to be called, so that it can be seen that it happened.
    """
    module, _, name = where.rpartition(".")
    found = importlib.import_module(f"beam_export.{module}")
    plain, left = getattr(found, name), [nth]

    def called(*given: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            act()
        return plain(*given, **named)

    monkeypatch.setattr(found, name, called)
    return left


def captions(export: Export) -> dict[str, str]:
    """Returns what each sample of an export is told to show, by its member or its column."""
    found = {}
    for shard in export.shards:
        for row in shard.rows:
            text = shard.members.get(f"{row['image_id']}.txt")
            found[row["image_id"]] = row["caption"] if text is None else text.decode()
            if row.get("score") is not None:
                assert row["score"] == 10 + IDS.index(row["image_id"].removeprefix("files/"))
    return found


def check(export: Export) -> list[str]:
    """Makes sure that no caption is wrong; returns the ids of what failed, since it changed."""
    for ident, text in captions(export).items():
        assert text == caption(IDS.index(ident)).decode()
    assert {one["error"] for one in export.failures} <= {"SourceChanged"}
    lost = [one["image_id"] for one in export.failures]
    assert sorted([*export.ids, *(one for one in lost if one in IDS)]) == IDS
    return lost


# Between planning and writing.


@pytest.mark.parametrize(
    "runner", [None, pytest.param(BundleBasedDirectRunner, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("change", CHANGES)
def test_a_tar_that_is_swapped_before_it_is_read_gives_no_wrong_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, runner: Any
) -> None:
    """Half of the samples lie in files, which stay: no shard is empty."""
    files = tmp_path / "in" / "files"
    for number in range(COUNT):
        put(files / f"f{number:02d}.jpg", IMAGE)
        put(files / f"f{number:02d}.txt", b"a file")
    tar = write_tar(tmp_path / "in" / "t.tar")
    size = tar.stat().st_size

    def swap() -> None:
        if change == "FIFO":
            fifo(tar)
        else:
            assert write_tar(tar, turn=5).stat().st_size == size

    left = before(monkeypatch, "pipeline.write_shards.find_finished", swap)
    made = beam_export.ExportOptions(
        output_dir=str(tmp_path / "out"),
        images_per_tar=8,
        order="shuffled",
        max_failed_fraction=1,
    )
    run_pipeline(
        lambda p: p | beam_export.ExportImages(str(tmp_path / "in"), made),
        runner=runner() if runner else None,
    )
    export = read_export(tmp_path / "out")
    assert left[0] <= 0
    assert sorted(export.ids) == [f"files/f{number:02d}" for number in range(COUNT)]
    assert [one["image_id"] for one in export.failures] == IDS
    assert {(one["stage"], one["error"]) for one in export.failures} == {("read", "SourceChanged")}
    assert {one["message"] for one in export.failures} == {f"the .jpg {REPLACED}"}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_or_its_sidecar_that_is_swapped_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Of three samples another file each, in one run."""
    folder = write_files(tmp_path / "in")
    victims = {IDS[3]: "jpg", IDS[5]: "txt", IDS[7]: "json"}

    def swap() -> None:
        for ident, ext in victims.items():
            victim = folder / f"{ident}.{ext}"
            fifo(victim) if change == "FIFO" else put(victim, victim.read_bytes()[::-1])

    before(monkeypatch, "pipeline.write_shards.find_finished", swap)
    export = run_export(folder, tmp_path / "out", **LENIENT)
    assert check(export) == [*victims]
    found = {one["image_id"]: one["message"] for one in export.failures}
    assert found == {ident: f"the .{ext} {REPLACED}" for ident, ext in victims.items()}


def test_what_changed_during_a_run_is_read_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "in")
    victim = folder / f"{IDS[3]}.jpg"
    with monkeypatch.context() as patch:
        before(patch, "pipeline.write_shards.find_finished", lambda: put(victim, IMAGE))
        assert check(run_export(folder, tmp_path / "out", **LENIENT)) == [IDS[3]]
    assert check(run_export(folder, tmp_path / "out", **LENIENT)) == []
    fresh = run_export(folder, tmp_path / "fresh", **LENIENT)
    assert directory_hashes(fresh.out) == directory_hashes(tmp_path / "out")


@pytest.mark.parametrize(
    ("probe", "kind"),
    [
        *(("off", "parquet"), ("off", "paths.csv"), ("full", "parquet"), ("full", "paths.jsonl")),
        pytest.param("off", "paths.jsonl", marks=pytest.mark.slow),
        pytest.param("full", "paths.csv", marks=pytest.mark.slow),
    ],
)
def test_images_of_tables_that_are_swapped_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, probe: str
) -> None:
    """The table's own bytes may change once its rows are read, if it holds no images."""
    images = [put(tmp_path / "images" / f"{ident}.jpg", IMAGE) for ident in IDS]
    source = tmp_path / f"t.{kind}"
    if kind == "parquet":
        columns: dict[str, Any] = {"image": [IMAGE] * COUNT}
        write_table(source, **columns)
        swap: Callable[[], object] = lambda: write_table(source, 5, **columns)  # noqa: E731
    else:
        rows = [
            {"id": ident, "path": str(path), "caption": caption(at).decode()}
            for at, (ident, path) in enumerate(zip(IDS, images, strict=True))
        ]
        if kind.endswith("csv"):
            texts = ["id,path,caption", *(",".join(row.values()) for row in rows)]
        else:
            texts = list(map(json.dumps, rows))
        put(source, "\n".join(texts).encode())
        swap = lambda: put(images[3], IMAGE[::-1])  # noqa: E731
    where = (
        "pipeline.probe_images.probe_sample"
        if probe == "full"
        else "pipeline.write_shards.find_finished"
    )
    before(monkeypatch, where, swap)
    if kind == "parquet":
        with pytest.raises((RunError, InputError), match=REPLACED):
            run_export(source, tmp_path / "out", probe=probe, **LENIENT)
        return
    assert check(run_export(source, tmp_path / "out", probe=probe, **LENIENT)) == [IDS[3]]


# While planning.


@pytest.mark.parametrize("change", CHANGES)
def test_a_tar_that_is_swapped_before_it_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A plain one and a compressed one, both before the first of them is opened."""
    folder = tmp_path / "in"
    good = put(folder / "good.jpg", IMAGE)
    modes = {folder / "t.tar": "w", folder / "t.tar.gz": "w:gz"}

    def write() -> None:
        for tar, mode in modes.items():
            tar.unlink(missing_ok=True)
            write_tar(tar, mode=mode)

    def swap() -> None:
        for tar, mode in modes.items():
            fifo(tar) if change == "FIFO" else write_tar(tar, 5, mode)

    write()
    before(monkeypatch, "pipeline.read_tars.open_with_retries", swap)
    with pytest.raises(RunError, match=rf"^2 sources .*t\.tar.*{REPLACED}.*allow_broken_sources"):
        run_export(folder, tmp_path / "out", max_failed_fraction=1)
    monkeypatch.undo()
    write()
    before(monkeypatch, "pipeline.read_tars.open_with_retries", swap)
    export = run_export(folder, tmp_path / "out", **LENIENT)
    assert export.ids == [good.stem]
    found = {one["original_path"]: (one["stage"], one["error"]) for one in export.failures}
    assert found == {str(tar): ("list", "SourceChanged") for tar in modes}


def test_a_tar_that_is_written_anew_while_it_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place: the same inode, and other headers from the middle on."""
    put(tmp_path / "in" / "good.jpg", IMAGE)
    tar = write_tar(tmp_path / "in" / "t.tar")
    other = write_tar(tmp_path / "t.tar", turn=5).read_bytes()

    def spoil() -> None:
        moment = tar.stat().st_mtime_ns + 1
        with tar.open("r+b") as file:
            file.write(other)
        os.utime(tar, ns=(moment, moment))

    left = before(monkeypatch, "sources.tar.walk.parse_header", spoil, 5)
    export = run_export(tmp_path / "in", tmp_path / "out", **LENIENT)
    assert left[0] < 0
    assert export.ids == ["good"]
    assert {one["error"] for one in export.failures} == {"SourceChanged"}


@pytest.mark.parametrize("change", CHANGES)
def test_the_parquet_beside_a_tar_is_the_one_that_was_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write_tar(tmp_path / "t.tar")
    first = run_export(tmp_path / "t.tar", tmp_path / "first")
    table = first.shards[0].tar.with_suffix(".parquet")
    other = table.read_bytes()
    swap = lambda: fifo(table) if change == "FIFO" else put(table, other)  # noqa: E731
    before(monkeypatch, "pipeline.read_tars.read_companion", swap)
    with pytest.raises(InputError, match=f"1 with SourceChanged .*{REPLACED}"):
        run_export(first.out, tmp_path / "again")


@pytest.mark.parametrize("change", [*CHANGES, "from the beginning"])
def test_without_its_index_a_tar_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    tar = write_tar(tmp_path / "t.tar")
    lines = []
    with tarfile.open(tar) as opened:
        members = opened.getmembers()
    for at in range(0, len(members), 3):
        words = [
            f"{one.name.partition('.')[2]} {one.offset_data} {one.size} {one.name}"
            for one in members[at : at + 3]
        ]
        lines.append(" ".join(words))
    index = put(tmp_path / "t.idx", "\n".join([f"v1.2 {COUNT}", *lines, ""]).encode())
    # Two names that have changed places, which nothing in the tar's layout tells.
    wrong = (
        index.read_bytes().replace(b"s05", b"s!!").replace(b"s06", b"s05").replace(b"s!!", b"s06")
    )
    if change == "from the beginning":
        fifo(index)
    else:
        swap = lambda: fifo(index) if change == "FIFO" else put(index, wrong)  # noqa: E731
        assert before(monkeypatch, "sources.tar.members._indexed", swap)
    export = run_export(tar, tmp_path / "out")
    assert check(export) == []
    assert export.ids == IDS


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "where", "nth"),
    [
        ("t.parquet", "pipeline.read_tables.open_source", 1),
        pytest.param("t.parquet", "pipeline.read_tables.open_source", 3, marks=pytest.mark.slow),
        ("t.parquet", "pipeline.read_tables.group_refs", 2),
        ("t.parquet", "pipeline.measure_images.open_source", 2),
        ("t.parquet", "pipeline.measure_images.measure_rows", 2),
        ("t.csv", "pipeline.read_tables.open_source", 1),
        ("t.csv", "pipeline.read_tables.check_paths", 1),
    ],
)
def test_a_table_that_changes_while_it_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str, nth: int, change: str
) -> None:
    """A swap of a file that is open changes nothing of it: then its rows are what they were."""
    images = [str(put(tmp_path / "images" / f"{ident}.jpg", IMAGE)) for ident in IDS]
    inside = name.endswith("parquet")
    columns: dict[str, Any] = {"image": [IMAGE] * COUNT} if inside else {"path": images}
    table = write_table(tmp_path / name, **columns)
    good = put(tmp_path / "good.csv", f"id,path,caption\ngood,{images[0]},x\n".encode())
    swap = lambda: fifo(table) if change == "FIFO" else write_table(table, 5, **columns)  # noqa: E731
    left = before(monkeypatch, where, swap, nth)
    export = run_export(f"{table},{good}", tmp_path / "out", **LENIENT)
    assert left[0] <= 0
    rows = {row["image_id"]: row["caption"] for row in export.rows if row["image_id"] != "good"}
    for ident, text in rows.items():
        assert text == caption(IDS.index(ident)).decode()
    assert {one["error"] for one in export.failures} <= {"SourceChanged"}
    if inside or where.endswith("open_source"):
        assert rows == {}
        assert export.failures
    else:
        assert len(rows) == COUNT


def test_a_table_that_is_written_anew_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [str(put(tmp_path / "images" / f"{ident}.jpg", IMAGE)) for ident in IDS]
    table = write_table(tmp_path / "t.csv", path=images)
    good = put(tmp_path / "good.csv", f"id,path,caption\ngood,{images[0]},x\n".encode())
    other = write_table(tmp_path / "other.csv", 5, path=images).read_bytes()

    def spoil() -> None:
        moment = table.stat().st_mtime_ns + 1
        table.write_bytes(other)
        os.utime(table, ns=(moment, moment))

    before(monkeypatch, "sources.tables.text._csv_lines", spoil)
    export = run_export(f"{table},{good}", tmp_path / "out", **LENIENT)
    assert export.ids == ["good"]
    assert [(one["stage"], one["error"]) for one in export.failures] == [("list", "SourceChanged")]


def test_json_that_is_swapped_before_its_columns_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "in")
    victim = folder / f"{IDS[3]}.json"
    before(monkeypatch, "pipeline.read_samples.with_json", lambda: put(victim, b'{"score": 99}'))
    export = run_export(folder, tmp_path / "out", **LENIENT)
    assert check(export) == [IDS[3]]


# What samples are looked up in.


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("m.parquet", "sources.tables.lookup.check_key"),
        ("m.parquet", "sources.tables.lookup.opened_lookup"),
        ("m.csv", "sources.tables.lookup.read_rows"),
        ("m.csv", "sources.tables.lookup.opened_lookup"),
    ],
)
def test_a_lookup_table_that_changes_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str, change: str
) -> None:
    folder = tmp_path / "in"
    for ident in IDS:
        put(folder / f"{ident}.jpg", IMAGE)
    table = write_table(tmp_path / name)

    def swap() -> None:
        if change == "FIFO" and where.endswith("opened_lookup"):
            fifo(table)
            return
        # In place, so that who has it open is concerned too.
        moment = table.stat().st_mtime_ns + 1
        table.write_bytes(write_table(tmp_path / f"other-{name}", 5).read_bytes())
        os.utime(table, ns=(moment, moment))

    left = before(monkeypatch, where, swap)
    options = {"metadata": str(table), "metadata_key": "id"}
    with pytest.raises(RunError) as caught:
        run_export(folder, tmp_path / "out", **options)
    assert left[0] <= 0
    assert caught.value.sentence == (
        f"--metadata={table} was replaced while the run read it: wait until nobody writes to it, "
        "and run again."
    )
    if where.endswith("read_rows"):  # What is left of such a run is in nobody's way.
        monkeypatch.undo()
        table.unlink()
        write_table(table)
        assert check(run_export(folder, tmp_path / "out", **options)) == []


@pytest.mark.parametrize(
    ("where", "flag"),
    [
        ("sources.tables.id_lists._text_ids", "ids"),
        ("sources.tables.id_lists.pack_rows", "exclude_ids"),
        pytest.param("sources.tables.id_lists._text_ids", "exclude_ids", marks=pytest.mark.slow),
        pytest.param("sources.tables.id_lists.pack_rows", "ids", marks=pytest.mark.slow),
    ],
)
def test_a_list_of_ids_that_changes_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, where: str
) -> None:
    folder = write_files(tmp_path / "in")
    ids = put(tmp_path / "ids.txt", b"s01\ns02\n")

    def spoil() -> None:
        moment = ids.stat().st_mtime_ns + 1
        ids.write_bytes(b"s03\ns04\n")
        os.utime(ids, ns=(moment, moment))

    before(monkeypatch, where, spoil)
    with pytest.raises(RunError, match=rf"--{flag}={ids} was replaced while the run read it"):
        run_export(folder, tmp_path / "out", **{flag: str(ids)})


# What the run itself keeps.


def spoil_spills(out: Path, turn: int = 0) -> None:
    """Writes into what was spilled, and has it look as if nobody had."""
    (spill,) = out.glob("_tmp/*/spill-*")
    moment = spill.stat().st_mtime_ns + turn
    data = spill.read_bytes().replace(caption(3), b"another 03")
    assert len(data) == spill.stat().st_size
    with spill.open("r+b") as file:
        file.write(data)
    os.utime(spill, ns=(moment, moment))


def test_what_was_spilled_of_a_compressed_tar_is_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar = write_tar(tmp_path / "in" / "t.tar.gz", mode="w:gz")
    put(tmp_path / "in" / "good.jpg", IMAGE)
    out = tmp_path / "out"
    # Once it was read, its source may change.
    before(monkeypatch, "pipeline.write_shards.find_finished", lambda: write_tar(tar, 5, "w:gz"))
    assert check(run_export(tar, tmp_path / "plain")) == []
    monkeypatch.undo()
    before(monkeypatch, "pipeline.write_shards.find_finished", lambda: spoil_spills(out, 1))
    export = run_export(tmp_path / "in", out, **LENIENT)
    assert export.ids == ["good"]
    assert {one["error"] for one in export.failures} == {"SourceChanged"}


def test_what_was_spilled_of_a_pipelines_samples_is_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    samples = [
        beam_export.Sample(ident, IMAGE, fields={"txt": caption(number)})
        for number, ident in enumerate(IDS)
    ]
    left = before(monkeypatch, "pipeline.write_shards.find_finished", lambda: spoil_spills(out))
    write = beam_export.WriteShards(str(out), max_failed_fraction=1)
    run_pipeline(lambda p: p | beam.Create(samples, reshuffle=False) | write)
    export = read_export(out)
    assert left[0] <= 0
    assert check(export) == [IDS[3]]
    assert "spilled" in export.failures[0]["message"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_path_that_a_pipeline_names_is_pinned_when_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder = write_files(tmp_path / "in")
    samples = [
        beam_export.Sample(ident, None, str(folder / f"{ident}.jpg"), {"caption": "x"})
        for ident in IDS
    ]
    victim = folder / f"{IDS[3]}.jpg"
    swap = lambda: fifo(victim) if change == "FIFO" else put(victim, IMAGE[::-1])  # noqa: E731
    before(monkeypatch, "pipeline.write_shards.find_finished", swap)
    write = beam_export.WriteShards(str(tmp_path / "out"), max_failed_fraction=1)
    run_pipeline(lambda p: p | beam.Create(samples, reshuffle=False) | write)
    export = read_export(tmp_path / "out")
    assert [(one["image_id"], one["error"]) for one in export.failures] == [
        (IDS[3], "SourceChanged")
    ]


# What a pin must not change.


def test_pins_are_in_no_file(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "in")
    write_tar(folder / "t.tar")
    options = {"duplicates": "rename", "images_per_tar": 5}
    first = run_export(folder, tmp_path / "out", **options)
    assert {row["original_path"].partition("#")[0] for row in first.rows} == {
        *(str(folder / f"{ident}.jpg") for ident in IDS),
        str(folder / "t.tar"),
    }
    for path in first.out.rglob("*.parquet"):
        text = json.dumps(pq.read_table(path).to_pylist(), default=str)
        assert "\\u0000" not in text
    # Sources of other times give the same bytes, and a run that finds them newer writes anew.
    before = directory_hashes(first.out)
    for path in folder.iterdir():
        moment = path.stat().st_mtime_ns + 10**12
        os.utime(path, ns=(moment, moment))
    run_export(folder, tmp_path / "other", **options)
    assert directory_hashes(tmp_path / "other") == before
    written = first.shards[0].tar.stat().st_mtime_ns
    run_export(folder, first.out, **options)
    assert directory_hashes(first.out) == before
    assert first.shards[0].tar.stat().st_mtime_ns > written


def test_an_input_that_changes_while_it_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_files(tmp_path / "in")
    run_export(folder, tmp_path / "out")
    command = ["verify", str(tmp_path / "out"), f"--against={folder}", "--direct_num_workers=1"]
    assert cli.main(command) == 0
    victim = folder / f"{IDS[3]}.jpg"
    left = before(
        monkeypatch, "pipeline.verify_input.load_batches", lambda: put(victim, IMAGE[::-1])
    )
    capsys.readouterr()
    assert cli.main(command) == 1
    assert left[0] <= 0
    assert f"--against: {victim} has changed while it was read" in capsys.readouterr().err


# Through the command, with workers of its own.

#: Put into every process that is started: whoever is to write a shard says so, and waits.
SITE = """
import os, pathlib, time
folder = pathlib.Path(os.environ["BEAM_EXPORT_TEST_PAUSE"])
from beam_export.pipeline import write_shards
plain = write_shards.find_finished
def paused(*given, **named):
    (folder / "reached").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return plain(*given, **named)
write_shards.find_finished = paused
"""


@pytest.fixture
def paused(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a command with two workers that stands still before it writes its first shard."""
    pause = tmp_path / "pause"
    pause.mkdir()
    (pause / "sitecustomize.py").write_text(SITE)
    paths = [str(pause), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environ = {"BEAM_EXPORT_TEST_PAUSE": str(pause), "PYTHONPATH": os.pathsep.join(paths)}
    started = []

    def start(*flags: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "beam_export", "export", "--direct_num_workers=2", *flags]
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        while not (pause / "reached").exists():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.05)
        return process

    yield start
    (pause / "go").touch()
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("change", CHANGES)
def test_a_command_whose_sources_change_while_it_runs(
    tmp_path: Path, paused: Callable[..., subprocess.Popen[str]], change: str
) -> None:
    files = write_files(tmp_path / "in" / "files")
    tar = write_tar(tmp_path / "in" / "t.tar")
    victim = files / f"{IDS[3]}.txt"
    flags = ("--images_per_tar=8", "--order=shuffled", "--max_failed_fraction=1")
    out = tmp_path / "out"
    process = paused(f"--input={tmp_path / 'in'}", f"--output_dir={out}", *flags)
    if change == "FIFO":
        fifo(tar)
        fifo(victim)
    else:
        write_tar(tar, turn=5)
        put(victim, caption(5))
    (tmp_path / "pause" / "go").touch()
    said, _ = process.communicate(timeout=900)
    assert process.returncode == 0, said
    export = read_export(out)
    lost = sorted(one["image_id"] for one in export.failures)
    assert lost == sorted([*IDS, f"files/{IDS[3]}"])
    assert {(one["stage"], one["error"]) for one in export.failures} == {("read", "SourceChanged")}
    assert len(export.rows) == COUNT - 1
    for ident, text in captions(export).items():
        assert text == caption(IDS.index(ident.removeprefix("files/"))).decode()
