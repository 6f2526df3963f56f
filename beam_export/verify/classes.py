"""Checks classes (`--labels=folder`): the columns `label` and `cls`, and the `.cls` of each sample.

An export does not say whether a class came of an id or of a path, so that either will do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from beam_export.metadata.features import features_of
from beam_export.shards.parquet import ShardRow
from beam_export.text import stored
from beam_export.verify.members import ext_of
from beam_export.verify.shard_tar import StrictSample

__all__ = ["ClassCheck", "classes_of"]


class ClassCheck(NamedTuple):
    """What rows and their samples are held against.

    Attributes:
        names: of the classes, in the order of their numbers, by the manifest.
        dropped: whether the members may have been left out, since not all samples have a class.
    """

    names: tuple[str, ...]
    dropped: bool = False

    def schema_problems(self, columns: pa.Schema) -> Iterator[str]:
        """Yields what is wrong with the names that the schema of a shard gives its classes."""
        if {"label", "cls"} <= set(columns.names):
            feature = features_of(columns).get("cls")
            if not isinstance(feature, dict) or feature.get("names") != list(self.names):
                yield "the names of its classes are not those of the manifest"
        else:
            yield "it has no columns label and cls, which --labels=folder makes"

    def problems(self, sample: StrictSample, row: ShardRow) -> Iterator[str]:
        """Yields what is wrong with the class of a sample."""
        label, number = row.metadata.get("label"), row.metadata.get("cls")
        if not self._agree(label, number):
            yield f"its class is {label!r}, and cls is {number!r}"
        elif label is not None and not _is_folder(label, row):
            yield f"its label is {label!r}, which is no folder of its id or path"
        digests = [one.sha256 for one in sample.members[1:] if ext_of(one.name) == "cls"]
        made = [] if number is None else [hashlib.sha256(str(number).encode()).hexdigest()]
        if digests != made and not (self.dropped and not digests):
            yield f"its .cls is not what column 'cls' is, {number!r}"

    def _agree(self, label: Any, number: Any) -> bool:
        if label is None or number is None:
            return label is None and number is None
        # As the Parquet has it.
        known = isinstance(number, int) and 0 <= number < len(self.names)
        return known and stored(self.names[number]) == label


def _is_folder(label: str, row: ShardRow) -> bool:
    places = (row.image_id or "", row.original_path or "")
    return any(label in place.split("/")[:-1] for place in places)


def classes_of(manifest: Mapping[str, Any] | None) -> ClassCheck | None:
    """Returns what rows are held against; None for an export without classes.

    >>> step = {"step": "label", "classes": ["cat", "owl"]}
    >>> classes_of({"options": {"labels": "folder"}, "steps": [step]})
    ClassCheck(names=('cat', 'owl'), dropped=False)
    """
    if manifest is None or manifest["options"].get("labels") != "folder":
        return None
    steps = (one for one in manifest["steps"] if one.get("step") == "label")
    names = next((one.get("classes") for one in steps), None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        # No class fits, so that each shard is said to have others.
        names = []
    return ClassCheck(tuple(names), manifest["options"].get("ragged_fields") == "drop")
