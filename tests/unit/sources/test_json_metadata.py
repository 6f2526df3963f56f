"""The JSON beside an image: what can be columns, and what is a failure of that image alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beam_export.errors import SampleError
from beam_export.samples import WHOLE, Member, SampleRef
from beam_export.sources.json_metadata import with_metadata


def metadata_of(text: str) -> Any:
    data = text.encode()
    fields = (Member("json", "a.json", WHOLE, len(data)), Member("txt", "a.txt", WHOLE, 1))
    image = Member("jpg", "a.jpg", WHOLE, 1)
    ref = SampleRef(b"", "a", "a.jpg", image, fields, {}, 1)
    return with_metadata(ref, lambda member: data).metadata


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


def test_what_is_no_object_has_no_columns() -> None:
    assert metadata_of("[1, 2]") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 18446744073709551616}', "an integer of 65 bits, which no column holds"),
        ('{"a": {"b": [-9223372036854775809]}}', "an integer of 64 bits"),
        ('{"a": ' + "9" * 4000 + "}", "an integer of 13288 bits"),
        ('{"a": ' + "9" * 100_000 + "}", "not valid JSON: ValueError"),
        (nested(33), "more than 32 levels"),
        (nested(900), "more than 32 levels"),
        (nested(100_000), "not valid JSON: RecursionError"),
        ("{", "not valid JSON: JSONDecodeError"),
    ],
)
def test_what_no_column_holds_is_the_samples_failure(text: str, reason: str) -> None:
    with pytest.raises(SampleError) as caught:
        metadata_of(text)
    assert (caught.value.stage, caught.value.error) == ("list", "ValueError")
    assert reason in caught.value.message
