"""Chooses images by a seed, and looks at each: its thumbnail, and what its row says."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

from beam_export.errors import RunError, SampleError
from beam_export.exports.ahead import map_ahead
from beam_export.exports.files import ExportFiles
from beam_export.exports.report.thumbnails import Thumbnails

__all__ = ["Tile", "chosen", "tiles_of"]


class Tile(NamedTuple):
    """An image of the contact sheet.

    Attributes:
        number: of the sample.
        row: its columns.
        picture: a JPEG; None if there is none.
        problem: why there is none.
    """

    number: int
    row: dict[str, Any]
    picture: bytes | None
    problem: str = ""


def chosen(count: int, most: int, seed: int) -> list[int]:
    """Returns numbers of samples, in order, all equally likely; the same for the same seed.

    >>> chosen(10**6, 3, seed=0), chosen(2, 3, seed=0)
    ([420571, 757954, 844421], [0, 1])

    Args:
        count: how many samples there are.
        most: how many are chosen, if there are more.
        seed: of the choice.
    """
    if count <= most:
        return list(range(count))
    dice, found = random.Random(seed), set[int]()
    while len(found) < most:
        # Of all methods, this one gives the same numbers in each version of Python.
        found.add(int(dice.random() * count))
    return sorted(found)


def tiles_of(files: ExportFiles, numbers: Iterable[int]) -> list[Tile]:
    """Returns a tile for each number; each image is read by its range.

    Raises:
        RunError: if a row cannot be read; an image that cannot has its problem in its tile.
    """
    with Thumbnails() as thumbnails:
        read = map_ahead(lambda number: (number, _image(files, number)), numbers, files.lanes)
        return [_tile(files, thumbnails, *one) for one in read]


def _image(files: ExportFiles, number: int) -> bytes | RunError:
    try:
        image = files.sample(number).image
    except RunError as error:
        return error
    assert isinstance(image, bytes)
    return image


def _problem(files: ExportFiles, error: RunError) -> str:
    """Returns why an image cannot be read, without where the export lies: a page is handed on."""
    place = files.catalog.place.directory
    said = error.sentence.removeprefix(f"OUT={place}: ")
    return said.replace(f"beam-export verify {place},", "beam-export verify OUT,")


def _tile(files: ExportFiles, thumbnails: Thumbnails, number: int, image: bytes | RunError) -> Tile:
    row = files.row(number)
    if isinstance(image, RunError):
        return Tile(number, row, None, _problem(files, image))
    made = thumbnails.make(image, (row["width"], row["height"]))
    if isinstance(made, SampleError):
        return Tile(number, row, None, made.message)
    return Tile(number, row, made)
