from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from support.exports import another_value

from beam_export.declaration import declared
from beam_export.errors import InputError
from beam_export.options import ExportOptions

CHOICES = {one.name: one.choices for one in declared(ExportOptions).values() if one.choices}
SHAPING = {one.name for one in declared(ExportOptions).values() if one.shapes == "always"}

#: Of every option another value than the default, that is valid beside the others' defaults.
OTHERS = {one.name: another_value(one) for one in declared(ExportOptions).values()}


def options(**given: Any) -> ExportOptions:
    return ExportOptions(**{"output_dir": "/out", **given})


def test_defaults_are_those_of_the_contract() -> None:
    # format.md, part 2.
    defaults = dataclasses.asdict(options())
    assert (
        defaults.items()
        >= {
            "output_dir": "/out",
            "input_format": "auto",
            "images_per_tar": 1000,
            "max_tar_bytes": None,
            "deterministic_name": True,
            "member_names": "id",
            "order": "source",
            "seed": 0,
            "encode": "auto",
            "encoder": "auto",
            "device": "auto",
            "quality": 92,
            "subsampling": "420",
            "resize": None,
            "resize_mode": "keep_ratio",
            "limit": None,
            "duplicates": "error",
            "metadata": "auto",
            "metadata_key": "image_id",
            "filter": None,
            "ids": None,
            "exclude_ids": None,
            "caption_column": None,
            "probe": "off",
            "max_failed_fraction": 0.01,
            "allow_broken_sources": False,
            "resume": True,
            "clean": False,
            "max_pixels": 250_000_000,
            "max_image_bytes": 268_435_456,
            "gpu": None,
            "verbose": False,
        }.items()
    )


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_can_be_made(name: str) -> None:
    for word in CHOICES[name]:
        assert getattr(options(**{name: word}), name) == word


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in CHOICES for value in ("banana", "", None, ["auto"], 420)),
        *(("images_per_tar", value) for value in (0, -1, None, 1.0, "5", True)),
        *(("resize", value) for value in (0, -256, 0.5, "256", True)),
        *(("limit", value) for value in (0, -1, 1.5, "all")),
        *(("quality", value) for value in (0, 101, -5, "92", None)),
        *(("max_pixels", value) for value in (0, -1, None)),
        *(("max_image_bytes", value) for value in (0, 1e6, None)),
        *(("seed", value) for value in (None, 1.5, "0", True)),
        *(
            ("max_failed_fraction", value)
            for value in (-0.01, 1.01, float("nan"), float("inf"), None, "0.1", True)
        ),
        *(
            (name, value)
            for name in ("deterministic_name", "allow_broken_sources", "resume", "clean", "verbose")
            for value in ("false", 0, None)
        ),
        *(
            (name, value)
            for name in ("metadata", "metadata_key", "ids", "exclude_ids", "caption_column")
            for value in ("", " ", 5)
        ),
        *(("filter", value) for value in ("", " ", 5)),
        *(("output_dir", value) for value in ("", " ", None, b"out")),
    ],
)
def test_a_wrong_value_is_a_sentence_that_says_so_and_what_to_do(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        options(**{name: value})
    sentence = caught.value.sentence
    assert sentence.startswith(f"--{name}=")
    assert str(value) in sentence
    assert ": give" in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5])
def test_fractions(value: float) -> None:
    assert options(max_failed_fraction=value).max_failed_fraction == value


def test_filter_on_what_headers_hold_sets_the_probe() -> None:
    assert options(filter="score > 1").probe == "off"
    assert options(filter="width > 1").probe == "header"
    assert options(filter="width > 1", probe="full").probe == "full"


def test_options_are_frozen_and_by_keyword() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        options().seed = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        ExportOptions("/out")  # type: ignore[misc]


def test_every_field_is_declared_as_an_option() -> None:
    assert list(declared(ExportOptions)) == [one.name for one in dataclasses.fields(ExportOptions)]


@pytest.mark.parametrize("name", OTHERS)
def test_digest_changes_with_what_shapes_the_output_alone(name: str) -> None:
    changed = options(**{name: OTHERS[name]})
    assert getattr(changed, name) != getattr(options(), name)
    shapes = declared(ExportOptions)[name].shapes != "never"
    assert (changed.digest() != options().digest()) == shapes
    assert (name in changed.shaping()) == shapes


def test_digests_are_those_that_exports_bear() -> None:
    # Of the first edition: whatever options are added, exports that use none keep their names.
    assert options().digest().hex() == (
        "f5b9458610be1c1f44a6536a80ff056e04624294218991f0a353ef49a80af878"
    )
    changed = options(
        images_per_tar=7,
        max_tar_bytes=9000,
        member_names="sequential",
        order="shuffled",
        seed=1,
        encode="always",
        quality=80,
        subsampling="444",
        resize=256,
        resize_mode="border",
        limit=5,
        duplicates="rename",
        filter="score > 0.5",
        caption_column="caption",
        max_pixels=1000,
        max_image_bytes=1000,
    )
    assert changed.digest().hex() == (
        "3214375f56a54570256b795af099673ac834958841a4cd0a0a81388add87b543"
    )


def test_what_does_not_shape_the_output() -> None:
    # Neither where it lies nor how it is named, what is put up with, nor who encodes: the last
    # is part of each shard's plan, as what it resolves to.
    assert {one.name for one in declared(ExportOptions).values() if one.shapes == "never"} == {
        *(
            "output_dir",
            "input_format",
            "deterministic_name",
            "encoder",
            "device",
            "gpu",
            "verbose",
        ),
        # A probe only tells earlier which samples there are; those are in the hash.
        # What tables hold is in the samples' digests, wherever the tables lie.
        *("metadata", "metadata_key", "ids", "exclude_ids"),
        *("probe", "max_failed_fraction", "allow_broken_sources", "resume", "clean"),
        # Indexes stand beside the shards, and may be made later.
        "index",
    }


def test_what_shapes_the_output_can_stand_in_the_manifest() -> None:
    shaping = options().shaping()
    assert set(shaping) == SHAPING
    assert json.loads(json.dumps(shaping)) == shaping


@pytest.mark.parametrize(
    "name",
    [
        *("quality", "subsampling", "resize", "resize_mode", "max_pixels", "max_image_bytes"),
        "damaged",
    ],
)
def test_spec_is_what_an_encoder_has_to_know(name: str) -> None:
    assert getattr(options(**{name: OTHERS[name]}).spec(), name) == OTHERS[name]


def test_spec_has_the_words_that_images_are_to_be() -> None:
    assert options(ensure="rgb, upright").spec().ensure == ("upright", "rgb")
    assert options(ensure="rgb, upright").digest() == options(ensure="upright,rgb").digest()
    assert options().spec().ensure == ()


def test_spec_has_the_mode() -> None:
    assert options(encode="always").spec().mode == "always"
    assert options(encode="never").spec().mode == "never"
