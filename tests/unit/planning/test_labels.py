"""Classes of folders: which folder, which number, and what stands where."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_export.errors import InputError
from beam_export.metadata.features import features_of, with_features
from beam_export.planning import labels
from beam_export.planning.blocks import PackedRef, pack_ref, unpack_ref
from beam_export.planning.labels import (
    ClassNames,
    class_names,
    declared_with_classes,
    label_of,
    labelled,
    labelled_schema,
    with_class_feature,
)
from beam_export.samples import UNMEASURED, WHOLE, Member, SampleRef


def ref(ident: str, path: str = "", **change: Any) -> SampleRef:
    made = SampleRef(
        order=ident.encode(),
        id=ident,
        path=path or f"/in/{ident}.jpg",
        image=Member("jpg", path or f"/in/{ident}.jpg", WHOLE, 9),
        fields=(),
        metadata={},
        size=9,
    )
    return made._replace(**change)


def packed(*refs: SampleRef) -> list[PackedRef]:
    return [pack_ref(one) for one in refs]


def of_row(ident: str, path: str) -> SampleRef:
    """Returns a row of a table of paths."""
    return ref(ident, path, size=UNMEASURED)


@pytest.mark.parametrize(
    ("ident", "label"),
    [
        ("cat/0", "cat"),
        ("train/cat/0", "cat"),
        ("0", None),
        ("a b/ü/0", "ü"),
        ("cat/0/", "0"),
        ("cat.v1/0.1", "cat.v1"),
        ("/cat/0", "cat"),
        ("/0", None),
    ],
)
def test_the_innermost_folder_is_the_class(ident: str, label: str | None) -> None:
    assert label_of(ref(ident)) == label


@pytest.mark.parametrize(
    ("one", "by_path", "label"),
    [
        (of_row("7", "/data/cat/0.jpg"), True, "cat"),
        (of_row("7", "gs://b/dog/0.jpg"), True, "dog"),
        (of_row("x/7", "/data/cat/0.jpg"), True, "cat"),
        # A pipeline's own sample with a path to read.
        (of_row("x/7", "/data/cat/0.jpg"), False, "x"),
        (ref("x/7", "/data/cat/0.jpg"), True, "x"),
        (
            ref("7", "/in/t.parquet#3", image=Member("jpg", "/in/t.parquet", 3, 9, column="image")),
            True,
            None,
        ),
        (
            ref("7", "cat/0.jpg", image=Member("jpg", "/in/t.parquet", 3, 9, column="image")),
            True,
            "cat",
        ),
    ],
)
def test_of_a_table_the_path_counts(one: SampleRef, by_path: bool, label: str | None) -> None:
    names = ClassNames()
    names.add(packed(one, ref("other/0")), by_path)
    assert names.finish() == sorted({*([label] if label else []), "other"})


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("./cat//1.jpg", "cat"),
        ("cat/./1.jpg", "cat"),
        ("owl/../cat/1.jpg", "cat"),
        ("gs://bucket//cat/1.jpg", "cat"),
        ("./1.jpg", None),
        ("../1.jpg", None),
        ("/1.jpg", None),
        ("1.jpg", None),
    ],
)
def test_a_path_may_stand_as_somebody_wrote_it(path: str, label: str | None) -> None:
    inside = ref("7", path, image=Member("", "/in/t.parquet", 0, UNMEASURED, column="image"))
    assert label_of(inside, of_table=True) == label


def test_a_name_that_is_no_unicode_is_one_that_files_can_hold() -> None:
    names = ClassNames()
    names.add(packed(of_row("7", "/in/caf\udce9/x.jpg")), True)
    assert names.finish() == ["caf\ufffd"]
    (made,) = labelled(packed(of_row("7", "/in/caf\udce9/x.jpg")), {"caf\ufffd": 0}, True)
    assert unpack_ref(made).metadata == {"label": "caf\ufffd", "cls": 0}


def test_numbers_follow_the_sorted_names_in_whatever_order_they_come() -> None:
    one, other = ClassNames(), ClassNames()
    one.add(packed(ref("b/0"), ref("0")), False)
    other.add(packed(ref("a/0"), ref("c/d/0")), False)
    one.merge(other)
    assert one.finish() == ["a", "b", "d"]


def test_no_class_at_all_is_an_error() -> None:
    names = ClassNames()
    names.add(packed(ref("0")), False)
    with pytest.raises(InputError, match="no image lies in a folder"):
        names.finish()


def test_folders_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "_MOST", 3)
    names = ClassNames()
    with pytest.raises(InputError, match="more than 3 classes"):
        names.add(packed(*(ref(f"{number}/0") for number in range(4))), False)


def test_a_sample_gets_two_columns_and_a_member() -> None:
    txt = Member("txt", "/in/a/0.txt", WHOLE, 3)
    asp = Member("asp", "/in/a/0.asp", WHOLE, 3)
    before = packed(ref("a/0", fields=(asp, txt), metadata={"n": 1}), ref("0"))
    first, second = map(unpack_ref, labelled(before, {"a": 12}, False))
    assert first.metadata == {"n": 1, "label": "a", "cls": 12}
    assert [(one.ext, one.data) for one in first.fields] == [
        ("asp", None),
        ("cls", b"12"),
        ("txt", None),
    ]
    assert second.metadata == {"label": None, "cls": None}
    assert second.fields == ()


def test_the_class_is_in_a_samples_digest() -> None:
    before = packed(ref("a/0"))
    digests = {labelled(before, {"a": number}, False)[0].digest for number in (0, 1)}
    assert len(digests | {before[0].digest}) == 3


def test_a_sample_with_a_cls_of_its_own_is_refused() -> None:
    before = packed(ref("a/0", fields=(Member("cls", "/in/a/0.cls", WHOLE, 1),)))
    with pytest.raises(InputError, match=r"would make the \.cls of sample 'a/0'"):
        labelled(before, {"a": 0}, False)


def test_columns_of_those_names_are_kept_under_others() -> None:
    columns = {"label": "x", "cls": 3, "m": 1}
    before = packed(
        ref("a/0", metadata=columns, typed=("label", "m"), joined=(("t.csv", ("cls",)),))
    )
    (after,) = map(unpack_ref, labelled(before, {"a": 0}, False))
    assert after.metadata == {"input_label": "x", "input_cls": 3, "m": 1, "label": "a", "cls": 0}
    assert after.typed == ("input_label", "m")
    assert after.joined == (("t.csv", ("input_cls",)),)


@pytest.mark.parametrize("name", ["label", "cls"])
def test_two_columns_of_one_name_are_refused(name: str) -> None:
    before = packed(ref("a/0", metadata={name: "x", f"input_{name}": "y"}))
    with pytest.raises(InputError, match=rf"leave one out by --drop_columns={name}"):
        labelled(before, {"a": 0}, False)


def test_declared_types_go_with_their_columns() -> None:
    kind = {"_type": "ClassLabel", "names": ["x", "y"]}
    given = with_features(pa.schema([("label", pa.int64()), ("m", pa.int8())]), {"label": kind})
    renamed = labelled_schema(given)
    assert renamed.names == ["input_label", "m"]
    assert features_of(renamed) == {"input_label": kind}
    declared = declared_with_classes(given)
    assert declared.names == ["input_label", "m", "cls", "label"]
    assert (declared.field("cls").type, declared.field("label").type) == (pa.int64(), pa.string())
    named = with_class_feature(declared.serialize().to_pybytes(), ["a", "b"])
    schema = pa.ipc.read_schema(pa.py_buffer(named))
    assert features_of(schema) == {
        "input_label": kind,
        "cls": {"_type": "ClassLabel", "names": ["a", "b"]},
    }
    assert class_names(schema) == ["a", "b"]
