"""Parses argv into the options of `export` and `verify`, with a flag for each declared option."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from beam_export.declaration import Option, declared, option
from beam_export.errors import InputError
from beam_export.options import PLACES, RUN, ExportOptions, InputFormat

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

__all__ = [
    "ExportCommand",
    "VerifyCommand",
    "export_flags",
    "export_parser",
    "parse_export",
    "parse_verify",
]


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

    output_dir: str
    decode: bool = option(False, Option("decode each image in full", shapes="never"))
    against: str | None = option(
        None,
        Option(
            "prove that each sample of this input is in the export, its failures or its dropped, "
            "with its bytes, sidecars and columns, in order; with --decode, images are encoded "
            "again",
            shapes="never",
            metavar="INPUT",
        ),
    )
    input_format: InputFormat = option("auto", Option("of --against", shapes="never"))
    json: bool = option(False, Option("print one JSON object in place of lines", shapes="never"))
    verbose: bool = option(False, Option("tracebacks of errors", shapes="never"))
    beam_flags: list[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}: see beam-export {self.prog.rpartition(' ')[2]} --help.")


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def export_flags() -> list[Option]:
    """Returns the flags of `export`, in the order of `--help`."""
    place, *others = declared(ExportCommand).values()
    return [place, *declared(ExportOptions).values(), *others]


def export_parser() -> argparse.ArgumentParser:
    """Returns the parser of `export`."""
    parser = _Parser(
        prog="beam-export export",
        description="Export images and what belongs to them as exact shards of tar and Parquet.",
        epilog="Every other flag goes to Beam: --runner, --direct_num_workers, ...",
        allow_abbrev=False,
    )
    _add_flags(parser, export_flags())
    return parser


def _add_flags(parser: argparse.ArgumentParser, options: Iterable[Option]) -> None:
    """Adds a flag for each option, under the headings of their groups."""
    groups: dict[str, argparse._ActionsContainer] = {"": parser}
    for one in options:
        if one.group not in groups:
            groups[one.group] = parser.add_argument_group(one.group)
        groups[one.group].add_argument(f"--{one.name}", **_arguments(one))


def _arguments(one: Option) -> dict[str, Any]:
    """Returns the arguments of `add_argument` for an option."""
    text = one.help if one.default_text is None else f"{one.help} (default: {one.default_text})"
    arguments: dict[str, Any] = {"help": text.replace("%", "%%"), "default": one.default}
    if one.required:
        arguments["required"] = True
    if one.metavar:
        arguments["metavar"] = one.metavar
    if one.choices:
        arguments["choices"] = one.choices
    elif one.kind is bool:
        arguments |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "true|false"}
    else:
        arguments["type"] = one.kind
    return arguments


def parse_export(argv: Sequence[str]) -> ExportCommand:
    """Parses the flags of `export`.

    Raises:
        InputError: if one is wrong or missing, or neither of this tool nor of Beam.
    """
    parsed, rest = export_parser().parse_known_args(argv)
    _refuse_unknown("export", rest)
    given = vars(parsed)
    options = ExportOptions(**{name: given.pop(name) for name in declared(ExportOptions)})
    return ExportCommand(options=options, beam_flags=rest, **given)


def parse_verify(argv: Sequence[str]) -> VerifyCommand:
    """Parses the flags of `verify`.

    Raises:
        InputError: if one is wrong or missing, or neither of this tool nor of Beam.
    """
    parser = _Parser(
        prog="beam-export verify",
        description="Re-read an export and prove it: each fault on a line of its own.",
        epilog="Every other flag goes to Beam. Exit codes: 0 sound, 1 faults, 2 not an export.",
        allow_abbrev=False,
    )
    parser.add_argument("output_dir", metavar="OUT", help="directory of the export")
    _add_flags(parser, declared(VerifyCommand).values())
    # Beam's flags may stand before OUT with a value of their own, and would lend it to OUT.
    parsed, rest = parser.parse_known_args(argv)
    _refuse_unknown("verify", rest)
    return VerifyCommand(**vars(parsed), beam_flags=rest)


def _refuse_unknown(command: str, rest: Sequence[str]) -> None:
    """Refuses flags that Beam does not know either, which it would ignore with a warning."""
    if not rest:
        return
    # Loaded only if there are other flags, so that a mistake in ours is reported at once.
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = _Parser(prog=f"beam-export {command}", allow_abbrev=False, add_help=False)
    for kind in _all_options(PipelineOptions):
        kind._add_argparse_args(parser)
    unknown = parser.parse_known_args(list(rest))[1]
    if unknown:
        raise InputError(
            f"{unknown[0]} is no flag of beam-export nor of Beam: see beam-export {command} --help."
        )


def _all_options(kind: type[PipelineOptions]) -> list[type[PipelineOptions]]:
    found = []
    for below in kind.__subclasses__():
        # Only classes that add flags of their own; an inherited method would add them twice.
        if "_add_argparse_args" in below.__dict__:
            found.append(below)
        found.extend(_all_options(below))
    return found
