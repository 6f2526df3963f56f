"""Makes classes of folders (`--labels=folder`): names, numbers and `.cls` members of samples."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_export.errors import InputError
from beam_export.metadata.features import features_of, with_features
from beam_export.planning.blocks import PackedRef, unpack_ref, with_change
from beam_export.samples import UNMEASURED, WHOLE, Member, SampleRef
from beam_export.storage.uris import unpin
from beam_export.text import printable, stored

__all__ = [
    "CLASS_TYPES",
    "ClassNames",
    "class_names",
    "declared_with_classes",
    "label_of",
    "labelled",
    "labelled_schema",
    "renamed",
    "with_class_feature",
]

#: The columns that are made, with their types.
CLASS_TYPES = {"cls": pa.int64(), "label": pa.string()}
#: More folders than that are no classes, but a sample each.
_MOST = 100_000


def label_of(ref: SampleRef, *, of_table: bool = False) -> str | None:
    """Returns the innermost folder of a sample: its class; None if it lies in none.

    Args:
        ref: of the sample.
        of_table: whether it is a row of a table, whose path counts and not its id.
    """
    place = ref.id.rpartition("/")[0]
    if of_table:
        container = printable(unpin(ref.image.uri)[0])
        # A row without a path of its own goes by its table's, which says nothing of it.
        own = "" if ref.path.startswith(f"{container}#") else ref.path
        # Beside images in a table paths stand as somebody wrote them: `./cat//1.jpg`.
        place = posixpath.normpath(own.rpartition("/")[0])
    folder = place.rpartition("/")[2]
    # A path in JSON can hold what is no Unicode, which neither manifest nor Parquet can.
    return None if folder in ("", ".", "..") else stored(folder)


def _label(ref: SampleRef, by_path: bool) -> str | None:
    # Tables alone name images without their sizes, or have them in a column.
    of_table = by_path and (ref.size == UNMEASURED or ref.image.column is not None)
    return label_of(ref, of_table=of_table)


class ClassNames:
    """The names of the classes of an input; merged in any order."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def add(self, refs: Iterable[PackedRef], by_path: bool) -> None:
        """Adds the classes of samples.

        Raises:
            InputError: if there are too many.
        """
        found = (_label(unpack_ref(ref), by_path) for ref in refs)
        self._names.update(name for name in found if name is not None)
        self._check()

    def merge(self, other: ClassNames) -> None:
        """Adds all that `other` has."""
        self._names |= other._names
        self._check()

    def _check(self) -> None:
        if len(self._names) > _MOST:
            raise InputError(
                f"--labels=folder makes more than {_MOST:,} classes, {min(self._names)!r} say, as "
                "where each image has a folder of its own: leave it out."
            )

    def finish(self) -> list[str]:
        """Returns all names in order: a class's number is its place.

        Raises:
            InputError: if there are none.
        """
        if not self._names:
            raise InputError(
                "--labels=folder, and no image lies in a folder below the input: give the "
                "directory above, or leave it out."
            )
        return sorted(self._names)


def labelled(
    refs: Iterable[PackedRef], numbers: Mapping[str, int], by_path: bool
) -> list[PackedRef]:
    """Returns samples with `label` and `cls` in their metadata, and a `.cls` member.

    Args:
        refs: packed.
        numbers: of the classes, by name.
        by_path: whether the path of a table's row counts, and not its id.

    Raises:
        InputError: if a sample has a `.cls` already, or two columns would have one name.
    """
    return [_labelled(ref, numbers, by_path) for ref in refs]


def _labelled(packed: PackedRef, numbers: Mapping[str, int], by_path: bool) -> PackedRef:
    ref = unpack_ref(packed)
    label = _label(ref, by_path)
    if any(field.ext == "cls" for field in ref.fields):
        raise InputError(
            f"--labels=folder would make the .cls of sample {ref.id!r} ({printable(ref.path)}), "
            "which has one: leave --labels out, or take the samples' .cls away."
        )
    number = None if label is None else numbers[label]
    metadata = {**renamed(ref.metadata), "label": label, "cls": number}
    fields = ref.fields
    if number is not None:
        data = str(number).encode()
        member = Member("cls", "", WHOLE, len(data), data)
        fields = tuple(sorted((*fields, member), key=lambda field: field.ext))
    changed = ref._replace(
        metadata=metadata,
        fields=fields,
        typed=_all_stored(ref.typed),
        joined=tuple((table, _all_stored(names)) for table, names in ref.joined),
    )
    return with_change(packed, changed)


def _all_stored(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_stored, names))


def _stored(name: str) -> str:
    return f"input_{name}" if name in CLASS_TYPES else name


def renamed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns metadata with the names that its columns have beside those that are made.

    >>> renamed({"label": "cat", "score": 1})
    {'input_label': 'cat', 'score': 1}

    Raises:
        InputError: if two columns would have one name.
    """
    for name in CLASS_TYPES:
        if name in metadata and _stored(name) in metadata:
            raise InputError(
                f"--labels=folder makes the column {name!r}, and the input has both {name!r} and "
                f"{_stored(name)!r}: leave one out by --drop_columns={name}."
            )
    return {_stored(name): value for name, value in metadata.items()}


def labelled_schema(schema: pa.Schema) -> pa.Schema:
    """Returns declared columns with the names that they have beside those that are made."""
    fields = [field.with_name(_stored(field.name)) for field in schema]
    described = {_stored(name): said for name, said in features_of(schema).items()}
    return with_features(pa.schema(fields), described)


def declared_with_classes(schema: pa.Schema) -> pa.Schema:
    """Returns a schema that a user declares, with the columns that are made behind it."""
    made = [pa.field(name, kind) for name, kind in CLASS_TYPES.items()]
    declared = labelled_schema(schema)
    return pa.schema([*declared, *made], declared.metadata)


def with_class_feature(columns: bytes, names: Sequence[str]) -> bytes:
    """Returns a serialized schema whose `cls` is Hugging Face's ClassLabel of those names."""
    schema = pa.ipc.read_schema(pa.py_buffer(columns))
    feature = {"names": list(names), "_type": "ClassLabel"}
    described = {**features_of(schema), "cls": feature}
    serialized: bytes = with_features(schema, described).serialize().to_pybytes()
    return serialized


def class_names(columns: pa.Schema) -> list[str]:
    """Returns the names of the classes that `with_class_feature` has put into a schema."""
    names: list[str] = features_of(columns)["cls"]["names"]
    return names
