from __future__ import annotations

from pathlib import Path
from typing import Any

from support.exports import picture
from support.html_seen import Seen
from support.made_exports import NAMES, make_export

from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report.elements import to_html
from beam_export.exports.report.gather import gather
from beam_export.exports.report.uniform import uniformity
from beam_export.samples import Sample

UNEQUAL = {
    "step": "members",
    "ragged_fields": "keep",
    "samples": 6,
    "members": {"txt": 2},
    "unequal": True,
}


def said(out: Path, **given: Any) -> str:
    """Returns the text of the section of an export of six images."""
    samples = [Sample(str(number), picture(number)) for number in range(6)]
    return said_of(make_export(out, samples, **given))


def said_of(out: Path) -> str:
    gathered = gather(
        ExportFiles(open_catalog(str(out))), images=0, seed=0, advance=lambda rows: None
    )
    # Cells and paragraphs are words of their own.
    html = to_html(uniformity(gathered)).replace("</", " </")
    return " ".join(Seen(html).text.split())


def test_images_that_surprise_readers_are_counted_with_what_helps(tmp_path: Path) -> None:
    text = said(tmp_path / "out", lacks={"samples": 6, "upright": 3, "rgb": 1})
    assert "3 50.0 % carry an EXIF orientation" in text
    assert "--ensure=upright makes such upright" in text
    assert "1 16.7 % is gray" in text
    assert "sRGB" not in text
    assert "not known" not in text


def test_images_that_are_alike_are_said_to_be(tmp_path: Path) -> None:
    text = said(tmp_path / "out", lacks={"samples": 6})
    assert "All samples have the same members in the tars." in text
    assert "No JPEG carries an orientation or other colours than sRGB" in text


def test_of_shards_that_stood_before_nothing_is_claimed(tmp_path: Path) -> None:
    text = said(tmp_path / "out", lacks={"samples": 2, "upright": 1})
    assert "of the 2 images that the last run wrote; of the 4 that stood finished" in text
    assert "1 50.0 % carries" in text


def test_a_run_that_wrote_no_shard_anew_knows_of_none(tmp_path: Path) -> None:
    text = said(tmp_path / "out", lacks={"samples": 0})
    assert "of the 0 images that the last run wrote" in text
    assert "No JPEG" not in text


def test_unequal_members_are_named(tmp_path: Path) -> None:
    text = said(tmp_path / "out", members=[UNEQUAL])
    assert "Samples have unequal members: .txt in 2 of 6; readers that go by the first" in text
    assert "same members" not in text


def test_what_was_done_about_it_is_said(tmp_path: Path) -> None:
    dropped = {**UNEQUAL, "ragged_fields": "drop", "unequal": False, "dropped": {"txt": 2}}
    encode = {"step": "encode", "copied": 4, "encoded": 2, "ensured": 2, "ensured_rgb": 2}
    text = said(tmp_path / "out", members=[dropped], steps=[dropped, encode])
    assert "Left out by --ragged_fields=drop: .txt of 2 samples. All samples have the same" in text
    assert "2 JPEGs were not copied but encoded for --ensure: 2 made RGB" in text


def test_without_the_facts_of_the_run_only_the_manifest_speaks(tmp_path: Path) -> None:
    out = tmp_path / "out"
    said(out, lacks={"samples": 6, "upright": 3}, steps=[UNEQUAL])
    (out / NAMES.run).unlink()
    text = said_of(out)
    assert "Samples have unequal members: .txt in 2 of 6" in text
    assert "What the images carry is not known" in text
    assert "EXIF" not in text
