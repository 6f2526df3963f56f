"""What the launcher of the Flex Template runs: it passes flags alone, so `export` is meant."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions

from beam_export.cli.flags import parse_export
from beam_export.cli.main import main
from beam_export.errors import InputError
from beam_export.pipeline.resources import asks_for_gpu


def with_own_names(flags: Sequence[str]) -> list[str]:
    """Returns the flags of a launch, each under a name that means one thing.

    Labels of the job come as JSON in --labels, which is a flag of `export` too; Beam takes them in
    --label.
    """
    return [
        f"--label={flag.removeprefix('--labels=')}" if flag.startswith("--labels={") else flag
        for flag in flags
    ]


def image_flags(flags: Sequence[str]) -> list[str]:
    """Returns the flag for the workers' image where none is given: one the template was built with.

    Only workers that are to use DALI get the image for GPUs, which is several times as large.
    """
    try:
        command = parse_export(flags)
    except InputError:
        # The command says what is wrong with them.
        return []
    given = PipelineOptions(command.beam_flags)
    if given.view_as(WorkerOptions).sdk_container_image:
        return []
    options = command.options
    with_dali = options.gpu is not None or options.encoder == "dali" or asks_for_gpu(given)
    image = os.environ.get("BEAM_EXPORT_GPU_IMAGE" if with_dali else "BEAM_EXPORT_CPU_IMAGE")
    return [f"--sdk_container_image={image}"] if image else []


if __name__ == "__main__":
    sys.argv[1:] = with_own_names(sys.argv[1:])
    sys.argv += image_flags(sys.argv[1:])
    sys.exit(main())
