from __future__ import annotations

from pathlib import Path

from support.exports import picture
from support.html_seen import Seen
from support.made_exports import make_export

from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report.elements import to_html
from beam_export.exports.report.gather import gather
from beam_export.exports.report.reason_list import failures
from beam_export.samples import Failure, Sample


def section(out: Path, lost: list[Failure]) -> str:
    export = make_export(out, [Sample(id="a", image=picture(1))], failures=lost)
    files = ExportFiles(open_catalog(str(export)))
    return to_html(failures(gather(files, images=0, seed=0, advance=lambda rows: None)))


def lost(number: int, message: str, error: str = "DamagedImage") -> Failure:
    return Failure(f"{number:03d}", f"/in/{number:03d}.jpg", "decode", error, message)


def test_a_reason_is_a_line_with_its_count_and_what_the_first_image_says(tmp_path: Path) -> None:
    cut = [lost(number, f"it ends at byte {number}") for number in range(3)]
    html = section(tmp_path / "out", [*cut, lost(3, "it is empty")])
    text = " ".join(Seen(html).text.split())
    assert "4 of 5 images failed" in text
    assert "375.0 %DamagedImage (decode), the first: it ends at byte 0" in text
    assert "125.0 %DamagedImage (decode): it is empty" in text
    assert html.count('class="reason"') == 2
    assert "width:100.0%" in html
    assert "width:33.3%" in html


def test_the_commonest_are_seen_and_the_others_are_folded_together(tmp_path: Path) -> None:
    found = [lost(number, "it is empty", f"Error{number:02d}") for number in range(23)]
    html = section(tmp_path / "out", [*found, lost(99, "it is empty", "Error22")])
    text = Seen(html).text
    assert text.index("Error22") < text.index("Error00")
    assert text.index("Error18") < text.index("3 reasons more, of 3 images") < text.index("Error19")


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    html = section(tmp_path / "out", [lost(1, "x" * 5_000)])
    assert "(1,000 characters)" in html
    assert len(html) < 2_500
