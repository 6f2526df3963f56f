"""What tests hold in their hands: an emulator that runs, its objects, its faults, its log."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["Emulator"]

ROOT = Path(__file__).parents[3]


class Emulator:
    """An emulator in its own process; objects are named by their `gs://` URIs.

    What is asked for through this object meets no fault and is not in the log.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    @contextlib.contextmanager
    def start(cls, *flags: str) -> Iterator[Emulator]:
        """Starts one with the flags of `python -m support.gcs`; it ends with the block."""
        command = [sys.executable, "-m", "support.gcs", "--until_stdin_ends", *flags]
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise RuntimeError(f"the emulator did not start: {process.wait()}")
            yield cls(url)
        finally:
            process.stdin.close()
            process.wait(10)
            process.stdout.close()

    @property
    def environ(self) -> dict[str, str]:
        """What processes need in their environment to use it, and nothing but it."""
        return {
            "STORAGE_EMULATOR_HOST": self.url,
            # Nobody looks for a real one: not for its metadata server, not for credentials.
            "NO_GCE_CHECK": "true",
            "CLOUDSDK_CONFIG": "/nonexistent",
            # Else each new client asks for its bucket, in the background.
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "1",
        }

    @staticmethod
    def write_credentials(path: Path) -> str:
        """Writes credentials for `GOOGLE_APPLICATION_CREDENTIALS`; returns their token, a secret.

        Beam looks half a minute for some if there are none. These are not asked for a new token.
        """
        token = f"ya29.{secrets.token_urlsafe(32)}"
        given = {
            "type": "authorized_user",
            "client_id": "tests",
            "client_secret": "-",
            "refresh_token": "-",
            "token": token,
            "expiry": "2100-01-01T00:00:00Z",
        }
        path.write_text(json.dumps(given))
        return token

    # Objects.

    def make_bucket(self, name: str) -> None:
        self._call("POST", "/storage/v1/b?project=test", json.dumps({"name": name}).encode())

    def put(self, uri: str, data: bytes) -> int:
        """Makes an object, in place of what may be there; returns its generation."""
        bucket, name = _split(uri)
        target = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={_quote(name)}"
        headers = {"Content-Type": "application/octet-stream"}
        return int(json.loads(self._call("POST", target, data, headers))["generation"])

    def get(self, uri: str) -> bytes:
        bucket, name = _split(uri)
        return self._call("GET", f"/storage/v1/b/{bucket}/o/{_quote(name)}?alt=media")

    def stat(self, uri: str) -> dict[str, Any]:
        bucket, name = _split(uri)
        return json.loads(self._call("GET", f"/storage/v1/b/{bucket}/o/{_quote(name)}"))

    def remove(self, uri: str) -> None:
        bucket, name = _split(uri)
        self._call("DELETE", f"/storage/v1/b/{bucket}/o/{_quote(name)}")

    def list(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Returns the objects whose URIs begin so, in their order."""
        bucket, start = _split(prefix)
        found: dict[str, dict[str, Any]] = {}
        token = ""
        while True:
            target = f"/storage/v1/b/{bucket}/o?prefix={_quote(start)}&pageToken={token}"
            page = json.loads(self._call("GET", target))
            found.update({f"gs://{bucket}/{one['name']}": one for one in page.get("items", [])})
            token = page.get("nextPageToken", "")
            if not token:
                return found

    def upload(self, folder: Path, uri: str) -> str:
        """Makes an object of each file under a directory; returns the URI."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{uri}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return uri

    def download(self, uri: str, folder: Path) -> Path:
        """Makes a file of each object under a prefix; returns the directory."""
        for one in self.list(uri + "/"):
            path = folder / one.removeprefix(uri + "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(one))
        return folder

    # The emulator itself.

    def fail(self, kind: str, **given: Any) -> None:
        """Orders a fault: see `faults.Fault`."""
        self._call("POST", "/_emulator/faults", json.dumps({"kind": kind, **given}).encode())

    def fail_at_random(
        self,
        rate: float,
        seed: int = 0,
        kinds: tuple[str, ...] = (
            "status",
            "late_status",
            "reset",
            "lost",
            "truncated",
            "interrupted",
        ),
        statuses: tuple[int, ...] = (429, 500, 502, 503, 504),
    ) -> None:
        """Lets so many of all requests fail, in any of these ways."""
        given = {"rate": rate, "seed": seed, "kinds": kinds, "statuses": statuses}
        self._call("POST", "/_emulator/faults", json.dumps(given).encode())

    def calm(self) -> None:
        """Takes back all faults that were ordered."""
        self._call("DELETE", "/_emulator/faults")

    def set_latency(self, seconds: float) -> None:
        self._call("PUT", "/_emulator/latency", str(seconds).encode())

    def log(self) -> list[dict[str, Any]]:
        """Returns what was asked and answered since the last `forget`."""
        return json.loads(self._call("GET", "/_emulator/log"))

    def counts(self) -> dict[str, int]:
        """Returns the requests, bytes received and sent, refusals and faults since then."""
        return json.loads(self._call("GET", "/_emulator/counts"))

    def forget(self) -> None:
        """Empties the log."""
        self._call("DELETE", "/_emulator/log")

    def reset(self) -> None:
        """Empties everything: objects, buckets, uploads, faults, log."""
        self._call("POST", "/_emulator/reset", b"")

    def _call(
        self,
        method: str,
        target: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        request = urllib.request.Request(
            self.url + target, data, {"X-Emulator-Quiet": "1", **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    raise FileNotFoundError(target) from error
                raise RuntimeError(f"{method} {target}: {error.code} {error.read()!r}") from error


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def _quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")
