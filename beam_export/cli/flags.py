"""Parses argv into the options of each command, with a flag for each declared option."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from beam_export.cli.parser import FlagParser, add_flags, with_underscores
from beam_export.cli.unknown_flags import refuse_labels_of_jobs, refuse_unknown
from beam_export.declaration import Option, declared, option
from beam_export.errors import InputError
from beam_export.option_groups.run import PLACES, RUN, InputFormat
from beam_export.options import ExportOptions
from beam_export.storage.home import expand_given

__all__ = [
    "ExportCommand",
    "IndexCommand",
    "ReportCommand",
    "VerifyCommand",
    "export_flags",
    "export_parser",
    "parse_export",
    "parse_index",
    "parse_report",
    "parse_verify",
]

#: What is left of argv where Beam's number of workers is given, and none of its other flags.
_WORKERS = re.compile(r"--direct_num_workers[= ][0-9]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """The parsed flags of `export`: the options, and flags of the command line alone.

    Attributes:
        input: as `--input`.
        options: of the export.
        dry_run: whether to print the plan only.
        wait: whether to follow a job to its end; None for the runner's default.
        beam_flags: all flags of Beam.
    """

    input: str = dataclasses.field(
        metadata=Option(
            "directory, file, glob, {000..123} range, or a comma-separated list of these",
            PLACES,
            shapes="never",
            path="read_folder",
            short="i",
            several=True,
        ).as_metadata()
    )
    options: ExportOptions
    dry_run: bool = option(
        False,
        Option("show the plan, made on this machine, and write nothing", RUN, shapes="never"),
    )
    wait: bool | None = option(
        None,
        Option(
            "follow the job to its end; if not given, false on Dataflow and true elsewhere",
            RUN,
            shapes="never",
        ),
    )
    beam_flags: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """The parsed flags of `verify`.

    Attributes:
        output_dir: directory of the export.
        decode: whether each image is decoded.
        against: input to compare with, as `--input` of `export`; None for none.
        input_format: format of that input, as of `export`.
        json: whether to print JSON.
        verbose: whether to print tracebacks.
        beam_flags: all flags of Beam.
    """

    name: ClassVar = "verify"
    does: ClassVar = "Re-read an export and prove it: each fault on a line of its own."
    exit_codes: ClassVar = "0 sound, 1 faults, 2 not an export."

    output_dir: str
    decode: bool = option(False, Option("decode each image in full", shapes="never"))
    against: str | None = option(
        None,
        Option(
            "prove that each sample of this input is in the export, its failures or its dropped, "
            "with its bytes, sidecars and columns, in order; with --decode, images are encoded "
            "again",
            shapes="never",
            several=True,
            metavar="INPUT",
        ),
    )
    input_format: InputFormat = option("auto", Option("of --against", shapes="never"))
    json: bool = option(False, Option("print one JSON object in place of lines", shapes="never"))
    verbose: bool = option(False, Option("tracebacks of errors", shapes="never"))
    beam_flags: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportCommand:
    """The parsed flags of `report`.

    Attributes:
        output_dir: directory of the export.
        images: how many are shown.
        seed: of their choice.
        verbose: whether to print tracebacks.
        beam_flags: all flags of Beam, of which its file systems take some.
    """

    name: ClassVar = "report"
    does: ClassVar = "Write OUT/_meta/report.html: one page that shows what is in an export."
    exit_codes: ClassVar = "0 written, 1 the export is damaged, 2 not an export."

    output_dir: str
    images: int = option(
        60, Option("images on the contact sheet", shapes="never", at_least=0, at_most=5_000)
    )
    seed: int = option(0, Option("of the choice of those images", shapes="never"))
    verbose: bool = option(False, Option("tracebacks of errors", shapes="never"))
    beam_flags: list[str]

    def __post_init__(self) -> None:
        for name, one in declared(ReportCommand).items():
            one.check(getattr(self, name))


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexCommand:
    """The parsed flags of `index`.

    Attributes:
        output_dir: directory of the export.
        index: loaders that get their files, as `--index` of `export`.
        verbose: whether to print tracebacks.
        beam_flags: all flags of Beam.
    """

    name: ClassVar = "index"
    does: ClassVar = "Write what loaders read beside the shards of an export that exists."
    exit_codes: ClassVar = "0 written, 1 the export is damaged, 2 not an export."

    output_dir: str
    index: str = option(
        "all", Option("dali, wids, energon, with commas, or all", shapes="never", several=True)
    )
    verbose: bool = option(False, Option("tracebacks of errors", shapes="never"))
    beam_flags: list[str]


#: A command that is given an export.
_Command = TypeVar("_Command", VerifyCommand, ReportCommand, IndexCommand)


def export_flags() -> list[Option]:
    """Returns the flags of `export`, in the order of `--help`."""
    place, *others = declared(ExportCommand).values()
    return [place, *declared(ExportOptions).values(), *others]


def export_parser(*, complete: bool = True) -> argparse.ArgumentParser:
    """Returns the parser of `export`.

    Args:
        complete: whether what is required must be given.
    """
    parser = FlagParser(
        prog="beam-export export",
        description="Export images and what belongs to them as exact shards of tar and Parquet.",
        epilog="Every other flag goes to Beam: --runner, --direct_num_workers, ...",
        allow_abbrev=False,
    )
    add_flags(parser, export_flags(), complete=complete)
    return parser


def parse_export(argv: Sequence[str]) -> ExportCommand:
    """Parses the flags of `export`; dashes in their names are taken for underscores.

    Raises:
        InputError: if one is wrong or missing, or neither of this tool nor of Beam.
    """
    argv = with_underscores(argv, {one.name for one in export_flags()})
    refuse_labels_of_jobs(argv)
    # A flag that is mistyped is missing too: what is there is the better thing to name.
    parsed, rest = export_parser(complete=False).parse_known_args(argv)
    # The commonest of Beam's flags is known here, since loading Beam takes a while.
    if rest and not _WORKERS.fullmatch(" ".join(rest)):
        choices = {one.name: one.choices for one in export_flags() if one.choices}
        refuse_unknown("export", rest, parsed, names=_names(), choices=choices)
    parsed, rest = export_parser().parse_known_args(argv)
    given = vars(parsed)
    options = ExportOptions(**{name: given.pop(name) for name in declared(ExportOptions)})
    return ExportCommand(options=options, beam_flags=rest, **given)


def parse_verify(argv: Sequence[str]) -> VerifyCommand:
    """Parses the flags of `verify`; dashes in their names are taken for underscores.

    Raises:
        InputError: if one is wrong or missing, or neither of this tool nor of Beam.
    """
    return _parse_for_export(VerifyCommand, argv)


def parse_report(argv: Sequence[str]) -> ReportCommand:
    """Parses the flags of `report`, as `parse_verify` does its own."""
    return _parse_for_export(ReportCommand, argv)


def parse_index(argv: Sequence[str]) -> IndexCommand:
    """Parses the flags of `index`, as `parse_verify` does its own."""
    return _parse_for_export(IndexCommand, argv)


def _parse_for_export(kind: type[_Command], argv: Sequence[str]) -> _Command:
    """Returns the parsed flags of a command that is given an export.

    Args:
        kind: the command: its flags, and what `--help` says of it.
        argv: the arguments.
    """
    command = kind.name
    parser = FlagParser(
        prog=f"beam-export {command}",
        description=kind.does,
        epilog=f"Every other flag goes to Beam. Exit codes: {kind.exit_codes}",
        allow_abbrev=False,
    )
    parser.add_argument("output_dir", metavar="OUT", help="directory of the export")
    add_flags(parser, declared(kind).values())
    argv = with_underscores(argv, set(declared(kind)))
    if place := next((one for one in argv if one.partition("=")[0] in _PLACES_OF_EXPORT), None):
        raise InputError(
            f"{place} is no flag of {command}: give the directory alone, beam-export {command} OUT."
        )
    # Beam's flags may stand before OUT with a value of their own, and would lend it to OUT.
    parsed, rest = parser.parse_known_args(argv)
    if rest:
        refuse_unknown(command, rest, parsed, names=_names())
    given = vars(parsed)
    given["output_dir"] = expand_given(given["output_dir"])
    if not given["output_dir"].strip():
        # As of a variable of the shell that is not set; it would mean the root of the disk.
        raise InputError(
            f"OUT={given['output_dir']!r} is no path: give the directory of an export, beam-export "
            f"{command} OUT."
        )
    return kind(**given, beam_flags=rest)


#: Flags that other commands than `export` have no use for, and are given by habit.
_PLACES_OF_EXPORT = ("--output_dir", "--output-dir", "-o", "--input", "-i")


def _names() -> dict[str, list[str]]:
    """Returns the names of the flags of each command."""
    return {
        "export": [one.name for one in export_flags()],
        "verify": [*declared(VerifyCommand)],
        "report": [*declared(ReportCommand)],
        "index": [*declared(IndexCommand)],
    }
