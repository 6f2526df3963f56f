from __future__ import annotations

from typing import get_args

import pytest

from beam_export.samples import WHOLE, Failure, Member
from beam_export.sources import entries, input_format
from beam_export.sources.entries import Listed, Skipped, Source, SourceKind
from beam_export.sources.input_format import choose

FAILURE = Failure("x", "/in/x", "list", "BrokenSource", "gone")


def image(relative: str) -> Listed:
    sidecar = Member("txt", "/in/x.txt", WHOLE, 3)
    return Listed(relative, Member("jpg", f"/in/{relative}", WHOLE, 9), (sidecar,))


def source(kind: SourceKind, relative: str) -> Source:
    return Source(kind, relative, f"/in/{relative}", 9)


TAR = source("webdataset", "b.tar")
PARQUET = source("parquet", "c.parquet")
CSV = source("table", "d.csv")
IMAGE = image("a.jpg")


def test_images_and_tars_are_read_and_tables_beside_them_are_not() -> None:
    skipped = Skipped(".parquet", PARQUET, PARQUET.uri)
    assert list(choose([PARQUET, IMAGE, FAILURE], "auto")) == [IMAGE, FAILURE, skipped]
    # Beside tars, no table is one of image files.
    assert list(choose([CSV, TAR], "auto")) == [TAR, Skipped(".csv", uri=CSV.uri)]
    assert list(choose([CSV, TAR, IMAGE], "auto")) == [TAR, IMAGE, Skipped(".csv", CSV, CSV.uri)]


def test_tables_alone_are_read() -> None:
    found = [PARQUET, Skipped(".md"), CSV, FAILURE]
    assert [item for item in choose(found, "auto") if isinstance(item, Source)] == [PARQUET, CSV]


@pytest.mark.parametrize(
    ("input_format", "read"),
    [
        ("files", [IMAGE]),
        ("webdataset", [TAR]),
        ("parquet", [PARQUET]),
        ("table", [PARQUET, CSV]),
    ],
)
def test_what_is_said_outright_is_read_and_all_else_counted(
    input_format: str, read: list[object]
) -> None:
    found = list(choose([IMAGE, TAR, FAILURE, PARQUET, CSV], input_format))
    assert [item for item in found if isinstance(item, (Listed, Source))] == read
    assert FAILURE in found
    skipped = [item for item in found if isinstance(item, Skipped)]
    # The image's sidecar is a file too.
    assert len(skipped) == 4 - len(read) + (IMAGE not in read)


@pytest.mark.parametrize("kind", get_args(SourceKind))
def test_every_kind_of_source_has_suffixes_and_is_read_by_a_format(kind: SourceKind) -> None:
    assert entries._SOURCES[kind]
    assert any(kind in kinds for kinds in input_format._READ.values())
