"""The pages of docs/tasks run as they stand, block by block, and print what they say."""

from __future__ import annotations

import csv
import doctest
import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support import task_pages
from support.exports import PHOTOS, ROOT, SHARED
from support.task_pages import blocks_of, commands_in, line_not_printed, run_block

from beam_export.cli.flags import parse_export, parse_index, parse_report, parse_verify

TASKS = ROOT / "docs" / "tasks"
PAGES = sorted(TASKS.glob("*.md"))
WITH_COMMANDS = [ROOT / "README.md", *PAGES, *sorted((ROOT / "docs").glob("*.md"))]
PARSERS = {
    "export": parse_export,
    "verify": parse_verify,
    "report": parse_report,
    "index": parse_index,
}
CLASSES = ("dress", "pants", "shoes")


def photographs() -> Iterator[tuple[str, bytes]]:
    """Gives 60 ids and JPEGs: real photographs where they are here, else pictures of one colour."""
    for first, name in enumerate(CLASSES):
        there = sorted(PHOTOS.glob(f"clothing/*/{name}/*.jpg"))
        for number in range(20):
            if there:
                yield f"{name}/{number:02d}", there[number].read_bytes()
                continue
            file = BytesIO()
            Image.new("RGB", (64, 48), (80 * first, 12 * number, 99)).save(file, "JPEG")
            yield f"{name}/{number:02d}", file.getvalue()


def shared_data(name: str) -> Path:
    if not (folder := SHARED / "data" / name).is_dir():
        pytest.skip(f"needs ../shared/data/{name}, which is not part of the repository")
    return folder


def a_folder(here: Path) -> None:
    rows = [("file_name", "caption", "score")]
    for number, (name, image) in enumerate(photographs()):
        path = here / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        caption = f"photograph {number} of {path.parent.name}"
        rows.append((f"{name}.jpg", caption, str(number / 100)))
    with (here / "photos" / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def a_folder_and_the_examples(here: Path) -> None:
    for number, (name, image) in enumerate(photographs()):
        path = here / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
        path.with_suffix(".json").write_text(json.dumps({"score": number / 100}))
    (here / "examples").symlink_to(ROOT / "examples")


def old_tars(here: Path) -> None:
    """Writes tars with the members that `ShardWriter` of webdataset writes."""
    (here / "old").mkdir()
    ids = []
    for number, (name, image) in enumerate(photographs()):
        path = here / "old" / f"photos-{number // 20:06d}.tar"
        with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as tar:
            text = f"photograph {number}".encode()
            score = json.dumps({"score": number / 100}).encode()
            for extension, data in (("jpg", image), ("json", score), ("txt", text)):
                member = tarfile.TarInfo(f"{name}.{extension}")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
        ids.append(name)
    aesthetic = [number % 4 / 4 for number in range(len(ids))]
    pq.write_table(pa.table({"image_id": ids, "aesthetic": aesthetic}), here / "scores.parquet")


def curated(here: Path) -> None:
    shutil.copytree(shared_data("nemo-curator"), here / "curated")


def downloads(here: Path) -> None:
    """Copies img2dataset's shards, gives them uids as DataComp has, and half as its subset."""
    shutil.copytree(shared_data("img2dataset") / "webdataset", here / "downloads")
    wanted = []
    for path in sorted((here / "downloads").glob("*.parquet")):
        table = pq.read_table(path)
        uids = [hashlib.md5(url.encode()).hexdigest() for url in table["url"].to_pylist()]
        pq.write_table(table.append_column("uid", pa.array(uids)), path)
        stored = [one == "success" for one in table["status"].to_pylist()]
        wanted += [uid for uid, there in zip(uids, stored, strict=True) if there]
    pairs = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in sorted(wanted)[:70]]
    np.save(here / "subset.npy", np.array(pairs, np.dtype("u8,u8")))


def hub(here: Path) -> None:
    shutil.copytree(shared_data("huggingface"), here / "hub")
    for name, image in photographs():
        path = here / "photos" / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)


#: What each page says that there is, before its first block.
PREPARE: dict[str, Callable[[Path], None]] = {
    "from-a-folder": a_folder,
    "reshard-and-filter": old_tars,
    "from-nemo-curator": curated,
    "from-img2dataset": downloads,
    "hugging-face": hub,
    "in-your-pipeline": a_folder_and_the_examples,
    "something-else": lambda here: None,
}


def test_what_reads_the_pages_gives_what_its_examples_say() -> None:
    results = doctest.testmod(task_pages)
    assert (results.attempted, results.failed) == (3, 0)


def test_every_page_has_what_it_is_run_on() -> None:
    assert [page.stem for page in PAGES] == sorted(PREPARE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_one_that_the_tests_run_or_says_that_it_is_not(page: Path) -> None:
    for block in blocks_of(page):
        where = f"{page.name}, line {block.line}"
        assert block.language in ("sh", "python", "csv"), where
        assert block.is_run or block.language == "python", f"{where}: is not even looked at"
        assert block.is_run or not block.printed, where


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one_that_parses(page: Path) -> None:
    """The flags are there, and take the values; what they do is for other tests."""
    for block in blocks_of(page):
        if block.language in ("", "sh"):
            for name, *flags in commands_in(block.code):
                if "..." not in flags:
                    PARSERS[name](flags)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs_as_it_stands_and_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    PREPARE[page.stem](tmp_path)
    for block in blocks_of(page):
        if block.is_run and block.language in ("sh", "python"):
            printed = run_block(block, tmp_path)
            missing = line_not_printed(printed, block.printed)
            assert missing is None, f"{page.name}, line {block.line}: {missing!r} in\n{printed}"


def test_the_functions_that_upload_take_what_they_are_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The block runs with its functions in place of a network: each checks its arguments."""
    hub_api = pytest.importorskip("huggingface_hub")
    from unittest.mock import create_autospec

    api = create_autospec(hub_api.HfApi, instance=True)
    monkeypatch.setattr(hub_api, "HfApi", lambda: api)
    (block,) = [one for one in blocks_of(TASKS / "hugging-face.md") if not one.is_run]
    exec(block.code, {})
    assert api.upload_folder.call_args.kwargs["folder_path"] == "shards"
    assert api.create_repo.called


@pytest.mark.slow
def test_three_commands_of_the_readme_make_an_export_and_its_report(tmp_path: Path) -> None:
    """All but the first, which is for an environment of its own: `.ci/package` installs so."""
    a_folder(tmp_path)
    text = (ROOT / "README.md").read_text().split("\n## Use it\n")[1]
    block = next(one for one in blocks_of(ROOT / "README.md") if one.code in text)
    install, export, report = block.code.splitlines()
    assert install == "pip install ."
    run_block(block._replace(code=f"{export}\n{report}"), tmp_path)
    assert "60 images" in (tmp_path / "shards" / "_meta" / "report.html").read_text()
