"""Requests and responses, and how an object's bytes become one."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .store import StoredObject, not_modelled

__all__ = ["Request", "Response", "json_response", "media"]


@dataclasses.dataclass(frozen=True)
class Request:
    """A request; `whole` is false if its connection broke before all of its body had come."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""
    whole: bool = True

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclasses.dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""


def json_response(value: Any, status: int = 200) -> Response:
    headers = {"Content-Type": "application/json; charset=UTF-8"}
    return Response(status, headers, json.dumps(value).encode())


def media(found: StoredObject, wanted: str) -> Response:
    """Returns an object's bytes, or a range of them."""
    data, resource = found.data, found.resource
    sums = [f"crc32c={resource['crc32c']}"]
    sums += [f"md5={resource['md5Hash']}"] if "md5Hash" in resource else []
    headers = {
        "Content-Type": resource["contentType"],
        "Accept-Ranges": "bytes",
        "ETag": resource["etag"],
        "X-Goog-Generation": resource["generation"],
        "X-Goog-Metageneration": resource["metageneration"],
        "X-Goog-Hash": ",".join(sums),
        "X-Goog-Stored-Content-Encoding": "identity",
        "X-Goog-Stored-Content-Length": resource["size"],
        "X-Goog-Storage-Class": resource["storageClass"],
    }
    if not wanted:
        return Response(200, headers, data)
    if "," in wanted:
        raise not_modelled("several ranges in a request")
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.strip())
    if asked is None or asked[0] == "bytes=-":
        # A header that cannot be read is no header (RFC 9110, 14.2).
        return Response(200, headers, data)
    first = int(asked[1]) if asked[1] else max(0, len(data) - int(asked[2]))
    last = min(int(asked[2]), len(data) - 1) if asked[1] and asked[2] else len(data) - 1
    if asked[1] and asked[2] and int(asked[2]) < first:
        return Response(200, headers, data)
    if first >= len(data) or asked[0] == "bytes=-0":
        text = b"The requested range cannot be satisfied."
        return Response(416, {**headers, "Content-Range": f"bytes */{len(data)}"}, text)
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(206, headers, data[first : last + 1])
