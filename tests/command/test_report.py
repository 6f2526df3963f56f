"""The command `report`: what it writes, what it leaves alone, and what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import Browser, chromium
from support.exports import Export, make_images, picture
from support.html_seen import ATTACKS
from support.made_exports import make_export
from support.runs import run_export

from beam_export.cli.main import main
from beam_export.samples import Sample
from beam_export.shards.manifest import SplitShards
from beam_export.shards.report_file import REPORT, is_report


@pytest.fixture
def export(plain: Export, tmp_path: Path) -> Path:
    """A copy of an export of seven images."""
    return Path(shutil.copytree(plain.out, tmp_path / "out"))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the one sentence that was printed as an error."""
    found = capsys.readouterr().err
    lines = [line for line in found.splitlines() if line.startswith("beam-export: ")]
    assert len(lines) == 1, found
    assert "Traceback" not in found
    return lines[0]


def test_a_page_is_written_and_its_place_is_said(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    assert main(["report", str(export)]) == 0
    page = export / REPORT
    assert re.match(rf"{re.escape(str(page))}: 7 images, .* of page, in ", capsys.readouterr().out)
    assert is_report(page.read_bytes())
    after = {path: path.read_bytes() for path in export.rglob("*") if path.is_file()}
    assert {**before, page: page.read_bytes()} == after
    assert not list(export.glob("_tmp*"))
    assert main(["verify", str(export), "--direct_num_workers=1"]) == 0
    assert "sound: 7 samples" in capsys.readouterr().out


def test_a_second_page_is_the_same_and_takes_the_place_of_the_first(export: Path) -> None:
    assert main(["report", str(export)]) == 0
    first = (export / REPORT).read_bytes()
    assert main(["report", str(export)]) == 0
    assert (export / REPORT).read_bytes() == first
    assert main(["report", str(export), "--images=2"]) == 0
    assert (export / REPORT).read_bytes() != first


def test_a_page_of_somebody_else_stays(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (export / REPORT).write_text("<p>mine</p>")
    assert main(["report", str(export)]) == 2
    assert "which is not this tool's, or was edited: move it away" in said(capsys)
    assert (export / REPORT).read_text() == "<p>mine</p>"


def test_what_is_no_complete_export_is_exit_2(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "holds no export of this tool" in said(capsys)
    next(export.glob("*-manifest.json")).unlink()
    assert main(["report", str(export)]) == 2
    assert "run the export to its end" in said(capsys)
    assert not (export / REPORT).exists()


def test_a_damaged_export_is_exit_1(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = sorted(export.glob("*.parquet"))[1]
    table.write_bytes(table.read_bytes()[:-10])
    assert main(["report", str(export)]) == 1
    assert f"{table.name} is damaged" in said(capsys)
    assert not (export / REPORT).exists()


def test_a_damaged_tar_leaves_a_page_and_is_said(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = sorted(export.glob("*.tar"))[1]
    tar.unlink()
    assert main(["report", str(export)]) == 0
    page, unseen = capsys.readouterr().out.splitlines()
    assert page.startswith(str(export / REPORT))
    assert re.match(r"  [1-6] of the 7 images on it cannot be shown \(", unseen)
    assert f"{tar.name} is damaged (it is missing)" in unseen
    html = (export / REPORT).read_text()
    assert f"cannot be shown: <bdi>{tar.name} is damaged" in html
    # It may be handed on.
    assert str(export) not in html


def test_a_directory_that_cannot_be_written_to_is_a_sentence(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As root may write anywhere: something that is no directory stands where one is needed.
    (export / "_tmp").write_text("mine")
    assert main(["report", str(export)]) == 2
    assert f"OUT={export} holds _tmp, which is a file" in said(capsys)
    assert (export / "_tmp").read_text() == "mine"


def test_a_local_report_does_without_beam(export: Path) -> None:
    line = [sys.executable, "-X", "importtime", "-m", "beam_export", "report", str(export)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "pyarrow" in loaded
    assert "apache_beam" not in loaded


# What is seen in a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = chromium()
    if program is None:
        pytest.skip("needs Chromium or Chrome: apt-get install chromium, or set CHROMIUM")
    with Browser(program) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a pipeline's export of 80 images in three classes and two splits."""
    folder = tmp_path_factory.mktemp("page")
    images = make_images(folder / "in", 80)
    (images / "broken.jpg").write_bytes(b"no image")
    shutil.copy(images / "part1" / "img00001.jpg", images / "part1" / "same.jpg")
    run_export(
        images,
        folder / "out",
        images_per_tar=20,
        labels="folder",
        split="train=0.8,val=0.2",
        max_failed_fraction=0.5,
    )
    assert main(["report", str(folder / "out")]) == 0
    return folder / "out" / REPORT


OPEN = "document.querySelectorAll(':popover-open').length"


def test_a_page_loads_nothing_and_its_links_lead_to_its_sections(
    browser: Browser, page: Path
) -> None:
    browser.requests.clear()
    browser.open(page)
    links = browser.value("[...document.querySelectorAll('nav a')].map(one => one.hash.slice(1))")
    assert {"images", "sizes", "classes", "splits", "failures", "equal", "shards"} < set(links)
    for name in links:
        browser.click(f"nav a[href='#{name}']")
        browser.value("new Promise(resolve => setTimeout(resolve, 700))")
        top = browser.value(f"document.getElementById('{name}').getBoundingClientRect().top")
        end = "innerHeight + scrollY >= document.documentElement.scrollHeight - 2"
        assert 0 <= top < 80 or browser.value(end), name
    assert {one.partition(":")[0] for one in browser.requests} == {"file", "data"}
    assert browser.errors == []


def test_a_thumbnail_opens_its_sample_and_closes_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    broken = "[...document.images].filter(one => one.complete && !one.naturalWidth).length"
    assert browser.value(broken) == 0
    for close in (lambda: browser.click(":popover-open .close"), browser.press_escape):
        browser.click(".sheet .thumb:nth-of-type(5)")
        assert browser.value(OPEN) == 1
        text = browser.value("document.querySelector(':popover-open').innerText")
        assert "pixels" in text
        assert "label" in text
        close()
        assert browser.value(OPEN) == 0


def test_failures_show_their_examples(browser: Browser, page: Path) -> None:
    browser.open(page)
    shown = "document.getElementById('failures').parentElement.innerText"
    assert "does not begin as" in browser.value(shown)
    assert "broken.jpg" not in browser.value(shown)
    browser.click("#failures ~ .card summary")
    assert "broken.jpg" in browser.value(shown)


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (820, 1180), (1600, 1000)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_every_window_in_both_schemes(
    browser: Browser, page: Path, width: int, height: int, scheme: str
) -> None:
    browser.open(page, width=width, height=height, scheme=scheme)
    assert browser.value("document.documentElement.scrollWidth") <= width
    back = browser.value("getComputedStyle(document.body).backgroundColor")
    text = browser.value("getComputedStyle(document.body).color")
    light = {one: sum(map(int, re.findall(r"\d+", one))) > 380 for one in (back, text)}
    assert light == {back: scheme == "light", text: scheme == "dark"}


def test_long_names_do_not_make_a_table_of_single_words(browser: Browser, tmp_path: Path) -> None:
    name = "a split with a name of many words that goes on " * 4
    splits = [SplitShards(name=name, key="a", first_shard=0, shards=1, samples=1, bytes=1)]
    out = make_export(tmp_path / "out", [Sample(id="a", image=picture(1))], splits=splits)
    assert main(["report", str(out)]) == 0
    browser.open(out / REPORT, width=390, height=844)
    assert browser.value("document.querySelector('#splits ~ .card').offsetHeight") < 300
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_text_of_the_data_does_nothing(browser: Browser, tmp_path: Path) -> None:
    attacks = [*ATTACKS, "<img src=http://127.0.0.1:9/x onerror=document.title='owned'>"]
    samples = [
        Sample(
            id=f"{number}{attack}",
            image=b"no image" if number % 3 else b"",
            path=attack,
            metadata={"caption": attack, "kind": attack[:50]},
        )
        for number, attack in enumerate(attacks)
    ]
    out = make_export(tmp_path / "out", samples)
    assert main(["report", str(out)]) == 0
    browser.requests.clear()
    browser.errors.clear()
    browser.open(out / REPORT, width=390, height=844)
    assert browser.value("document.title") == "Images 0123456789ab"
    assert browser.value("document.scripts.length") == 0
    assert browser.value("document.images.length") == 0
    assert browser.value("document.documentElement.scrollWidth") <= 390
    assert len(browser.requests) == 1
    assert browser.errors == []
