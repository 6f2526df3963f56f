"""Options on where an export lies, and on the run that writes it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from beam_export.declaration import Option, option

__all__ = ["PLACES", "RUN", "InputFormat", "PlaceOptions", "RunOptions"]

#: Two headings of `--help`, to which commands add flags of their own.
PLACES = "input and output"
RUN = "the run"

InputFormat = Literal["auto", "files", "webdataset", "parquet", "table"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where an export is written to, and how its input is read."""

    input_format: InputFormat = option(
        "auto",
        Option(
            "what is read of it; auto looks at the names of what is inside",
            PLACES,
            shapes="never",
            keyword=False,
        ),
    )
    output_dir: str = dataclasses.field(
        metadata=Option(
            "directory to write to",
            PLACES,
            shapes="never",
            path="write_folder",
            short="o",
            complaint="is no path: give a directory or gs://bucket/prefix, as text",
        ).as_metadata()
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a run puts up with, keeps, removes and says."""

    max_failed_fraction: float = option(
        0.01,
        Option(
            "if more of the images fail, the run does; each is listed either way",
            RUN,
            shapes="never",
            at_least=0,
            at_most=1,
            complaint="is not a number between 0 and 1: give the share of images that may fail, "
            "0.01 for one in a hundred",
        ),
    )
    resume: bool = option(
        True,
        Option("keep shards that an earlier run of the same has finished", RUN, shapes="never"),
    )
    clean: bool = option(
        False, Option("remove what earlier runs have left in --output_dir", RUN, shapes="never")
    )
    index: str | None = option(
        None,
        Option(
            "files for loaders: dali, wids, energon, with commas, or all",
            RUN,
            shapes="never",
            several=True,
        ),
    )
    allow_broken_sources: bool = option(
        False,
        Option("go on without what an unreadable source holds", RUN, shapes="never", keyword=False),
    )
    gpu: str | None = option(
        None,
        Option(
            "accelerator of Dataflow's workers, nvidia-l4 say: sets all that they need for it",
            RUN,
            shapes="never",
            metavar="TYPE",
            complaint="is no accelerator type: give one such as nvidia-l4",
        ),
    )
    verbose: bool = option(
        False, Option("a line per shard, and tracebacks of errors", RUN, shapes="never")
    )
