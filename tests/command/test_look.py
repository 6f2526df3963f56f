"""What is known of an export before Beam is loaded: how many processes it needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from beam_export.cli import look
from beam_export.cli.flags import parse_export
from beam_export.cli.look import Look, look_first, needs_workers
from beam_export.sources import contents


@pytest.fixture
def images(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "known", "workers"),
    [
        ([], Look(frozenset({"files"}), alone=True), False),
        (["--resize=9"], Look(frozenset({"files"}), alone=False), True),
        (["--direct_num_workers=2"], Look(frozenset({"files"}), alone=False), True),
        (["--direct_num_workers", "2"], Look(frozenset({"files"}), alone=False), True),
        (["--direct_num_workers=0"], Look(frozenset({"files"}), alone=False), True),
        (["--direct_num_workers=1"], Look(frozenset({"files"}), alone=False), False),
        (["--resize=9", "--direct_num_workers=1"], Look(frozenset({"files"}), alone=False), False),
        (["--direct_running_mode=in_memory"], Look(frozenset({"files"}), alone=False), False),
        (["--dry_run"], Look(None, alone=False), False),
        (["--runner=FlinkRunner"], Look(None, alone=False), False),
    ],
)
def test_workers_are_started_ahead_where_there_will_be_some(
    images: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], known: Look, workers: bool
) -> None:
    monkeypatch.setattr(look, "usable_cores", lambda: 2)
    command = parse_export(["--input", str(images), "--output_dir=out", *flags])
    assert look_first(command) == known
    assert needs_workers(command, known) == workers


def test_of_what_is_too_much_to_look_at_the_names_tell(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = parse_export(["--input", str(images), "--output_dir=out"])
    monkeypatch.setattr(contents, "_MOST_ITEMS", 0)
    assert look_first(command) == Look(frozenset({"files"}), alone=False)
    monkeypatch.setattr(contents, "_MANY", 0)
    assert look_first(command) == Look(frozenset({"files"}), alone=False, many=True)


def test_one_core_needs_no_workers(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "usable_cores", lambda: 1)
    command = parse_export(["--input", str(images), "--output_dir=out"])
    assert not needs_workers(command, Look(None, alone=False))
