from __future__ import annotations

import json

import pytest

from beam_export.naming import ShardNames
from beam_export.shards.indexes.energon import (
    dataset_yaml,
    info_json,
    is_energon_index,
    is_info,
    split_yaml,
    tar_index,
)

NAMES = ShardNames("0123456789ab")


def tars(*numbers: int) -> list[str]:
    return [NAMES.tar(number) for number in numbers]


def test_info_is_what_prepare_writes() -> None:
    made = info_json({NAMES.tar(0): 1000, NAMES.tar(1): 7})
    assert made == (
        b'{\n  "energon_version": "7.4.1",\n  "shard_counts": {\n'
        b'    "images-0123456789ab-000000.tar": 1000,\n    "images-0123456789ab-000001.tar": 7\n'
        b"  }\n}"
    )
    assert is_info(made)


@pytest.mark.parametrize(
    "content",
    [
        {"shard_counts": {"shard-000000.tar": 5}},
        {"shard_counts": {NAMES.tar(0): 5, ShardNames("f" * 12).tar(1): 5}},
        {"shard_counts": {NAMES.tar(0): 5, "mine.tar": 5}},
        {"shard_counts": {NAMES.tar(1): 5}},
        {"shard_counts": {}},
        {},
        [],
    ],
)
def test_the_info_of_other_tars_is_somebody_elses(content: object) -> None:
    assert not is_info(json.dumps(content).encode())
    assert not is_info(b"[" * 100_000)


def test_without_splits_all_is_for_training() -> None:
    assert split_yaml({}, tars(0, 1, 2)) == (
        b"split_parts:\n  train:\n  - images-0123456789ab-{000000..000002}.tar\n"
        b"  val: []\n  test: []\nexclude: []\n"
    )


def test_splits_have_ranges_of_their_tars() -> None:
    splits = {"train": tars(0, 1, 3, 999_999, 1_000_000, 1_000_001), "no": tars(4)}
    assert split_yaml(splits, tars(0)).decode() == (
        "split_parts:\n"
        "  train:\n"
        "  - images-0123456789ab-{000000..000001}.tar\n"
        "  - images-0123456789ab-000003.tar\n"
        "  - images-0123456789ab-999999.tar\n"
        "  - images-0123456789ab-{1000000..1000001}.tar\n"
        '  "no":\n'
        "  - images-0123456789ab-000004.tar\n"
        "exclude: []\n"
    )


@pytest.mark.parametrize("name", ["train", "no", "1", "1e3", "v1.5", "_", "0x1f", "null", "True"])
def test_the_name_of_a_split_is_read_back_as_it_is(name: str) -> None:
    yaml = pytest.importorskip("yaml")
    read = yaml.safe_load(split_yaml({name: tars(0, 1)}, tars(0, 1)))
    assert read == {
        "split_parts": {name: ["images-0123456789ab-{000000..000001}.tar"]},
        "exclude": [],
    }
    # As PyYAML itself writes it, but for the quotes.
    dumped = yaml.dump(read, sort_keys=False).replace("'", '"').encode()
    assert split_yaml({name: tars(0, 1)}, []).replace(b'"', b"") == dumped.replace(b'"', b"")


@pytest.mark.parametrize(
    ("fields", "kind", "meaning"),
    [
        ((), "ImageSample", {}),
        (("json",), "ImageSample", {}),
        (("cls", "json"), "ImageClassificationSample", {"label": "cls"}),
        (("cls", "txt"), "CaptioningSample", {"caption": "txt"}),
    ],
)
def test_what_all_samples_have_decides_what_they_are(
    fields: tuple[str, ...], kind: str, meaning: dict[str, str]
) -> None:
    yaml = pytest.importorskip("yaml")
    made = dataset_yaml({"avif", "jpg", "webp", "jpeg"}, fields)
    read = yaml.safe_load(made)
    assert read == {
        "sample_type": {"__module__": "megatron.energon", "__class__": kind},
        "field_map": {"image": "jpg,jpeg,webp,avif", **meaning},
    }
    assert yaml.dump(read, sort_keys=False).encode() == made


@pytest.mark.parametrize(
    ("data", "ours"),
    [
        (tar_index([0, 1024], 4096), True),
        (tar_index([0], 1024), True),
        (tar_index([512], 1024), False),
        (tar_index([0, 1024, 1024], 4096), False),
        (tar_index([0, 1000], 4096), False),
        (b"v1.2 1\njpg 512 1", False),
        (b"", False),
        (bytes(8), False),
    ],
)
def test_an_index_is_known_by_its_form(data: bytes, ours: bool) -> None:
    assert is_energon_index(data) is ours
