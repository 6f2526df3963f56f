from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.exports import picture
from support.html_seen import ATTACKS, Seen
from support.made_exports import NAMES, make_export

from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report.elements import plain_text
from beam_export.exports.report.gather import gather
from beam_export.exports.report.page import write_page
from beam_export.metadata.features import with_features
from beam_export.samples import Failure, Sample
from beam_export.shards.manifest import SplitShards
from beam_export.storage.local import LocalStorage


def page_of(out: Path | str, **given: Any) -> str:
    files = ExportFiles(open_catalog(str(out)))
    options = {"images": 60, "seed": 0, **given}
    return write_page(gather(files, advance=lambda rows: None, **options)).decode("utf-8")


def rich(out: Path, names: list[str], count: int = 12) -> Path:
    """Writes an export that has some of everything, with those names in it."""
    columns = with_features(
        pa.schema(
            [
                ("cls", pa.int64()),
                ("label", pa.string()),
                ("caption", pa.string()),
                ("score", pa.float64()),
                ("taken", pa.timestamp("us")),
                ("box", pa.list_(pa.int64())),
                (names[0].encode("utf-8", "replace").decode()[:200] or "x", pa.int64()),
            ]
        ),
        {"cls": {"_type": "ClassLabel", "names": names}},
    )
    samples = [
        Sample(
            id=f"{names[number % len(names)]}-{number}",
            image=picture(number // 2),
            path=f"/in/{names[number % len(names)]}",
            metadata={
                "cls": number % len(names),
                "label": names[number % len(names)],
                "caption": names[number % len(names)],
                "score": number / 3,
                "taken": datetime.datetime(2024, 1, 1 + number % 28),
                "box": [number],
            },
        )
        for number in range(count)
    ]
    failures = [
        Failure(f"bad{number}", f"/in/{name}", "decode", f"Error{number}", f"it is {name}")
        for number, name in enumerate(names)
    ]
    splits = [
        SplitShards(name=names[0], key="a", first_shard=0, shards=2, samples=6, bytes=100),
        SplitShards(name="val", key="val", first_shard=2, shards=2, samples=6, bytes=100),
    ]
    steps = [{"step": "filter", "filter": names[0], "dropped": 3}, {"step": "write"}]
    return make_export(out, samples, columns=columns, failures=failures, splits=splits, steps=steps)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rich(tmp_path_factory.mktemp("rich") / "out", ["cat", "dog"])


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return page_of(out)


def test_it_has_every_section_and_links_to_each(page: str) -> None:
    seen = Seen(page)
    ids = {value for _, attrs in seen.tags for name, value in attrs if name == "id"}
    links = [value for tag, attrs in seen.tags if tag == "a" for _, value in attrs]
    assert links == [
        f"#{name}"
        for name in (
            *("images", "sizes", "classes", "splits", "columns", "uniform"),
            *("failures", "equal", "shards", "making"),
        )
    ]
    assert {str(link)[1:] for link in links} <= ids


def test_it_says_what_is_in_the_export(page: str) -> None:
    text = " ".join(Seen(page).text.split())
    for said in (
        "12 images in 4 shards",
        "12 of 12 images, all of them",
        "2 classes, 6 each",
        "2 of 14 images failed",
        "it is cat",
        "12 images have the same bytes as another one: 6 different images",
        "2024-01-01 to 2024-01-12",
        "2 times",
    ):
        assert said in text


def test_it_loads_nothing(page: str) -> None:
    seen = Seen(page)
    for tag, attrs in seen.tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "src":
                assert str(value).startswith("data:image/jpeg;base64,")
    assert not re.search(r"https?:|url\(|@import", page)
    policy = next(dict(attrs) for tag, attrs in seen.tags if ("http-equiv" in dict(attrs)))
    assert "default-src 'none'" in str(policy["content"])


def test_every_thumbnail_opens_its_sample(page: str) -> None:
    seen = Seen(page)
    targets = [
        dict(attrs)["popovertarget"]
        for tag, attrs in seen.tags
        if tag == "button" and "thumb" in str(dict(attrs).get("class"))
    ]
    popovers = [dict(attrs)["id"] for tag, attrs in seen.tags if "popover" in dict(attrs)]
    assert targets == popovers
    assert len(targets) == len(set(targets)) == 12 + 6


def test_it_is_the_same_page_for_the_same_export(tmp_path: Path, page: str) -> None:
    again = rich(tmp_path / "elsewhere", ["cat", "dog"])
    made = page_of(again)
    assert page_of(again) == made
    run = re.compile(
        r"(?s)<summary>The run that wrote it.*?</table>|<b>[^<]*</b><span>images per s<"
    )
    assert run.sub("", made) == run.sub("", page)


def test_it_is_the_same_page_from_whatever_storage(
    out: Path, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStorage, "remote", True)
    assert page_of(out) == page


def test_the_sheet_has_as_many_images_as_are_asked_for(out: Path) -> None:
    html = page_of(out, images=5, seed=3)
    assert "5 of 12 images, chosen at random by seed 3" in html
    assert html.count('popovertarget="sheet-') == 10  # to open and to close
    assert page_of(out, images=5, seed=4) != html


def test_nothing_of_the_data_is_html(tmp_path: Path) -> None:
    attacks = [*ATTACKS, "\u05d1-a\u200f", "\U0001f642" * 3]
    html = page_of(rich(tmp_path / "attacked", attacks, count=28))
    plain = page_of(rich(tmp_path / "plain", [f"name {n}" for n in range(len(attacks))], count=28))
    seen, wanted = Seen(html), Seen(plain)
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in wanted.tags]
    assert {name for _, attrs in seen.tags for name, _ in attrs} == {
        name for _, attrs in wanted.tags for name, _ in attrs
    }
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
    for attack in attacks:
        assert plain_text(attack, 100)[:60] in seen.text
    assert len(html) < len(plain) + 200_000


def test_a_plain_export_has_a_page_too(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", [Sample(id="one", image=picture(1))])
    text = " ".join(Seen(page_of(out)).text.split())
    assert "1 image in 1 shard" in text
    assert "No image failed." in text
    assert "No two images have the same bytes." in text
    assert "Columns" not in text


def test_an_image_that_cannot_be_shown_says_why(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", [Sample(id="odd", image=b"no image")])
    assert "cannot be shown: " in page_of(out)


def test_facts_of_the_run_may_be_missing(tmp_path: Path) -> None:
    out = make_export(tmp_path / "out", [Sample(id="one", image=picture(1))])
    (out / NAMES.run).unlink()
    html = page_of(out)
    assert "images per s" not in html
    assert "The run that wrote it" not in html
