from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.exports import picture
from support.made_exports import make_export

from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report import rows as rows_module
from beam_export.exports.report.columns import ClassSummary, NumberSummary, TextSummary
from beam_export.exports.report.rows import RowSummaries, summarise_rows
from beam_export.metadata.features import with_features
from beam_export.samples import Sample


def sample(number: int, **metadata: Any) -> Sample:
    return Sample(id=f"img{number}", image=picture(number), metadata=metadata)


def summaries(out: Path, samples: list[Sample], **given: Any) -> RowSummaries:
    seen: list[int] = []
    files = ExportFiles(open_catalog(str(make_export(out, samples, **given))))
    found = summarise_rows(files, seen.append)
    assert sum(seen) == len(samples)
    return found


def test_sizes_and_columns_are_those_of_the_rows(tmp_path: Path) -> None:
    samples = [sample(n, score=n / 2, caption=f"no. {n}", box=[1, 2]) for n in range(7)]
    found = summaries(tmp_path / "out", samples)
    assert found.bytes.count == 7
    assert found.bytes.least == min(len(one.image) for one in samples)  # type: ignore[arg-type]
    assert found.width.count == found.aspect.count == found.pixels.count == 7
    assert found.pixels.most <= found.width.most * found.height.most  # type: ignore[operator]
    assert list(found.columns) == ["caption", "score"]
    score, caption = found.columns["score"], found.columns["caption"]
    assert isinstance(score, NumberSummary)
    assert score.distribution.entries().values.tolist() == [n / 2 for n in range(7)]
    assert isinstance(caption, TextSummary)
    assert len(caption.counts() or ()) == 7
    assert list(found.others) == ["box"]
    assert found.equal.images == 0


def test_an_image_that_cannot_be_read_has_no_size(tmp_path: Path) -> None:
    odd = Sample(id="odd", image=b"no image", metadata={})
    found = summaries(tmp_path / "out", [odd, sample(1)])
    assert found.width.missing == found.height.missing == found.aspect.missing == 1
    assert found.bytes.count == 2


def test_equal_images_are_found_across_shards(tmp_path: Path) -> None:
    same = picture(1)
    samples = [Sample(id=f"{n}", image=same if n % 2 else picture(n)) for n in range(8)]
    equal = summaries(tmp_path / "out", samples).equal
    assert (equal.images, equal.kinds) == (4, 1)
    assert equal.groups == [(4, [1, 3, 5, 7])]


def test_classes_come_from_the_schema_and_take_the_place_of_their_text(tmp_path: Path) -> None:
    columns = with_features(
        pa.schema([("cls", pa.int64()), ("label", pa.string())]),
        {"cls": {"_type": "ClassLabel", "names": ["cat", "dog"]}},
    )
    samples = [sample(n, cls=n % 2, label=["cat", "dog"][n % 2]) for n in range(3)]
    found = summaries(tmp_path / "out", samples, columns=columns)
    assert list(found.columns) == ["cls"]
    classes = found.columns["cls"]
    assert isinstance(classes, ClassSummary)
    assert classes.counts() == [("cat", 2), ("dog", 1)]


def test_columns_of_dictionaries_are_read_as_their_values(tmp_path: Path) -> None:
    columns = pa.schema([("kind", pa.dictionary(pa.int8(), pa.string()))])
    found = summaries(tmp_path / "out", [sample(1, kind="a"), sample(2, kind="b")], columns=columns)
    kind = found.columns["kind"]
    assert isinstance(kind, TextSummary)
    assert kind.counts() == [("a", 1), ("b", 1)]


def test_of_very_many_columns_some_are_named_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_MOST_COLUMNS", 2)
    found = summaries(tmp_path / "out", [sample(1, a=1, b=2, c=3)])
    assert (list(found.columns), found.others) == (["a", "b"], {"c": "int64"})
