"""The Flex Template, without Google Cloud: its metadata, its image's recipe, its scripts."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from devices import need_gcp, need_hadolint
from packaging.requirements import Requirement

from beam_export.flags import export_parser

TEMPLATES = Path(__file__).parents[1] / "templates"
METADATA = TEMPLATES / "metadata.json"


def parameters() -> list[dict[str, Any]]:
    return json.loads(METADATA.read_text())["parameters"]


def test_metadata_is_that_of_the_parser() -> None:
    spec = importlib.util.spec_from_file_location("make_metadata", TEMPLATES / "make_metadata.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert METADATA.read_text() == module.as_json(), "run: python templates/make_metadata.py"


def test_every_flag_of_export_is_a_parameter() -> None:
    flags = {action.dest for action in export_parser()._actions} - {"help"}
    names = [parameter["name"] for parameter in parameters()]
    assert flags <= set(names)
    assert len(names) == len(set(names))


def test_dataflow_takes_the_metadata() -> None:
    need_gcp()
    from google.cloud import dataflow_v1beta3
    from google.protobuf import json_format

    # Strict: unknown fields, types of parameters and of values are errors.
    parsed = json_format.Parse(METADATA.read_text(), dataflow_v1beta3.TemplateMetadata.pb()())
    assert parsed.name == "beam_export"
    assert {p.name for p in parsed.parameters if not p.is_optional} == {"input", "output_dir"}


@pytest.mark.parametrize("parameter", parameters(), ids=lambda one: one["name"])
def test_each_parameter_says_what_it_takes(parameter: dict[str, Any]) -> None:
    assert parameter["label"]
    assert parameter["helpText"]
    default = parameter.get("defaultValue")
    words = [option["value"] for option in parameter.get("enumOptions", ())]
    assert (parameter["paramType"] == "ENUM") == bool(words)
    for regex in parameter.get("regexes", ()):
        # POSIX egrep has no classes with a backslash.
        assert "\\" not in regex
        assert default is None or re.fullmatch(regex, default)
    assert default is None or not words or default in words
    assert default is None or parameter["isOptional"]


def test_the_defaults_are_taken_by_the_command_line() -> None:
    """As the launcher passes them: every one as text."""
    flags = [f"--{p['name']}={p['defaultValue']}" for p in parameters() if "defaultValue" in p]
    given = export_parser().parse_args(["--input=a", "--output_dir=b", *flags])
    assert given == export_parser().parse_args(["--input=a", "--output_dir=b"])


def test_hadolint() -> None:
    need_hadolint()
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, TEMPLATES / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_has_the_beam_of_the_pins() -> None:
    text = (TEMPLATES / "Dockerfile").read_text()
    pins = (TEMPLATES.parent / "requirements.txt").read_text()
    (version,) = re.findall(r"^apache-beam==(.+)$", pins, re.MULTILINE)
    assert re.findall(r"apache/beam_python3.11_sdk:(\S+)", text) == [version]
    copied = re.findall(r"^COPY ([^-].*) \S+$", text, re.MULTILINE)
    assert all((TEMPLATES.parent / name).exists() for line in copied for name in line.split())


@pytest.mark.parametrize("extra", ["gcp", "gpu", "gpu-cu13"])
def test_what_an_image_installs_is_pinned(extra: str) -> None:
    root = TEMPLATES.parent
    (call,) = (
        node
        for node in ast.walk(ast.parse((root / "setup.py").read_text()))
        if isinstance(node, ast.keyword) and node.arg == "extras_require"
    )
    asked = [Requirement(one) for one in ast.literal_eval(call.value)[extra]]
    pins = (root / "requirements.txt").read_text().splitlines()
    pinned = dict(pin.split("==") for pin in pins if not pin.startswith("#"))
    assert asked
    for one in asked:
        assert one.specifier.contains(pinned[one.name])


@pytest.mark.slow
def test_gcloud_takes_the_metadata(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    command = [
        *("gcloud", "dataflow", "flex-template", "build", "gs://bucket/template.json"),
        *("--image=image:1", "--sdk-language=PYTHON", f"--metadata-file={METADATA}"),
        *("--print-only", "--project=p"),
    ]
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "CLOUDSDK_CONFIG": str(tmp_path),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
    }
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert '"beam_export"' in done.stdout
