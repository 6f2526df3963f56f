"""Bodies that become objects: of one request, of two parts, and of resumable sessions."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import threading
from collections.abc import Mapping
from typing import Any

from .store import ApiError, Conditions, Store, StoredObject, not_modelled

__all__ = ["GRANULE", "Session", "Sessions", "hashes", "parse_json", "split_related"]

#: Bytes that a chunk is a multiple of, unless it is the last, and that are kept of a broken one.
GRANULE = 256 * 1024


def parse_json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError(400, "parseError", f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ApiError(400, "parseError", "the body is no JSON object")
    return found


def hashes(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns the sums that an `X-Goog-Hash` gives, under their names in a resource."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    given = (one.strip().partition("=") for one in headers.get("X-Goog-Hash", "").split(","))
    return {names[key]: value for key, _, value in given if key in names}


def split_related(body: bytes, content_type: str) -> tuple[dict[str, Any], str, bytes]:
    """Splits a `multipart/related` body into the resource, the content's type, and the content."""
    found = re.search(r"boundary=[\"']?([^\"';]+)", content_type)
    if found is None:
        raise ApiError(400, "badRequest", "an upload of several parts without a boundary")
    mark = b"--" + found[1].encode()
    # gcloud ends lines as Unix does.
    line = b"\r\n" if mark + b"\r\n" in body else b"\n"
    start = body.find(mark + line)
    middle = body.find(line + mark + line, start + 1)
    end = body.rfind(line + mark + b"--")
    if not 0 <= start < middle < end:
        raise ApiError(400, "badRequest", "an upload has to have two parts, and an end")
    _, _, resource = body[start:middle].partition(line + line)
    head, _, data = body[middle + len(line) : end].partition(line + line)
    kind = re.search(rb"(?im)^content-type: *(.+?)\r?$", head)
    return parse_json(resource), kind[1].decode() if kind else "", data


@dataclasses.dataclass
class Session:
    """A resumable upload (cloud.google.com/storage/docs/performing-resumable-uploads)."""

    bucket: str
    name: str
    resource: dict[str, Any]
    conditions: Conditions
    received: bytearray = dataclasses.field(default_factory=bytearray)
    made: StoredObject | None = None
    cancelled: bool = False
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def put(self, content_range: str, body: bytes, sums: dict[str, str], store: Store) -> bool:
        """Takes a chunk, or tells how far it has come; returns whether the object is made."""
        if self.cancelled:
            raise ApiError(499, "cancelled", "The upload was cancelled.")
        if self.made is not None:
            return True
        start, total = self._range(content_range, body)
        if start is not None:
            self._take(start, body, total)
        self.resource.update(sums)
        if total is None or len(self.received) < total:
            return False
        if len(self.received) > total:
            raise ApiError(400, "invalid", f"{len(self.received)} bytes came, of {total}")
        data = bytes(self.received)
        self.made = store.insert(self.bucket, self.name, data, self.resource, self.conditions)
        self.received.clear()
        return True

    def keep_some(self, content_range: str, body: bytes) -> None:
        """Keeps what came of a chunk whose connection broke, as far as it is whole granules."""
        start, _, _ = content_range.removeprefix("bytes ").partition("-")
        usable = body[: len(body) - len(body) % GRANULE]
        if usable and start.isdigit() and int(start) == len(self.received) and self.made is None:
            self.received += usable

    def _range(self, text: str, body: bytes) -> tuple[int | None, int | None]:
        if not text:
            return 0, len(body)
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", text.strip())
        if found is None:
            raise not_modelled(f"Content-Range: {text}")
        total = None if found[3] == "*" else int(found[3])
        if found[1] is None:
            if body:
                raise ApiError(400, "invalid", "a query of the status has no body")
            return None, total
        if int(found[2]) - int(found[1]) + 1 != len(body):
            raise ApiError(400, "invalid", f"{text} over {len(body)} bytes")
        return int(found[1]), total

    def _take(self, start: int, body: bytes, total: int | None) -> None:
        have = len(self.received)
        if start > have:
            # So says the real one too.
            message = f"the upload offset is {start} byte(s), which exceeds already uploaded size"
            raise ApiError(503, "backendError", f"Invalid request: {message} of {have} byte(s).")
        ends = total is not None and start + len(body) == total
        if not ends and len(body) % GRANULE:
            raise ApiError(400, "invalid", f"a chunk of {len(body)} bytes: no multiple of 256 KiB")
        # What was sent before may be sent again.
        self.received += body[have - start :]


class Sessions:
    """The resumable uploads that were begun, by their id."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def begin(self, session: Session) -> str:
        upload_id = secrets.token_urlsafe(24)
        self._sessions[upload_id] = session
        return upload_id

    def find(self, upload_id: str) -> Session:
        try:
            return self._sessions[upload_id]
        except KeyError:
            raise ApiError(404, "notFound", "There is no such upload.") from None

    def clear(self) -> None:
        self._sessions.clear()
