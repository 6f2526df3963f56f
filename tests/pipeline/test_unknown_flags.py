"""What neither the command nor Beam knows is answered by what was probably meant."""

from __future__ import annotations

import pytest
from support.flags import parse, refused

from beam_export.cli.flags import (
    parse_export,
    parse_report,
    parse_verify,
)
from beam_export.errors import InputError


def said(*argv: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_export(argv)
    return caught.value.sentence


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [
        ("--image_per_tar=5", "--images_per_tar"),
        ("--images_per_shard=5", "--images_per_tar"),
        ("--qualty=5", "--quality"),
        ("--out=x", "--output_dir"),
        ("--output=x", "--output_dir"),
        ("--Resize=5", "--resize"),
        ("--meta=x", "--metadata or --metadata_key"),
        ("--direct-num-workers=2", "--direct_num_workers"),
        ("--direct_num_worker=2", "--direct_num_workers"),
    ],
)
def test_an_unknown_flag_is_answered_by_the_nearest(flag: str, nearest: str) -> None:
    assert refused(flag) == (
        f"{flag} is no flag of beam-export nor of Beam, the nearest is {nearest}: see beam-export "
        "export --help."
    )


def test_a_flag_that_is_like_no_other_is_only_unknown() -> None:
    assert "nearest" not in refused("--xyzzy=1")
    assert "but of beam-export verify" in refused("--decode")


@pytest.mark.parametrize("flag", ["--imput", "--inputs", "--inpt"])
def test_a_mistyped_flag_is_named_before_what_is_missing(flag: str) -> None:
    assert "the nearest is --input" in said(flag, "in", "--output_dir", "out")


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        (["in", "out"], "--input in --output_dir out"),
        (["in"], "--input in --output_dir OUT"),
        (["a", "b", "out"], "--input a,b --output_dir out"),
        (["in", "--output_dir", "out"], "--input in --output_dir out"),
        (["a", "b", "-o", "out"], "--input a,b --output_dir out"),
        (["-i", "in", "out"], "--input in --output_dir out"),
        (["in dir", "out dir"], "--input 'in dir' --output_dir 'out dir'"),
        (["gs://b/*.jpg", "-o", "gs://b/out"], "--input 'gs://b/*.jpg' --output_dir gs://b/out"),
        (["--images_per_tar=5", "in", "out"], "--input in --output_dir out"),
    ],
)
def test_paths_without_a_flag_are_answered_by_the_command_that_was_meant(
    argv: list[str], meant: str
) -> None:
    assert said(*argv).endswith(f"without a flag: write beam-export export {meant}.")


def test_a_pattern_that_the_shell_has_expanded_is_to_be_quoted() -> None:
    sentence = said("--input", *(f"{number}.jpg" for number in range(9)), "--output_dir", "out")
    assert sentence.startswith("1.jpg 2.jpg 3.jpg ... are given without a flag: if the shell")


@pytest.mark.parametrize("flags", [["--label=folder"], ["--label", "folder"], ["--label=Folder"]])
def test_a_flag_of_beams_with_a_value_of_ours_is_answered_by_ours(flags: list[str]) -> None:
    sentence = refused(*flags)
    assert sentence.startswith("--label=")
    assert "does nothing to images: write --labels=folder; for Beam, as key=value," in sentence


@pytest.mark.parametrize("label", ["team=vision", "folder=", "vision", '{"folder": "x"}'])
@pytest.mark.parametrize("runner", [[], ["--runner=DataflowRunner"]])
def test_labels_of_a_job_go_to_beam(label: str, runner: list[str]) -> None:
    flags = [*runner, f"--label={label}", "--network=folder", "--experiments=folder"]
    found = parse(*flags)
    assert found.beam_flags == flags
    assert found.options.labels == "none"
    assert parse("--labels", "folder", "--label", label).options.labels == "folder"


@pytest.mark.parametrize("flags", [["--labels=team=x"], ["--labels", '{"team": "x"}']])
def test_labels_of_a_job_in_the_flag_of_ours_are_answered_by_that_of_beam(flags: list[str]) -> None:
    assert refused(*flags).endswith("a job on Dataflow are given by --label=key=value.")


def test_a_flag_of_another_command_is_named_as_such() -> None:
    with pytest.raises(InputError, match="but of beam-export verify"):
        parse_report(["out", "--decode"])
    with pytest.raises(InputError, match="but of beam-export report"):
        parse_verify(["out", "--images=5"])


def test_report_takes_one_directory_and_flags_of_beam() -> None:
    with pytest.raises(InputError, match=r"give .*directory.*beam-export report OUT"):
        parse_report(["a", "--output_dir=b"])
    flags = ["--s3_region_name=us-east-1"]
    assert parse_report(["s3://b/out", *flags]).beam_flags == flags


def test_verify_takes_one_directory() -> None:
    for argv in (["a", "b"], ["--output_dir=a"], ["--input", "a"], ["-o", "a"], ["a", "-i", "b"]):
        with pytest.raises(InputError, match=r"give .*directory.*beam-export verify OUT"):
            parse_verify(argv)
    assert parse_verify(["a", "--input-format=table"]).input_format == "table"
