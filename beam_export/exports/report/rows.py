"""Goes through all rows of an export once, and sums up what they say of its images."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from beam_export.exports.files import ExportFiles
from beam_export.exports.report.columns import ClassSummary, ColumnSummary, summary_for
from beam_export.exports.report.distribution import Distribution
from beam_export.exports.report.equal_images import EqualImages, ImageDigests
from beam_export.metadata.features import features_of
from beam_export.metadata.schema import STRUCTURAL

__all__ = ["RowSummaries", "summarise_rows"]

#: Rows at a time: few, since some tables are wide.
_ROWS = 8_192
#: Columns that are summarised; a page of more is no page to look at.
_MOST_COLUMNS = 1_000
#: Entries of all distributions together, of 16 bytes each.
_ENTRIES = 1 << 22
_MOST_ENTRIES = 1 << 14
#: Groups of equal images that are described, and numbers of each.
_GROUPS, _EXAMPLES = 12, 6


class RowSummaries(NamedTuple):
    """What the rows of an export say together.

    Attributes:
        width, height: in pixels, as stored.
        pixels: width times height.
        aspect: width by height.
        bytes: of an image.
        columns: a summary of each metadata column that has one, by name.
        others: metadata columns without a summary, by name.
        equal: images of equal bytes.
    """

    width: Distribution
    height: Distribution
    pixels: Distribution
    aspect: Distribution
    bytes: Distribution
    columns: dict[str, ColumnSummary]
    others: dict[str, str]
    equal: EqualImages


def summarise_rows(files: ExportFiles, advance: Callable[[int], object]) -> RowSummaries:
    """Returns what the rows say, in memory that does not grow with them but for 8 bytes a row.

    Args:
        files: of the export.
        advance: called with the number of rows that were read since the last call.

    Raises:
        RunError: if a shard's Parquet is damaged.
    """
    columns, others = _summaries(files.schema)
    digests = ImageDigests(files.catalog.samples)
    images = _ImageSizes()
    names = ["width", "height", "size", "sha256", *columns]
    for batch in files.batches(names, 0, files.catalog.samples, most=_ROWS):
        width, height, size, sha256, *metadata = batch.columns
        images.add(width, height, size)
        digests.add(sha256)
        for summary, column in zip(columns.values(), metadata, strict=True):
            summary.add(column.dictionary_decode() if pat.is_dictionary(column.type) else column)
        advance(len(batch))
    return RowSummaries(
        width=images.width,
        height=images.height,
        pixels=images.pixels,
        aspect=images.aspect,
        bytes=images.bytes,
        columns=columns,
        others=others,
        equal=digests.equal(_GROUPS, _EXAMPLES),
    )


def _summaries(schema: pa.Schema) -> tuple[dict[str, ColumnSummary], dict[str, str]]:
    """Returns an empty summary of each metadata column, and the types of those that have none."""
    fields = [field for field in schema if field.name not in STRUCTURAL.names]
    classes = features_of(schema)
    most = min(_MOST_ENTRIES, max(1_024, _ENTRIES // max(1, len(fields))))
    found: dict[str, ColumnSummary] = {}
    others: dict[str, str] = {}
    for field in fields:
        summary = summary_for(field, _class_names(classes.get(field.name)), most)
        if summary is None or len(found) == _MOST_COLUMNS:
            others[field.name] = str(field.type)
        else:
            found[field.name] = summary
    # `--labels` makes both: the names of the classes say what the text does.
    if "label" in found and isinstance(found.get("cls"), ClassSummary):
        del found["label"]
    return found, others


def _class_names(feature: object) -> list[str] | None:
    """Returns the names of classes that Hugging Face's description of a column gives."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    return [str(name) for name in names] if isinstance(names, list) else None


class _ImageSizes:
    """The distributions of `RowSummaries` that are of the images themselves."""

    def __init__(self) -> None:
        self.width, self.height = Distribution(), Distribution()
        self.pixels, self.aspect, self.bytes = Distribution(), Distribution(), Distribution()

    def add(self, width: pa.Array, height: pa.Array, size: pa.Array) -> None:
        self.bytes.add(size.to_numpy(zero_copy_only=False))
        # A width is null where `never` stored what could not be read, and so is the height then.
        missing = width.null_count
        wide, high = (side.drop_null().to_numpy().astype(np.float64) for side in (width, height))
        self.width.add(wide, missing)
        self.height.add(high, missing)
        self.pixels.add(wide * high, missing)
        self.aspect.add(wide / np.maximum(high, 1), missing)
