"""Members that say what columns say: any JSON that was exported is sound, any change is found."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from support.exports import picture
from support.pictures import exif, save, smooth

from beam_export.errors import InputError
from beam_export.metadata.schema import ColumnTypes, output_name
from beam_export.metadata.to_arrow import ColumnBuilder, to_values
from beam_export.naming import ShardNames
from beam_export.samples import EncodedImage, Member, SampleRef
from beam_export.shards.writer import ReadySample, write_shard
from beam_export.sources.json_metadata import with_content
from beam_export.verify.members import ImageCheck, Origin, origin_of
from beam_export.verify.shard import CheckedShard, ShardChecker

NAMES = ShardNames("0123456789ab")
MADE = Origin(json=True, alone=True, json_columns=())


def ready(ident: str, fields: Mapping[str, bytes], metadata: dict[str, Any]) -> ReadySample:
    member = Member("jpg", "", 0, 3)
    ref = SampleRef(b"", ident, f"/in/{ident}.jpg", member, (), metadata, 3)
    image = EncodedImage(b"jpg", "jpg", 1, 1, "copied")
    digest = "7d1a54127b222502f5b79b5fb0803061152a44f92b37e23c6527baf665d4da9a"
    return ReadySample(ref, ident, image, digest, sorted(fields.items()), None)


def exported(samples: Sequence[ReadySample], types: ColumnTypes) -> tuple[bytes, bytes]:
    tar, table = io.BytesIO(), io.BytesIO()
    write_shard(samples, tar, table, number=0, names=NAMES, columns=types.finish(), plan="0" * 64)
    return tar.getvalue(), table.getvalue()


def check(tar: bytes, table: bytes, origin: Origin = MADE) -> CheckedShard:
    return ShardChecker(NAMES, origin=origin).check(0, io.BytesIO(tar), table, None)


def problems(checked: CheckedShard) -> list[tuple[str, str]]:
    """Returns what is said of columns: digests are others' work, and do not fit here."""
    words = ("and its .json", "there is no column", "cannot be read as JSON", "its .txt")
    return [
        (fault.member, fault.problem)
        for fault in checked.faults
        if any(one in fault.problem for one in words)
    ]


def typed(contents: Sequence[Any]) -> tuple[list[dict[str, Any]], ColumnTypes]:
    """Returns the metadata of samples with such JSON as planning reads it, and its types."""
    found, types = [], ColumnTypes()
    for number, content in enumerate(contents):
        blank = ready(f"s{number}", {}, {}).ref
        metadata = with_content(blank, json.dumps(content).encode()).metadata
        types.add(metadata, blank.path)
        found.append(metadata)
    return found, types


KINDS = (
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**64 - 1),
    st.one_of(st.integers(-(2**60), 2**60), st.floats()),
    st.booleans(),
    st.text(st.characters(codec=None), max_size=4),  # lone surrogates too
    st.lists(st.one_of(st.none(), st.floats(), st.integers(-5, 5)), max_size=3),
    st.dictionaries(st.sampled_from("xy"), st.one_of(st.none(), st.integers(0, 9)), max_size=2),
    st.lists(
        st.fixed_dictionaries({}, optional={"a": st.text(max_size=2), "b": st.floats()}),
        max_size=2,
    ),
)
COLUMNS = ("a", "width", "input_b", "sha256", "é")


@st.composite
def datasets(draw: st.DrawFn) -> list[Any]:
    kinds = {name: draw(st.sampled_from(KINDS)) for name in COLUMNS}
    whole = st.fixed_dictionaries(
        {}, optional={name: st.none() | kind for name, kind in kinds.items()}
    )
    return draw(st.lists(whole | st.sampled_from([[], 1, "text", None]), min_size=1, max_size=5))


@given(datasets(), st.data())
def test_any_json_is_sound_and_any_change_is_found(
    contents: list[Any], data: st.DataObject
) -> None:
    try:
        metadata, types = typed(contents)
        types.finish()
    except InputError:
        assume(False)

    def write(members: Sequence[Any]) -> tuple[bytes, bytes]:
        samples = [
            ready(f"s{number}", {"json": json.dumps(member).encode()}, facts)
            for number, (member, facts) in enumerate(zip(members, metadata, strict=True))
        ]
        return exported(samples, types)

    assert problems(check(*write(contents))) == []
    place = data.draw(st.integers(0, len(contents) - 1))
    assume(isinstance(contents[place], dict) and contents[place])
    name = data.draw(st.sampled_from(sorted(contents[place])))
    other = data.draw(st.sampled_from([None, 12345, 0.125, "another", [3], {"x": 8}, True]))
    # 12345 is stored like 12345.0, and {} like nothing at all.
    field = types.finish().field(output_name(name))
    assume(stored(field, contents[place][name]) != stored(field, other))
    changed = [*contents]
    changed[place] = {**contents[place], name: other}
    found = problems(check(*write(changed)))
    assert {one for one, _ in found} == {f"s{place}"}
    assert all(words.startswith(f"column {field.name!r} is ") for _, words in found)


def stored(field: pa.Field, value: Any) -> str:
    """Returns a value as its column gives it back, as text; NaN is like NaN."""
    try:
        return str(to_values(ColumnBuilder(field).build([value], [""])))
    except ValueError:
        return "does not fit"


def one(content: bytes, column: Any = 0.5, name: str = "score") -> tuple[bytes, bytes]:
    types = ColumnTypes()
    types.add({name: column}, "")
    return exported([ready("cat", {"json": content}, {name: column})], types)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"score": 0.25}', "column 'score' is 0.5, and its .json says 0.25"),
        (b'{"score": "0.5"}', "column 'score' is 0.5, and its .json says '0.5'"),
        (b'{"score": null}', "column 'score' is 0.5, and its .json says None"),
        (b"{}", "column 'score' is 0.5, and its .json says None"),
        (b"[0.5]", "column 'score' is 0.5, and its .json says None"),
        (b'{"score": 0.5, "more": 1}', "its .json has the key 'more', and there is no column"),
        (b'{"score": 0.5', "its .json cannot be read as JSON"),
        (b"[" * 100_000, "its .json cannot be read as JSON"),
        (b'{"score": %s}' % (b"1" * 400), "column 'score' is 0.5, and its .json says 111111"),
    ],
)
def test_what_is_said_of_a_json_that_is_not_its_columns(content: bytes, words: str) -> None:
    found = problems(check(*one(content)))
    assert len(found) == 1
    assert found[0][0] == "cat"
    assert found[0][1].startswith(words)
    assert len(found[0][1]) < 200


def test_columns_that_need_not_be_made_of_json_are_no_fault() -> None:
    checked = check(*one(b'{"score": 0.25}'), origin=Origin())
    assert problems(checked) == []
    assert checked.differing == 1
    assert checked.example == "'cat': column 'score' is 0.5, and its .json says 0.25"
    for content in (b"{}", b"[]", b'{"more": 1}', b"no JSON", b'{"score": 0.5}'):
        assert check(*one(content), origin=Origin()).differing == 0


def test_a_joined_table_may_have_what_the_json_lacks() -> None:
    joined = Origin(json=True, alone=False)
    assert problems(check(*one(b'{"more": 1}'), origin=joined)) == []
    assert len(problems(check(*one(b'{"score": 0.25}'), origin=joined))) == 1


def test_captions_are_their_column() -> None:
    origin = Origin(caption="text")
    types = ColumnTypes()
    types.add({"text": "a cat"}, "")
    rows = [("a", "a cat", b"a cat"), ("b", None, b""), ("c", "\ud800", "\ufffd".encode())]
    good = [ready(key, {"txt": data}, {"text": text}) for key, text, data in rows]
    assert problems(check(*exported(good, types), origin=origin)) == []
    bad = [
        ready("a", {"txt": b"a dog"}, {"text": "a cat"}),
        ready("b", {"txt": b" "}, {"text": None}),
        ready("c", {}, {"text": "c"}),
    ]
    found = problems(check(*exported(bad, types), origin=origin))
    assert found == [
        ("a", "its .txt is not column 'text', 'a cat'"),
        ("b", "its .txt is not column 'text', None"),
        ("c", "its .txt is not column 'text', 'c'"),
    ]


def test_what_the_manifest_tells_of_columns() -> None:
    run = {"columns_from_json": True}
    manifest: dict[str, Any] = {"options": {}, "steps": []}
    assert origin_of(manifest, run) == MADE
    assert origin_of(manifest, {}) == Origin(alone=True, json_columns=())
    assert origin_of(manifest, None) == Origin(alone=True, json_columns=())
    assert origin_of(None, run) == Origin()
    assert not origin_of({**manifest, "steps": [{"step": "join"}]}, run).alone
    asked = {**manifest, "options": {"caption_column": "text", "labels": "folder"}}
    made = frozenset({"label", "cls"})
    assert origin_of(asked, run) == MADE._replace(caption="text", others=made)


def test_image_check_judges_by_the_limits() -> None:
    check = ImageCheck(max_pixels=10, max_image_bytes=10**6)
    assert "pixels" in str(check.fault(picture(1)))
    assert list(check.problems("a.jpg", b"no image", None, None)) == []


@pytest.mark.parametrize(
    ("texts", "count", "example"),
    [
        ([b"caf\xe9", b"ok", b"\xff"], 2, "s0.txt"),
        ([b"ok", "\u00e9".encode("utf-16")], 1, "s1.txt"),
        (["\u00e9".encode(), b""], 0, ""),
    ],
)
def test_texts_that_are_not_utf8_are_counted(texts: list[bytes], count: int, example: str) -> None:
    samples = [ready(f"s{number}", {"txt": text}, {}) for number, text in enumerate(texts)]
    checked = check(*exported(samples, ColumnTypes()))
    assert checked.undecodable == ({"no_text_txt": (count, example)} if count else {})
    assert problems(checked) == []


@pytest.mark.parametrize("ext", ["cls", "fine.cls"])
def test_members_that_loaders_take_for_numbers_and_are_none_are_counted(ext: str) -> None:
    texts = [b"1", b"cat", b"dog\n"]
    samples = [ready(f"s{number}", {ext: text}, {}) for number, text in enumerate(texts)]
    checked = check(*exported(samples, ColumnTypes()))
    assert checked.undecodable == {f"no_number_{ext}": (2, f"s1.{ext}")}
    assert problems(checked) == []


SCORED = pa.schema([("n", pa.int64()), ("score", pa.float64())])
OF_COLUMNS = Origin(json_columns=("score",))


def of_columns(
    members: Sequence[Mapping[str, bytes]], json_member: str = "json", origin: Origin = OF_COLUMNS
) -> list[str]:
    """Returns what is wrong with samples of score 0.5 and these members."""
    samples = [
        ready(f"s{number}", one, {"score": 0.5, "n": 1}) for number, one in enumerate(members)
    ]
    tar, table = io.BytesIO(), io.BytesIO()
    write_shard(
        samples,
        tar,
        table,
        number=0,
        names=NAMES,
        columns=SCORED,
        plan="0" * 64,
        json_member=json_member,
    )
    faults = check(tar.getvalue(), table.getvalue(), origin).faults
    words = ("what its columns are", "--json_columns", "made of columns", "its .json")
    return [one.problem for one in faults if any(word in one.problem for word in words)]


SOUND = {"json": b'{"score":0.5}'}


@pytest.mark.parametrize(
    ("member", "sound"),
    [
        (SOUND, True),
        ({"json": b'{"score":0.25}'}, False),
        ({"json": b'{"score": 0.5}'}, False),
        ({"json": b'{"n":1,"score":0.5}'}, False),
        ({}, False),
        ({"meta.json": b'{"score":0.5}'}, False),
    ],
)
def test_members_of_columns_are_their_columns(member: Mapping[str, bytes], sound: bool) -> None:
    wrong = [] if sound else ["its .json is not what its columns are"]
    assert of_columns([SOUND, member]) == wrong


def test_a_json_of_their_own_beside_it_is_compared_as_ever() -> None:
    both = {"meta.json": b'{"score":0.5}', "json": b'{"score":0.5,"n":1}'}
    known = OF_COLUMNS._replace(json=True)
    assert of_columns([both], "meta.json", known) == []
    (problem,) = of_columns([{**both, "json": b'{"n":2}'}], "meta.json", known)[:1]
    assert "column 'n' is 1, and its .json says 2" in problem


def test_a_shard_that_does_not_say_what_was_made() -> None:
    assert of_columns([SOUND], "") == ["it does not say which member --json_columns has made"]
    assert of_columns([SOUND], "json", Origin(json_columns=())) == [
        "its .json is said to be made of columns, and none is to be"
    ]
    # Without a manifest nothing is known of it.
    assert of_columns([SOUND], "json", Origin()) == []


def test_the_origin_has_the_columns_as_given() -> None:
    manifest = {"options": {"json_columns": "all"}, "steps": []}
    assert origin_of(manifest, {"columns_from_json": True}).json_columns == ("*",)
    assert origin_of(manifest, {"columns_from_json": True}).json
    assert origin_of({"options": {}, "steps": []}, None).json_columns == ()
    assert origin_of(None, None).json_columns is None


def test_images_that_are_not_what_was_ensured() -> None:
    gray = save(Image.fromarray(smooth()[..., 0]), "JPEG", exif=exif(6))
    given = {"name": "a.jpg", "data": gray, "width": 48, "height": 32}
    limits = {"max_pixels": 10**6, "max_image_bytes": 10**6}
    assert list(ImageCheck(**limits).problems(**given)) == []
    assert list(ImageCheck(**limits, ensure=("srgb",)).problems(**given)) == []
    assert list(ImageCheck(**limits, ensure=("upright", "srgb", "rgb")).problems(**given)) == [
        "it is not upright and rgb, which --ensure asked for"
    ]
