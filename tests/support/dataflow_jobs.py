"""Jobs for Dataflow without Google Cloud: described only, or run by a service of the tests."""

from __future__ import annotations

import base64
import binascii
import bz2
import contextlib
import dataclasses
import http.server
import json
import re
import threading
import traceback
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2 as beam_api
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

IMAGE = "--sdk_container_image=us-docker.pkg.dev/p/r/beam_export:gpu"


@dataclasses.dataclass
class Described:
    """What Dataflow would get."""

    job: dict[str, Any]
    pipeline: beam_api.Pipeline
    bytes: int

    @property
    def environment(self) -> dict[str, Any]:
        return self.job["environment"]

    @property
    def workers(self) -> dict[str, Any]:
        (pool,) = self.environment["workerPools"]
        return pool

    @property
    def options(self) -> dict[str, Any]:
        return self.environment["sdkPipelineOptions"]["options"]

    def hints(self) -> dict[str, dict[str, str]]:
        """Returns the resource hints of the steps that have some, by the step's name."""
        components = self.pipeline.components
        found = {}
        for step in components.transforms.values():
            hints = components.environments[step.environment_id].resource_hints
            if step.environment_id and hints:
                found[step.unique_name] = {
                    urn.split(":")[2]: value.decode() for urn, value in hints.items()
                }
        return found

    def pickles(self) -> list[bytes]:
        """Returns everything that is pickled in the pipeline, unpacked."""
        return list(_unpacked(self.pipeline.SerializeToString()))


def _unpacked(data: bytes) -> Iterator[bytes]:
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data):
        # The length before a text may look like a part of it.
        for skip in range(4):
            for unpack in (bz2.decompress, zlib.decompress):
                with contextlib.suppress(binascii.Error, OSError, ValueError, zlib.error):
                    yield unpack(base64.b64decode(text[skip:]))


def flags_in(folder: Path, endpoint: str = "http://localhost:9") -> list[str]:
    """Returns flags of a submission that stages into a folder and needs no credentials."""
    (folder / "stage").mkdir(parents=True)
    return [
        *("--runner=DataflowRunner", "--project=test-project", "--region=us-central1"),
        *("--no_auth", f"--dataflow_endpoint={endpoint}"),
        *(f"--staging_location={folder}/stage", f"--temp_location={folder}/temp"),
    ]


def read_described(folder: Path) -> Described:
    data = (folder / "stage" / "pipeline.pb").read_bytes()
    job = json.loads((folder / "job.json").read_text())
    return Described(job, beam_api.Pipeline.FromString(data), len(data))


class Service:
    """Answers as Dataflow does, and runs the jobs that it gets on the local runner.

    Attributes:
        url: its address.
        requests: method and path of every request.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._job: dict[str, Any] = {}
        self._messages: list[dict[str, Any]] = []
        self._server = http.server.ThreadingHTTPServer(("localhost", 0), self._handler())
        self.url = f"http://localhost:{self._server.server_port}"

    def __enter__(self) -> Service:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(f"{method} {path}")
        if method == "POST":
            self._job = {**body, "id": "2026-01-01_00_00_00-1", "currentState": "JOB_STATE_RUNNING"}
            self._job["projectId"], self._job["location"] = "test-project", "us-central1"
            self._run()
            return {key: self._job[key] for key in ("id", "name", "projectId", "location")}
        if "/messages" in path:
            return {"jobMessages": self._messages}
        keep = ("id", "name", "projectId", "location", "currentState")
        return {key: self._job[key] for key in keep}

    def _run(self) -> None:
        options = self._job["environment"]["sdkPipelineOptions"]["options"]
        pipeline = beam_api.Pipeline.FromString(Path(options["pipelineUrl"]).read_bytes())
        for environment in pipeline.components.environments.values():
            environment.urn, environment.payload = python_urns.EMBEDDED_PYTHON, b""
            environment.ClearField("dependencies")
        try:
            FnApiRunner().run_via_runner_api(pipeline, PipelineOptions([])).wait_until_finish()
            self._job["currentState"] = "JOB_STATE_DONE"
        except Exception:
            self._job["currentState"] = "JOB_STATE_FAILED"
            self._messages = [
                {
                    "id": "1",
                    "time": "2026-01-01T00:00:00Z",
                    "messageText": traceback.format_exc(),
                    "messageImportance": "JOB_MESSAGE_ERROR",
                }
            ]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"{}")
                data = json.dumps(service.answer(self.command, self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _do  # noqa: N815 (names of the standard library)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
