"""The Flex Template, without Google Cloud: its metadata, its image's recipe, its scripts."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from support.devices import need_gcp, need_hadolint
from support.exports import ROOT
from support.gcs import Emulator

from beam_export.cli.flags import export_parser, parse_export

TEMPLATES = ROOT / "templates"
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


def gcloud_environ(folder: Path) -> dict[str, str]:
    """Returns an environment in which gcloud knows nobody, and tells nobody."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
    }


@pytest.mark.slow
def test_gcloud_takes_the_metadata(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    command = [
        *("gcloud", "dataflow", "flex-template", "build", "gs://bucket/template.json"),
        *("--image=image:1", "--sdk-language=PYTHON", f"--metadata-file={METADATA}"),
        *("--print-only", "--project=p"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=gcloud_environ(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert '"beam_export"' in done.stdout


@pytest.mark.slow
def test_gcloud_publishes_the_template_and_launches_a_job(
    emulator: Emulator, bucket: str, tmp_path: Path
) -> None:
    """Against the loopback interface: a template in a bucket, and what Dataflow is asked for."""
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed")
    with Launcher() as launcher:
        environ = {
            **gcloud_environ(tmp_path),
            "CLOUDSDK_CORE_PROJECT": "test-project",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_DATAFLOW": f"{launcher.url}/",
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{emulator.url}/storage/v1/",
        }

        def gcloud(*words: str) -> str:
            command = ["gcloud", "dataflow", "flex-template", *words]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=120, env=environ
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        template = f"{bucket}/templates/beam_export.json"
        image = "us-docker.pkg.dev/p/r/beam_export:gpu"
        words = ["--sdk-language=PYTHON", f"--metadata-file={METADATA}"]
        gcloud("build", template, f"--image={image}", *words)
        said = gcloud(
            *("run", "export-1", "--region=us-central1"),
            f"--template-file-gcs-location={template}",
            *(f"--staging-location={bucket}/staging", f"--temp-location={bucket}/temp"),
            *("--worker-machine-type=n2-standard-4", "--max-workers=8"),
            "--parameters=^~^input=gs://b/a,gs://b/c~output_dir=gs://b/out~order=shuffled",
            f"--parameters=gpu=nvidia-l4,sdk_container_image={image}",
        )
    spec = json.loads(emulator.get(template))
    assert spec["image"] == image
    assert spec["sdkInfo"] == {"language": "PYTHON"}
    known = {parameter["name"] for parameter in spec["metadata"]["parameters"]}
    assert known == {parameter["name"] for parameter in parameters()}
    assert "JOB_STATE_QUEUED" in said
    ((path, asked),) = launcher.asked
    assert path.startswith("/v1b3/projects/test-project/locations/us-central1/flexTemplates:launch")
    launch = asked["launchParameter"]
    assert launch["containerSpecGcsPath"] == template
    assert launch["environment"]["maxWorkers"] == 8
    given = launch["parameters"]
    assert given.keys() <= known
    # And so the launcher in the image calls the command.
    command = parse_export([f"--{name}={value}" for name, value in given.items()])
    assert command.input == "gs://b/a,gs://b/c"
    assert (command.options.order, command.options.gpu) == ("shuffled", "nvidia-l4")
    assert command.beam_flags == [f"--sdk_container_image={image}"]


class Launcher:
    """Answers as Dataflow does to whoever launches a job, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        launcher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                launcher.asked.append((self.path, json.loads(body)))
                job = {"id": "2026-01-01_00_00_00-1", "currentState": "JOB_STATE_QUEUED"}
                data = json.dumps({"job": job}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Launcher:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
