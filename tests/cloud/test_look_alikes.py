"""No object that is not this tool's comes to harm in an output on Google Cloud Storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.exports import Export
from support.gcs import Emulator
from support.look_alikes import CURATOR, IN_MEMORY, ONE, OTHER, README, SHARD, TOKEN

from beam_export.cli import main as cli
from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.shards import lock
from beam_export.shards.leftovers import remove_or_refuse
from beam_export.shards.output import Output


def strangers_in(emulator: Emulator, out: str) -> dict[str, dict[str, Any]]:
    """Puts objects into an output that are nobody's but their owner's; returns what is there."""
    names = [
        "_tmp/mydata/thesis.txt",
        *(f"_tmp/{TOKEN}/{name}" for name in (OTHER, f"spill-{OTHER}", "run", "thesis.txt")),
        f"_tmp/{OTHER}/note-{TOKEN}",
        "_tmp/lock",
        "_meta/mine.parquet",
        "_meta/images-notes.json",
        "images-0123456789ab-00000.tar",
        "images-0123456789ab-000000.tar.bak",
        "backup/images-0123456789ab-manifest.json",
        "README.md",
    ]
    for name in names:
        emulator.put(f"{out}/{name}", README.encode())
    return emulator.list(f"{out}/")


@pytest.mark.parametrize("flags", [[], ["--clean"]])
def test_no_object_beside_an_export_comes_to_harm(
    images: Path,
    emulator: Emulator,
    bucket: str,
    flags: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = f"{bucket}/out"
    before = strangers_in(emulator, out)
    dead = Output(out, "00112233445566778899aabbccddeeff")
    dead.prepare()
    with dead.spilling() as (spilled, target):
        target.write(b"spilled")
    emulator.put(f"{dead.workspace}/{OTHER}", b"a name as ours, and no mark")
    strangers = {**before, **emulator.list(f"{dead.workspace}/{OTHER}")}
    # Temporary objects are swept when they are a week old.
    monkeypatch.setattr(lock, "_OLD", -1)
    given = [f"--input={images}", f"--output_dir={out}", "--images_per_tar=3", IN_MEMORY]
    assert cli.main([*given, *flags]) == 0, capsys.readouterr().err
    assert "README.md is not this tool's" in capsys.readouterr().out
    after = emulator.list(f"{out}/")
    assert {uri: after.get(uri) for uri in strangers} == strangers
    assert spilled not in after
    assert {uri for uri in after if "/_tmp/" in uri} <= set(strangers)
    if flags:
        assert cli.main([*given, *flags]) == 0
        after = emulator.list(f"{out}/")
        assert {uri: after.get(uri) for uri in strangers} == strangers


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("name", [*SHARD, *ONE])
def test_an_object_in_the_way_is_refused_before_anything_is_written(
    emulator: Emulator, bucket: str, name: str, clean: bool
) -> None:
    out = f"{bucket}/out"
    emulator.put(f"{out}/{name.format(CURATOR)}", b"mine")
    before = emulator.list(f"{out}/")
    output = lock.prepare_output(ExportOptions(output_dir=out), bound=False)
    with pytest.raises(InputError, match="where this export is to be written"):
        remove_or_refuse(output, CURATOR, 3, clean=clean)
    lock.release_output(output)
    assert emulator.list(f"{out}/") == before


def test_objects_of_ours_are_known_by_their_mark_or_their_content(
    plain: Export, emulator: Emulator, bucket: str
) -> None:
    out = f"{bucket}/out"
    # Copied there by another program: without a mark.
    emulator.upload(plain.out, out)
    marked = Output(out, TOKEN)
    marked.prepare()
    with marked.writing(f"images-{plain.hash}-000009.tar") as target:
        target.write(b"a tar alone")
    output = lock.prepare_output(ExportOptions(output_dir=out), bound=False)
    standing = output.list_files()
    assert len(standing) == 10
    ownership = output.ownership(plain.hash, standing)
    assert all(map(ownership.owns, standing))
    remove_or_refuse(output, plain.hash, 3, clean=True)
    lock.release_output(output)
    marked.sweep()
    assert emulator.list(f"{out}/") == {}
