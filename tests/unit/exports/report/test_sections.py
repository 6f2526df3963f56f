from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image
from support.exports import picture
from support.made_exports import make_export

from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report.elements import to_html
from beam_export.exports.report.gather import Gathered, gather
from beam_export.exports.report.sections import (
    class_sections,
    column_cards,
    shard_sizes,
    size_cards,
    split_table,
)
from beam_export.samples import Sample


def gathered(out: Path, rows: list[dict[str, Any]], **given: Any) -> Gathered:
    samples = [
        Sample(id=str(number), image=picture(number), metadata=row)
        for number, row in enumerate(rows)
    ]
    files = ExportFiles(open_catalog(str(make_export(out, samples, **given))))
    return gather(files, images=0, seed=0, advance=lambda rows: None)


def test_a_column_of_one_value_says_it(tmp_path: Path) -> None:
    section = column_cards(
        gathered(tmp_path / "out", [{"score": 5}, {"score": 5}, {"score": None}])
    )
    assert section is not None
    html = to_html(section)
    assert "always 5, 1 missing" in html
    assert "<svg" not in html


def test_a_column_without_values_says_it(tmp_path: Path) -> None:
    rows = [{"score": float("nan")}, {"score": float("nan")}]
    section = column_cards(gathered(tmp_path / "out", rows))
    assert section is not None
    assert "no value, 2 missing" in to_html(section)


def test_values_beyond_the_axis_are_told(tmp_path: Path) -> None:
    rows = [{"score": number / 1_000} for number in range(2_000)] + [{"score": 1e12}]
    section = column_cards(gathered(tmp_path / "out", rows, per_shard=3_000))
    assert section is not None
    assert "Not drawn: 1 above 2" in to_html(section)


def test_many_texts_have_a_histogram_of_their_lengths(tmp_path: Path) -> None:
    rows = [{"caption": "x" * (number % 50) + str(number)} for number in range(1_100)]
    section = column_cards(gathered(tmp_path / "out", rows, per_shard=2_000))
    assert section is not None
    html = to_html(section)
    assert "length of text, characters" in html
    assert "Histogram: caption" in html


def test_hundreds_of_columns_have_a_chart_each(tmp_path: Path) -> None:
    rows = [{f"score{column}": number + column for column in range(250)} for number in range(2)]
    section = column_cards(gathered(tmp_path / "out", rows))
    assert section is not None
    assert to_html(section).count("<svg") == 250


def test_columns_without_a_chart_are_named(tmp_path: Path) -> None:
    section = column_cards(gathered(tmp_path / "out", [{"box": [1, 2]}]))
    assert section is not None
    assert "1 column more, without a chart" in to_html(section)


def test_pixels_are_written_in_one_unit_below_a_million(tmp_path: Path) -> None:
    sides = io.BytesIO()
    Image.new("RGB", (300, 200)).save(sides, "JPEG")
    out = make_export(tmp_path / "out", [Sample(id="a", image=sides.getvalue())])
    found = gather(ExportFiles(open_catalog(str(out))), images=0, seed=0, advance=lambda rows: None)
    assert "always 60,000<" in to_html(size_cards(found))


def test_sections_without_a_subject_are_left_out(tmp_path: Path) -> None:
    found = gathered(tmp_path / "out", [{}])
    assert class_sections(found) is split_table(found) is column_cards(found) is None
    assert "always" in to_html(size_cards(found))


def test_few_shards_have_a_bar_each(tmp_path: Path) -> None:
    html = to_html(shard_sizes(gathered(tmp_path / "out", [{}] * 7)))
    assert "1 to 3, median 3; by number of the shard" in html
    assert "<title>2: 1</title>" in html
