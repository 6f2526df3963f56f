from __future__ import annotations

import datetime
import decimal
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.metadata.features import with_features
from beam_export.metadata.to_arrow import to_values
from beam_export.shards.hub_features import (
    AUDIO,
    IMAGE,
    MESH,
    VIDEO,
    HubMembers,
    features_yaml,
    hub_members,
    yaml_text,
)
from beam_export.shards.json_member import json_of_row
from beam_export.shards.npy_types import ArrayType
from beam_export.shards.writer import ShardResult

yaml = pytest.importorskip("yaml", reason="PyYAML reads the card")


def result(
    images: Sequence[str] = ("jpg",), fields: Sequence[str] | None = (), **given_values: Any
) -> ShardResult:
    values: dict[str, Any] = dict.fromkeys(ShardResult._fields[:6], 0)
    values |= {"tar_sha256": "", "parquet_sha256": "", "plan": "", "failures": ()}
    exts = None if fields is None else tuple(fields)
    return ShardResult(**values, image_exts=tuple(images), field_exts=exts, **given_values)


def members(*results: ShardResult, **given_values: Any) -> HubMembers | None:
    values: dict[str, Any] = {"keep": None, "made": (), "columns": pa.schema([])}
    return hub_members(results, **{**values, **given_values})


def classes(names: Any) -> pa.Schema:
    kind = {"_type": "ClassLabel", "names": names}
    return with_features(pa.schema([("cls", pa.int64())]), {"cls": kind})


def features(found: HubMembers | None) -> dict[str, Any]:
    """Returns the features as a reader of YAML has them, by name, in order."""
    listed = yaml.safe_load("\n".join(features_yaml(found)))["features"]
    return {one.pop("name"): one for one in listed}


STRING = {"dtype": "string"}


def test_members_of_all_shards_come_once_images_first() -> None:
    found = members(result(["png"], ["txt"]), result(["jpg"], ["json", "txt"]))
    assert list(features(found)) == ["jpg", "png", "json", "txt", "__key__", "__url__"]


def test_each_member_has_the_type_that_the_builder_makes_of_it() -> None:
    fields = ["cls", "depth.png", "id", "json", "mp3", "mp4", "stl", "txt", "txt.gz", "xml"]
    assert features(members(result(fields=fields))) == {
        "jpg": {"dtype": "image"},
        "cls": {"dtype": "int64"},
        "depth.png": {"dtype": "image"},
        "id": {"dtype": "int64"},
        "json": {"dtype": "json"},
        "mp3": {"dtype": "audio"},
        "mp4": {"dtype": "video"},
        "stl": {"dtype": "mesh"},
        "txt": STRING,
        "txt.gz": STRING,
        "xml": {"dtype": "binary"},
        "__key__": STRING,
        "__url__": STRING,
    }


def test_media_are_those_of_the_builder() -> None:
    builder = pytest.importorskip("datasets.packaged_modules.webdataset.webdataset")
    assert set(builder.IMAGE_EXTENSIONS) == IMAGE
    assert set(builder.AUDIO_EXTENSIONS) == AUDIO
    assert set(builder.VIDEO_EXTENSIONS) == VIDEO
    assert set(builder.MESH_EXTENSIONS) == MESH


def test_what_the_builder_decodes_has_a_type_or_none() -> None:
    """A member that it would decode, and the card calls binary, could not be read at all."""
    builder = pytest.importorskip("datasets.packaged_modules.webdataset.webdataset")
    for ext in builder.DECODERS:
        lines = features_yaml(members(result(fields=[ext], remarks=(("array/npy=?", 1),))))
        assert not lines or features(members(result(fields=[ext])))[ext] != {"dtype": "binary"}


@pytest.mark.parametrize("ext", ["cls", "cls2", "index", "inx", "id"])
def test_what_is_no_whole_number_stops_the_builder_whatever_the_card_says(ext: str) -> None:
    """docs/loaders.md says so, and what to do; once it does not, the card should say text."""
    builder = pytest.importorskip("datasets.packaged_modules.webdataset.webdataset")
    found = features(members(result(fields=[ext, "label"])))
    assert (found[ext], found["label"]) == ({"dtype": "int64"}, {"dtype": "binary"})
    assert builder.DECODERS[ext](b"7\n") == 7
    for data in (b"cat", b"dog\n", b""):
        with pytest.raises(ValueError, match="invalid literal"):
            builder.DECODERS[ext](data)


def test_what_is_left_out_or_made_is_known() -> None:
    found = members(result(fields=["txt", "xml"]), keep=("txt",), made=["meta.json"])
    assert found is not None
    assert found.fields == ["meta.json", "txt"]


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (ArrayType("float32", 1), {"list": "float32"}),
        (ArrayType("int8", 3), {"list": {"list": {"list": "int8"}}}),
        (ArrayType("float64", 0), {"dtype": "float64"}),
    ],
)
def test_arrays_are_nested_lists(array: ArrayType, kind: dict[str, Any]) -> None:
    remark = f"array/clip.npy={array.dtype},{array.dimensions}"
    found = members(result(fields=["clip.npy"], remarks=((remark, 3),)), result())
    assert features(found)["clip.npy"] == kind


@pytest.mark.parametrize("ext", ["pth", "npz", "msg", "npy", "a.npz", "npz.gz", "npy.gz"])
def test_a_member_without_a_known_type_leaves_the_builder_to_find_all(ext: str) -> None:
    remarks = (("array/npy=?", 1),)
    assert features_yaml(members(result(fields=[ext, "txt"], remarks=remarks))) == []


def test_a_shard_that_does_not_say_the_types_of_its_arrays_leaves_all_unknown() -> None:
    known = result(fields=["npy"], remarks=(("array/npy=int8,1", 1),))
    assert members(known) is not None
    assert members(known, result(fields=["npy"])) is None


def test_too_many_members_are_none() -> None:
    assert members(result(fields=None)) is None
    assert members(result(fields=[f"f{number}" for number in range(1000)])) is None
    assert members(result(fields=[f"f{number}" for number in range(999)])) is not None


def test_classes_have_their_names_in_order() -> None:
    names = [f"{number}" for number in range(12)]
    found = members(result(fields=["cls"]), columns=classes(names))
    said = features(found)["cls"]["dtype"]["class_label"]["names"]
    assert [said[str(number)] for number in range(12)] == names


@pytest.mark.parametrize(
    "names", [None, ["a", "a"], ["a", 3], "ab", [f"c{number}" for number in range(25_001)]]
)
def test_names_that_a_reader_refuses_are_left_out(names: Any) -> None:
    found = members(result(fields=["cls"]), columns=classes(names))
    assert features(found)["cls"] == {"dtype": "int64"}


#: Columns of all types, with values that their types can hold and a reader may round.
COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "_type": (pa.string(), ["x", None, '{"a": 1}', ""]),
    "big": (pa.uint64(), [2**64 - 1, 0, None]),
    "bigs": (pa.list_(pa.uint64()), [[], [2**64 - 1], None]),
    "box": (
        pa.struct([("x", pa.float64()), ("list", pa.list_(pa.struct([("n", pa.float64())])))]),
        [None, {"x": 1e-12, "list": [{"n": 0.3}, None]}, {"x": None, "list": []}],
    ),
    "bytes": (pa.binary(), [b"\0\1", None]),
    "day": (pa.date32(), [datetime.date(2026, 1, 1), None]),
    "exact": (pa.decimal128(20, 5), [decimal.Decimal("1.5"), None]),
    "float": (pa.float32(), [0.1, None, 2.0]),
    "half": (pa.float16(), [0.5]),
    "is": (pa.bool_(), [True, False, None]),
    "kind": (pa.dictionary(pa.int32(), pa.string()), ["a", None]),
    "lists": (pa.list_(pa.list_(pa.float64())), [[], [[0.3], None, []], None]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], None]),
    'name: - "': (pa.int64(), [2**63 - 1, -(2**63), 0]),
    "null": (pa.null(), [None]),
    "score": (pa.float64(), [1e-12, None, 0.3, float("nan"), -0.0, 5e-324, 1.7e308]),
    "time": (pa.time64("us"), [datetime.time(1, 2, 3)]),
    "took": (pa.duration("ns"), [datetime.timedelta(seconds=1.5), None]),
    "two": (pa.list_(pa.int32(), 2), [[1, 2], None]),
    "when": (pa.timestamp("ns", "UTC"), [datetime.datetime(2026, 1, 1), None]),
}


def test_json_of_columns_is_read_as_it_is() -> None:
    datasets = pytest.importorskip("datasets")
    schema = pa.schema([(name, kind) for name, (kind, _) in COLUMNS.items()])
    values = {
        name: to_values(pa.array([given[n % len(given)] for n in range(14)], kind))
        for name, (kind, given) in COLUMNS.items()
    }
    rows = [{name: one[n] for name, one in values.items()} for n in range(14)]
    wanted = [{"json": json.loads(json_of_row(list(schema), row))} for row in rows]
    found = members(result([]), made=["json"], columns=schema, json_columns={"json": schema.names})
    lines = yaml.safe_load("\n".join(features_yaml(found)))["features"]
    types = datasets.Features._from_yaml_list(lines[:1])
    for step in (1, 14):  # a batch without any value has to do too
        for at in range(0, 14, step):
            part = wanted[at : at + step]
            assert str(list(datasets.Dataset.from_list(part, types))) == str(part)


def test_json_that_came_with_samples_is_rounded_by_its_reader() -> None:
    """docs/loaders.md says so; once it is not, that can go."""
    datasets = pytest.importorskip("datasets")
    came = members(result(fields=["json"]), made=["meta.json"], json_columns={"meta.json": []})
    assert features(came)["json"] == {"dtype": "json"}
    kind = datasets.Json()
    assert kind.decode_example(kind.encode_example({"a": 1e-12})) == {"a": 0.0}


@pytest.mark.parametrize("names", [[], ["a", "a"], [f"c{number}" for number in range(1001)]])
def test_json_of_columns_without_names_of_their_own_is_json(names: list[str]) -> None:
    fields = [pa.field(name, pa.int8()) for name in names]
    found = HubMembers(["jpg"], ["json"], {}, (), {"json": fields})
    assert features(found)["json"] == {"dtype": "json"}


def test_names_without_such_members_are_left_out() -> None:
    found = members(result(), columns=classes(["a", "b"]))
    assert found is not None
    assert found.classes == ()


@given(st.text(max_size=30))
def test_a_name_is_what_it_was_and_nothing_else(name: str) -> None:
    text = yaml_text(name)
    assert text.isprintable()
    assert not set("<>&`") & set(text)
    valid = name.encode("utf-8", "backslashreplace").decode()
    assert yaml.safe_load(f"- '0': {text}\n  a: 1") == [{"0": valid, "a": 1}]
