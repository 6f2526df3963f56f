from __future__ import annotations

import datetime
import decimal
import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.column_types import collect, outcome

from beam_export.errors import InputError
from beam_export.metadata import schema
from beam_export.metadata.features import features_of, with_features
from beam_export.metadata.schema import ColumnTypes, check_declared

UTC = datetime.UTC
NOON = datetime.datetime(2024, 5, 6, 12)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**62, 2**63, -(2**63), 2**64, 1.5]),
    st.text("ab", max_size=2),
    st.sampled_from([NOON, NOON.date(), NOON.replace(tzinfo=UTC), b"x", np.float32(1)]),
    st.sampled_from([decimal.Decimal("1.5"), decimal.Decimal("100"), {1}, np.zeros(2, np.uint64)]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
# One kind of value a column, mostly: else every example would be a conflict.
SAMPLES = st.lists(
    st.tuples(
        st.fixed_dictionaries(
            {},
            optional={
                "any": VALUES,
                "number": st.one_of(st.none(), st.integers(0, 2**64 - 1), st.just(np.int8(1))),
                "real": st.floats() | st.integers(-5, 5),
                "list": st.lists(st.integers(0, 9) | st.floats() | st.none(), max_size=3),
                "size": st.dictionaries(st.sampled_from("abc"), st.none() | st.just(1)),
            },
        ),
        st.text("pq", min_size=1, max_size=2),
    ),
    max_size=6,
)


@given(SAMPLES, st.data())
def test_order_and_grouping_do_not_matter(
    samples: list[tuple[dict[str, Any], str]], data: st.DataObject
) -> None:
    expected = outcome(collect(samples))
    shuffled = data.draw(st.permutations(samples))
    parts = [collect([sample]) for sample in shuffled] or [ColumnTypes()]
    while len(parts) > 1:
        into = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        into = pickle.loads(pickle.dumps(into))
        other = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        before = outcome(other)
        into.merge(other)
        assert outcome(other) == before
        parts.append(into)
    assert outcome(parts[0]) == expected


def test_columns_are_sorted_and_missing_ones_are_null() -> None:
    types = collect([({"b": 1, "e": np.zeros(2, np.float32)}, "x"), ({"a": "t", "n": None}, "y")])
    names = {"a": pa.string(), "b": pa.int64(), "e": pa.list_(pa.float32()), "n": pa.null()}
    assert types.finish() == pa.schema(names.items())


def test_too_many_columns_stay_too_many_when_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_MOST_COLUMNS", 2)
    types = ColumnTypes()
    types.merge(collect([({"a": 1, "b": 1, "c": 1}, "x")]))
    types.add({"a": 1}, "x")
    with pytest.raises(InputError, match="more than 2 different"):
        types.finish()


@pytest.mark.parametrize("per_sample", [1, 30, 500, 501, 1000])
def test_keys_that_are_data_are_refused_and_a_wide_table_is_not(per_sample: int) -> None:
    names = [f"c{number}" for number in range(1001)]
    samples = [
        (dict.fromkeys(names[start : start + per_sample], 1), "x.json")
        for start in range(0, len(names), per_sample)
    ]
    types = collect(samples)
    if per_sample > 500:
        assert len(types.finish()) == 1001
        return
    with pytest.raises(InputError, match=r"1,001 different metadata columns.*--drop_columns"):
        types.finish()
    wide = ColumnTypes()
    wide.add_schema(pa.schema([(name, pa.int8()) for name in names]), "t.parquet")
    types.merge(wide)
    assert len(types.finish()) == 1001


CAT, DOG = ({"_type": "ClassLabel", "names": [name, "x"]} for name in ("cat", "dog"))
LABEL = pa.schema([("label", pa.int64()), ("n", pa.int32())])


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        ([with_features(LABEL, {"label": CAT})], {"label": CAT}),
        ([with_features(LABEL, {"label": CAT, "gone": DOG})] * 2, {"label": CAT}),
        ([with_features(LABEL, {"label": CAT}), with_features(LABEL, {"label": DOG})], {}),
        ([with_features(LABEL, {"label": CAT}), LABEL], {}),
        ([with_features(LABEL, {"label": CAT}), pa.schema([("other", pa.int8())])], {"label": CAT}),
        ([with_features(LABEL, {"label": CAT}), pa.schema([("label", pa.float64())])], {}),
        ([with_features(pa.schema([("width", pa.int64())]), {"width": CAT})], {"input_width": CAT}),
        ([LABEL.with_metadata({b"huggingface": b"nonsense"})], {}),
        ([LABEL.with_metadata({b"huggingface": b'{"info": {"features": [1]}}'})], {}),
        ([LABEL.with_metadata({b"huggingface": b"[]", b"pandas": b"{}"})], {}),
    ],
)
def test_classes_and_types_of_hugging_face_are_kept_where_files_agree(
    declared: list[pa.Schema], kept: dict[str, Any]
) -> None:
    for order in (declared, declared[::-1]):
        types = ColumnTypes()
        for schema_ in order:
            one = ColumnTypes()
            one.add_schema(schema_, "t.parquet")
            types.merge(one)
        found = types.finish()
        assert features_of(found) == kept
        assert bool(found.metadata) == bool(kept)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ([CAT, DOG], "the class names of column 'label', on which not all tables agree, so that"),
        ([CAT, None], "the class names of column 'label', on which not all tables agree, so that"),
        ([{"_type": "List", "feature": CAT}, [DOG]], "the class names of column 'label', on"),
        ([{"_type": "Image"}, {"_type": "Audio"}], "Hugging Face's type of column 'label', on"),
        ([CAT, CAT], None),
        # The types of the columns say as much.
        ([{"_type": "Value", "dtype": "int64"}, None], None),
        ([None, None], None),
    ],
)
def test_what_is_lost_of_classes_and_types_is_said(features: list[Any], said: str | None) -> None:
    types = ColumnTypes()
    for feature in features:
        types.add_schema(with_features(LABEL, {"label": feature} if feature else {}), "t.parquet")
    found = types.disagreed(types.finish())
    assert [one[: len(said or "")] for one in found] == ([] if said is None else [said])


def test_values_that_cannot_be_stored_are_named() -> None:
    with pytest.raises(InputError, match=r"'tags' holds a value of type set \(in f\)"):
        collect([({"tags": {"a"}}, "f")]).finish()
    with pytest.raises(InputError, match="column name of type int, 7"):
        collect([({7: "a"}, "f")])  # type: ignore[dict-item]
    with pytest.raises(InputError, match="not valid Unicode"):
        collect([({"\udc80": 1}, "f")]).finish()


def test_a_known_schema_keeps_types_that_values_lose() -> None:
    known = pa.schema(
        [
            ("e", pa.list_(pa.float32())),
            ("fixed", pa.list_(pa.float32(), 4)),
            ("s", pa.struct([("a", pa.int8())])),
            ("none", pa.struct([])),
            ("t", pa.timestamp("s")),
        ]
    )
    types = ColumnTypes()
    types.add_schema(known, "a.parquet")
    types.add({"s": {"b": "x"}}, "b.json")
    assert types.finish() == pa.schema(
        [
            ("e", pa.list_(pa.float32())),
            ("fixed", pa.list_(pa.float32(), 4)),
            ("none", pa.null()),
            ("s", pa.struct([("a", pa.int8()), ("b", pa.string())])),
            ("t", pa.timestamp("ms")),
        ]
    )


def test_reserved_names_get_a_prefix_and_never_collide() -> None:
    types = collect([({"width": 1, "aaa": 1, "kkk": 1}, "a")])
    assert types.finish().names == ["aaa", "input_width", "kkk"]
    types.add({"input_width": 2}, "b")
    with pytest.raises(InputError, match="'input_width'"):
        types.finish()


def test_a_declared_schema_keeps_order_types_and_metadata() -> None:
    declared = pa.schema(
        [pa.field("z", pa.float32(), nullable=False), ("sha256", pa.string()), ("t", pa.date64())],
        metadata={"k": "v"},
    )
    checked = check_declared(declared)
    assert checked.names == ["z", "input_sha256", "t"]
    assert checked.field(0) == declared.field(0)
    assert checked.field("t").type == pa.date32()
    assert checked.metadata == {b"k": b"v"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([("a", pa.int8()), ("a", pa.string())], "'a'"),
        ([("size", pa.int8()), ("input_size", pa.int8())], "'input_size'"),
        ([("a", pa.struct([]))], "'a' as struct<>"),
        ([("a", pa.month_day_nano_interval())], "month_day_nano_interval"),
    ],
)
def test_a_declared_schema_that_cannot_be_kept(fields: list[Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        check_declared(pa.schema(fields))


def test_no_metadata_is_no_columns() -> None:
    types = collect([({}, "a")] * 3)
    assert types.finish() == pa.schema([])


def test_a_duration_that_no_column_holds_is_named() -> None:
    types = ColumnTypes()
    types.add({"c": datetime.timedelta(days=106_751_992)}, "x")
    with pytest.raises(InputError, match="'c' holds a duration of more than 292,271 years"):
        types.finish()
