"""Indexes for loaders in a bucket: in the same pass, afterwards, beside what others have there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.devices import need_gcp
from support.exports import directory_hashes, make_images
from support.gcs import Emulator
from support.runs import run_export

from beam_export.cli.main import main

#: Google's client does not close what it has read an error from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)

IN_MEMORY = "--direct_num_workers=1"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("images"), 7)


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What an export with all indexes has on a disk."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return directory_hashes(run_export(images, out, images_per_tar=3, index="all").out)


@pytest.fixture
def store() -> Iterator[Emulator]:
    need_gcp()
    with Emulator.start("--page_size=7") as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environ.items():
            patch.setenv(name, value)
        running.make_bucket("results")
        yield running


OUT = "gs://results/out"


def export(images: Path, *flags: str) -> int:
    given = [f"--input={images}", f"--output_dir={OUT}", "--images_per_tar=3", IN_MEMORY]
    return main(["export", *given, *flags])


def found(store: Emulator, folder: Path) -> dict[str, str]:
    return directory_hashes(store.download(OUT, folder))


def test_they_are_the_same_in_a_bucket_in_one_pass_or_later(
    images: Path, whole: dict[str, str], store: Emulator, tmp_path: Path
) -> None:
    assert export(images, "--index=all") == 0
    assert found(store, tmp_path / "one") == whole
    assert export(images, "--clean") == 0
    plain = found(store, tmp_path / "plain")
    assert not any(name.endswith((".idx", "sizes.json")) or "nv-meta" in name for name in plain)
    assert main(["index", OUT, IN_MEMORY]) == 0
    assert found(store, tmp_path / "later") == whole
    assert main(["verify", OUT, IN_MEMORY]) == 0
    before = store.list(f"{OUT}/")
    assert main(["index", OUT, IN_MEMORY]) == 0
    assert export(images) == 0
    assert store.list(f"{OUT}/") == before


def test_what_a_run_that_was_cut_short_has_left_is_known_by_its_mark(
    images: Path, store: Emulator
) -> None:
    assert export(images, "--index=energon") == 0
    (manifest,) = (uri for uri in store.list(f"{OUT}/") if uri.endswith("manifest.json"))
    store.remove(manifest if manifest.startswith("gs://") else f"gs://results/{manifest}")
    assert export(images, "--limit=4", "--clean") == 0
    assert not any("nv-meta" in uri for uri in store.list(f"{OUT}/"))


def test_objects_of_others_stay(
    images: Path, store: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(f"{OUT}/sizes.json", b'{"mine.tar": 5}')
    store.put(f"{OUT}/.nv-meta/dataset.yaml", b"mine: true\n")
    assert export(images, "--index=all") == 2
    assert "holds sizes.json, where --index is to write" in capsys.readouterr().err
    assert export(images, "--index=dali,energon") == 0
    assert ".nv-meta/dataset.yaml is not this tool's" in capsys.readouterr().out
    assert export(images, "--clean") == 0
    assert store.get(f"{OUT}/sizes.json") == b'{"mine.tar": 5}'
    assert store.get(f"{OUT}/.nv-meta/dataset.yaml") == b"mine: true\n"
    assert not any("nv-meta/split" in uri or uri.endswith(".idx") for uri in store.list(f"{OUT}/"))
