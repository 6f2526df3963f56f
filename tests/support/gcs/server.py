"""The HTTP server: connections, faults, the log; `/_emulator/` is for the tests."""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

from .api import Api
from .batch import PATH as BATCH
from .batch import answer_batch
from .faults import Fault, Faults
from .messages import Request, Response, json_response
from .store import ApiError, Store

__all__ = ["Server", "main"]

#: With this header a request meets no fault and is not in the log: it is a test's own.
QUIET = "X-Emulator-Quiet"


class Server(http.server.ThreadingHTTPServer):
    """Serves on a free port of the loopback interface.

    Attributes:
        url: its address.
        latency: seconds that each request waits.
        log: what was asked and answered, in order of the answers.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, page_size: int = 1000, latency: float = 0.0, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.store = Store(page_size)
        self.store.url = self.url
        self.api = Api(self.store)
        self.faults = Faults()
        self.latency = latency
        self.log: list[dict[str, Any]] = []
        self.broken: set[int] = set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients may go whenever they like.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        if id(request) in self.broken:
            # A close of its own would end the connection in good order.
            self.broken.discard(id(request))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def answer(self, request: Request) -> Response:
        if request.method == "POST" and request.path == BATCH:
            try:
                return answer_batch(request, self._answer_part)
            except ApiError as error:
                return json_response({"error": {"code": 400, "message": error.message}}, 400)
        if (request.method, request.path) == ("HEAD", "/"):
            return Response(404)  # whether the storage answers at all
        return self.api.answer(request)

    def _answer_part(self, request: Request) -> Response:
        """Answers one of a batch: the only fault that it can meet alone is a status."""
        fault = self.faults.draw(request.method, request.target, "", 0)
        if fault is not None and fault.kind == "status":
            response = json_response({"error": {"code": fault.status}}, fault.status)
        else:
            response = self.api.answer(request)
        self.note(request, response, fault, in_batch=True)
        return response

    def note(
        self, request: Request, response: Response, fault: Fault | None, *, in_batch: bool = False
    ) -> None:
        self.log.append(
            {
                "call": "batch" if request.path == BATCH else self.api.call_of(request),
                "method": request.method,
                "target": request.target,
                "range": request.headers.get("Range", ""),
                "content_range": request.headers.get("Content-Range", ""),
                "status": response.status,
                "received": 0 if in_batch else len(request.body),
                "sent": 0 if in_batch else len(response.body),
                "fault": fault.kind if fault else "",
                "in_batch": in_batch,
                "user_agent": request.headers.get("User-Agent", ""),
            }
        )

    def counts(self) -> dict[str, int]:
        alone = [one for one in self.log if not one["in_batch"]]
        return {
            "requests": len(alone),
            "received": sum(one["received"] for one in alone),
            "sent": sum(one["sent"] for one in alone),
            "refused": sum(one["status"] == 501 for one in self.log),
            "faults": sum(one["fault"] != "" for one in self.log),
        }

    def control(self, request: Request) -> Response:
        """Answers what tests ask of the emulator itself."""
        match request.method, request.path.removeprefix("/_emulator/"):
            case "GET", "log":
                return json_response(list(self.log))
            case "GET", "counts":
                return json_response(self.counts())
            case "DELETE", "log":
                self.log.clear()
            case "POST", "faults":
                self.faults.add(**json.loads(request.body))
            case "DELETE", "faults":
                self.faults.clear()
            case "PUT", "latency":
                self.latency = float(request.body)
            case "POST", "reset":
                self.faults.clear()
                self.store.clear()
                self.api.sessions.clear()
                self.log.clear()
                self.latency = 0.0
            case _:
                return Response(501, {}, b"no such thing")
        return Response(204)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def _do(self) -> None:
        if self.path.startswith("/_emulator/"):
            self._send(self.server.control(self._request(None)))
            return
        quiet = QUIET in self.headers
        length = int(self.headers.get("Content-Length") or 0)
        more = self.headers.get("Content-Range", "")
        fault = None if quiet else self.server.faults.draw(self.command, self.path, more, length)
        cut = fault.size if fault is not None and fault.kind == "interrupted" else None
        request = self._request(cut)
        if not quiet and self.server.latency:
            time.sleep(self.server.latency)
        response = self._answer(request, fault)
        if not quiet:
            self.server.note(request, response, fault)
        if not request.whole or (fault is not None and fault.kind in ("reset", "lost")):
            self._break()
            return
        if fault is not None and fault.kind == "corrupt" and response.body:
            body = bytearray(response.body)
            body[len(body) // 2] ^= 1
            response = Response(response.status, response.headers, bytes(body))
        self._send(response, truncated=fault is not None and fault.kind == "truncated")

    def _answer(self, request: Request, fault: Fault | None) -> Response:
        """Does what is asked for, unless the fault comes before."""
        match fault.kind if fault is not None else "":
            case "reset":
                return Response(0)
            case "status" | "late_status" as kind:
                assert fault is not None
                if kind == "late_status":
                    self.server.answer(request)
                return json_response({"error": {"code": fault.status}}, fault.status)
            case "slow":
                assert fault is not None
                time.sleep(fault.seconds)
            case "replaced":
                self.server.api.replace(request)
        if not request.whole and self.server.api.call_of(request) != "uploads.put":
            return Response(0)
        return self.server.answer(request)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _do  # noqa: N815

    def _request(self, cut: int | None) -> Request:
        """Reads the body, as far as it comes, or as far as it is let."""
        length = int(self.headers.get("Content-Length") or 0)
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = self._chunks()
            return Request(self.command, self.path, self.headers, body)
        wanted = length if cut is None else min(cut, length)
        body = self.rfile.read(wanted) if wanted else b""
        return Request(self.command, self.path, self.headers, body, len(body) == length)

    def _chunks(self) -> bytes:
        found = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            found.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(found)

    def _send(self, response: Response, *, truncated: bool = False) -> None:
        body = response.body
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        # 204 and 304 have no body, and no length of one (RFC 9110, 8.6).
        if response.status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if truncated and body:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if body and self.command != "HEAD":
            self.wfile.write(body)

    def _break(self) -> None:
        """Resets the connection: with this option a close throws away what is not sent."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.broken.add(id(self.request))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def main() -> None:
    """Prints the URL, and serves until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m support.gcs", description=__doc__)
    parser.add_argument("--latency_ms", type=float, default=0.0, help="each request waits so long")
    parser.add_argument("--page_size", type=int, default=1000, help="entries of a page, at most")
    parser.add_argument("--port", type=int, default=0, help="0, which is the default: a free one")
    parser.add_argument(
        "--until_stdin_ends", action="store_true", help="so that it ends with whoever started it"
    )
    given = parser.parse_args()
    server = Server(given.page_size, given.latency_ms / 1000, given.port)
    if given.until_stdin_ends:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    print(server.url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
