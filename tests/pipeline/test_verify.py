"""`beam-export verify`: sound exports, damages of every kind, the input that went in."""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import operator
import os
import shutil
import sys
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from support.exports import ROOT, SHARED, make_images, picture
from support.runs import run_export, run_pipeline

import beam_export
from beam_export.cli import main as cli
from beam_export.metadata.schema import STRUCTURAL
from beam_export.naming import ShardNames
from beam_export.shards.parquet import ShardRow, ShardTable
from beam_export.shards.tar import TarWriter
from beam_export.verify.against_input import rules_of
from beam_export.verify.findings import Findings
from beam_export.verify.members import origin_of
from beam_export.verify.unique_names import UnmatchedCounts

sys.path.insert(0, str(ROOT))

from benchmarks.robustness import damages

IN_MEMORY = "--direct_num_workers=1"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_images(tmp_path_factory.mktemp("images"), 21)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "twice.jpg").write_bytes(picture(1))
    (folder / "twice.jpeg").write_bytes(picture(2))
    (folder / "img00000.json").write_text('{"tags": ["a"], "deep": [[{"x": [1]}]], "score": 0.5}')
    return folder


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with failures, renamed ids and a limit; tests that damage it copy it."""
    out = tmp_path_factory.mktemp("out") / "export"
    options: dict[str, Any] = {"images_per_tar": 8, "max_failed_fraction": 0.5}
    run_export(images, out, duplicates="rename", limit=23, **options)
    return out


@pytest.fixture
def out(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def verify(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Findings]:
    code = cli.main(["verify", *map(str, arguments), "--json", IN_MEMORY])
    findings = Findings.from_json(capsys.readouterr().out)
    assert code == (0 if findings.sound else 1)
    return code, findings


def lines(findings: Findings) -> str:
    return "\n".join(findings.lines())


def test_a_sound_export(whole: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    flags = [str(whole), "--decode", f"--against={images}", IN_MEMORY]
    assert cli.main(["verify", *flags]) == 0
    assert "sound: 22 samples in 3 shards" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_several_workers(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = sorted(out.glob("*.tar"))[1]
    victim.write_bytes(victim.read_bytes()[:-1])
    assert cli.main(["verify", str(out), "--direct_num_workers=2"]) == 1
    said = capsys.readouterr().out.splitlines()
    # One image alone has a sidecar.
    assert said.pop(-2).startswith("note: samples have unequal members: .json in 1 of 22;")
    assert all(line.startswith(victim.name) for line in said[:-1])
    assert said[:-1] == sorted(said[:-1])
    assert said[-1].endswith("22 samples in 3 shards, " + said[-1].rpartition(", ")[2])


# Damages; benchmarks/robustness/damages.py does thousands.


def test_damages_are_found_and_named(whole: Path) -> None:
    files = damages.read_files(whole)
    assert damages.check(files) == []
    damager = damages.Damager(files, seed=5)
    for place in range(84):
        damage = damager.damage(place)
        faults = damages.check(damage.files)
        assert {fault.file for fault in faults} & damage.touched, (damage.kind, damage.touched)
        assert all(fault.problem and fault.remedy for fault in faults)


def test_the_command_finds_what_the_checks_find(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = damages.read_files(out)
    name = next(name for name in files if name.endswith("000001.parquet"))
    files = damages.reseal({**files, name: files[name.replace("000001", "000000")]}, name)
    damages.write_files(files, out)
    _, findings = verify(capsys, out)
    assert findings.faults == damages.check(files)
    # The ids of the first shard stand in the second too.
    assert sum("must be one in the whole dataset" in fault.problem for fault in findings.faults) > 5


def test_only_decoding_tells_an_image_that_every_digest_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jpg").write_bytes(picture(1))
    run_export(source, tmp_path / "out", images_per_tar=5)
    files = damages.read_files(tmp_path / "out")
    damages.write_files(forge_image(files, picture(1)[:-40] + bytes(40)), tmp_path / "out")
    code, findings = verify(capsys, tmp_path / "out")
    assert code == 0, lines(findings)
    code, findings = verify(capsys, tmp_path / "out", "--decode")
    assert code == 1
    assert findings.faults[0].member == "a.jpg"
    assert "pixels" in findings.faults[0].problem or "decoded" in findings.faults[0].problem


def forge_image(files: damages.Files, data: bytes) -> damages.Files:
    """Puts another image into the one shard of an export, and makes every digest fit."""
    tar_name = next(name for name in files if name.endswith(".tar"))
    name = tar_name.replace(".tar", ".parquet")
    tar_file, table_file = io.BytesIO(), io.BytesIO()
    writer = TarWriter(tar_file)
    offset = writer.add("a.jpg", data)
    writer.close()
    sha256 = hashlib.sha256(data).hexdigest()
    row = ShardRow(
        "a", tar_name, "a.jpg", "", offset, len(data), 1, 1, sha256, sha256, "copied", {}
    )
    table = ShardTable(table_file, damages.pa.schema([]))
    table.append(row)
    facts = damages.pq.read_metadata(io.BytesIO(files[name])).metadata
    ours = {k.decode(): v.decode() for k, v in facts.items() if k.startswith(b"beam_export.")}
    digest = hashlib.sha256(tar_file.getvalue()).hexdigest()
    size = len(tar_file.getvalue())
    ours |= {"beam_export.tar_sha256": digest, "beam_export.tar_bytes": str(size)}
    table.close(ours)
    shards = next(one for one in files if one.endswith("-shards.parquet"))
    stored = damages.pq.read_table(io.BytesIO(files[shards]))
    rows = [{**stored.to_pylist()[0], "tar_sha256": digest, "bytes": size}]
    buffer = io.BytesIO()
    damages.write_table(buffer, damages.pa.Table.from_pylist(rows, schema=stored.schema))
    manifest_name = next(one for one in files if one.endswith("-manifest.json"))
    manifest = damages.unseal(files[manifest_name])
    manifest["totals"]["bytes"] = size
    new = {
        **files,
        tar_name: tar_file.getvalue(),
        name: table_file.getvalue(),
        shards: buffer.getvalue(),
        manifest_name: damages.seal(manifest),
    }
    return damages.reseal(new, name)


# The input.


def test_an_input_that_is_another_one(
    whole: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(images, tmp_path / "in"))
    changed = next(path for path in sorted(other.rglob("img*.jpg")))
    changed.write_bytes(changed.read_bytes()[:-1] + b"\xd8")
    lost = next(path for path in sorted(other.rglob("img*.png")))
    lost.unlink()
    (other / "one_more.jpg").write_bytes(picture(77))
    code, findings = verify(capsys, whole, f"--against={other}")
    said = lines(findings)
    assert code == 1
    assert f"{changed.relative_to(other).with_suffix('')}: the input's image is not" in said
    assert "of the export, 1 sample is not in the input" in said
    assert lost.relative_to(other).with_suffix("").as_posix() in said
    assert "one_more" in said


def test_an_export_of_an_export(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_export(whole, tmp_path / "out", images_per_tar=5)
    code, findings = verify(capsys, tmp_path / "out", f"--against={whole}")
    assert code == 0, lines(findings)
    assert findings.samples == 22


def test_a_copy_has_the_bytes_of_its_source(whole: Path) -> None:
    files = damages.read_files(whole)
    name = next(name for name in files if name.endswith("-000000.parquet"))
    table = damages.pq.read_table(io.BytesIO(files[name]))
    place = table.column("encoding").to_pylist().index("copied")
    data = damages.edited(files[name], place, "source_sha256", "0" * 64)
    (fault,) = damages.check(damages.reseal({**files, name: data}, name))
    assert (fault.file, fault.member) == (name, table.column("image_id")[place].as_py())
    assert "source_sha256 is another one" in fault.problem


def test_what_only_the_input_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every digest fits; benchmarks/robustness/damages.py makes more of them."""
    out = damages.make_export(tmp_path, seed=3)
    files = damages.read_files(out)
    against = (f"--against={tmp_path / 'in'}", "--decode")
    code, findings = verify(capsys, out, *against)
    assert (code, findings.unchecked) == (0, []), lines(findings)
    damager = damages.Damager(files, seed=1)
    told = ["its .txt is not", "its image is not", "does not stand where", "is not what the input"]
    for place, words in enumerate(told):
        damage = damager.damage_against(place)
        assert damages.check(damage.files) == []
        damages.write_files(damage.files, tmp_path / str(place))
        code, findings = verify(capsys, tmp_path / str(place), *against)
        assert code == 1, damage.kind
        assert {fault.file for fault in findings.faults} <= damage.touched
        assert all(words in f.problem or "its .json is" in f.problem for f in findings.faults)
        assert all(fault.member for fault in findings.faults)
    # Without --decode no image is encoded again, and that is said.
    code, findings = verify(capsys, tmp_path / "1", against[0])
    assert code == 0
    assert any("encoded images" in words and "--decode" in words for words in findings.unchecked)


def test_codecs_of_other_versions_are_said_and_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dali_is_installed", "codec_is_installed"):
        monkeypatch.setattr(f"beam_export.images.factory.{name}", lambda: False)
    out = damages.make_export(tmp_path, seed=3)
    path = next(out.glob("*-manifest.json"))
    manifest = damages.unseal(path.read_bytes())
    against = (f"--against={tmp_path / 'in'}", "--decode")
    for name, other, words in (
        ("pillow", "1.0", "pillow 12"),
        ("encoder", "dali", "what encoded them is not on this machine"),
        ("device", "NVIDIA X", "what encoded them is not on this machine"),
    ):
        software = {**manifest["software"], name: other}
        path.write_bytes(damages.seal({**manifest, "software": software}))
        code, findings = verify(capsys, out, *against)
        assert code == 0, lines(findings)
        assert any(words in one for one in findings.unchecked), findings.unchecked
    # An export of the first edition, whose run said nothing of its columns.
    path.write_bytes(damages.seal(manifest))
    (run,) = out.glob("_meta/*-run.json")
    facts = damages.unseal(run.read_bytes())
    del facts["columns_from_json"]
    run.write_bytes(damages.seal(facts))
    code, findings = verify(capsys, out, *against)
    assert (code, findings.notes) == (0, [])
    assert any("what encoded them is not on this machine" in one for one in findings.unchecked)


@pytest.mark.parametrize(
    "options",
    [
        {"order": "shuffled", "seed": 3, "member_names": "sequential"},
        {"order": "shuffled", "duplicates": "rename", "encode": "always"},
        {"resize": 16, "resize_mode": "border", "duplicates": "first"},
        {"encode": "never", "duplicates": "rename", "limit": 9},
        {"probe": "full", "duplicates": "rename"},
        {"probe": "header", "duplicates": "rename"},
    ],
)
def test_no_option_makes_a_false_fault(
    images: Path, tmp_path: Path, options: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(images, tmp_path / "in"))
    if "duplicates" not in options:
        (source / "twice.jpeg").unlink()
    else:
        for one in ("twice.png", "twice.bmp"):
            shutil.copy(source / "twice.jpg", source / one)
    for number, path in enumerate(sorted(source.rglob("img*g"))):
        path.with_suffix(".json").write_text(json.dumps({"n": number, "x": [0.5, None]}))
        path.with_suffix(".txt").write_text(f"text {number}")
    if "probe" in options:
        (source / "junk.jpg").write_bytes(b"no image")
    run_export(source, tmp_path / "out", images_per_tar=8, max_failed_fraction=0.5, **options)
    code, findings = verify(capsys, tmp_path / "out", f"--against={source}", "--decode")
    assert (code, findings.unchecked) == (0, []), lines(findings)


def test_columns_of_a_table_and_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_images(tmp_path / "in", 6)
    paths = sorted(source.rglob("img*g"))
    rows = ["path,caption,score", *(f"{one},picture {n},0.{n}" for n, one in enumerate(paths))]
    (tmp_path / "table.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    run_export(tmp_path / "table.csv", out, images_per_tar=4, caption_column="caption")
    against = f"--against={tmp_path / 'table.csv'}"
    assert verify(capsys, out, against, "--decode")[0] == 0
    files = damages.read_files(out)
    name = next(name for name in files if name.endswith("-000001.parquet"))
    data = damages.edited(files[name], 1, "score", 0.75)
    damages.write_files(damages.reseal({**files, name: data}, name), tmp_path / "score")
    assert verify(capsys, tmp_path / "score")[0] == 0  # nothing in the export tells
    (fault,) = verify(capsys, tmp_path / "score", against)[1].faults
    assert "column 'score' is not what the input has" in fault.problem
    data = damages.edited(files[name], 1, "caption", "another")
    damages.write_files(damages.reseal({**files, name: data}, name), tmp_path / "caption")
    (fault,) = verify(capsys, tmp_path / "caption")[1].faults
    assert "its .txt is not column 'caption'" in fault.problem


def test_what_a_limit_left_out_comes_after_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_images(tmp_path / "in", 8)
    run_export(source, tmp_path / "out", images_per_tar=4, limit=6)
    assert verify(capsys, tmp_path / "out", f"--against={source}")[0] == 0
    # As if the limit had taken others: the last one comes first now.
    last = max(source.rglob("img*g"), key=lambda path: path.as_posix())
    last.rename(source / f"a{last.suffix}")
    code, findings = verify(capsys, tmp_path / "out", f"--against={source}")
    assert code == 1
    assert "that --limit left out come before some that are here" in lines(findings)


def test_a_compressed_tar_is_held_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(tmp_path / "in.tar.gz", "w:gz") as tar:
        for number in range(4):
            for name, data in (("jpg", picture(number)), ("txt", b"a"), ("json", b'{"n": 1}')):
                member = tarfile.TarInfo(f"{number}.{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    run_export(tmp_path / "in.tar.gz", tmp_path / "out", images_per_tar=4)
    against = f"--against={tmp_path / 'in.tar.gz'}"
    assert verify(capsys, tmp_path / "out", against)[0] == 0
    files = damages.read_files(tmp_path / "out")
    damage = damages.Damager(files, seed=1).forge_sidecar()
    assert damage is not None
    damages.write_files(damage.files, tmp_path / "out")
    (fault,) = verify(capsys, tmp_path / "out", against)[1].faults
    assert "its .txt is not the one that the input has" in fault.problem


def test_json_that_columns_were_not_made_of_is_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pipeline of one's own, both are the user's."""
    samples = [
        beam_export.Sample(
            f"s{n}", picture(n), metadata={"n": n}, fields={"json": b'{"n": %d}' % (n % 3)}
        )
        for n in range(4)
    ]
    write = beam_export.WriteShards(str(tmp_path / "out"), images_per_tar=4)
    run_pipeline(lambda p: p | beam.Create(samples) | write)
    code, findings = verify(capsys, tmp_path / "out")
    assert code == 0
    (note,) = findings.notes
    assert note.startswith("the .json of 1 sample says otherwise than their columns")
    assert "'s3': column 'n' is 3, and its .json says 0" in note


# What is no export, and what is another's.


def test_not_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (tmp_path, tmp_path / "none"):
        assert cli.main(["verify", str(place)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert str(place) in said


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--decode=perhaps", "out"],
        ["out", "--no_such=1"],
        ["out", "another"],
        ["out", "--input_format=what"],
    ],
)
def test_wrong_flags(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", *flags]) == 2
    assert "verify" in capsys.readouterr().err


def test_an_export_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = SHARED / "data" / "img2dataset" / "webdataset"
    if not data.is_dir():
        pytest.skip(f"no {data}: exports of other tools are not part of the repository")
    place = Path(shutil.copytree(data, tmp_path / "copy"))
    code, findings = verify(capsys, place)
    assert (code, findings.samples, findings.hash) == (0, 141, None)
    assert any("hashes" in words for words in findings.unchecked)
    (place / "00001.tar").write_bytes((place / "00000.tar").read_bytes()[:5000])
    shutil.copy(place / "00000.parquet", place / "00003.parquet")
    code, findings = verify(capsys, place, "--decode", "--against=x")
    assert code == 1
    assert {fault.file for fault in findings.faults} == {"00001.tar", "00003.parquet"}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink])
@pytest.mark.parametrize("end", ["manifest.json", "shards.parquet", "run.json", "000001.parquet"])
def test_what_is_cut_short_is_named(
    out: Path, capsys: pytest.CaptureFixture[str], damage: Any, end: str
) -> None:
    (victim,) = [path for path in out.rglob("*") if path.name.endswith(f"-{end}")]
    damage(victim)
    code, findings = verify(capsys, out)
    assert code == 1
    assert victim.relative_to(out).as_posix() in {fault.file for fault in findings.faults}
    assert all(fault.remedy for fault in findings.faults)


def test_what_only_looks_like_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "b.parquet").write_bytes(b"PAR1" + bytes(100))
    code, findings = verify(capsys, tmp_path)
    assert code == 1
    assert {fault.file for fault in findings.faults} == {"a.tar", "b.parquet"}
    assert cli.main(["verify", str(tmp_path / "a.tar")]) == 2
    assert "give the directory" in capsys.readouterr().err


def test_no_manifest_means_not_complete(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(out.glob("*manifest.json")).unlink()
    _, findings = verify(capsys, out)
    (fault,) = findings.faults
    assert fault.file == ShardNames(str(findings.hash)).manifest
    assert fault.problem == "it is missing"


def test_a_file_that_cannot_be_read_is_a_fault(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = sorted(out.glob("*.tar"))[0]
    victim.unlink()
    victim.symlink_to(victim.name)
    _, findings = verify(capsys, out)
    assert [fault.file for fault in findings.faults] == [victim.name]
    assert "cannot be read" in findings.faults[0].problem


@pytest.mark.parametrize("end", ["-manifest.json", "-run.json", "-000001.parquet"])
def test_a_file_of_gigabytes_is_not_held_in_memory(
    out: Path, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (victim,) = [path for path in out.rglob("*") if path.name.endswith(end)]
    with victim.open("r+b") as file:
        file.truncate(1 << 36)
    tracemalloc.start()
    _, findings = verify(capsys, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert victim.relative_to(out).as_posix() in {fault.file for fault in findings.faults}
    assert peak < 1 << 28


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the places of all that is in a JSON."""
    if at:
        yield at
    keys = {dict: lambda: [*content], list: lambda: range(len(content))}
    for key in keys.get(type(content), tuple)():
        yield from places(content[key], (*at, key))


def test_a_manifest_may_say_anything_and_verify_ends(whole: Path) -> None:
    """Sealed as it should be: whoever forges one can do that too."""
    files = damages.read_files(whole)
    name = next(name for name in files if name.endswith("-manifest.json"))
    content = damages.unseal(files[name])
    for at in places(content):
        for value in (None, "x", -1, [], [1], {"a": 1}, 1.5):
            changed = copy.deepcopy(content)
            place = functools.reduce(operator.getitem, at[:-1], changed)
            place[at[-1]] = value
            opened = damages.open_for_checks(
                content["hash"], files, {**files, name: damages.seal(changed)}.__getitem__
            )
            damages.check_dataset(opened, [], [UnmatchedCounts(1, 1)], [])
            rules_of(opened.manifest, ["score"], origin_of(opened.manifest, opened.run))


@pytest.mark.parametrize("column", STRUCTURAL.names)
def test_a_row_may_have_null_anywhere_and_that_is_a_fault(whole: Path, column: str) -> None:
    files = damages.read_files(whole)
    name = next(name for name in files if name.endswith("-000000.parquet"))
    row = pq.read_table(io.BytesIO(files[name]))["encoding"].to_pylist().index("copied")
    data = damages.edited(files[name], row, column, None)
    faults = damages.check(damages.reseal({**files, name: data}, name))
    assert name in {fault.file for fault in faults}


def test_what_rows_name_is_never_opened(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row may name any file: the tar is the one of the shard's own number."""
    os.mkfifo(tmp_path / "pipe")
    files = damages.read_files(out)
    name = next(name for name in files if name.endswith("-000001.parquet"))
    for other in ("../pipe", str(tmp_path / "pipe"), "/dev/zero"):
        data = damages.edited(files[name], 0, "tar_file", other)
        damages.write_files(damages.reseal({**files, name: data}, name), out)
        _, findings = verify(capsys, out)
        assert {fault.file for fault in findings.faults} == {name}
        assert "tar_file is" in findings.faults[0].problem


def test_notes_are_no_faults(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / "LICENSE").write_text("mine")
    code, findings = verify(capsys, out)
    assert code == 0
    assert "LICENSE: not of the export, and not looked at" in findings.notes


def test_json_has_all(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(whole), "--json=true", IN_MEMORY]) == 0
    content = json.loads(capsys.readouterr().out)
    names = {"sound", "faults", "unchecked", "notes", "samples", "shards", "bytes", "hash"}
    assert set(content) == names
    assert content["sound"] is True
