from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from support.exports import ROOT
from support.flags import PLACES, parse, refused
from support.pages import flag_rows

from beam_export.cli.flags import (
    ExportCommand,
    ReportCommand,
    export_flags,
    export_parser,
    parse_export,
    parse_index,
    parse_report,
    parse_verify,
)
from beam_export.declaration import Option
from beam_export.errors import InputError
from beam_export.options import ExportOptions

CHOICES = {one.name: one.choices for one in export_flags() if one.choices}


#: Flags that are no options of the export itself.
OF_THE_COMMAND = {"input", "dry_run", "wait"}


def actions() -> dict[str, argparse.Action]:
    return {action.dest: action for action in export_parser()._actions if action.dest != "help"}


def test_defaults_are_those_of_the_options() -> None:
    assert parse() == ExportCommand(
        input="in",
        options=ExportOptions(output_dir="out"),
        dry_run=False,
        wait=None,
        beam_flags=[],
    )


def test_every_option_has_a_flag_and_no_other_flag_is_there() -> None:
    names = {field.name for field in dataclasses.fields(ExportOptions)}
    assert set(actions()) == names | OF_THE_COMMAND
    for name, action in actions().items():
        short = {"input": ["-i"], "output_dir": ["-o"]}.get(name, [])
        assert action.option_strings == [f"--{name}", *short]
        assert action.help


@pytest.mark.parametrize(
    ("flag", "name", "value"),
    [
        ("--input_format=parquet", "input_format", "parquet"),
        ("--images_per_tar=5", "images_per_tar", 5),
        ("--deterministic_name=false", "deterministic_name", False),
        ("--member_names=sequential", "member_names", "sequential"),
        ("--order=shuffled", "order", "shuffled"),
        ("--seed=-7", "seed", -7),
        ("--encode=never", "encode", "never"),
        ("--encoder=pillow", "encoder", "pillow"),
        ("--quality=80", "quality", 80),
        ("--subsampling=444", "subsampling", "444"),
        ("--resize=256", "resize", 256),
        ("--resize_mode=border", "resize_mode", "border"),
        ("--limit=3", "limit", 3),
        ("--duplicates=rename", "duplicates", "rename"),
        ("--metadata=scores.csv", "metadata", "scores.csv"),
        ("--metadata_key=key", "metadata_key", "key"),
        ("--filter=score > 0.5", "filter", "score > 0.5"),
        ("--ids=ids.txt", "ids", "ids.txt"),
        ("--exclude_ids=ids.txt", "exclude_ids", "ids.txt"),
        ("--caption_column=caption", "caption_column", "caption"),
        ("--max_failed_fraction=0.5", "max_failed_fraction", 0.5),
        ("--allow_broken_sources", "allow_broken_sources", True),
        ("--damaged=keep", "damaged", "keep"),
        ("--max_pixels=9", "max_pixels", 9),
        ("--max_image_bytes=9", "max_image_bytes", 9),
        ("--gpu=nvidia-l4", "gpu", "nvidia-l4"),
        ("--verbose", "verbose", True),
    ],
)
def test_each_flag_sets_its_option(flag: str, name: str, value: Any) -> None:
    given, default = parse(flag), ExportOptions(output_dir="out")
    assert given.options == dataclasses.replace(default, **{name: value})
    assert given.options != default
    name, equals, text = flag.partition("=")
    if equals:
        assert parse(name, text) == given


@pytest.mark.parametrize(
    ("flags", "wait"), [([], None), (["--wait"], True), (["--wait=false"], False)]
)
def test_wait_is_left_to_the_runner_unless_given(flags: list[str], wait: bool | None) -> None:
    assert parse(*flags).wait is wait


@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        (["-i", "in 2"], "--input is given twice, as in and as 'in 2': write --input='in,in 2' "),
        (["--seed=0", "--seed=1"], "--seed is given twice, as 0 and as 1: leave one of them out."),
        (["--clean", "--clean=false"], "--clean is given twice, as true and as false: leave one"),
        (["--drop-columns=a", "--drop_columns=b"], "write --drop_columns=a,b for both, or leave"),
        (["--metadata=auto", "--metadata=b.csv"], "as auto and as b.csv: leave one of them out."),
    ],
)
def test_a_flag_with_two_values_is_refused(flags: list[str], rest: str) -> None:
    assert rest in refused(*flags)


def test_a_flag_may_be_given_twice_with_one_value() -> None:
    twice = parse("--input=in", "--seed=1", "--seed=01", "--verbose", "--verbose=true")
    assert twice == parse("--seed=1", "--verbose")


def test_other_commands_refuse_two_values_too() -> None:
    with pytest.raises(InputError, match="--against is given twice, as a and as b: write --aga"):
        parse_verify(["out", "--against=a", "--against", "b"])


BOOLEANS = ["deterministic_name", "allow_broken_sources", "verbose", "dry_run"]


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (["--{}"], True),
        (["--{}=true"], True),
        (["--{}=True"], True),
        (["--{}", "true"], True),
        (["--{}=false"], False),
        (["--{}", "FALSE"], False),
    ],
)
def test_booleans(name: str, text: list[str], value: bool) -> None:
    command = parse(*(part.format(name) for part in text), "--seed=5")
    found = command.dry_run if name == "dry_run" else getattr(command.options, name)
    assert found is value
    assert command.options.seed == 5


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", ["banana", "", "1", "yes"])
def test_booleans_are_true_or_false(name: str, value: str) -> None:
    sentence = refused(f"--{name}={value}")
    assert f"--{name}: {value!r} is neither true nor false" in sentence
    assert "beam-export export --help" in sentence


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name: str) -> None:
    sentence = refused(f"--{name}=banana")
    assert f"--{name}" in sentence
    assert "'banana'" in sentence
    assert all(word in sentence for word in CHOICES[name])
    for word in CHOICES[name]:
        assert getattr(parse(f"--{name}={word}").options, name) == word


@pytest.mark.parametrize(
    "flag",
    [
        *("--seed=x", "--seed=1.5", "--quality=101", "--quality=0", "--limit=0", "--resize=-5"),
        *("--images_per_tar=0", "--images_per_tar=many", "--max_failed_fraction=2"),
        *("--max_failed_fraction=nan", "--max_pixels=0"),
    ],
)
def test_a_wrong_value_is_a_sentence(flag: str) -> None:
    name, _, value = flag.partition("=")
    sentence = refused(flag)
    assert name in sentence
    assert value in sentence
    assert "give" in sentence or "see beam-export export --help" in sentence


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ([], "--input, --output_dir"),
        (["--input=a"], "--output_dir"),
        (["--output_dir=a"], "--input"),
    ],
)
def test_what_is_required(flags: list[str], missing: str) -> None:
    with pytest.raises(InputError, match=f"are required: {missing}: see beam-export export --help"):
        parse_export(flags)


def test_a_flag_without_its_value() -> None:
    assert "--input: expected one argument" in refused("--input")


def test_the_flags_of_verify() -> None:
    command = parse_verify(["out", "--decode", "--input_format=table"])
    assert (command.output_dir, command.decode, command.input_format) == ("out", True, "table")
    assert (command.against, command.json, command.verbose) == (None, False, False)
    command = parse_verify(["--against=in", "--json", "--verbose=true", "out"])
    assert (command.against, command.json, command.verbose) == ("in", True, True)
    assert (command.output_dir, command.decode, command.input_format) == ("out", False, "auto")
    with pytest.raises(InputError, match=r"--input_format.*see beam-export verify --help"):
        parse_verify(["out", "--input_format=banana"])


@pytest.mark.parametrize("parse", [parse_verify, parse_report, parse_index])
@pytest.mark.parametrize("text", ["", " "])
def test_no_directory_is_not_the_root(parse: Callable[[list[str]], object], text: str) -> None:
    with pytest.raises(InputError, match=f"OUT='{text}' is no path: give the directory"):
        parse([text])


def test_the_flags_of_report() -> None:
    command = parse_report(["out", "--images=5", "--seed=-3"])
    assert (command.output_dir, command.images, command.seed) == ("out", 5, -3)
    assert parse_report(["out"]) == ReportCommand(output_dir="out", beam_flags=[])
    for wrong in ("--images=-1", "--images=many", "--images=5001", "--seed=x"):
        with pytest.raises(InputError, match=wrong.partition("=")[0]):
            parse_report(["out", wrong])


ROWS = flag_rows((ROOT / "README.md").read_text())
IN_THE_TABLE = [one for one in export_flags() if not one.required]


def test_the_readme_has_a_row_for_every_flag_and_no_other() -> None:
    assert set(ROWS) == {one.name for one in IN_THE_TABLE}


@pytest.mark.parametrize("flag", IN_THE_TABLE, ids=lambda flag: flag.name)
def test_the_row_of_the_readme_tells_default_and_choices(flag: Option) -> None:
    default, row = ROWS[flag.name]
    if flag.default_text is None:
        assert default in ("", "off")
    else:
        assert default == flag.default_text
    assert not [word for word in flag.choices if f"`{word}`" not in row]


def test_help_has_the_flags_under_the_headings_of_their_groups() -> None:
    headings = {
        action.dest: group.title
        for group in export_parser()._action_groups
        for action in group._group_actions
    }
    assert all(headings[one.name] == one.group for one in export_flags())


def test_help_tells_every_flag_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_export(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in actions():
        assert f"--{name}" in text
    assert "default: 1000" in text
    assert "default: true" in text
    assert "default: None" not in text
    assert "--runner" in text


# How people type.


def said(*argv: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_export(argv)
    return caught.value.sentence


@pytest.mark.parametrize(
    "flags",
    [
        ["-i", "in", "-o", "out"],
        ["-iin", "-oout"],
        ["--input", "in", "-o", "out"],
        ["-i", "in", "--output-dir", "out"],
        ["--input=in", "--output-dir=out"],
    ],
)
def test_places_have_a_letter_and_dashes(flags: list[str]) -> None:
    assert parse_export(flags) == parse()


@pytest.mark.parametrize("one", export_flags(), ids=lambda one: one.name)
def test_dashes_are_taken_for_underscores_in_every_flag(one: Option) -> None:
    if "_" not in one.name or one.name == "output_dir":
        return
    value = {bool: "true", int: "3", float: "0.5"}.get(one.kind, one.choices[-1:] or "utf-16")
    value = value if isinstance(value, str) else value[0]
    dashed = one.name.replace("_", "-")
    assert parse(f"--{dashed}={value}") == parse(f"--{one.name}={value}")
    assert parse(f"--{dashed}", value) == parse(f"--{one.name}={value}")


def test_dashes_in_values_stay() -> None:
    assert parse("--caption-column=my-text", "--metadata-key", "the-key").options == (
        dataclasses.replace(
            ExportOptions(output_dir="out"), caption_column="my-text", metadata_key="the-key"
        )
    )


@pytest.mark.parametrize("flag", ["-input", "\N{EN DASH}input", "\N{EM DASH}input", "-input=in"])
def test_one_dash_too_few_is_said(flag: str) -> None:
    assert said(flag, "in", "--output_dir", "out").endswith("write --input.")


def test_home_is_expanded_in_every_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    paths = {one.name: one.path for one in export_flags() if one.path and one.name != "input"}
    assert paths
    for name in paths:
        given = parse_export([f"--{name}=~/x", *(one for one in PLACES if name not in one)])
        assert getattr(given.options, name) == "/home/me/x"
        given = parse_export([f"--{name}=x~/~", *(one for one in PLACES if name not in one)])
        assert getattr(given.options, name) == "x~/~"
    assert parse_verify(["~/x"]).output_dir == "/home/me/x"
