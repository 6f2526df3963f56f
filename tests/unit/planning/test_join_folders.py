from __future__ import annotations

import pickle
from typing import Any

import pytest

from beam_export.metadata.schema import ColumnTypes
from beam_export.planning.blocks import PackedRef, open_block, pack_block, pack_ref, unpack_ref
from beam_export.planning.join import Tally
from beam_export.planning.join_folders import (
    UnfitColumns,
    bucket_of_path,
    columns_in,
    join_folder_bucket,
    unfit_columns,
    without_unfit,
)
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.sources.entries import (
    FolderTable,
    Item,
    Listed,
    ListedItem,
    Skipped,
    Source,
    SourceKind,
)
from beam_export.sources.input_format import choose
from beam_export.sources.tables.folder_tables import (
    FolderRow,
)

# What is such a table.


def listed(path: str) -> Listed:
    return Listed(path, Member("jpg", f"/in/{path}", WHOLE, 1), ())


def table(path: str) -> Source:
    kind: SourceKind = "parquet" if path.endswith(".parquet") else "table"
    return Source(kind, path, f"/in/{path}", 1)


def chosen(*found: ListedItem, input_format: str = "auto") -> list[Item]:
    return [one for one in choose(found, input_format) if not isinstance(one, Listed)]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
@pytest.mark.parametrize("folder", ["", "a/", "a/b/"])
def test_a_table_in_a_folder_of_images_is_one_by_its_name(folder: str, name: str) -> None:
    one = table(folder + name)
    for input_format in ("auto", "files"):
        assert chosen(one, listed("a/0.jpg"), input_format=input_format) == [FolderTable(one)]
    # Alone, it is a table of paths as any other; in a folder of tars, it is nothing.
    assert chosen(one) == [one]
    tar = Source("webdataset", "x.tar", "/in/x.tar", 1)
    assert chosen(one, tar) == [tar, Skipped(f".{name.partition('.')[2]}", uri=one.uri)]


@pytest.mark.parametrize(
    "name", ["labels.csv", "metadata.tsv", "Metadata.csv", "metadata.csv.gz", "my_metadata.csv"]
)
def test_a_table_of_another_name_is_passed_by(name: str) -> None:
    (item,) = chosen(table(name), listed("0.jpg"))
    assert isinstance(item, Skipped)


def test_each_of_several_tables_in_one_folder_names_the_others() -> None:
    one, csv, lines = (
        table(f"{name}") for name in ("b/metadata.csv", "a/metadata.csv", "a/metadata.jsonl")
    )
    found = chosen(csv, lines, one, listed("0.jpg"))
    assert found == [
        FolderTable(csv, ("metadata.jsonl",)),
        FolderTable(lines, ("metadata.csv",)),
        FolderTable(one),
    ]


# Its rows.


# Joining.


def sample(path: str, **metadata: Any) -> PackedRef:
    image = Member("jpg", path, WHOLE, 10)
    ident = path.rpartition(".")[0]
    return pack_ref(SampleRef(path.encode(), ident, path, image, (), metadata, 10))


def row(path: str, place: tuple[int, int] = (0, 0), **values: Any) -> FolderRow:
    return FolderRow(path, place, path, pickle.dumps(values), tuple(values))


def joined(
    samples: list[PackedRef], given: list[FolderRow], buckets: int, own: frozenset[str]
) -> tuple[dict[str, dict[str, Any]], Tally]:
    found, whole = {}, Tally()
    for bucket in range(buckets):
        refs, tally = join_folder_bucket(
            [one for one in samples if bucket_of_path(unpack_ref(one).path, buckets) == bucket],
            [one for one in given if bucket_of_path(one.path, buckets) == bucket],
            own,
        )
        found.update({ref.path: ref.metadata for ref in map(unpack_ref, refs)})
        whole.merge(tally)
    return found, whole


@pytest.mark.parametrize("buckets", [1, 2, 7])
def test_images_are_joined_by_path_and_keep_what_they_have(buckets: int) -> None:
    samples = [
        sample("/in/a.jpg", text="own"),
        sample("/in/a.png"),
        sample("/in/d/ba\u0308r.jpg"),
        sample("/in/d/c.jpg"),
        sample("/in/z.jpg"),
    ]
    own = columns_in(pack_block(samples))
    assert own == {"text"}
    given = [
        row("/in/a.jpg", text="x", n=1),
        row("/in/d/b\xe4r.jpg", n=2),
        row("/in/d/c.jpg", (0, 5), n=3),
        # Of a table nearer to it, and the first row of it.
        row("/in/d/c.jpg", (-1, 2), n=4),
        row("/in/d/c.jpg", (-1, 7), n=5),
        row("/in/gone.jpg", n=6),
    ]
    found, tally = joined(samples, given, buckets, own)
    assert found == {
        "/in/a.jpg": {"text": "own", "n": 1},
        "/in/a.png": {},
        "/in/d/ba\u0308r.jpg": {"n": 2},
        "/in/d/c.jpg": {"n": 4},
        "/in/z.jpg": {},
    }
    assert (tally["folder_rows"], tally["folder_samples_matched"]) == (6, 3)
    assert tally.shown("folder_samples_unmatched") == ["/in/a", "/in/z"]
    assert tally.shown("folder_rows_unmatched") == ["/in/gone.jpg"]
    assert tally.shown("folder_rows_again") == ["/in/d/c.jpg"]
    # Of one path, and of both of its rows that do not count.
    assert (tally["folder_rows_unmatched"], tally["folder_rows_again"]) == (1, 2)
    assert tally.shown("folder_shared") == ["text"]


C, D = "/in/caf\xe9.jpg", "/in/cafe\u0301.jpg"


@pytest.mark.parametrize("buckets", [1, 5])
@pytest.mark.parametrize(
    ("images", "rows", "matched"),
    [
        ([C, D], [C], {C: C}),
        ([C, D], [D], {D: D}),
        ([C, D], [C, D], {C: C, D: D}),
        ([D], [C], {D: C}),
        ([C], [D], {C: D}),
    ],
)
def test_of_two_images_that_differ_in_their_form_each_has_its_own_row(
    buckets: int, images: list[str], rows: list[str], matched: dict[str, str]
) -> None:
    found, _ = joined(
        [sample(one) for one in images], [row(one, n=one) for one in rows], buckets, frozenset()
    )
    assert {path: values["n"] for path, values in found.items() if values} == matched


# Columns that no export can have.


def types_of(*rows: dict[str, Any], own: frozenset[str] = frozenset()) -> ColumnTypes:
    """Returns what rows for as many images show."""
    types = ColumnTypes()
    given = [
        FolderRow(f"/in/{at}.jpg", (0, at), f"{at}.jpg", pickle.dumps(values), (), "m.jsonl")
        for at, values in enumerate(rows)
    ]
    join_folder_bucket([sample(one.path) for one in given], given, own, types)
    return types


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"a": 1, "b": 1}, {"a": "x", "b": 2}],
            "the column 'a' holds int64 (in row 1 of m.jsonl) and string (in row 2 of m.jsonl), "
            "which no one type holds, and was left out: --text_columns=a keeps it as JSON text",
        ),
        ([{"a": [1]}, {"a": 2}], "holds int64 (in row 2 of m.jsonl) and list (in row 1 of m.js"),
        ([{"a": True}, {"a": "true"}], "holds bool (in row 1 of m.jsonl) and string"),
        ([{"a": {"x": 1}}, {"a": {"x": "y"}}], "at .x, which no one type holds"),
        ([{"a": 2**53 + 1}, {"a": 0.5}], "a double would round the integers"),
        ([{"a": 2**70}], "holds an integer of 71 bits"),
        ([{"a": dict.fromkeys(map(str, range(1001)), 1)}], "more than 1000 different fields"),
    ],
)
def test_a_column_without_one_type_is_left_out_with_file_row_and_flag(
    rows: list[dict[str, Any]], said: str
) -> None:
    unfit = unfit_columns(types_of(*rows), frozenset())
    assert list(unfit.reasons) == ["a"]
    assert said in unfit.reasons["a"]
    assert "--text_columns=a" in unfit.reasons["a"]


def test_rows_that_match_no_image_decide_nothing() -> None:
    types = ColumnTypes()
    join_folder_bucket([sample("/in/a.jpg")], [row("/in/gone.jpg", n="x")], frozenset(), types)
    assert unfit_columns(types, frozenset()).reasons == {}


@pytest.mark.parametrize(
    ("columns", "own", "left_out"),
    [
        ({"width", "input_width"}, frozenset(), {"width"}),
        ({"width"}, frozenset({"input_width"}), {"width"}),
        ({"input_width"}, frozenset({"width"}), {"input_width"}),
        ({"width", "n"}, frozenset(), set()),
    ],
)
def test_two_columns_that_would_be_stored_under_one_name(
    columns: set[str], own: frozenset[str], left_out: set[str]
) -> None:
    unfit = unfit_columns(types_of(dict.fromkeys(columns, 1), own=own), own)
    assert set(unfit.reasons) == left_out
    assert all("would be stored as 'input_width'" in one for one in unfit.reasons.values())


def test_too_many_columns_are_all_left_out_and_what_images_had_stays() -> None:
    rows = [{f"k{at}": 1} for at in range(1001)]
    unfit = unfit_columns(types_of(*rows), frozenset({"own"}))
    assert "--drop_columns" in unfit.all
    block = pack_block([sample("/in/a.jpg", own=1, k1=2)])
    (ref,) = open_block(without_unfit(block, unfit, frozenset({"own"}))).refs()
    assert unpack_ref(ref).metadata == {"own": 1}


def test_what_is_left_out_of_blocks_is_what_does_not_fit() -> None:
    block = pack_block([sample("/in/a.jpg", a=1, b=2), sample("/in/b.jpg")])
    assert without_unfit(block, UnfitColumns({}), frozenset()) is block
    left = open_block(without_unfit(block, UnfitColumns({"a": "why"}), frozenset())).refs()
    assert [unpack_ref(ref).metadata for ref in left] == [{"b": 2}, {}]
