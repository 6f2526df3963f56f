"""Classes of an export: what `--labels=folder` makes is sound, and any change of it is found."""

from __future__ import annotations

import hashlib
from typing import Any

import pyarrow as pa
import pytest

from beam_export.metadata.features import with_features
from beam_export.shards.parquet import ShardRow
from beam_export.verify.classes import ClassCheck, classes_of
from beam_export.verify.shard_tar import StrictMember, StrictSample

NAMES = ["cat", "caf\udce9", "owl"]
CHECK = ClassCheck(tuple(NAMES))


def member(name: str, data: bytes) -> StrictMember:
    return StrictMember(name, 512, len(data), hashlib.sha256(data).hexdigest(), data)


def problems(
    label: str | None,
    number: Any,
    cls: bytes | None,
    *,
    ident: str = "owl/a",
    path: str = "/in/a.jpg",
    check: ClassCheck = CHECK,
) -> list[str]:
    fields = [] if cls is None else [member("owl/a.cls", cls)]
    members = [member("owl/a.jpg", b"jpg"), *fields, member("owl/a.other.cls", b"x")]
    metadata = {"label": label, "cls": number}
    row = ShardRow(ident, "t.tar", "owl/a.jpg", path, 0, 3, 1, 1, "", "", "copied", metadata)
    return list(check.problems(StrictSample("owl/a", members), row))


def test_what_is_made_of_folders_is_sound() -> None:
    assert problems("owl", 2, b"2") == []
    assert problems(None, None, None) == []
    # Of a table it is the folder of the path; what is no Unicode is stored as U+FFFD.
    assert problems("cat", 0, b"0", ident="7", path="s3://bucket/cat/a.jpg") == []
    assert problems("caf\ufffd", 1, b"1", ident="caf\ufffd/a") == []
    # Where not all samples have a class, --ragged_fields=drop leaves the members out.
    assert problems("owl", 2, None, check=CHECK._replace(dropped=True)) == []


@pytest.mark.parametrize(
    ("label", "number", "cls", "words"),
    [
        ("owl", 0, b"0", "its class is 'owl', and cls is 0"),
        ("owl", 3, b"3", "its class is 'owl', and cls is 3"),
        ("owl", -1, b"-1", "its class is 'owl', and cls is -1"),
        ("owl", "2", b"2", "its class is 'owl', and cls is '2'"),
        ("owl", None, None, "its class is 'owl', and cls is None"),
        (None, 2, b"2", "its class is None, and cls is 2"),
        ("cat", 0, b"0", "its label is 'cat', which is no folder of its id or path"),
        ("owl", 2, b"1", "its .cls is not what column 'cls' is, 2"),
        ("owl", 2, None, "its .cls is not what column 'cls' is, 2"),
        (None, None, b"2", "its .cls is not what column 'cls' is, None"),
    ],
)
def test_any_change_is_found(label: str | None, number: Any, cls: bytes | None, words: str) -> None:
    assert problems(label, number, cls) == [words]
    assert problems(label, number, b"17", check=CHECK._replace(dropped=True)) != []


def test_names_of_classes_are_those_of_the_manifest() -> None:
    check = ClassCheck(("cat", "owl"))

    def wrong(names: list[str], *columns: str) -> list[str]:
        fields = [pa.field(name, pa.int64()) for name in columns]
        feature = {"_type": "ClassLabel", "names": names}
        return list(check.schema_problems(with_features(pa.schema(fields), {"cls": feature})))

    assert wrong(["cat", "owl"], "cls", "label", "n") == []
    assert wrong(["owl", "cat"], "cls", "label") == [
        "the names of its classes are not those of the manifest"
    ]
    assert wrong(["cat", "owl"], "cls") == [
        "it has no columns label and cls, which --labels=folder makes"
    ]


def test_without_the_step_no_class_fits() -> None:
    asked = {"options": {"labels": "folder", "ragged_fields": "drop"}, "steps": []}
    assert classes_of(asked) == ClassCheck((), dropped=True)
    assert classes_of({**asked, "steps": [{"step": "label", "classes": [1]}]}) == ClassCheck(
        (), dropped=True
    )
    assert classes_of({"options": {}, "steps": []}) is None
    assert classes_of(None) is None
