"""Open files: opened again after an error, and never half of one content and half of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.changing_files import CONTENT, later, pinned

from beam_export.storage.base import ReplacedError
from beam_export.storage.open_files import open_source, open_with_retries, unchanged
from beam_export.storage.registry import storage_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.jpg"
    path.write_bytes(CONTENT)
    return path


def test_nothing_is_handed_on_that_was_made_of_a_changed_file(path: Path) -> None:
    with open_source(pinned(path)) as file:
        made = unchanged(file, (file.read(50) for _ in range(4)))
        assert next(made) == CONTENT[:50]
        later(path, CONTENT[::-1])
        with pytest.raises(ReplacedError):
            next(made)


def test_damage_of_a_changed_file_is_that_it_has_changed(path: Path) -> None:
    def damaged() -> Iterator[bytes]:
        yield b""
        raise ValueError("half of one file and half of another")

    for change, error in (lambda: None, ValueError), (lambda: later(path), ReplacedError):
        with storage_of(str(path)).open(pinned(path)) as file:
            made = unchanged(file, damaged())
            next(made)
            change()
            with pytest.raises(error):
                next(made)


def test_a_file_that_is_opened_again_is_the_same(path: Path, slept: list[float]) -> None:
    with open_with_retries(str(path)) as file:
        assert file.read(10) == CONTENT[:10]
        later(path, CONTENT[::-1])
        file.raw.close()  # as after an error  # type: ignore[attr-defined]
        file._drop()  # type: ignore[attr-defined]
        with pytest.raises(ReplacedError):
            file.read(10)
