from __future__ import annotations

import argparse
import dataclasses
import inspect
from typing import Any, Literal

import pytest

from beam_export.cli.parser import add_flags
from beam_export.declaration import Option, declared, option
from beam_export.errors import InputError
from beam_export.options import ExportOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Second(ExportOptions):
    """The options with two more, as a later edition would add them: one entry each."""

    paint: Literal["none", "oil"] = option(
        "none", Option("what 100% of walls bear", "a later heading", shapes="unless_default")
    )
    share: float | None = option(
        None, Option("of all", "a later heading", shapes="unless_default", at_least=0, at_most=2)
    )


def second(**given: Any) -> Second:
    return Second(**{"output_dir": "/out", **given})


def test_name_type_choices_and_default_are_those_of_the_field() -> None:
    paint, share = list(declared(Second).values())[-2:]
    assert (paint.name, paint.kind, paint.optional) == ("paint", str, False)
    assert (paint.choices, paint.default, paint.required) == (("none", "oil"), "none", False)
    assert (share.name, share.kind, share.optional) == ("share", float, True)
    assert (share.choices, share.default, share.required) == ((), None, False)
    output_dir = declared(Second)["output_dir"]
    assert (output_dir.kind, output_dir.required, output_dir.default) == (str, True, None)


def test_the_options_of_a_class_come_in_their_order_and_after_those_of_its_base() -> None:
    assert list(declared(Second)) == [*declared(ExportOptions), "paint", "share"]


def test_a_declared_field_is_a_field_like_any_other() -> None:
    # What a user sees of the class: no word of how it was declared.
    parameter = inspect.signature(Second).parameters["paint"]
    assert (parameter.annotation, parameter.default) == ("Literal['none', 'oil']", "none")
    assert second().paint == Second.paint == "none"
    assert second(paint="oil") == dataclasses.replace(second(), paint="oil")


def test_an_option_at_its_default_leaves_hash_digests_and_manifest_as_they_were() -> None:
    first = ExportOptions(output_dir="/out")
    assert second().shaping() == first.shaping()
    assert second().digest() == first.digest()


def test_another_value_enters_hash_digests_and_manifest() -> None:
    given = second(paint="oil")
    assert given.shaping() == {**second().shaping(), "paint": "oil"}
    digests = {second().digest(), given.digest(), second(share=0.5).digest()}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("shapes", "value", "enters"),
    [
        ("always", 1, True),
        ("always", 2, True),
        ("unless_default", 1, False),
        ("unless_default", 2, True),
        ("never", 1, False),
        ("never", 2, False),
    ],
)
def test_what_enters(shapes: Any, value: int, enters: bool) -> None:
    assert Option("", shapes=shapes, kind=int, default=1).enters(value) is enters


def test_whether_an_option_shapes_the_output_must_be_said() -> None:
    with pytest.raises(TypeError, match="shapes"):
        Option("", "group")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"paint": "x"}, "--paint='x' is not a choice: give one of 'none', 'oil'."),
        ({"share": "x"}, "--share='x' is not a number of at least 0: give such a number."),
        ({"share": -1}, "--share=-1 is not a number of at least 0: give such a number."),
        ({"share": True}, "--share=True is not a number of at least 0: give such a number."),
        ({"share": 2.5}, "--share=2.5 is above 2: give 0 to 2."),
        # Those of the options that there are, word by word.
        ({"limit": 0}, "--limit=0 is not a whole number of at least 1: give such a number."),
        ({"quality": 101}, "--quality=101 is above 100: give 1 to 100."),
        ({"seed": 1.5}, "--seed=1.5 is not a whole number: give one, 0 or 42 say."),
        ({"clean": "no"}, "--clean='no' is neither True nor False: give one of the two."),
        ({"ids": " "}, "--ids=' ' names nothing: give a name, or leave it out."),
        (
            {"metadata_key": None},
            "--metadata_key=None names nothing: give a name, or leave it out.",
        ),
        ({"gpu": 4}, "--gpu=4 is no accelerator type: give one such as nvidia-l4."),
        (
            {"output_dir": ""},
            "--output_dir='' is no path: give a directory or gs://bucket/prefix, as text.",
        ),
        (
            {"max_failed_fraction": 2},
            "--max_failed_fraction=2 is not a number between 0 and 1: give the share of images "
            "that may fail, 0.01 for one in a hundred.",
        ),
        (
            {"filter": " "},
            "--filter=' ' is no expression: give one over the columns, as in "
            '"score >= 0.5 and width > 256".',
        ),
    ],
)
def test_what_is_said_of_a_wrong_value(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        second(**given)
    assert caught.value.sentence == sentence


@pytest.mark.parametrize(
    "given", [{"share": 0}, {"share": 2}, {"share": 0.5}, {"share": None}, {"paint": "oil"}]
)
def test_what_is_taken(given: dict[str, Any]) -> None:
    assert {name: getattr(second(**given), name) for name in given} == given


@pytest.mark.parametrize(
    ("kind", "default", "text"),
    [(bool, True, "true"), (bool, False, "false"), (int, 0, "0"), (float, 0.01, "0.01")],
)
def test_defaults_as_they_are_typed(kind: type, default: Any, text: str) -> None:
    assert Option("", shapes="never", kind=kind, default=default).default_text == text


def test_no_default_is_no_text() -> None:
    assert declared(Second)["share"].default_text is None
    assert declared(Second)["output_dir"].default_text is None


def test_the_command_line_has_what_is_declared(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser(prog="x")
    add_flags(parser, declared(Second).values())
    given = parser.parse_args(["--output_dir=o", "--paint=oil", "--share", "0.5"])
    assert (given.paint, given.share) == ("oil", 0.5)
    assert Second(**vars(given)).digest() != second().digest()
    parser.print_help()
    text = " ".join(capsys.readouterr().out.split())
    assert "a later heading: --paint {none,oil} what 100% of walls bear (default: none)" in text
