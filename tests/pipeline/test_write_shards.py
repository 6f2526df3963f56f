"""The library: samples of a user's own pipeline."""

from __future__ import annotations

import inspect
import io
import os
import pickle
import random
import typing
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from PIL import Image
from support.exports import (
    Export,
    another_value,
    check_export,
    directory_hashes,
    left_over,
    picture,
    read_export,
)
from support.runs import run_pipeline

import beam_export
from beam_export import Sample, WriteShards
from beam_export.declaration import declared
from beam_export.errors import InputError, RunError
from beam_export.options import ExportOptions

#: What watched collections held, by run and name: a step that is pickled finds the same lists.
KEPT: dict[tuple[str, str], list[Any]] = {}


def keep(element: object, run: str, name: str) -> None:
    KEPT.setdefault((run, name), []).append(element)


def write(
    samples: Sequence[object], out: Path | str, *watched: str, runner: object = None, **options: Any
) -> tuple[Export, dict[str, list[Any]]]:
    """Writes samples in memory; gives the export and what the watched collections held."""
    run = uuid.uuid4().hex

    def build(pipeline: beam.Pipeline) -> None:
        made = pipeline | beam.Create(samples, reshuffle=False)
        result = made | WriteShards(str(out), **options)
        for name in watched:
            getattr(result, name) | f"Keep{name}" >> beam.Map(keep, run, name)

    run_pipeline(build, runner=runner)
    return read_export(out), {name: KEPT.pop((run, name), []) for name in watched}


def some(count: int) -> list[Sample]:
    return [Sample(f"s{number:03d}", picture(number)) for number in range(count)]


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def flat(*shape: int, value: int = 200) -> np.ndarray:
    return np.full(shape, value, np.uint8)


# What an image may be.


def test_bytes_arrays_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "on[1] disk.jpg"
    path.write_bytes(picture(7))
    opaque = flat(9, 10, 4)
    opaque[..., 3] = 0
    samples = [
        Sample("bytes", picture(1), "somewhere/x.jpg"),
        Sample("gray", flat(9, 10)),
        Sample("one", flat(9, 10, 1)),
        Sample("rgb", flat(9, 10, 3)),
        Sample("rgba", opaque),
        Sample("path", None, str(path)),
        Sample("png", picture(3, "png")),
    ]
    export, _ = write(samples, tmp_path / "out")
    rows = {row["image_id"]: row for row in export.rows}
    assert export.ids == sorted(rows)
    assert export.image(rows["bytes"]) == picture(1)
    assert export.image(rows["path"]) == picture(7)
    assert rows["bytes"]["original_path"] == "somewhere/x.jpg"
    assert rows["path"]["original_path"] == str(path)
    assert rows["rgb"]["original_path"] == ""
    assert rows["bytes"]["source_sha256"] == rows["bytes"]["sha256"]
    assert rows["png"]["source_sha256"] not in (None, rows["png"]["sha256"])
    for ident in ("gray", "one", "rgb", "rgba"):
        assert rows[ident]["source_sha256"] is None
        assert rows[ident]["encoding"] == "encoded"
        assert (rows[ident]["width"], rows[ident]["height"]) == (10, 9)
    assert abs(decoded(export.image(rows["gray"])).astype(int) - 200).max() <= 2
    assert decoded(export.image(rows["rgba"])).min() >= 253
    check_export(tmp_path / "out", 1000, "--samples", "7")
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (Sample("x", np.zeros((4, 4), np.float32)), ["float32", "(4, 4)"]),
        (Sample("x", np.zeros((4, 4, 3), np.uint16)), ["uint16"]),
        (Sample("x", flat(4, 4, 2)), ["(4, 4, 2)"]),
        (Sample("x", flat(3, 4, 4, 4)), ["(3, 4, 4, 4)"]),
        (Sample("x", flat(0, 4, 3)), ["(0, 4, 3)"]),
        (Sample("x", flat(4)), ["(4,)"]),
        (Sample("x", np.zeros((4, 4), bool)), ["bool"]),
        (Sample("x", b"no image at all"), []),
        (Sample("x", b""), []),
        (Sample("x", "text"), ["str"]),
        (Sample("x", bytearray(b"x")), ["bytearray"]),
        (Sample("x", None), ["neither"]),
        (Sample("x", None, "/no/such/file.jpg"), ["no file"]),
        (Sample("x", None, "/"), ["not a regular file"]),
        (Sample(7, picture(1)), ["id", "int"]),
        (Sample("x", picture(1), None), ["path", "NoneType"]),
        (Sample("x", picture(1), metadata=None), ["metadata", "NoneType"]),
        (Sample("x", picture(1), fields=None), ["fields", "NoneType"]),
        (Sample("x", picture(1), metadata={"a": object()}), ["object"]),
        (Sample("x", picture(1), fields={"TXT": b"a"}), ["TXT"]),
        (Sample("x", picture(1), fields={"txt": 5}), ["txt", "int"]),
        (Sample("x", picture(1), fields={"txt": None}), ["txt", "NoneType"]),
        (Sample("x", picture(1), fields={"txt": "\udce9"}), ["txt", "UTF-8"]),
        (Sample("x", picture(1), fields={"json": ["a"]}), ["json", "list"]),
        (Sample("x", picture(1), fields={"json": {"a": object()}}), ["json", "JSON", "object"]),
        (Sample("x", picture(1), fields={"json": {"a": float("nan")}}), ["json", "JSON"]),
        (Sample("x", Image.new("F", (4, 4))), ["floats"]),
        (Sample("x", Image.new("RGB", (0, 4))), ["(4, 0, 3)"]),
        (Sample("x", Image.open(io.BytesIO(picture(1)[:-20]))), ["truncated"]),
        (Sample("x", picture(1), Path("x"), fields={"a b": "c"}), ["a b"]),
        (Sample("x", picture(1), fields={3: b"a"}), ["3"]),
        (Sample("x", picture(1), fields={"jpg": b"a"}), ["jpg"]),
    ],
)
def test_samples_that_cannot_be_exported(tmp_path: Path, sample: Sample, words: list[str]) -> None:
    # Straight through the step: a whole run for each would take a minute.
    failures = spilled_failures(tmp_path, sample)
    if sample.fields == {"jpg": b"a"}:
        assert failures == []  # found when the shard is written
        return
    (failure,) = failures
    for word in words:
        assert word in failure.message
    assert failure.image_id == str(sample.id)


def spilled_failures(folder: Path, sample: Sample) -> list[beam_export.Failure]:
    from beam_export.images.encoder import EncodeSpec
    from beam_export.images.pillow_encoder import PillowEncoder
    from beam_export.pipeline.spill_samples import SpillSamples
    from beam_export.shards.output import Output

    step = SpillSamples(Output(str(folder), "t"), PillowEncoder(EncodeSpec()), "source", 0)
    step.setup()
    step.start_bundle()
    elements = [*step.process(sample), *step.finish_bundle()]
    values = [getattr(element, "value", element) for element in elements]
    values = [getattr(value, "value", value) for value in values]
    return [value for value in values if isinstance(value, beam_export.Failure)]


def test_images_of_pillow_text_dicts_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.jpg"
    path.parent.mkdir()
    path.write_bytes(picture(3))
    red = Image.new("RGB", (9, 7), (200, 30, 40))
    samples = [
        Sample("lazy", Image.open(path)),
        Sample("rgb", red, path, fields={"txt": "ein Bär", "json": {"b": [1, 0.5], "a": "ä"}}),
        Sample("gray", red.convert("L"), fields={"txt": b"bytes"}),
        Sample("clear", Image.new("RGBA", (9, 7), (0, 0, 0, 0)), fields={"txt": ""}),
        Sample("file", None, path, fields={"json": {}}),
    ]
    export, _ = write(samples, tmp_path / "out")
    rows = {row["image_id"]: row for row in export.rows}
    members = {name: data for shard in export.shards for name, data in shard.members.items()}
    assert members["rgb.txt"] == "ein Bär".encode()
    assert members["rgb.json"] == '{"b": [1, 0.5], "a": "ä"}'.encode()
    assert (members["gray.txt"], members["clear.txt"]) == (b"bytes", b"")
    assert members["file.json"] == b"{}"
    assert rows["rgb"]["original_path"] == rows["file"]["original_path"] == str(path)
    assert [rows[one]["encoding"] for one in sorted(rows)] == [
        *("encoded", "copied", "encoded", "encoded", "encoded")
    ]
    assert decoded(export.image(rows["clear"])).min() >= 253
    with Image.open(io.BytesIO(export.image(rows["gray"]))) as im:
        assert im.mode == "L"
    with Image.open(path) as im:
        found = decoded(export.image(rows["lazy"])).astype(int)
        assert abs(found - np.asarray(im.convert("RGB")).astype(int)).max() <= 40
    check_export(tmp_path / "out", 1000)


def test_a_fault_is_a_sentence_that_names_its_sample_above_the_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RunError):
        write([*some(2), Sample("the bad one", 5)], tmp_path / "out")
    (message,) = [one.getMessage() for one in caplog.records if one.name == "beam_export"]
    assert "1 of 3 images failed" in message
    assert "the bad one" in message
    assert "its image is of type int" in message
    assert "\n" not in message


@pytest.mark.parametrize("element", ["a.jpg", {"id": "x", "image": b""}, 7, ("x", b""), None, b"x"])
def test_an_element_that_is_no_sample_is_shown(
    element: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=type(element).__name__):
        spilled_failures(tmp_path, element)  # type: ignore[arg-type]
    (record,) = caplog.records
    assert "give it beam_export.Sample" in record.getMessage()
    assert repr(element)[:20] in record.getMessage()


def test_failures_are_listed_and_given(tmp_path: Path) -> None:
    samples = [
        *some(4),
        Sample("float", np.zeros((4, 4), np.float32)),
        Sample("folder", None, str(tmp_path)),
        Sample("twice", picture(1), fields={"jpg": b"a"}),
    ]
    export, given = write(
        samples, tmp_path / "out", "failures", "shards", max_failed_fraction=0.5, images_per_tar=7
    )
    assert [one["image_id"] for one in export.failures] == ["float", "folder", "twice"]
    assert sorted(one._asdict().items() for one in given["failures"]) == sorted(
        one.items() for one in export.failures
    )
    totals = export.manifest["totals"]
    assert (totals["read"], totals["written"], totals["failed"]) == (7, 4, 3)
    check_export(tmp_path / "out", 7)


def test_more_failures_than_may_be(tmp_path: Path) -> None:
    """One of them leaves a shard empty, of which no samples are read back."""
    (tmp_path / "z.jpg").write_bytes(b"bad")
    given = [*some(2), Sample("bad", b"bad"), Sample("z", None, tmp_path / "z.jpg")]
    with pytest.raises(
        RunError, match=r"the only image of shard 1 .* 2 failed, more than"
    ) as caught:
        write(given, tmp_path / "out", "samples", images_per_tar=2)
    (table,) = (tmp_path / "out").glob("_meta/*failures.parquet")
    assert f"all are listed in {table}: " in str(caught.value)
    assert pq.read_table(table)["image_id"].to_pylist() == ["bad", "z"]
    assert not list((tmp_path / "out").glob("*manifest.json"))


def test_arrays_under_never(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'s', whose image is an array"):
        write([Sample("s", flat(4, 4))], tmp_path / "out", encode="never")


def test_elements_that_are_no_samples(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was given a str"):
        write(["a.jpg"], tmp_path / "out")


def test_no_elements(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        write([], tmp_path / "out")


# What travels with it.


def test_fields_and_metadata(tmp_path: Path) -> None:
    samples = [
        Sample(
            "a",
            picture(0),
            metadata={"score": 1, "vector": np.arange(3, dtype=np.float32), "none": None},
            fields={"txt": b"a cat", "json": b'{"k": 1}', "seg.png": picture(2, "png")},
        ),
        Sample("b", picture(1), metadata={"score": 0.5, "vector": None, "size": "L"}),
    ]
    export, _ = write(samples, tmp_path / "out")
    (shard,) = export.shards
    assert list(shard.members) == ["a.jpg", "a.json", "a.seg.png", "a.txt", "b.jpg"]
    assert shard.members["a.txt"] == b"a cat"
    types = {field.name: field.type for field in shard.table.schema}
    assert types["score"] == pa.float64()
    assert types["vector"] == pa.list_(pa.float32())
    assert types["input_size"] == pa.string()
    # What stands in a .json field is the user's own: only metadata makes columns here.
    assert "k" not in types
    first, second = shard.rows
    assert first["vector"] == [0.0, 1.0, 2.0]
    assert (second["vector"], second["none"]) == (None, None)
    check_export(tmp_path / "out", 1000, "--columns", "score:double")


def test_declared_schema(tmp_path: Path) -> None:
    schema = pa.schema([("score", pa.float32()), ("label", pa.string()), ("width", pa.int8())])
    samples = [
        Sample("a", picture(0), metadata={"score": 1, "extra": "left out"}),
        Sample("b", picture(1), metadata={"label": "x", "width": 3}),
    ]
    export, _ = write(samples, tmp_path / "out", schema=schema)
    table = export.shards[0].table
    assert table.schema.field("score").type == pa.float32()
    assert table.schema.field("input_width").type == pa.int8()
    assert "extra" not in table.schema.names
    assert [row["score"] for row in export.rows] == [1.0, None]
    other, _ = write(samples, tmp_path / "other")
    assert other.hash != export.hash


def test_value_that_does_not_fit_the_declared_schema(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write(
            [*some(3), Sample("z", picture(1), metadata={"score": "high"})],
            tmp_path / "out",
            schema=pa.schema([("score", pa.float32())]),
        )
    for word in ("'z'", "'score'", "str", "float"):
        assert word in caught.value.sentence
    assert caught.value.sentence.endswith(".")
    assert not list((tmp_path / "out").glob("images-*"))


# What comes out of it.


def test_result_collections(tmp_path: Path) -> None:
    samples = [Sample(f"s{n}", picture(n), f"p/{n}.jpg", {"n": n}, {"txt": b"t"}) for n in range(5)]
    export, given = write(
        samples, tmp_path / "out", "shards", "samples", "failures", "manifest", images_per_tar=2
    )
    shards = sorted(given["shards"])
    assert [(one.number, one.samples) for one in shards] == [(0, 2), (1, 2), (2, 1)]
    assert all(isinstance(one, beam_export.ShardResult) for one in shards)
    assert [one.tar_sha256 for one in shards] == [
        shard.facts["beam_export.tar_sha256"] for shard in export.shards
    ]
    assert given["failures"] == []
    (manifest,) = given["manifest"]
    assert manifest.hash == export.hash
    assert manifest.totals.written == 5
    came = {one.id: one for one in given["samples"]}
    assert sorted(came) == export.ids
    for row in export.rows:
        one = came[row["image_id"]]
        assert one.image == export.image(row)
        assert one.path == row["original_path"]
        assert dict(one.metadata) == row


def test_remove_image_data(tmp_path: Path) -> None:
    _, given = write(some(3), tmp_path / "out", "samples", remove_image_data=True)
    assert [one.image for one in given["samples"]] == [None] * 3
    assert all(one.metadata["sha256"] for one in given["samples"])


def test_second_run_with_other_pixels_of_equal_size(tmp_path: Path) -> None:
    first, _ = write([Sample("a", flat(8, 8, value=10))], tmp_path / "out")
    second, given = write([Sample("a", flat(8, 8, value=240))], tmp_path / "out", "shards")
    assert second.hash == first.hash
    assert not given["shards"][0].kept
    assert decoded(second.image(second.rows[0])).min() > 230
    check_export(tmp_path / "out", 1000)


# Order and equal ids.


def test_source_order_is_by_id(tmp_path: Path) -> None:
    idents = ["b", "a", "ä", "Z", "a/b", "10", "9", "a "]
    samples = [Sample(ident, picture(at)) for at, ident in enumerate(idents)]
    export, _ = write(samples, tmp_path / "out", images_per_tar=3)
    assert export.ids == sorted(idents, key=lambda ident: ident.encode())
    check_export(tmp_path / "out", 3)


def clashing() -> list[Sample]:
    """Equal ids that differ in their pixels alone, in their fields alone, and in nothing."""
    return [
        Sample("same", flat(8, 8, value=10)),
        Sample("same", flat(8, 8, value=120)),
        Sample("same", flat(8, 8, value=240)),
        Sample("field", picture(1), fields={"txt": b"one"}),
        Sample("field", picture(1), fields={"txt": b"two"}),
        Sample("exact", picture(2)),
        Sample("exact", picture(2)),
        Sample("same-1", picture(3)),
    ]


@pytest.mark.parametrize("policy", [pytest.param("first", marks=pytest.mark.slow), "rename"])
def test_equal_ids_come_out_the_same_in_any_order(tmp_path: Path, policy: str) -> None:
    hashes = []
    for number in range(2):
        samples = clashing()
        random.Random(number).shuffle(samples)
        out = tmp_path / str(number)
        export, _ = write(samples, out, duplicates=policy)
        hashes.append(directory_hashes(out))
        check_export(out, 1000)
    assert hashes[0] == hashes[1]
    if policy == "first":
        assert export.ids == ["exact", "field", "same", "same-1"]
    else:
        renamed = ["exact", "exact-1", "field", "field-1", "same", "same-2", "same-3", "same-1"]
        assert sorted(export.ids) == sorted(renamed)


def test_equal_ids_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'exact'.*'field'.*'same'.*--duplicates=rename"):
        write(clashing(), tmp_path / "out")


# Pipelines.


def test_unbounded_collection_is_refused_when_it_is_built(tmp_path: Path) -> None:
    pipeline = beam.Pipeline()
    samples = pipeline | beam.Create(some(1), reshuffle=False)
    samples.is_bounded = False
    with pytest.raises(InputError, match="unbounded"):
        samples | WriteShards(str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_windows_do_not_split_shards(tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        (
            pipeline
            | beam.Create(list(enumerate(some(7))), reshuffle=False)
            | beam.MapTuple(lambda at, sample: TimestampedValue(sample, 10 * at))
            | beam.WindowInto(FixedWindows(10))
            | WriteShards(str(tmp_path / "out"), images_per_tar=3)
        )

    run_pipeline(build)
    export = read_export(tmp_path / "out")
    assert export.sizes == [3, 3, 1]
    assert export.ids == [sample.id for sample in some(7)]


class _Dice(beam.DoFn):
    """Gives other samples each time it is asked."""

    def process(self, number: int) -> Iterable[Sample]:
        yield Sample(f"s{number}-{os.urandom(4).hex()}", picture(number))


def test_upstream_that_is_not_deterministic_is_computed_once(tmp_path: Path) -> None:
    def build(pipeline: beam.Pipeline) -> None:
        numbers = pipeline | beam.Create(range(9), reshuffle=False)
        dice = numbers | beam.ParDo(_Dice()).with_output_types(Sample)
        dice | WriteShards(str(tmp_path / "out"), images_per_tar=2)

    run_pipeline(build)
    export = read_export(tmp_path / "out")
    assert export.sizes == [2, 2, 2, 2, 1]
    assert len(set(export.ids)) == 9
    check_export(tmp_path / "out", 2)


def test_crowd_of_batches_and_bundles(tmp_path: Path) -> None:
    """More than one encoder batch a bundle, and more than one bundle."""
    samples = [Sample(f"s{number:03d}", flat(4, 4, value=number)) for number in range(150)]

    def build(pipeline: beam.Pipeline) -> None:
        made = pipeline | beam.Create(samples)
        made | WriteShards(str(tmp_path / "out"), images_per_tar=64)

    run_pipeline(build)
    export = read_export(tmp_path / "out")
    assert export.sizes == [64, 64, 22]
    for number, row in enumerate(export.rows):
        assert abs(int(decoded(export.image(row)).mean()) - number) <= 2
    assert left_over(tmp_path / "out") == []


# The interface.


def test_parameters_are_those_of_the_contract() -> None:
    parameters = inspect.signature(WriteShards).parameters
    positional = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    }
    assert positional == {
        "output_dir": inspect.Parameter.empty,
        "images_per_tar": 1000,
        "deterministic_name": True,
        "remove_image_data": False,
        "verbose": False,
    }
    keywords = set(parameters) - set(positional)
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in keywords)
    assert keywords >= {"schema", "order", "seed", "encode", "duplicates", "member_names", "limit"}
    sample = inspect.signature(Sample).parameters
    assert list(sample) == ["id", "image", "path", "metadata", "fields"]


def test_keywords_are_those_that_are_declared() -> None:
    given = inspect.signature(WriteShards, eval_str=True).parameters
    options = inspect.signature(ExportOptions).parameters
    types = typing.get_type_hints(ExportOptions)  # each group's in its own module
    keywords = {one.name for one in declared(ExportOptions).values() if one.keyword}
    assert set(given) - {"remove_image_data", "schema"} == keywords, (
        "WriteShards has a keyword, of the same type and default, for each option that is "
        "declared, but for those with keyword=False"
    )
    for name in keywords:
        # Of a path, the option has the text.
        if name != "output_dir":
            assert given[name].annotation == types[name], name
        assert given[name].default == options[name].default, name


def test_no_keyword_takes_a_name_that_transforms_have() -> None:
    assert not set(inspect.signature(WriteShards).parameters) & set(dir(beam.PTransform()))


@pytest.mark.parametrize("name", [*declared(ExportOptions)])
def test_each_keyword_sets_its_option(name: str) -> None:
    value = another_value(declared(ExportOptions)[name])
    if not declared(ExportOptions)[name].keyword:
        with pytest.raises(TypeError, match=name):
            WriteShards(**{"output_dir": "out", name: value})
        return
    write = WriteShards(**{"output_dir": "out", name: value})
    assert write._options == ExportOptions(**{"output_dir": "out", name: value})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images_per_tar": 0}, "images_per_tar=0"),
        ({"images_per_tar": -5}, "images_per_tar=-5"),
        ({"images_per_tar": True}, "images_per_tar=True"),
        ({"order": "random"}, "order.*random"),
        ({"encode": "never", "resize": 5}, "contradict"),
    ],
)
def test_wrong_options_are_refused_when_they_are_given(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        WriteShards("out", **options)


def test_directory_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        beam.Pipeline() | beam.Create(some(1)) | WriteShards(str(tmp_path / "file" / "out"))


@pytest.mark.parametrize(
    "make",
    [
        lambda: WriteShards("out", 5, schema=pa.schema([("a", pa.int8())])),
        lambda: Sample("a", flat(2, 2), "p", {"k": [1]}, {"txt": b"t"}),
        lambda: InputError("a sentence."),
    ],
)
def test_pickles(make: Callable[[], object]) -> None:
    assert type(pickle.loads(pickle.dumps(make()))) is type(make())
