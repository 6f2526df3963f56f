from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import picture
from support.made_exports import NAMES, make_export

from beam_export.errors import InputError, RunError
from beam_export.exports.opening import open_catalog
from beam_export.samples import Failure, Sample

SAMPLE = Sample(id="a", image=picture(1))


def test_a_catalog_knows_where_each_sample_is(tmp_path: Path) -> None:
    samples = [Sample(id=str(number), image=picture(number)) for number in range(8)]
    catalog = open_catalog(str(make_export(tmp_path / "out", samples)))
    assert (catalog.samples, catalog.shards) == (8, 3)
    assert [catalog.shard_of(number) for number in range(8)] == [0, 0, 0, 1, 1, 1, 2, 2]
    for number in range(3):
        assert catalog.tar_bytes[number] == (tmp_path / "out" / NAMES.tar(number)).stat().st_size
        parquet = tmp_path / "out" / NAMES.parquet(number)
        assert catalog.parquet_bytes[number] == parquet.stat().st_size


def sentence_of(error: Exception) -> str:
    assert isinstance(error, (InputError, RunError))
    assert error.sentence.endswith(".")
    assert "\n" not in error.sentence
    return error.sentence


@pytest.mark.parametrize("made", [True, False])
def test_a_directory_without_an_export_is_a_sentence(tmp_path: Path, made: bool) -> None:
    out = tmp_path / "out"
    if made:
        out.mkdir()
        (out / "cat.jpg").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        open_catalog(str(out))
    assert "holds no export of this tool" in sentence_of(caught.value)


def test_an_export_that_is_not_finished_is_a_sentence(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", [SAMPLE])
    (out / NAMES.manifest).unlink()
    with pytest.raises(InputError) as caught:
        open_catalog(str(out))
    assert "no manifest" in sentence_of(caught.value)
    assert "run the export to its end" in sentence_of(caught.value)


@pytest.mark.parametrize("shards", [True, False])
def test_a_run_that_its_failures_ended_says_where_they_are_and_what_helps(
    tmp_path: Path, shards: bool
) -> None:
    failure = Failure("b", "/in/b.jpg", "encode", "OSError", "gone")
    out = make_export(tmp_path / "out", [SAMPLE], failures=[failure])
    (out / NAMES.manifest).unlink()
    # One that ends well has the table of shards too: it is not finished, or has lost its manifest.
    with pytest.raises(InputError, match="run the export to its end"):
        open_catalog(str(out))
    (out / NAMES.shards).unlink()
    for one in [] if shards else out.glob("images-*"):
        one.unlink()
    with pytest.raises(InputError) as caught:
        open_catalog(str(out))
    said = sentence_of(caught.value)
    assert f"ended by its failures, which are listed in {out}/{NAMES.failures}: mend" in said
    assert "--max_failed_fraction" in said
    # The shards of another run, which may be under way.
    (out / "images-ffffffffffff-000000.tar").write_bytes(b"")
    with pytest.raises(InputError, match=r"holds shards \(images-.*\.(tar|parquet)\)"):
        open_catalog(str(out))


def test_two_exports_in_one_directory_are_named(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", [SAMPLE])
    other = "f" * 12
    (out / NAMES.manifest.replace(NAMES.hash, other)).write_bytes(b"{}")
    (out / NAMES.shards.replace(NAMES.hash, other)).write_bytes(b"")
    with pytest.raises(InputError, match=f"several exports \\({NAMES.hash}, {other}\\)"):
        open_catalog(str(out))


def test_an_export_of_a_later_format_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make_export(tmp_path / "out", [SAMPLE])
    monkeypatch.setattr("beam_export.exports.opening.FORMAT", 0)
    with pytest.raises(InputError, match="is an export of format 1, and this version reads 0"):
        open_catalog(str(out))


def test_a_storage_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_export.storage.registry._beam_knows", lambda scheme: False)
    with pytest.raises(InputError, match="no file system here for nowhere://"):
        open_catalog("nowhere://bucket/out")


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


@pytest.mark.parametrize("name", [NAMES.manifest, NAMES.shards])
def test_a_damaged_file_of_the_whole_export_is_a_sentence(tmp_path: Path, name: str) -> None:
    out = make_export(tmp_path / "out", [SAMPLE])
    flip(out / name, 40)
    with pytest.raises(RunError) as caught:
        open_catalog(str(out))
    assert f"{name} is damaged" in sentence_of(caught.value)


def test_a_table_of_shards_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", [SAMPLE])
    (out / NAMES.shards).unlink()
    with pytest.raises(RunError, match="it is missing"):
        open_catalog(str(out))
