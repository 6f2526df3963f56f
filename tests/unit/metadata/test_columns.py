from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.errors import InputError
from beam_export.metadata.columns import ColumnChoice, split_names
from beam_export.metadata.features import features_of, with_features
from beam_export.metadata.json_text import column_text, json_text
from beam_export.options import ExportOptions

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(JSON)
def test_json_text_is_the_value_in_one_form(value: Any) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    if isinstance(value, dict):
        assert json_text(dict(reversed(value.items()))) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("cat", '"cat"'),
        ("é", '"é"'),
        ([3], "[3]"),
        (3, "3"),
        (True, "true"),
        (None, "null"),
        ({"b": 1, "a": [None]}, '{"a":[null],"b":1}'),
        (float("nan"), "null"),
        ([float("inf"), 1.5], "[null,1.5]"),
        (b"\0\1", '"AAE="'),
        (datetime.datetime(2024, 5, 6, 7, 8, 9), '"2024-05-06T07:08:09"'),
        (datetime.date(2024, 5, 6), '"2024-05-06"'),
        (datetime.timedelta(seconds=1.5), "1.5"),
        (decimal.Decimal("1.50"), '"1.50"'),
        (np.float32(0.5), "0.5"),
        (np.arange(4).reshape(2, 2), "[[0,1],[2,3]]"),
        (np.datetime64(1, "ns"), '"1970-01-01T00:00:00.000000001"'),
        (np.array(["NaT"], "M8[ns]"), "[null]"),
    ],
)
def test_values_that_json_lacks_have_a_form(value: Any, text: str) -> None:
    assert json_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (np.float32("-inf"), "-Infinity"),
        (np.float64("nan"), "NaN"),
        (decimal.Decimal("NaN"), '"NaN"'),
        ("NaN", '"NaN"'),
        (1.5, "1.5"),
        ([float("nan")], "[null]"),
        (None, None),
        (np.datetime64("NaT"), None),
        ("null", '"null"'),
    ],
)
def test_in_a_column_of_text_a_number_is_its_text_and_null_alone_is_null(
    value: Any, text: str | None
) -> None:
    assert column_text(value) == text
    assert ColumnChoice(text=("a",)).of_metadata({"a": value}) == {"a": text}


def test_columns_are_chosen_by_their_names_in_the_input_or_the_export() -> None:
    choice = ColumnChoice(drop=("a", "c*", "input_width", "[x]"), text=("label", "*_raw"))
    row = {"a": 1, "c1": 2, "c": 3, "width": 4, "[x]": 5, "x": 6, "label": [7], "b_raw": None}
    assert choice.of_metadata(row) == {"x": 6, "label": "[7]", "b_raw": None}
    types = with_features(
        pa.schema([(name, pa.int8()) for name in row]), {"a": {}, "x": {}, "label": {}}
    )
    found = choice.of_schema(types)
    assert found == pa.schema([("x", pa.int8()), ("label", pa.string()), ("b_raw", pa.string())])
    assert features_of(found) == {"x": {}}
    assert choice.of_types({"a": None, "label": None, "x": None}) == {
        "label": pa.string(),
        "x": None,
    }
    assert choice.unused(row) is None
    assert choice.unused(["a", "c", "width", "label"]) == "[x]"


def test_names_are_a_list_in_which_quotes_hold_commas() -> None:
    assert split_names("a, b ,,c d") == ("a", "b", "c d")
    assert split_names('"a,b",c') == ("a,b", "c")
    options = ExportOptions(output_dir="out", drop_columns="a,b*", text_columns="label")
    assert options.columns == ColumnChoice(("a", "b*"), ("label",))


@pytest.mark.parametrize(
    ("given_", "told"),
    [
        ({"drop_columns": "a,b*", "text_columns": "b1"}, "both name the column 'b1'"),
        ({"drop_columns": "*", "caption_column": "text"}, "--caption_column=text is left out"),
        ({"drop_columns": " "}, "--drop_columns"),
    ],
)
def test_columns_that_are_asked_for_and_left_out_are_refused(
    given_: dict[str, str], told: str
) -> None:
    with pytest.raises(InputError, match=told.replace("*", r"\*")):
        ExportOptions(output_dir="out", **given_)  # type: ignore[arg-type]
