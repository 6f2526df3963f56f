from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_export.sources.tables.formats import TableError
from beam_export.sources.tables.roles import (
    Roles,
    column_of_no_ids,
    key_of_names,
    roles_of_names,
    roles_of_schema,
)

HF = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("columns", "roles"),
    [
        ({"image": HF, "label": pa.int64()}, Roles("", "image")),
        ({"picture_of": HF, "data": pa.binary()}, Roles("", "data")),
        ({"picture_of": HF, "thumb": pa.binary()}, Roles("", "picture_of")),
        ({"raw": pa.large_binary(), "ID": pa.int64()}, Roles("ID", "raw")),
        ({"raw": pa.binary(), "path": pa.string()}, Roles("", "", "path")),
        ({"jpg": pa.binary(), "path": pa.string(), "url": pa.string()}, Roles("", "jpg", "path")),
        ({"jpg": pa.binary(), "url": pa.string(), "__key__": pa.string()}, Roles("__key__", "jpg")),
        ({"image": pa.string(), "key": pa.string(), "id": pa.string()}, Roles("id", "", "image")),
        ({"url": pa.string(), "File_Name": pa.string()}, Roles("", "", "File_Name")),
        ({"id": pa.float64(), "path": pa.string()}, Roles("", "", "path")),
        (
            {"jpg": pa.binary(), "id": pa.int64(), "key": pa.string()}
            | dict.fromkeys(["status", "error_message", "url"], pa.string()),
            Roles("key", "jpg", "", "status"),
        ),
    ],
)
def test_roles_are_told_by_names_and_types(columns: dict[str, Any], roles: Roles) -> None:
    assert roles_of_schema(pa.schema(list(columns.items()))) == roles
    assert roles_of_schema(pa.schema(list(columns.items())[::-1])) == roles


def test_what_has_no_image_says_which_columns_there_are() -> None:
    two = {"one": pa.binary(), "two": pa.binary()}
    with pytest.raises(TableError, match="'one', 'two'"):
        roles_of_schema(pa.schema(list(two.items())))
    with pytest.raises(TableError, match="its columns are none"):
        roles_of_schema(pa.schema([]))
    with pytest.raises(TableError, match="'score'"):
        roles_of_names(("score",))


SPARK = pa.struct(
    [
        ("origin", pa.string()),
        *((name, pa.int32()) for name in ("height", "width", "nChannels", "mode")),
        ("data", pa.binary()),
    ]
)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"image": pa.list_(pa.uint8()), "id": pa.string()}, "'image' of type list<uint8>: images"),
        ({"Image": pa.large_list(pa.uint8())}, "'Image' of type list<uint8>:"),
        (
            {"img": pa.list_(pa.list_(pa.list_(pa.uint8())))},
            "'img' of type list<list<list<uint8>>>",
        ),
        ({"image": SPARK}, r"of type struct<origin: .*\.\.\., which is how Spark stores pixels"),
        ({"jpg": pa.int64()}, "'jpg' of type int64"),
        ({"path": pa.list_(pa.string()), "x": pa.int8()}, "'path' of type list<string>"),
        ({"image": pa.struct([("url", pa.string())])}, "'image' of type struct<url: string>"),
        ({f"c{n}": pa.int8() for n in range(500)}, "'c19' and 480 more: call"),
        ({"a": pa.binary(), "b": pa.binary()}, "its columns are 'a', 'b'"),
    ],
)
def test_a_type_that_is_no_image_is_named(columns: dict[str, Any], told: str) -> None:
    with pytest.raises(TableError, match=told):
        roles_of_schema(pa.schema(list(columns.items())))


@pytest.mark.parametrize(
    "names", [("tar_file", "member_name", "original_path"), ("key", "status", "url", "caption")]
)
def test_tables_beside_tars_are_not_taken_for_tables_of_paths(names: tuple[str, ...]) -> None:
    with pytest.raises(TableError, match="give those tars"):
        roles_of_names(names)
    with pytest.raises(TableError, match="give those tars"):
        roles_of_schema(pa.schema([(name, pa.string()) for name in names]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"images": pa.list_(pa.binary())}, "'images' of type list<binary>"),
        ({"frames": pa.large_list(pa.large_binary()), "n": pa.int8()}, "list<large_binary>"),
        ({"views": pa.list_(HF), "id": pa.string()}, "'views' of type list<struct<bytes"),
        ({"pair": pa.list_(pa.binary(), 2)}, "'pair' of type list<binary>"),
    ],
)
def test_a_column_of_several_images_is_named(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(TableError, match="has several images in each row, in column ") as caught:
        roles_of_schema(pa.schema(list(columns.items())))
    assert said in str(caught.value)
    assert "write a row for each image" in str(caught.value)


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["file_name", "text"], ("file_name", True)),
        (["image", "caption"], ("image", True)),
        (["Path", "id"], ("Path", True)),
        (["image_id", "score"], ("image_id", False)),
        (["score", "KEY"], ("KEY", False)),
        (["score", "caption"], ("", False)),
        ([], ("", False)),
    ],
)
def test_the_column_that_names_images(names: list[str], key: tuple[str, bool]) -> None:
    assert key_of_names(names) == key


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"id": pa.float64(), "path": pa.string()}, "id"),
        ({"image_id": pa.list_(pa.int8()), "jpg": pa.binary()}, "image_id"),
        ({"id": pa.float64(), "key": pa.string(), "path": pa.string()}, ""),
        ({"id": pa.int16(), "path": pa.string()}, ""),
        ({"path": pa.string()}, ""),
    ],
)
def test_a_column_that_is_called_as_ids_are_and_holds_none(
    columns: dict[str, Any], column: str
) -> None:
    schema = pa.schema(list(columns.items()))
    assert column_of_no_ids(schema, roles_of_schema(schema)) == column
