from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.metadata.features import with_features
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


def test_of_a_shard_with_too_many_members_those_that_are_left_are_known() -> None:
    assert members(result(fields=None)) is None
    found = members(result(fields=["txt", "xml"]), result(fields=None), keep=("txt",))
    assert list(features(found)) == ["jpg", "txt", "__key__", "__url__"]


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


def test_numbers_of_json_are_rounded_by_datasets() -> None:
    """docs/loaders.md says so; once they are not, that can go."""
    datasets = pytest.importorskip("datasets")
    kind = datasets.Json()
    assert kind.decode_example(kind.encode_example({"a": 1e-12})) == {"a": 0.0}
