from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest

from beam_export.errors import InputError
from beam_export.planning.blocks import PackedRef, pack_ref, unpack_ref
from beam_export.planning.select import SampleFilter
from beam_export.samples import WHOLE, Member, Probed, SampleRef

SCHEMA = pa.schema(
    [("input_width", pa.string()), ("score", pa.float32()), ("text", pa.large_string())]
)


def sample(ident: str, size: int = 10, *fields: str, **metadata: Any) -> PackedRef:
    members = tuple(Member(ext, f"/data/{ident}.{ext}", WHOLE, 3) for ext in fields)
    image = Member("jpeg", f"/data/{ident}.jpeg", WHOLE, size)
    probed = Probed(64, 48, "jpg")
    ref = SampleRef(b"o", ident, image.uri, image, members, metadata, size)
    return pack_ref(ref._replace(probed=probed))


SAMPLES = [
    sample("cats/a", 10, "json", score=0.5, width="wide"),
    sample("cats/b", 20, "json", "zzz", text="a cat"),
    sample("dogs/c", 30, score=1),
    sample("dogs/d", 40, score=None, text=""),
]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("score > 0.25", ["cats/a", "dogs/c"]),
        ("score is null and size >= 20", ["cats/b", "dogs/d"]),
        ("image_id like 'dogs/%'", ["dogs/c", "dogs/d"]),
        ("input_width = 'wide'", ["cats/a"]),
        ("width = 64 and height = 48 and format = 'jpg' and size < 15", ["cats/a"]),
        ("text = ''", ["dogs/d"]),
    ],
)
def test_filter_sees_metadata_and_what_the_image_is(text: str, ids: list[str]) -> None:
    kept = SampleFilter(SCHEMA, text, None).apply(SAMPLES)
    assert [one.id for one in kept] == ids
    assert all(one in SAMPLES for one in kept)


def test_column_of_the_table_called_as_a_fact_comes_first() -> None:
    schema = pa.schema([("format", pa.string())])
    refs = [sample("a", format="portrait"), sample("b", format="square")]
    (kept,) = SampleFilter(schema, "format = 'square'", None).apply(refs)
    assert kept.id == "b"


def test_captions_stand_among_the_fields_by_name() -> None:
    filtered = SampleFilter(SCHEMA, None, "text").apply(SAMPLES)
    fields = [[(field.ext, field.data) for field in unpack_ref(one).fields] for one in filtered]
    assert fields == [
        [("json", None), ("txt", b"")],
        [("json", None), ("txt", b"a cat"), ("zzz", None)],
        [("txt", b"")],
        [("txt", b"")],
    ]
    assert [one.order for one in filtered] == [b"o"] * 4
    assert not {one.digest for one in filtered} & {one.digest for one in SAMPLES}


def test_text_that_is_no_unicode_can_still_be_written() -> None:
    (filtered,) = SampleFilter(SCHEMA, None, "text").apply([sample("a", text="\udc80 cat")])
    assert unpack_ref(filtered).fields[0].data == "\ufffd cat".encode()


def test_sample_that_has_a_text_already_is_named() -> None:
    with pytest.raises(InputError, match=r"the \.txt of sample 'b' \(/data/b\.jpeg\), which has"):
        SampleFilter(SCHEMA, None, "text").apply([sample("a"), sample("b", 10, "txt")])


@pytest.mark.parametrize(
    ("filter", "caption", "said"),
    [
        ("scor > 1", None, "names 'scor', and the columns are image_id (string), size (int64)"),
        ("text > 1", None, "Cannot compare values of type VARCHAR"),
        (None, "captoin", "there is no such column, the metadata columns are input_width (string)"),
        (None, "width", "there is no such column"),
        (None, "score", "--caption_column=score is of type float: give the name of a column of"),
    ],
)
def test_what_does_not_fit_the_columns(filter: str | None, caption: str | None, said: str) -> None:
    with pytest.raises(InputError) as caught:
        SampleFilter(SCHEMA, filter, caption)
    assert said in caught.value.sentence


def test_value_that_does_not_fit_its_column_is_one_sentence() -> None:
    sample_filter = SampleFilter(SCHEMA, "score > 1", None)
    with pytest.raises(InputError, match="sample 'a' has a value of type date"):
        sample_filter.apply([sample("a", score=datetime.date(2024, 5, 1))])
