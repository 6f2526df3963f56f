"""The JSON beside an image: what can be columns, and what is a failure of that image alone."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from beam_export.errors import SampleError
from beam_export.metadata.columns import ColumnChoice
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.sources.json_metadata import has_large_json, with_metadata


def metadata_of(text: str, choice: ColumnChoice = ColumnChoice()) -> Any:  # noqa: B008
    data = text.encode()
    fields = (Member("json", "a.json", WHOLE, len(data)), Member("txt", "a.txt", WHOLE, 1))
    image = Member("jpg", "a.jpg", WHOLE, 1)
    ref = SampleRef(b"", "a", "a.jpg", image, fields, {}, 1)
    return with_metadata(ref, lambda member: data, choice).metadata


def nested(levels: int) -> str:
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 18446744073709551615, "b": [-9223372036854775808, true, null, 1e999], "c": {}}',
        nested(32),
    ],
)
def test_what_columns_hold(text: str) -> None:
    assert metadata_of(text) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "3", '"a"', "[36893488147419103232]", "[" * 40 + "]" * 40]
)
def test_what_is_no_object_has_no_columns_and_costs_nothing(text: str) -> None:
    assert metadata_of(text) == {}


NONE = "which no column holds"
BOTH = "keep it as JSON text by --text_columns=a, or leave it out by --drop_columns=a"
ALL = "leave out the columns of all .json by --drop_columns='*'"
TOO_MUCH = [
    ('{"a": 18446744073709551616}', f"an integer of 65 bits in 'a', {NONE}: {BOTH}"),
    ('{"a": {"b": [-9223372036854775809]}}', "an integer of 64 bits in 'a'"),
    (
        '{"a": ' + "9" * 4000 + "}",
        f"an integer of 13288 bits in 'a', {NONE}: {BOTH}",
    ),
    ('{"a": ' + "9" * 100_000 + "}", "an integer of 100,000 digits in 'a'"),
    (
        nested(33),
        f"more than 32 levels in 'a', {NONE}: leave it out by --drop_columns=a",
    ),
    (nested(900), "more than 32 levels in 'a'"),
]
NO_JSON = [
    (nested(100_000), f"not valid JSON: RecursionError; mend it, or {ALL}"),
    ("{", f"not valid JSON: JSONDecodeError; mend it, or {ALL}"),
    ('{"a\\ud83d": 1, "a\\ud83e": 2}', "not valid JSON: ValueError"),
]


@pytest.mark.parametrize(("text", "reason"), [*TOO_MUCH, *NO_JSON])
def test_what_no_column_holds_is_the_samples_failure_that_names_the_flags(
    text: str, reason: str
) -> None:
    with pytest.raises(SampleError) as caught:
        metadata_of(text)
    assert (caught.value.stage, caught.value.error) == ("list", "ValueError")
    assert reason in caught.value.message


@pytest.mark.parametrize("drop", [("a",), ("b", "a"), ("*a*",)])
@pytest.mark.parametrize("text", [text for text, _ in TOO_MUCH])
def test_a_column_that_is_left_out_may_hold_anything(text: str, drop: tuple[str, ...]) -> None:
    # Null until all columns are chosen, so that it is known that there was one.
    assert metadata_of(text, ColumnChoice(drop=drop)) == {"a": None}
    with pytest.raises(SampleError):
        metadata_of(text, ColumnChoice(drop=("other",)))


@pytest.mark.parametrize("text", [text for text, reason in TOO_MUCH if "levels" not in reason])
def test_numbers_of_any_length_are_kept_as_text(text: str) -> None:
    choice = ColumnChoice(text=("a",))
    kept = choice.of_metadata(metadata_of(text, choice))["a"]
    digits = max(re.findall("[0-9]+", text), key=len)
    assert max(re.findall("[0-9]+", kept), key=len) == digits


@pytest.mark.parametrize("text", [text for text, _ in [*TOO_MUCH, *NO_JSON]] + ['{"a": 1}'])
@pytest.mark.parametrize("drop", [("*",), ("x", "**")])
def test_where_all_columns_are_left_out_no_json_is_read(text: str, drop: tuple[str, ...]) -> None:
    assert metadata_of(text, ColumnChoice(drop=drop)) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a\\ud83d": 1}', {"a\ufffd": 1}),
        ('{"a": [{"\\udc80": {"\\udfff": 1}}]}', {"a": [{"\ufffd": {"\ufffd": 1}}]}),
        ('{"a\\ud83d\\ude00": "\\ud83d"}', {"a\U0001f600": "\ud83d"}),
    ],
)
def test_names_that_are_no_unicode_are_mended_and_values_where_they_are_stored(
    text: str, expected: Any
) -> None:
    assert metadata_of(text) == expected


@pytest.mark.parametrize(
    ("ext", "size", "large"),
    [("json", 1 << 20, False), ("json", (1 << 20) + 1, True), ("txt", 1 << 21, False)],
)
def test_a_large_json_is_known_by_its_size(ext: str, size: int, large: bool) -> None:
    fields = (Member("cls", "a.cls", WHOLE, 1), Member(ext, "a", WHOLE, size))
    assert has_large_json(fields) == large
