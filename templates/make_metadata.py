"""Writes templates/metadata.json from the options that are declared: run it when one changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from beam_export.cli.flags import export_flags
from beam_export.declaration import Option

TARGET = Path(__file__).with_name("metadata.json")

#: POSIX egrep, of the whole value; every value of a template is text.
NUMBERS = {int: "-?[0-9]+", float: "[0-9]+([.][0-9]+)?([eE]-?[0-9]+)?"}
#: Beam's own flags that the workers of a template need.
BEAM = [
    (
        "sdk_container_image",
        "Image of the workers; if not given, the one that the template was built with, for GPUs if "
        "the flags ask for some",
        None,
    ),
    ("disk_size_gb", "Disk of a worker, in gigabytes", "[0-9]+"),
    ("number_of_worker_harness_threads", "Threads of a worker", "[0-9]+"),
    ("dataflow_service_options", "Options of the service, worker_accelerator=... say", None),
]


def metadata() -> dict[str, Any]:
    """Returns the template's metadata: every flag of `export`, in its group."""
    return {
        "name": "beam_export",
        "description": "Exports images and what belongs to them as exact, reproducible shards of "
        "tar (WebDataset) and Parquet.",
        "streaming": False,
        "parameters": [*map(parameter, export_flags()), *map(of_beam, BEAM)],
    }


def parameter(flag: Option) -> dict[str, Any]:
    """Returns the parameter for a flag."""
    made: dict[str, Any] = {
        "name": flag.name,
        "label": f"--{flag.name}",
        "helpText": flag.help,
        "isOptional": not flag.required,
        "groupName": flag.group,
        # A form that wants a file there would refuse the words that such an option takes too.
        "paramType": f"GCS_{flag.path.upper()}" if flag.path and not flag.default else "TEXT",
    }
    if flag.choices:
        made["paramType"] = "ENUM"
        made["enumOptions"] = [{"value": choice} for choice in flag.choices]
    elif flag.kind is bool:
        made |= {"paramType": "BOOLEAN", "regexes": ["true|false"]}
    elif flag.kind in NUMBERS:
        made |= {"paramType": "NUMBER", "regexes": [NUMBERS[flag.kind]]}
    if flag.default_text is not None:
        made["defaultValue"] = flag.default_text
    return made


def of_beam(flag: tuple[str, str, str | None]) -> dict[str, Any]:
    """Returns the parameter for a flag of Beam."""
    name, text, regex = flag
    made = {
        "name": name,
        "label": f"--{name}",
        "helpText": text,
        "isOptional": True,
        "groupName": "workers",
        "paramType": "NUMBER" if regex else "TEXT",
    }
    return {**made, "regexes": [regex]} if regex else made


def as_json() -> str:
    """Returns what stands in metadata.json."""
    return json.dumps(metadata(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(as_json())
