"""The `verify` command: opens an export, runs the checks, and prints what they have found."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from beam_export.cli import display, remote
from beam_export.cli.flags import VerifyCommand
from beam_export.cli.gpus import LocalGpus, local_gpus
from beam_export.cli.local import (
    LOCAL,
    local_options,
    quiet,
    run_locally,
    split_runner,
    use_options,
)
from beam_export.cli.processes import end_workers, one_interrupt, temporary_folder
from beam_export.errors import InputError
from beam_export.images.dali.device_share import shared_gpus
from beam_export.images.uniform import WORDS
from beam_export.options import ExportOptions
from beam_export.pipeline.resources import encoder_for, threads_for
from beam_export.pipeline.verify import VerifyExport
from beam_export.pipeline.verify_foreign import VerifyForeign
from beam_export.pipeline.verify_input import Against, Reencode
from beam_export.shards.manifest import FROM_JSON
from beam_export.shards.output import Output
from beam_export.storage.registry import check_reachable
from beam_export.verify.dataset import Opened, find_hash, open_for_checks, read_file
from beam_export.verify.findings import Findings
from beam_export.verify.foreign import ForeignShard, find_foreign
from beam_export.verify.members import ImageCheck

__all__ = ["run_verify"]


def run_verify(command: VerifyCommand) -> int:
    """Runs the command `verify`, and returns its exit code: 0 sound, 1 faults.

    Raises:
        InputError: if there is no export, or it cannot be read.
    """
    use_options(command.beam_flags)
    output = Output(command.output_dir, uuid.uuid4().hex)
    found = _open(output)
    local = split_runner(command.beam_flags)[0] in (None, *LOCAL)
    with (
        one_interrupt(end_workers if local else lambda: None),
        temporary_folder(),
        _result_directory(command) as place,
    ):
        _run(
            command=command,
            build=_transform(command, output, found),
            place=place,
            samples=_sample_count(found),
            gpus=_gpus(command, found),
        )
        with place.read(_result(place)) as source:
            findings = Findings.from_json(source.read().decode())
    if isinstance(found, Opened):
        findings.hash, findings.notes = found.names.hash, found.notes + findings.notes
    elif command.against is not None:
        findings.unchecked.append(
            "--against: only an export of beam_export records what was dropped"
        )
    lines = [findings.to_json()] if command.json else list(findings.lines())
    print("\n".join(lines))
    return 0 if findings.sound else 1


def _open(output: Output) -> Opened | list[ForeignShard]:
    """Returns the export of this tool in a directory, or the shards of others.

    Raises:
        InputError: if there is neither.
    """

    def read(name: str) -> bytes:
        with output.read(name) as source:
            return read_file(source, name)

    check_reachable("OUT", output.directory)
    try:
        files = output.files()
        hash_ = find_hash(files, read)
        if hash_ is not None:
            return open_for_checks(hash_, files, read)
    except OSError as error:
        raise InputError(
            f"OUT={output.directory} cannot be read ({str(error).splitlines()[0]}): give the "
            "directory of an export."
        ) from error
    if shards := find_foreign(files):
        return shards
    raise InputError(
        f"OUT={output.directory} is not an export, since it holds neither a .tar nor a .parquet: "
        "give the directory that has the shards."
    )


def _sample_count(found: Opened | list[ForeignShard]) -> int | None:
    """Returns the number of samples to check, for the progress bar; None if unknown."""
    if not isinstance(found, Opened):
        return None
    rows = (found.shards or {}).values()
    return sum(row["samples"] or 0 for row in rows)


_Build = Callable[[beam.Pipeline, str | None, Output], Any]


def _transform(
    command: VerifyCommand, output: Output, found: Opened | list[ForeignShard]
) -> _Build:
    """Returns a function that adds the checks to a pipeline.

    It is given the pipeline, the address of the progress bar, and a directory for files of its own.
    """
    if not isinstance(found, Opened):
        images = _image_check(command, {})
        return lambda pipeline, progress_address, _: (
            pipeline
            | "Verify"
            >> VerifyForeign(
                output=output, shards=found, images=images, progress_address=progress_address
            )
        )
    images = _image_check(command, found.manifest["options"] if found.manifest else {})
    against = Against(command.against, command.input_format) if command.against else None
    return lambda pipeline, progress_address, place: (
        pipeline
        | "Verify"
        >> VerifyExport(
            output=output,
            opened=found,
            images=images,
            against=against,
            reencode=_reencode(command, found, pipeline),
            spills=place,
            progress_address=progress_address,
        )
    )


def _reencode(command: VerifyCommand, found: Opened, pipeline: beam.Pipeline) -> Reencode | None:
    """Returns how the images of the input are encoded again; None if they are not, or cannot be."""
    options = _reencoding(command, found)
    if options is None or found.manifest is None:
        return None
    try:
        encoder = encoder_for(options, pipeline, threads_for(pipeline))
    except InputError:
        # The encoder of the export is not installed; reported with what was not checked.
        return None
    failed = frozenset(row["image_id"] or "" for row in found.failures)
    return Reencode(encoder, found.manifest["software"], failed)


def _reencoding(command: VerifyCommand, found: Opened | list[ForeignShard]) -> ExportOptions | None:
    """Returns the options with which images of the input are encoded again; None if they are not.

    None is returned too for options that this version does not have.
    """
    if not isinstance(found, Opened) or command.against is None or not command.decode:
        return None
    if found.manifest is None or FROM_JSON not in (found.run or {}):
        # Exports without it are of a version that copied and converted other images.
        return None
    software = found.manifest["software"]
    known = {field.name for field in dataclasses.fields(ExportOptions)}
    given = {name: value for name, value in found.manifest["options"].items() if name in known}
    try:
        return ExportOptions(
            **{**given, "output_dir": command.output_dir},
            encoder=software.get("encoder", "auto"),
            device="cpu" if software.get("device", "cpu") == "cpu" else "gpu",
        )
    except (InputError, TypeError):
        return None


def _gpus(command: VerifyCommand, found: Opened | list[ForeignShard]) -> LocalGpus:
    """Returns the GPUs of this machine on which images are encoded again."""
    options = _reencoding(command, found)
    try:
        return LocalGpus() if options is None else local_gpus(options)
    except InputError:
        return LocalGpus()


def _image_check(command: VerifyCommand, options: dict[str, Any]) -> ImageCheck | None:
    if not command.decode:
        return None
    limits = ExportOptions(output_dir=command.output_dir)
    ensure = str(options.get("ensure") or "").split(",")
    return ImageCheck(
        max_pixels=options.get("max_pixels", limits.max_pixels),
        max_image_bytes=options.get("max_image_bytes", limits.max_image_bytes),
        damaged=options.get("damaged", limits.damaged),
        ensure=tuple(word for word in WORDS if word in ensure),
    )


@contextlib.contextmanager
def _result_directory(command: VerifyCommand) -> Iterator[Output]:
    """Yields a directory for the result of the pipeline: not the export, which may be read-only."""
    runner, flags = split_runner(command.beam_flags)
    token = uuid.uuid4().hex
    if runner is None or runner in LOCAL:
        with tempfile.TemporaryDirectory(prefix="beam_export-") as folder:
            yield Output(folder, token)
        return
    shared = PipelineOptions(flags).view_as(GoogleCloudOptions).temp_location
    if not shared:
        raise InputError(
            f"--runner={runner} needs a place for the result that its workers can reach: give "
            "--temp_location, gs://bucket/tmp say."
        )
    place = Output(shared.rstrip("/"), token)
    try:
        yield place
    finally:
        place.remove(_result(place))
        place.sweep()


def _run(
    command: VerifyCommand, build: _Build, place: Output, samples: int | None, gpus: LocalGpus
) -> None:
    def add(pipeline: beam.Pipeline, progress_address: str | None) -> None:
        build(pipeline, progress_address, place) | "WriteFindings" >> beam.Map(_write, place)

    runner, flags = split_runner(command.beam_flags)
    if runner is None or runner in LOCAL:
        options, workers = local_options(flags, gpus=gpus)
        bar = display.Progress()
        bar.expect(samples, "checking")
        verbose = command.verbose
        with shared_gpus(gpus.devices, workers):
            run_locally(add, options, workers, output=place, bar=bar, verbose=verbose)
        return
    with quiet(command.verbose):
        pipeline = remote.pipeline_on(runner, flags)
        add(pipeline, None)
        remote.run(pipeline)


def _write(findings: str, place: Output) -> None:
    with place.writing(_result(place)) as target:
        target.write(findings.encode())


def _result(place: Output) -> str:
    """Returns the name of the file with the findings, which other runs there do not have."""
    return f"verify-{place.token}.json"
