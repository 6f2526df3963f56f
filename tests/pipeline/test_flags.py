"""Flags that the commands leave to Beam; tests/unit/cli/test_flags.py has their own."""

from __future__ import annotations

import pytest

from beam_export.cli.flags import ExportCommand, parse_export
from beam_export.errors import InputError


def parse(*flags: str) -> ExportCommand:
    return parse_export(["--input=in", "--output_dir=out", *flags])


@pytest.mark.parametrize(
    "flag",
    [
        *("--nonsense", "--nonsense=5", "-x", "--", "--help_me"),
        # Abbreviations: what they mean would change with the next flag.
        *("--images=5", "--images_per=5", "--verb", "--qual=5"),
        *("--direct_num=2", "--runn=DirectRunner"),
    ],
)
def test_unknown_flags_are_refused(flag: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(flag)
    # What was probably meant is in test_unknown_flags.
    sentence = caught.value.sentence
    assert sentence.startswith(f"{flag} is no flag of beam-export nor of Beam")
    assert sentence.endswith(": see beam-export export --help.")


@pytest.mark.parametrize(
    "flags",
    [
        ["--runner=DirectRunner"],
        ["--runner", "DirectRunner"],
        ["--direct_num_workers=2"],
        ["--direct_num_workers", "2", "--direct_running_mode=multi_processing"],
        ["--temp_location=x", "--project=p", "--region=r", "--runner=DataflowRunner"],
        ["--experiments=a", "--experiments=b", "--save_main_session"],
    ],
)
def test_flags_of_beam_pass_through(flags: list[str]) -> None:
    command = parse(*flags, "--seed=5")
    assert command.beam_flags == flags
    assert command.options.seed == 5


def test_a_wrong_value_of_a_flag_of_beam_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"--direct_num_workers.*two.*beam-export export --help"):
        parse("--direct_num_workers=two")
