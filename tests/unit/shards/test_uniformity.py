from __future__ import annotations

from typing import Any

from beam_export.shards.uniformity import describe_ensured, describe_lacks, member_notes

FEW = {"samples": 12, "upright": 3, "srgb": 1, "rgb": 2}


def uniform(encode: dict[str, Any], lacks: dict[str, int]) -> list[str]:
    step = {"step": "encode", "encode": "auto", "copied": 12, "encoded": 0, **encode}
    return [*describe_ensured(step), *describe_lacks(step, {"lacks": lacks})]


def test_what_is_not_the_same_for_all_images_is_told_with_what_it_means() -> None:
    assert uniform({}, FEW) == [
        "3 JPEGs carry an EXIF orientation, and readers that do not apply it show them turned "
        "(--ensure=upright makes such upright)",
        "1 JPEG has colours other than sRGB, and readers that do not convert them show wrong "
        "ones (--ensure=srgb converts such)",
        "2 JPEGs are gray, and readers that do not convert them give arrays of another shape for "
        "them (--ensure=rgb makes such RGB)",
    ]
    # All are alike.
    assert uniform({}, {"samples": 12, "rgb": 12}) == []
    assert uniform({}, {}) == []
    assert uniform({"encode": "never"}, {"samples": 12, "upright": 1})[0].endswith("turned")


def test_of_shards_that_were_kept_nothing_is_claimed() -> None:
    (line,) = uniform({}, {"samples": 5, "rgb": 2})
    assert line.startswith("2 of the 5 JPEGs written now are gray")


def test_what_was_encoded_for_ensure_is_told() -> None:
    counts = {"ensured": 5, "ensured_upright": 4, "ensured_rgb": 2}
    assert uniform(counts, {"samples": 12}) == [
        "5 JPEGs were not copied but encoded for --ensure: 4 turned upright, 2 made RGB"
    ]


def test_members_that_are_no_numbers_are_told() -> None:
    facts = {"lacks": {"samples": 9, "no_number_cls": 2, "upright": 1}}
    assert [*member_notes({"copied": 9}, facts)] == [
        "the .cls of 2 samples is no whole number: Hugging Face datasets and webdataset's decode() "
        "cannot load it (a .label they leave as it is)"
    ]
    # Of shards that were kept it is not known.
    (line,) = member_notes({"copied": 9, "encoded": 1}, facts)
    assert line.startswith("the .cls of 2 samples written now is no whole number")


def test_members_that_are_no_text_are_told() -> None:
    (said,) = member_notes({"copied": 9}, {"lacks": {"samples": 9, "no_text_long.txt": 1}})
    assert said.startswith("the .long.txt of 1 sample is not UTF-8, and was kept as it came: ")


def members(**step: Any) -> list[str]:
    made = {"ragged_fields": "keep", "samples": 8, "members": {}, "unequal": False, **step}
    return [*member_notes({}, {"members": [made]})]


def test_unequal_members_are_told_and_what_was_done_about_them() -> None:
    assert members(members={"txt": 8, "xml": 2}, unequal=True) == [
        "samples have unequal members: .xml in 2 of 8; readers that go by the first samples drop "
        "the others' (--ragged_fields=drop or fill makes them equal)"
    ]
    assert members(ragged_fields="drop", dropped={"txt": 3, "xml": 2}) == [
        "left out by --ragged_fields=drop: .txt of 3 samples, .xml of 2 samples"
    ]
    assert members(ragged_fields="fill", filled={"txt": 3}) == [
        "added, empty, by --ragged_fields=fill: .txt of 3 samples"
    ]
    assert members(json="meta.json", json_columns=["a", "b"]) == [
        "2 columns are also in the tars, as each sample's .meta.json"
    ]
    assert members(ragged_fields="error") == []
