"""The schema of a dataset's tables: the structural columns, and the metadata columns.

The types of metadata are inferred from the whole input before anything is written, so that all
shards have one schema. An empty mapping is stored as null; a column of nulls alone has type null.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beam_export.errors import InputError
from beam_export.metadata.arrow_types import EXACT_MAX
from beam_export.metadata.features import features_of, types_in, with_features
from beam_export.metadata.inference import PLAIN, Column
from beam_export.text import is_unicode

__all__ = [
    "MAX_COLUMNS",
    "STRUCTURAL",
    "ColumnTypes",
    "check_declared",
    "infer",
    "output_name",
]

#: The columns that every shard's Parquet begins with (format.md, part 4.2).
STRUCTURAL: pa.Schema = pa.schema(
    [
        ("image_id", pa.string()),
        ("tar_file", pa.string()),
        ("member_name", pa.string()),
        ("original_path", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        ("source_sha256", pa.string()),
        ("encoding", pa.string()),
    ]
)
_RESERVED = frozenset(STRUCTURAL.names)

#: An input with more metadata columns uses values as names, and is refused, unless single samples
#: have about as many: a wide table is one.
MAX_COLUMNS = 1_000
#: Features of Hugging Face's that say no more than the column's type in Arrow does.
_PLAIN_FEATURES = {"Value", "Sequence", "List", "LargeList"}
#: No table has more.
_MOST_COLUMNS = 10_000


def infer(value: Any) -> pa.DataType:
    """Returns the Arrow type of one metadata value.

    Raises:
        ValueError: if no column can hold it; the message begins with "holds".

    >>> infer([1, 2.5]), infer({"x": None})
    (ListType(list<item: double>), StructType(struct<x: null>))
    """
    column = Column()
    column.add(value, "")
    return column.resolve()


def output_name(name: str) -> str:
    """Returns the stored name of a metadata column, which differs if a structural one has it.

    >>> output_name("label"), output_name("width")
    ('label', 'input_width')
    """
    return f"input_{name}" if name in _RESERVED else name


class ColumnTypes:
    """Infers the schema of all metadata of an input; picklable, and merged in any order."""

    def __init__(self) -> None:
        self._columns: dict[str, Column] = {}
        self._crowded = False
        # Columns of the sample, or of the file, that has the most.
        self._widest = 0
        # Of each column, what Hugging Face says of it in each file that declares its type.
        self._features: dict[str, set[tuple[str, pa.DataType]]] = {}

    def add(self, metadata: Mapping[str, Any], where: str) -> None:
        """Adds the metadata of one sample; `where` is its source in error messages.

        Raises:
            InputError: if a column's name is not text.
        """
        columns = self._columns
        self._widest = max(self._widest, len(metadata))
        for name, value in metadata.items():
            column = columns.get(name)
            if column is None:
                column = self._column(name, where)
            kind = type(value)
            if kind in PLAIN or (kind is int and 0 <= value <= EXACT_MAX):
                # `Column.add` inlined for most values: a call for each would cost more.
                seen = column.top.get(kind)
                if seen is None or where < seen:
                    column.top[kind] = where
            else:
                column.add(value, where)

    def add_schema(self, schema: pa.Schema, where: str) -> None:
        """Adds columns whose types are known, as those of a Parquet file, instead of their values.

        Python values lose their types (a float32 becomes a float); this keeps them, and takes no
        time per row.
        """
        self._widest = max(self._widest, len(schema))
        described = features_of(schema)
        for field in schema:
            self._column(field.name, where).add_type(field.type, where)
            feature = json.dumps(described.get(field.name), sort_keys=True)
            self._features.setdefault(field.name, set()).add((feature, field.type))

    def merge(self, other: ColumnTypes) -> None:
        """Adds all that `other` holds; `other` is not changed."""
        for name, column in other._columns.items():
            self._column(name, "").merge(column)
        for name, found in other._features.items():
            self._features.setdefault(name, set()).update(found)
        self._widest = max(self._widest, other._widest)
        if other._crowded:
            self._give_up()

    def finish(self) -> pa.Schema:
        """Returns the schema of all metadata columns, sorted by their stored names.

        Raises:
            InputError: if a column's values have no type in common, or cannot be stored.
        """
        count = len(self._columns)
        if self._crowded or count > max(MAX_COLUMNS, 2 * self._widest):
            raise self._too_many(_MOST_COLUMNS if self._crowded else count)
        names = sorted(self._columns, key=output_name)
        schema = _rename_reserved([self._finish(name) for name in names])
        return with_features(schema, dict(self._kept_features(schema)))

    def unfit(self) -> dict[str, str] | None:
        """Returns the columns that no one type holds, each with the reason.

        None is returned where there are too many columns to look at each.
        """
        if self._crowded or len(self._columns) > max(MAX_COLUMNS, 2 * self._widest):
            return None
        found = {}
        for name, column in self._columns.items():
            try:
                column.resolve()
            except ValueError as error:
                found[name] = str(error)
        return found

    def disagreed(self, schema: pa.Schema) -> list[str]:
        """Returns a sentence for each column of whose Hugging Face's description something is lost.

        Args:
            schema: as `finish` returns it.
        """
        kept, said = features_of(schema), []
        for name, found in sorted(self._features.items()):
            kinds = {kind for feature, _ in found for kind in types_in(json.loads(feature))}
            if output_name(name) in kept or kinds <= _PLAIN_FEATURES:
                continue
            if "ClassLabel" in kinds:
                said.append(
                    f"the class names of column {name!r}, on which not all tables agree, so that "
                    "its numbers may mean different classes: name them alike in each table, or "
                    "export them apart"
                )
            else:
                said.append(
                    f"Hugging Face's type of column {name!r}, on which not all tables agree: "
                    "declare it alike in each table, or export them apart"
                )
        return said

    @property
    def names(self) -> frozenset[str]:
        """The names of the columns, as far as they are kept."""
        return frozenset(self._columns)

    def _too_many(self, count: int) -> InputError:
        said = f"more than {count:,}" if self._crowded else f"{count:,}"
        return InputError(
            f"the input has {said} different metadata columns, too many for a table, as where keys "
            "are data; leave them out by --drop_columns, in which a * stands for any characters "
            "('*' alone leaves out all; a .json itself travels in any case)"
        )

    def _kept_features(self, schema: pa.Schema) -> Iterator[tuple[str, Any]]:
        """Yields what Hugging Face says of columns on which all files agree, by stored name.

        Numbers of classes that two files name otherwise are no classes of the whole dataset.
        """
        for name, found in self._features.items():
            ((feature, kind), *others) = found
            stored = output_name(name)
            if not others and feature != "null" and schema.field(stored).type == kind:
                yield stored, json.loads(feature)

    def _finish(self, name: str) -> pa.Field:
        if not is_unicode(name):
            raise InputError(
                f"the name of the metadata column {name!r} is not valid Unicode; rename it"
            )
        try:
            return pa.field(name, self._columns[name].resolve())
        except ValueError as error:
            raise InputError(
                f"metadata column {name!r} {error}; keep it as JSON text by --text_columns={name}, "
                f"or leave it out by --drop_columns={name}"
            ) from None

    def _column(self, name: Any, where: str) -> Column:
        if not isinstance(name, str):
            raise InputError(
                f"the metadata of {where} has a column name of type {type(name).__name__}, "
                f"{name!r}; make it text"
            )
        if name not in self._columns and len(self._columns) == _MOST_COLUMNS:
            self._give_up()
        if self._crowded:
            return Column()
        return self._columns.setdefault(name, Column())

    def _give_up(self) -> None:
        # An error is certain: nothing more is kept, and the result is the same in any order.
        self._crowded = True
        self._columns.clear()


def check_declared(schema: pa.Schema) -> pa.Schema:
    """Returns a schema that a user declares as it will be stored, in its order.

    Reserved names become `input_{name}`, and units that Parquet lacks (seconds) the next finer one.

    Raises:
        InputError: if a name occurs twice, or a type cannot be stored.
    """
    return _rename_reserved(_stored(field) for field in schema).with_metadata(schema.metadata)


def _stored(field: pa.Field) -> pa.Field:
    """Returns a field as Parquet reads it back, which also proves that it can be stored."""
    file = io.BytesIO()
    try:
        pq.write_table(pa.schema([field]).empty_table(), file)
    except (pa.ArrowException, NotImplementedError) as error:
        raise InputError(
            f"the schema declares column {field.name!r} as {field.type}, which Parquet cannot "
            f"hold ({str(error).splitlines()[0]}); declare another type"
        ) from None
    return pq.read_schema(file).field(0).with_metadata(field.metadata)


def _rename_reserved(fields: Iterable[pa.Field]) -> pa.Schema:
    renamed: dict[str, pa.Field] = {}
    for field in fields:
        name = output_name(field.name)
        if name in renamed:
            raise InputError(
                f"two metadata columns would be stored as {name!r} (one that bears the name of a "
                "column of the export is stored as `input_` and its name); rename one of them"
            )
        renamed[name] = field.with_name(name)
    return pa.schema(list(renamed.values()))
