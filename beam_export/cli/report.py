"""The `report` command: looks at an export, and writes a page that shows what is in it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence

from beam_export.cli.display import Progress
from beam_export.cli.flags import ReportCommand
from beam_export.exports.files import ExportFiles
from beam_export.exports.opening import open_catalog
from beam_export.exports.report.gather import gather
from beam_export.exports.report.page import write_page
from beam_export.exports.report.sheet import Tile
from beam_export.shards.output import Output
from beam_export.shards.report_file import check_report, put_report
from beam_export.text import quantity, shown, size

__all__ = ["run_report"]


def run_report(command: ReportCommand) -> int:
    """Runs the command `report`, and returns its exit code, 0.

    Raises:
        InputError: if there is no complete export, or the page cannot be put there.
        RunError: if the export is damaged.
    """
    if command.beam_flags:
        # Only now: Beam takes seconds to load, and most storages do without.
        from beam_export.cli.local import use_options

        use_options(command.beam_flags)
    started, files = time.monotonic(), ExportFiles(open_catalog(command.output_dir))
    output, bar = Output(command.output_dir, uuid.uuid4().hex, given="OUT"), Progress()
    # Before the work: what stands there is seen at once.
    check_report(output)
    samples = files.catalog.samples
    bar.expect(samples, "reading")
    try:
        gathered = gather(
            files,
            images=command.images,
            seed=command.seed,
            advance=lambda rows: bar.receive({"kept": rows}),
        )
    finally:
        bar.close()
    page = write_page(gathered)
    try:
        output.prepare()
        path = put_report(output, page)
    finally:
        output.sweep()
    took = time.monotonic() - started
    images = quantity(samples, "image")
    print(shown(f"{path}: {images}, {size(len(page))} of page, in {took:.1f} s"))
    _say_unseen(gathered.tiles)
    return 0


def _say_unseen(tiles: Sequence[Tile]) -> None:
    """Prints how many images of the contact sheet cannot be shown, if any, and why one is not."""
    unseen = [one for one in tiles if one.picture is None]
    if not unseen:
        return
    first = unseen[0]
    count = f"{len(unseen)} of the {quantity(len(tiles), 'image')} on it"
    print(shown(f"  {count} cannot be shown ({first.row['image_id']}: {first.problem})"))
