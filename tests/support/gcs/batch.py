"""Several requests in one (cloud.google.com/storage/docs/batch)."""

from __future__ import annotations

import email.parser
import secrets
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from .messages import Request, Response
from .store import ApiError

__all__ = ["PATH", "answer_batch"]

PATH = "/batch/storage/v1"
#: So many may be in one.
MOST = 100


def answer_batch(request: Request, answer: Callable[[Request], Response]) -> Response:
    """Answers each part as if it had come alone, in their order.

    Raises:
        ApiError: 400 if it is no batch.
    """
    content_type = request.headers.get("Content-Type", "")
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser().parsebytes(head + request.body)
    parts = message.get_payload() if message.is_multipart() else []
    if not 1 <= len(parts) <= MOST:
        raise ApiError(400, "badRequest", f"a batch of {len(parts)}: there may be 1 to {MOST}")
    boundary = f"batch_{secrets.token_hex(8)}"
    out = []
    for part in parts:
        inner = _request(part.get_payload(decode=True) or b"")
        if inner.path.startswith(("/upload", "/download")) or inner.query.get("alt") == "media":
            raise ApiError(400, "badRequest", "a batch has no uploads and no downloads")
        response = answer(inner)
        answered = f"<response-{part.get('Content-ID', '').strip('<>')}>"
        out.append(_part(boundary, answered, response))
    headers = {"Content-Type": f"multipart/mixed; boundary={boundary}"}
    return Response(200, headers, b"".join(out) + f"--{boundary}--".encode())


def _request(data: bytes) -> Request:
    head, _, body = data.replace(b"\r\n", b"\n").partition(b"\n\n")
    line, _, rest = head.strip().partition(b"\n")
    try:
        method, target = line.decode().split()[:2]
    except ValueError as error:
        raise ApiError(400, "badRequest", f"{line!r} in a batch is no request") from error
    url = urlsplit(target)
    headers: Mapping[str, str] = email.parser.BytesParser().parsebytes(rest + b"\n\n")  # type: ignore[assignment]
    return Request(method, f"{url.path}?{url.query}", headers, body.strip())


def _part(boundary: str, content_id: str, response: Response) -> bytes:
    lines = [f"--{boundary}", "Content-Type: application/http", f"Content-ID: {content_id}", ""]
    lines += [f"HTTP/1.1 {response.status} X", *(f"{k}: {v}" for k, v in response.headers.items())]
    lines += [f"Content-Length: {len(response.body)}", "", ""]
    return "\r\n".join(lines).encode() + response.body + b"\r\n\r\n"
