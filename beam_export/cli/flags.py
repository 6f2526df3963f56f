"""The one place that knows flags: how they are spelled, what they mean, how they are read."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import NoReturn

from apache_beam.options.pipeline_options import PipelineOptions

from beam_export.errors import InputError
from beam_export.options import CHOICES, ExportOptions

__all__ = ["ExportCommand", "VerifyCommand", "export_parser", "parse_export", "parse_verify"]


@dataclasses.dataclass(frozen=True)
class ExportCommand:
    """What `export` was asked for.

    Attributes:
        input: as `--input`.
        options: of the export.
        dry_run: whether only the plan is to be shown.
        beam_flags: every flag that is Beam's.
        wait: whether to follow a job to its end; None leaves it to the runner.
    """

    input: str
    options: ExportOptions
    dry_run: bool
    beam_flags: list[str]
    wait: bool | None = None


@dataclasses.dataclass(frozen=True)
class VerifyCommand:
    """What `verify` was asked for.

    Attributes:
        output_dir: the export.
        decode: whether each image is decoded.
        against: the input that it was made of, as `--input` of `export`; None for none.
        input_format: as of `export`.
        json: whether to print JSON.
        verbose: whether to show tracebacks.
        beam_flags: every flag that is Beam's.
    """

    output_dir: str
    decode: bool
    against: str | None
    input_format: str
    json: bool
    verbose: bool
    beam_flags: list[str]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}: see beam-export {self.prog.rpartition(' ')[2]} --help.")


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def export_parser() -> argparse.ArgumentParser:
    """Returns the parser of `export`; its defaults are those of `ExportOptions`."""
    parser = _Parser(
        prog="beam-export export",
        description="Export images and what belongs to them as exact shards of tar and Parquet.",
        epilog="Every other flag goes to Beam: --runner, --direct_num_workers, ...",
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_places(parser.add_argument_group("input and output"))
    _add_selection(parser.add_argument_group("what is known of the samples, and which are taken"))
    _add_layout(parser.add_argument_group("shards and samples"))
    _add_images(parser.add_argument_group("images"))
    _add_run(parser.add_argument_group("the run"))
    for action in parser._actions:
        if action.dest in CHOICES:
            action.choices = CHOICES[action.dest]
        if action.dest in ExportOptions.__dataclass_fields__ and action.dest != "output_dir":
            action.default = ExportOptions.__dataclass_fields__[action.dest].default
    return parser


def _add_places(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--input",
        required=True,
        help="directory, file, glob, {000..123} range, or a comma-separated list of these",
    )
    group.add_argument(
        "--input_format", help="what is read of it; auto looks at the names of what is inside"
    )
    group.add_argument("--output_dir", required=True, help="directory to write to")


def _add_selection(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--metadata", help="table (.parquet, .csv, .jsonl) whose columns join each sample by id"
    )
    group.add_argument("--metadata_key", help="the table's column with the ids")
    group.add_argument(
        "--filter",
        help="keep samples for which a SQL condition over the columns, width, height, size and "
        "format is true: score >= 0.5 and width > 256; columns are checked before anything runs "
        "where tables name them, and before anything is written where only JSON does",
    )
    group.add_argument("--ids", help="keep these: a file of ids, one a line, or a Parquet column")
    group.add_argument("--exclude_ids", help="leave these out; as --ids")
    group.add_argument("--caption_column", help="text that is also written as KEY.txt")


def _add_layout(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--images_per_tar", type=int, help="samples a shard, exact in all but the last"
    )
    group.add_argument(
        "--max_tar_bytes",
        type=int,
        help="close a shard at this size too; planned on the sizes of the sources",
    )
    _add_boolean(
        group, "--deterministic_name", "name files by their content, else by a random token"
    )
    group.add_argument("--member_names", help="name samples in the tars by id or by their rank")
    group.add_argument("--order", help="the input's order, or a shuffle by --seed")
    group.add_argument("--seed", type=int, help="names the permutation of --order=shuffled")
    group.add_argument("--limit", type=int, help="export only the first N samples in order")
    group.add_argument("--duplicates", help="of equal ids: stop, keep the first, or rename")
    group.add_argument(
        "--probe",
        help="before planning, look at each image's header, or decode it in full, so that shards "
        "are exact over what can be read",
    )


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--encode",
        help="auto copies a JPEG that needs no change and makes JPEG of all else; always encodes "
        "all; never copies all",
    )
    group.add_argument(
        "--encoder", help="what encodes; auto is DALI where it has a GPU, and else Pillow"
    )
    group.add_argument("--device", help="where DALI works; auto is the GPU where there is one")
    group.add_argument("--quality", type=int, help="of JPEGs that are encoded, 1 to 100")
    group.add_argument("--subsampling", help="chroma subsampling of JPEGs that are encoded")
    group.add_argument("--resize", type=int, help="target in pixels")
    group.add_argument("--resize_mode", help="what --resize sets, and what becomes of the rest")
    group.add_argument(
        "--damaged",
        help="JPEGs that decode with loss of data: fail, or keep them as far as they decode",
    )
    group.add_argument("--max_pixels", type=int, help="larger images are failures")
    group.add_argument("--max_image_bytes", type=int, help="larger files are failures")


def _add_run(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max_failed_fraction",
        type=float,
        help="if more of the images fail, the run does; each is listed either way",
    )
    _add_boolean(group, "--resume", "keep shards that an earlier run of the same has finished")
    _add_boolean(group, "--clean", "remove what earlier runs have left in --output_dir")
    _add_boolean(group, "--allow_broken_sources", "go on without what an unreadable source holds")
    _add_boolean(group, "--dry_run", "show the plan, made on this machine, and write nothing")
    group.add_argument(
        "--gpu",
        metavar="TYPE",
        help="accelerator of Dataflow's workers, nvidia-l4 say: sets all that they need for it",
    )
    _add_boolean(
        group,
        "--wait",
        "follow the job to its end; if not given, false on Dataflow and true elsewhere",
    )
    _add_boolean(group, "--verbose", "a line a shard, and tracebacks of errors")
    group.set_defaults(dry_run=False)


def _add_boolean(group: argparse._ActionsContainer, flag: str, text: str) -> None:
    group.add_argument(flag, type=_boolean, nargs="?", const=True, metavar="true|false", help=text)


def parse_export(argv: Sequence[str]) -> ExportCommand:
    """Returns what the flags of `export` ask for.

    Raises:
        InputError: if one is wrong, missing, or neither ours nor Beam's.
    """
    parsed, rest = export_parser().parse_known_args(argv)
    _refuse_unknown("export", rest)
    given = {name: getattr(parsed, name) for name in _option_names() if hasattr(parsed, name)}
    options = ExportOptions(**given)
    return ExportCommand(parsed.input, options, parsed.dry_run, rest, parsed.wait)


def parse_verify(argv: Sequence[str]) -> VerifyCommand:
    """Returns what the flags of `verify` ask for.

    Raises:
        InputError: if one is wrong, missing, or neither ours nor Beam's.
    """
    parser = _Parser(
        prog="beam-export verify",
        description="Re-read an export and prove it: each fault on a line of its own.",
        epilog="Every other flag goes to Beam. Exit codes: 0 sound, 1 faults, 2 not an export.",
        allow_abbrev=False,
    )
    parser.add_argument("output_dir", metavar="OUT", help="directory of the export")
    _add_boolean(parser, "--decode", "decode each image in full")
    parser.add_argument(
        "--against",
        metavar="INPUT",
        help="prove that each sample of this input is in the export, its failures or its dropped, "
        "with its bytes, sidecars and columns, in order; with --decode, images are encoded again",
    )
    parser.add_argument(
        "--input_format", choices=CHOICES["input_format"], default="auto", help="of --against"
    )
    _add_boolean(parser, "--json", "print one JSON object in place of lines")
    _add_boolean(parser, "--verbose", "tracebacks of errors")
    parser.set_defaults(decode=False, json=False, verbose=False)
    # Beam's flags may stand before OUT with a value of their own, and would lend it to OUT.
    parsed, rest = parser.parse_known_args(argv)
    _refuse_unknown("verify", rest)
    return VerifyCommand(**vars(parsed), beam_flags=rest)


def _option_names() -> list[str]:
    return [field.name for field in dataclasses.fields(ExportOptions)]


def _refuse_unknown(command: str, rest: Sequence[str]) -> None:
    """Refuses what Beam does not know either; it would only log it, and go on."""
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
