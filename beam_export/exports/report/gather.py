"""Gathers what a report shows: from the manifest, the tables, the rows, and some of the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from beam_export.errors import RunError
from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import Catalog
from beam_export.exports.report.failures import FailureGroup, failure_groups
from beam_export.exports.report.rows import RowSummaries, summarise_rows
from beam_export.exports.report.sheet import Tile, chosen, tiles_of
from beam_export.shards.manifest import SealError, unseal

__all__ = ["EqualGroup", "Gathered", "gather"]


class EqualGroup(NamedTuple):
    """Images of equal bytes.

    Attributes:
        images: how many there are.
        tile: the first of them.
        ids: of the first of them.
    """

    images: int
    tile: Tile
    ids: list[str]


class Gathered(NamedTuple):
    """All that a report shows.

    Attributes:
        catalog: of the export.
        rows: what its rows say together.
        failures: by reason.
        run: facts of the run that wrote it; empty if they are missing or damaged.
        tiles: the contact sheet.
        equal: groups of equal images.
        seed: by which the images of the contact sheet were chosen.
    """

    catalog: Catalog
    rows: RowSummaries
    failures: list[FailureGroup]
    run: dict[str, Any]
    tiles: list[Tile]
    equal: list[EqualGroup]
    seed: int


def gather(
    files: ExportFiles, *, images: int, seed: int, advance: Callable[[int], object]
) -> Gathered:
    """Returns what a report shows of an export.

    Args:
        files: of the export.
        images: how many the contact sheet has.
        seed: of their choice.
        advance: called with the number of rows that were read since the last call.

    Raises:
        RunError: if a table or a shard's Parquet is damaged.
    """
    rows = summarise_rows(files, advance)
    groups = rows.equal.groups
    sheet = chosen(files.catalog.samples, images, seed)
    tiles = tiles_of(files, [*sheet, *(numbers[0] for _, numbers in groups)])
    equal = [
        EqualGroup(count, tile, [files.id_of(number) for number in numbers])
        for (count, numbers), tile in zip(groups, tiles[len(sheet) :], strict=True)
    ]
    return Gathered(
        catalog=files.catalog,
        rows=rows,
        failures=failure_groups(files.catalog),
        run=_run_facts(files.catalog),
        tiles=tiles[: len(sheet)],
        equal=equal,
        seed=seed,
    )


def _run_facts(catalog: Catalog) -> dict[str, Any]:
    try:
        return unseal(catalog.sidecar(catalog.names.run))
    except (RunError, SealError):
        # Of one run, and of no use to readers of the data: a report does without.
        return {}
