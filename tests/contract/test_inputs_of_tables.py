"""What docs/inputs.md says of tables, columns and joins: each row of its tables has a check."""

from __future__ import annotations

import base64
import io
import json
import math
import pickle
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import ROOT, picture

from beam_export.cli.joins import join_lines
from beam_export.errors import InputError, SampleError
from beam_export.metadata.columns import ColumnChoice
from beam_export.metadata.features import features_of, with_features
from beam_export.metadata.schema import ColumnTypes
from beam_export.metadata.to_arrow import ColumnBuilder
from beam_export.options import ExportOptions
from beam_export.planning.blocks import PackedRef, pack_ref, unpack_ref, untyped_metadata
from beam_export.planning.duplicates import (
    Decisions,
    DuplicateId,
    open_decisions,
    pack_kept,
)
from beam_export.planning.join import Tally, check_tally, join_bucket
from beam_export.planning.join_folders import join_folder_bucket, unfit_columns
from beam_export.planning.steps import lookup_steps
from beam_export.samples import WHOLE, Failure, Member, SampleRef
from beam_export.sources.entries import FolderTable, Listed, Skipped, Source
from beam_export.sources.input_format import choose
from beam_export.sources.json_metadata import (
    MAX_JSON,
    has_large_json,
    with_content,
    with_metadata,
)
from beam_export.sources.tables.beside import way_of_metadata
from beam_export.sources.tables.encoding import UTF8
from beam_export.sources.tables.folder_tables import FolderRow, columns_of
from beam_export.sources.tables.formats import BadRow, TableError
from beam_export.sources.tables.id_lists import read_ids
from beam_export.sources.tables.lookup import LookupRow, keyed_rows, unpack_rows
from beam_export.sources.tables.parquet import ParquetTable
from beam_export.sources.tables.refs import (
    TablePlace,
    bytes_of_images,
    group_refs,
    measure_rows,
    row_ref,
    with_measured_size,
)
from beam_export.sources.tables.roles import Roles, roles_of_names, roles_of_table
from beam_export.sources.tables.rows import read_rows, read_types
from beam_export.sources.tables.text import TextTypes, text_blocks
from beam_export.sources.tables.text_refs import text_refs

PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
JPG = picture(1)
B64 = base64.b64encode(JPG).decode()


def table(**columns: Any) -> ParquetTable:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return ParquetTable(file)


def values(data: bytes, name: str, encoding: str = UTF8) -> list[Any]:
    types = read_types(io.BytesIO(data), name, encoding)
    return [
        row if isinstance(row, BadRow) else row[1]
        for rows in read_rows(io.BytesIO(data), name, types, encoding=encoding)
        for row in rows
    ]


def types_of(*rows: dict[str, Any]) -> pa.Schema:
    types = ColumnTypes()
    for number, row in enumerate(rows):
        types.add(row, f"{number}.json")
    return types.finish()


def sample(ident: str, suffix: str = ".jpg", **metadata: Any) -> PackedRef:
    place = Member("jpg", f"/in/{ident}{suffix}", WHOLE, 1)
    order = f"{ident}{suffix}".encode()
    return pack_ref(SampleRef(order, ident, place.uri, place, (), metadata, 1))


def row(key: str, **columns: Any) -> LookupRow:
    return LookupRow(key, pickle.dumps(columns))


def ids_in(content: bytes, encoding: str = UTF8) -> list[LookupRow]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ids.txt")
        path.write_bytes(content)
        packs = list(read_ids(str(path), "--ids", encoding))
    return [row(one.key) for pack in packs for one in unpack_rows(pack)]


def joined(
    samples: list[PackedRef], *tables: list[LookupRow], **given: Any
) -> tuple[list[dict[str, Any]], Tally]:
    refs, tally = join_bucket(samples, tables=tables, **given)
    return [unpack_ref(ref).metadata for ref in refs], tally


def listed(*names: str) -> list[Any]:
    """Returns what is chosen of a folder with an image and tables."""
    tables = [Source("table", name, f"/in/{name}", 1) for name in names]
    image = Listed("0.jpg", Member("jpg", "/in/0.jpg", WHOLE, 1), ())
    return list(choose([image, *tables], "auto"))[1:]


def refused(call: Callable[[], Any], said: str) -> None:
    with pytest.raises((InputError, TableError), match=said):
        call()


# Tables.


def bytes_are_images() -> None:
    assert roles_of_table(table(image=[JPG], x=[b"1"])).image == "image"


def structs_are_images() -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    given = table(whatever=pa.array([{"bytes": JPG, "path": "a.jpg"}], kind))
    assert roles_of_table(given).image == "whatever"


def named_text_is_images() -> None:
    for name in ("image_b64", "image_base64", "base64", "data_uri"):
        assert roles_of_table(table(**{name: ["x"]})).image == name
        assert roles_of_names((name,)).image == name


def plain_text_is_images() -> None:
    for text in (B64, f"data:image/jpeg;base64,{B64}"):
        assert roles_of_table(table(image=[text])).image == "image"

    assert roles_of_table(table(payload=[B64], n=[1])).image == "payload"
    with pytest.raises(TableError):
        roles_of_table(table(payload=["words"], n=[1]))


def bytes_may_be_text() -> None:
    texts = (B64.encode(), f"data:image/jpeg;base64,{B64}".encode())
    assert bytes_of_images(pa.array(texts)).to_pylist() == [JPG, JPG]


def structs_in_json_are_images() -> None:
    for given in (B64, list(JPG)):
        kept: list[bytes] = []
        data = json.dumps({"image": {"bytes": given, "path": "x/a.jpg"}}).encode()
        found = refs_of_lines(data, kept)
        assert (kept, [one.id for one in found]) == ([JPG], ["x/a"])


def refs_of_lines(data: bytes, kept: list[bytes]) -> list[SampleRef]:
    def keep(image: bytes) -> Member:
        kept.append(image)
        return Member("jpg", "", 0, len(image))

    (block,) = text_blocks(io.BytesIO(data), "t.jsonl")
    source = Source("table", "t.jsonl", "/in/t.jsonl", 1)
    refs = text_refs(block, TextTypes(), source, keep=keep, no_id=pytest.fail)
    return [one for one in refs if isinstance(one, SampleRef)]


def text_is_paths() -> None:
    for name in ("file_name", "path", "image", "url"):
        assert roles_of_table(table(**{name: ["a.jpg"]})).path == name


def paths_make_ids() -> None:
    place = TablePlace("t.csv", "/in/t.csv", b"")
    found = [
        row_ref({"path": path}, 0, roles=Roles(path="path"), place=place).id  # type: ignore[union-attr]
        for path in ("./0.jpg", "a//0.jpg", "../f/0.jpg")
    ]
    assert found == ["0", "a/0", "f/0"]


def fractions_are_no_ids() -> None:
    told: list[str] = []
    (block,) = text_blocks(io.BytesIO(b'{"id": 1.0, "path": "a.jpg"}'), "t.jsonl")
    source = Source("table", "t.jsonl", "/in/t.jsonl", 1)
    refs = text_refs(block, TextTypes(), source, keep=no_image, no_id=told.append)
    assert [one.id for one in refs if isinstance(one, SampleRef)] == ["a"]
    assert len(told) == 1


def missing_ids_are_counted() -> None:
    told: list[str] = []
    lines = b'{"id": null, "path": "a.jpg"}\n{"id": "", "path": "b.jpg"}\n{"path": "c.jpg"}\n'
    (block,) = text_blocks(io.BytesIO(lines + b'{"id": 7, "path": "d.jpg"}'), "t.jsonl")
    source = Source("table", "t.jsonl", "/in/t.jsonl", 1)
    refs = text_refs(block, TextTypes(), source, keep=no_image, no_id=told.append)
    assert [one.id for one in refs if isinstance(one, SampleRef)] == ["a", "b", "c", "7"]
    assert told == ["the table t.jsonl has rows without an id in column 'id'"] * 3


def no_image(_: bytes) -> Member:
    raise AssertionError


def other_text_fails() -> None:
    (found,) = measure_rows(table(image_b64=["!!!"]), 0, "image_b64", [0])
    ref = unpack_ref(sample("a"))
    with pytest.raises(SampleError, match="no image in base64"):
        with_measured_size(ref, found[1])
    rows = [{"blob": B64}, {"blob": ""}, {"image": {"bytes": [300]}}]
    data = "\n".join(map(json.dumps, rows)).encode()
    (block,) = text_blocks(io.BytesIO(data), "t.jsonl")
    source = Source("table", "t.jsonl", "/d/t.jsonl", 1)
    kept = Member("", "", 0, 1)
    refs = text_refs(block, TextTypes(), source, keep=lambda _: kept, no_id=pytest.fail)
    said = [(one.image_id, one.message) for one in refs if isinstance(one, Failure)]
    assert said == [
        ("t-1", "its 'blob' has no image"),
        ("t-2", "its 'image' has bytes that are no whole numbers from 0 to 255"),
    ]


def lists_of_images_are_named() -> None:
    given = table(images=pa.array([[JPG]], pa.list_(pa.binary())))
    refused(lambda: roles_of_table(given), "several images in each row, in column 'images'")


def other_types_are_named() -> None:
    given = table(image=pa.array([[1, 2]], pa.list_(pa.uint8())))
    refused(lambda: roles_of_table(given), "list<uint8>")


def dictionaries_are_values() -> None:
    given = table(path=pa.array(["a.jpg"]).dictionary_encode())
    assert given.schema.field("path").type == pa.string()


def marks_decide() -> None:
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        assert values("a\né\n".encode(encoding), "t.csv") == [{"a": "é"}]


def wide_text_is_named() -> None:
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        data = "a\né\n".encode(encoding)
        refused(lambda data=data: values(data, "t.csv"), f"--table_encoding={encoding}")  # type: ignore[misc]


def other_encodings_are_refused() -> None:
    data = "a\né\n".encode("cp1252")
    refused(lambda: values(data, "t.csv"), r"t\.csv .* line 2 .*--table_encoding")
    lines = '{"a": "é"}'.encode("cp1252")
    refused(lambda: values(lines, "t.jsonl"), r"t\.jsonl .* line 1 ")
    assert values(data, "t.csv", "cp1252") == values(lines, "t.jsonl", "cp1252") == [{"a": "é"}]


def nulls_among_numbers() -> None:
    found = [one["a"] for one in values(b"a\nNA\n1\nnull\nNaN\n", "t.csv")]
    assert found == [None, 1, None, None]


def nulls_among_texts() -> None:
    assert [one["a"] for one in values(b"a\nNA\nDE\n", "t.csv")] == ["NA", "DE"]


def spaces_are_none_of_numbers() -> None:
    found = values(b"a,b\n 1 , x\n NA,y\n", "t.csv")
    assert found == [{"a": 1, "b": " x"}, {"a": None, "b": "y"}]


def blank_lines_are_no_header() -> None:
    assert values(b"\n  \n,,\na,b,c\n1,2,3\n", "t.csv") == [{"a": 1, "b": 2, "c": 3}]


def zeros_in_front_are_text() -> None:
    assert [one["a"] for one in values(b"a\n007\n8\n", "t.csv")] == ["007", "8"]


def misfit_rows_fail() -> None:
    found = values(b"a,b\n1\n1,2,3\n1,2\n", "t.csv")
    assert [isinstance(one, BadRow) for one in found] == [True, True, False]


def failed_rows_fail() -> None:
    named = {"key": ["0", "1"], "url": ["http://a", "http://b"], "jpg": [JPG, None]}
    said = {"status": ["success", "failed_to_download"], "error_message": [None, "404"]}
    opened = table(**named, **said)
    place = TablePlace("t.parquet", "/in/t.parquet", b"")
    (found,) = group_refs(opened, 0, roles_of_table(opened), place)
    assert [isinstance(one, Failure) for one in found] == [False, True]
    assert (found[1].error, found[1].message) == ("failed_to_download", "404")  # type: ignore[union-attr]


# Columns.


def fractions_make_floats() -> None:
    assert types_of({"a": 1}, {"a": 0.5}) == pa.schema([("a", pa.float64())])


def large_numbers_beside_fractions() -> None:
    refused(lambda: types_of({"a": 2**53 + 1}, {"a": 0.5}), "--text_columns=a.*--drop_columns=a")
    assert values(b"a\n9007199254740993\n0.5\n", "t.csv")[0] == {"a": "9007199254740993"}


def with_json_of(text: str, choice: ColumnChoice) -> dict[str, Any]:
    return with_content(unpack_ref(sample("k")), text.encode(), choice).metadata


def numbers_without_end() -> None:
    text = '{"a": 36893488147419103232}'
    with pytest.raises(SampleError, match=r"--text_columns=a.*--drop_columns=a"):
        with_json_of(text, ColumnChoice())
    as_text = ColumnChoice(text=("a",))
    assert as_text.of_metadata(with_json_of(text, as_text)) == {"a": "36893488147419103232"}
    assert with_json_of(text, ColumnChoice(drop=("a",))) == {"a": None}


def surrogates_are_mended() -> None:
    builder = ColumnBuilder(pa.field("a", pa.string()))
    text = with_json_of('{"a": "\\ud83d"}', ColumnChoice())["a"]
    assert builder.build([text], ["k"]).to_pylist() == ["\ufffd"]
    assert builder.mended == {"k"}


def two_types_are_refused() -> None:
    refused(lambda: types_of({"a": 1}, {"a": "x"}), "--text_columns=a.*--drop_columns=a")
    tables = [
        keyed_rows([(0, {"k": ident, "a": value})], "k", typed=False, uri=uri)
        for ident, value, uri in (("x", 1, "t.csv"), ("y", "z", "u.jsonl"))
    ]
    types = ColumnTypes()
    for ref in join_bucket([sample("x"), sample("y")], tables=tables)[0]:
        for metadata, where in untyped_metadata(ref):
            types.add(metadata, where)
    refused(types.finish, r"t\.csv, the row of 'x'.*u\.jsonl, the row of 'y'.*--text_columns=a")


def text_columns_are_json() -> None:
    choice = ColumnChoice(text=("a",))
    texts = [choice.of_metadata({"a": one})["a"] for one in ("cat", [3], None, math.nan, -math.inf)]
    assert texts == ['"cat"', "[3]", None, "NaN", "-Infinity"]


def dropped_columns_are_gone() -> None:
    choice = ColumnChoice(drop=("a*",))
    assert choice.of_metadata({"a": 1, "ab": 2, "c": 3}) == {"c": 3}
    member = Member("json", "k.json", WHOLE, 1)
    ref = unpack_ref(sample("k"))._replace(fields=(member,))
    assert with_metadata(ref, no_json, ColumnChoice(drop=("*",))) == ref


def no_json(_: Member) -> bytes:
    raise AssertionError


def unknown_columns_are_told() -> None:
    options = ExportOptions(output_dir="o", drop_columns="a", text_columns="b")
    assert len(list(join_lines(lookup_steps(options, Tally())))) == 2


def endless_objects_are_refused() -> None:
    given = {"a": dict.fromkeys(map(str, range(1001)), 1)}
    refused(lambda: types_of(given), "--text_columns=a.*--drop_columns=a")


def endless_keys_are_refused() -> None:
    refused(lambda: types_of(*({str(n): 1} for n in range(1001))), "--drop_columns")


def own_names_are_renamed() -> None:
    assert types_of({"width": 1, "sha256": "x"}).names == ["input_sha256", "input_width"]


def classes_are_kept() -> None:
    kind = {"_type": "ClassLabel", "names": ["cat"]}
    declared = with_features(pa.schema([("a", pa.int64())]), {"a": kind})
    types = ColumnTypes()
    types.add_schema(declared, "a")
    assert features_of(types.finish()) == {"a": kind}
    types.add_schema(with_features(declared, {"a": {**kind, "names": ["dog"]}}), "b")
    assert features_of(types.finish()) == {}
    (said,) = types.disagreed(types.finish())
    assert "the class names of column 'a'" in said


def large_json_travels() -> None:
    data = json.dumps({"a": "x" * MAX_JSON}).encode()
    ref = unpack_ref(sample("k"))._replace(fields=(Member("json", "k.json", WHOLE, len(data)),))
    found = with_metadata(ref, lambda _: data)
    assert (found.metadata, len(found.fields)) == ({}, 1)
    assert has_large_json(found.fields)


# Joins.


def folder_tables_join() -> None:
    for name in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
        assert [type(one) for one in listed(name)] == [FolderTable]
    near, far = (
        FolderRow(
            "/in/a.jpg", (-depth, 0), shown="a.jpg", values=pickle.dumps({"n": depth}), typed=()
        )
        for depth in (1, 0)
    )
    refs, _ = join_folder_bucket([sample("a")], [far, near], frozenset())
    assert unpack_ref(refs[0]).metadata == {"n": 1}


def several_folder_tables_are_counted() -> None:
    assert all(one.others for one in listed("metadata.csv", "metadata.jsonl"))


def undecodable_folder_tables_are_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metadata.csv")
        path.write_bytes("file_name,a\n0.jpg,é\n".encode("cp1252"))
        source = Source("table", "metadata.csv", str(path), 1)
        said = r"metadata\.csv .* line 2 .*--table_encoding.*--metadata=none"
        refused(lambda: columns_of(source, UTF8), said)
        assert columns_of(source, "cp1252")[0] is None


def other_columns_have_a_way() -> None:
    for name in ("filename", "path", "id"):
        said = way_of_metadata("metadata.csv", [name, "text"])
        assert said.endswith(f"--metadata=.../metadata.csv --metadata_key={name} would join it")


def columns_of_two_types_are_left_out() -> None:
    types = ColumnTypes()
    for at, value in enumerate((1, "x")):
        types.add({"a": value, "b": 1}, f"row {at + 1} of metadata.jsonl")
    ((name, reason),) = unfit_columns(types, frozenset()).reasons.items()
    assert name == "a"
    assert "row 1 of metadata.jsonl" in reason
    assert "--text_columns=a" in reason


def second_rows_are_counted() -> None:
    one, two = (
        FolderRow("/in/a.jpg", (0, n), shown="a.jpg", values=pickle.dumps({"n": n}), typed=())
        for n in range(2)
    )
    refs, tally = join_folder_bucket([sample("a")], [one, two], frozenset())
    assert unpack_ref(refs[0]).metadata == {"n": 0}
    assert (tally["folder_rows_again"], tally["folder_rows_unmatched"]) == (1, 0)


def clashing_columns_stay() -> None:
    values_ = pickle.dumps({"a": 2, "b": 3})
    one = FolderRow("/in/a.jpg", (0, 0), shown="a.jpg", values=values_, typed=())
    refs, tally = join_folder_bucket([sample("a", a=1)], [one], frozenset({"a"}))
    assert unpack_ref(refs[0]).metadata == {"a": 1, "b": 3}
    assert tally.shown("folder_shared") == ["a"]


def none_passes_by() -> None:
    # The listing yields it; whoever reads the listing asks the option (tests/pipeline).
    (found,) = listed("list.csv")
    assert (type(found), found.kind) == (Skipped, ".csv")


def tables_join_in_turn() -> None:
    found, _ = joined([sample("a")], [row("a", n=1)], [row("a", m=2)])
    assert found == [{"n": 1, "m": 2}]


def shared_columns_are_said() -> None:
    tables = [row("a", n=1)], [row("b", n=2)]
    found, tally = joined([sample("a"), sample("b")], *tables)
    assert found == [{"n": 1}, {"n": 2}]
    given = ExportOptions(output_dir="out", metadata="a.csv,b.csv")
    one, two = join_lines(lookup_steps(given, tally))
    assert "columns 'n' from elsewhere" not in one
    assert "columns 'n' from elsewhere" in two
    tally = joined([sample("a")], [row("a", n=1)], [row("a", n=1)])[1]
    refused(lambda: check_tally(tally, {"metadata": "a.csv,b.csv"}), "columns .* already, 'n'")


def suffixes_are_tolerated() -> None:
    assert joined([sample("cat")], [row("cat.jpg", n=1)])[0] == [{"n": 1}]


def suffixes_tell_files_apart() -> None:
    twins = [sample("cat"), sample("cat", ".png")]
    assert joined(twins, [row("cat.png", n=1)])[0] == [{}, {"n": 1}]
    both = [row("cat.png", n=1), row("cat.jpg", n=2)]
    assert joined(twins, both)[0] == [{"n": 2}, {"n": 1}]
    assert joined(twins[:1], both)[0] == [{"n": 2}]
    assert joined(twins, [row("cat.gif", n=1)])[0] == [{"n": 1}, {"n": 1}]
    assert join_bucket(twins, ids=[row("cat.png")])[0] == twins[1:]


def forms_match() -> None:
    assert joined([sample("ba\u0308r")], [row("b\xe4r", n=1)])[0] == [{"n": 1}]
    twins = [sample("ba\u0308r"), sample("b\xe4r")]
    assert joined(twins, [row("b\xe4r", n=1)])[0] == [{}, {"n": 1}]


def new_names_match() -> None:
    twins = [sample("cat"), sample("cat")._replace(order=b"2")]
    given = {"renamed": {b"2": "cat-1"}}
    assert joined(twins, [row("cat", n=1), row("cat-1", n=2)], **given)[0] == [{"n": 1}, {"n": 2}]
    assert joined(twins, [row("cat", n=1)], **given)[0] == [{"n": 1}, {"n": 1}]
    names = pickle.dumps(Decisions(renamed={b"2": "cat-1"}))
    alone = [DuplicateId(b"2", "cat", "")]
    left = open_decisions(pack_kept(alone, [b"2"], names=names, policy="rename"))
    assert left.renamed == {b"2": "cat-1"}


def no_match_is_refused() -> None:
    tally = joined([sample("a")], [row("b")])[1]
    refused(lambda: check_tally(tally, {"metadata": "t.csv"}), "'b', and the samples' ids .* 'a'")


def equal_keys_are_refused() -> None:
    found, tally = joined([sample("cat")], [row("cat", n=1), row("cat.png", n=2)])
    assert found == [{"n": 1}]
    assert not tally["ambiguous"]
    twice = joined([sample("cat")], [row("cat"), row("cat")])[1]
    refused(lambda: check_tally(twice, {"metadata": "t.csv"}), "more than one row for 'cat'")


def unknown_ids_are_counted() -> None:
    step = {"step": "keep ids", "file": "i", "ids": 2, "ids_unmatched": 1, "dropped": 0}
    (line,) = join_lines([{**step, "ids_unmatched_examples": ["z"]}])
    assert "1 of 2 ids are of no sample, such as 'z'" in line


def ids_in_other_encodings() -> None:
    step = {"step": "keep ids", "file": "i", "ids": 2, "ids_unmatched": 1, "dropped": 0}
    (line,) = join_lines([{**step, "ids_unmatched_examples": ["caf\ufffd"]}])
    assert "not UTF-8" in line
    assert "--table_encoding" in line
    wide = "a\nb\n".encode("utf-16-le")
    refused(lambda: ids_in(wide), "give --table_encoding=utf-16-le")
    assert ids_in(wide, encoding="utf-16-le") == [row("a"), row("b")]


def forms_of_one_id_are_all_known() -> None:
    tally = joined([sample("1")], ids=ids_in(b"\n1\n  \n1.jpg\n\n"))[1]
    assert (tally["ids"], tally["ids_unmatched"]) == (2, 0)


#: Checks in the order of the page's rows.
CHECKS: dict[str, list[Callable[[], None]]] = {
    "Tables": [
        *(bytes_are_images, structs_are_images, named_text_is_images, plain_text_is_images),
        *(bytes_may_be_text, structs_in_json_are_images, text_is_paths, paths_make_ids),
        *(fractions_are_no_ids, missing_ids_are_counted, other_text_fails),
        *(other_types_are_named, lists_of_images_are_named, dictionaries_are_values),
        *(
            marks_decide,
            wide_text_is_named,
            other_encodings_are_refused,
            nulls_among_numbers,
            spaces_are_none_of_numbers,
            blank_lines_are_no_header,
            nulls_among_texts,
        ),
        *(zeros_in_front_are_text, misfit_rows_fail, failed_rows_fail),
    ],
    "Columns": [
        *(fractions_make_floats, large_numbers_beside_fractions, numbers_without_end),
        *(surrogates_are_mended, two_types_are_refused, text_columns_are_json),
        *(
            dropped_columns_are_gone,
            unknown_columns_are_told,
            endless_objects_are_refused,
            endless_keys_are_refused,
        ),
        *(own_names_are_renamed, classes_are_kept, large_json_travels),
    ],
    "Joins": [
        *(folder_tables_join, other_columns_have_a_way, several_folder_tables_are_counted),
        *(undecodable_folder_tables_are_refused, columns_of_two_types_are_left_out),
        second_rows_are_counted,
        clashing_columns_stay,
        *(none_passes_by, tables_join_in_turn, shared_columns_are_said),
        *(suffixes_are_tolerated, suffixes_tell_files_apart, forms_match),
        *(new_names_match, no_match_is_refused, equal_keys_are_refused, unknown_ids_are_counted),
        *(ids_in_other_encodings, forms_of_one_id_are_all_known),
    ],
}


def rows_of_page(heading: str) -> list[str]:
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| (.*?) \| ", part, re.MULTILINE)[1:]


@pytest.mark.parametrize("heading", list(CHECKS))
def test_every_row_of_the_page_has_a_check(heading: str) -> None:
    assert len(rows_of_page(heading)) == len(CHECKS[heading])


@pytest.mark.parametrize(
    "check", [one for some in CHECKS.values() for one in some], ids=lambda one: one.__name__
)
def test_what_the_page_says_holds(check: Callable[[], None]) -> None:
    check()
