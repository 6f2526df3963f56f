"""Writes templates/metadata.json from the command line's parser: run it when a flag changes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from beam_export.cli.flags import export_parser

TARGET = Path(__file__).with_name("metadata.json")

#: What a parameter is to the console; all others are text.
TYPES = {
    "input": "GCS_READ_FOLDER",
    "output_dir": "GCS_WRITE_FOLDER",
    "metadata": "GCS_READ_FILE",
    "ids": "GCS_READ_FILE",
    "exclude_ids": "GCS_READ_FILE",
}
#: POSIX egrep, of the whole value; every value of a template is text.
NUMBERS = {int: "-?[0-9]+", float: "[0-9]+([.][0-9]+)?([eE]-?[0-9]+)?"}
#: Beam's own flags that the workers of a template need.
BEAM = [
    ("sdk_container_image", "Image of the workers: that of the template", None),
    ("disk_size_gb", "Disk of a worker, in gigabytes", "[0-9]+"),
    ("number_of_worker_harness_threads", "Threads of a worker", "[0-9]+"),
    ("dataflow_service_options", "Options of the service, worker_accelerator=... say", None),
]


def metadata() -> dict[str, Any]:
    """Returns the template's metadata: every flag of `export`, in its group."""
    parameters = [
        parameter(action, group.title or "")
        for group in export_parser()._action_groups
        for action in group._group_actions
        if action.dest != "help"
    ]
    return {
        "name": "beam_export",
        "description": "Exports images and what belongs to them as exact, reproducible shards of "
        "tar (WebDataset) and Parquet.",
        "streaming": False,
        "parameters": [*parameters, *map(of_beam, BEAM)],
    }


def parameter(action: argparse.Action, group: str) -> dict[str, Any]:
    """Returns the parameter for a flag."""
    made: dict[str, Any] = {
        "name": action.dest,
        "label": f"--{action.dest}",
        "helpText": action.help,
        "isOptional": not action.required,
        "groupName": group,
        "paramType": TYPES.get(action.dest, "TEXT"),
    }
    if action.choices:
        made["paramType"] = "ENUM"
        made["enumOptions"] = [{"value": choice} for choice in action.choices]
    elif action.nargs == "?":
        made |= {"paramType": "BOOLEAN", "regexes": ["true|false"]}
    elif action.type in NUMBERS:
        made |= {"paramType": "NUMBER", "regexes": [NUMBERS[action.type]]}
    if action.default is not None and not action.required:
        made["defaultValue"] = as_text(action.default)
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


def as_text(value: object) -> str:
    """Returns a default as it is written on the command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_json() -> str:
    """Returns what stands in metadata.json."""
    return json.dumps(metadata(), indent=2) + "\n"


if __name__ == "__main__":
    TARGET.write_text(as_json())
