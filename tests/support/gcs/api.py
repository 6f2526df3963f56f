"""The JSON API: which requests there are, which parameters each takes, what is answered."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from . import uploads
from .fields import pick
from .messages import Request, Response, json_response, media
from .store import ApiError, Conditions, Listing, Store, not_modelled

__all__ = ["Api"]

IF = {
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
}
IF_SOURCE = {name.replace("if", "ifSource", 1) for name in IF}
#: Parameters that shape the answer, of every request; `prettyPrint` changes nothing here.
ALWAYS = {"alt", "fields", "prettyPrint", "projection"}
#: Headers that would change what is done.
REFUSED_HEADERS = re.compile(
    r"if-(match|none-match|modified-since|unmodified-since|range)|content-encoding|content-md5"
    r"|x-goog-(encryption-.*|copy-source.*|if-.*|user-project|acl)|x-http-method-override",
    re.IGNORECASE,
)


@dataclasses.dataclass(frozen=True)
class Route:
    call: str
    method: str
    path: re.Pattern[str]
    parameters: set[str]
    answer: Callable[..., Response]


class Api:
    """Answers requests; is called by many threads at a time."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sessions = uploads.Sessions()
        bucket, name = "/b/([^/]+)", "/o/([^/]+)"
        get, put = {"generation", *IF}, {"name", "uploadType", *IF}
        copy = {"sourceGeneration", *IF, *IF_SOURCE}
        page = {"maxResults", "pageToken", "versions"}
        listing = {"delimiter", "endOffset", "prefix", "startOffset", *page}
        # Each value stands quoted in the path, its slashes too.
        buckets, objects = "/storage/v1/b", f"/storage/v1{bucket}/o"
        one, to = f"/storage/v1{bucket}{name}", f"{bucket}{name}"
        uploading = f"/upload{objects}"
        self._routes = [
            Route(call, method, re.compile(path), parameters, answer)
            for call, method, path, parameters, answer in [
                ("buckets.insert", "POST", buckets, {"project"}, self._create_bucket),
                ("buckets.get", "GET", f"/storage/v1{bucket}", set(), self._get_bucket),
                ("buckets.delete", "DELETE", f"/storage/v1{bucket}", set(), self._delete_bucket),
                ("objects.list", "GET", objects, listing, self._list),
                ("objects.get", "GET", f"(?:/download)?{one}", get, self._get),
                ("objects.delete", "DELETE", one, get, self._delete),
                ("objects.patch", "PATCH", one, get, self._patch),
                ("objects.compose", "POST", f"{one}/compose", IF, self._compose),
                ("objects.copy", "POST", f"{one}/copyTo{to}", copy, self._copy),
                ("objects.rewrite", "POST", f"{one}/rewriteTo{to}", copy, self._rewrite),
                ("objects.insert", "POST", uploading, put, self._insert),
                ("uploads.put", "PUT", uploading, {"upload_id", *put}, self._resume),
                ("uploads.cancel", "DELETE", uploading, {"upload_id", *put}, self._cancel),
            ]
        ]

    def call_of(self, request: Request) -> str:
        """Returns the name of what is asked for, empty if there is no such thing."""
        found = self._find(request)
        return found[0].call if found else ""

    def answer(self, request: Request) -> Response:
        """Answers a request; everything that is wrong with it is an answer too."""
        try:
            response = self._answer(request)
        except ApiError as error:
            detail = {"domain": "global", "reason": error.reason, "message": error.message}
            value = {"code": error.status, "message": error.message, "errors": [detail]}
            if error.status == 304:
                return Response(304)
            return json_response({"error": value}, error.status)
        fields = request.query.get("fields")
        if fields and response.headers.get("Content-Type", "").startswith("application/json"):
            return json_response(pick(json.loads(response.body), fields), response.status)
        return response

    def replace(self, request: Request) -> None:
        """Gives the object that a request names other bytes, and so another generation."""
        found = self._find(request)
        if found is None or len(found[1]) != 2:
            raise ValueError(f"{request.target} names no object")
        bucket, name = map(unquote, found[1])
        data = bytes(255 - byte for byte in self.store.get(bucket, name, Conditions()).data)
        self.store.insert(bucket, name, data, {}, Conditions())

    def _find(self, request: Request) -> tuple[Route, tuple[str, ...]] | None:
        for route in self._routes:
            found = route.path.fullmatch(request.path)
            if found and route.method == request.method:
                return route, found.groups()
        return None

    def _answer(self, request: Request) -> Response:
        found = self._find(request)
        if found is None:
            raise not_modelled(f"{request.method} {request.path}")
        route, names = found
        for parameter in request.query.keys() - route.parameters - ALWAYS:
            raise not_modelled(f"the parameter {parameter} of {route.call}")
        for header in filter(REFUSED_HEADERS.fullmatch, request.headers.keys()):
            raise not_modelled(f"the header {header}")
        if request.query.get("alt", "json") not in ("json", "media"):
            raise not_modelled(f"alt={request.query['alt']}")
        return route.answer(request, *map(unquote, names))

    # Buckets.

    def _create_bucket(self, request: Request) -> Response:
        project = request.query.get("project", "")
        return json_response(self.store.create_bucket(uploads.parse_json(request.body), project))

    def _get_bucket(self, _: Request, bucket: str) -> Response:
        return json_response(self.store.bucket(bucket))

    def _delete_bucket(self, _: Request, bucket: str) -> Response:
        self.store.delete_bucket(bucket)
        return Response(204)

    # Objects.

    def _list(self, request: Request, bucket: str) -> Response:
        query = request.query
        if query.get("versions", "false") != "false":
            raise not_modelled("noncurrent versions")
        after = base64.urlsafe_b64decode(query.get("pageToken", "")).decode()
        asked = Listing(
            prefix=query.get("prefix", ""),
            delimiter=query.get("delimiter", ""),
            start=query.get("startOffset", ""),
            end=query.get("endOffset", ""),
            after=after,
            size=int(query.get("maxResults") or 1000),
        )
        items, prefixes, last = self.store.list(bucket, asked)
        page: dict[str, Any] = {"kind": "storage#objects"}
        # As the real one: what is empty is not there.
        page.update({"items": items} if items else {})
        page.update({"prefixes": prefixes} if prefixes else {})
        if last:
            page["nextPageToken"] = base64.urlsafe_b64encode(last.encode()).decode()
        return json_response(page)

    def _get(self, request: Request, bucket: str, name: str) -> Response:
        found = self.store.get(bucket, name, Conditions.of(request.query), _generation(request))
        if request.query.get("alt") == "media":
            return media(found, request.headers.get("Range", ""))
        return json_response(found.resource)

    def _delete(self, request: Request, bucket: str, name: str) -> Response:
        self.store.delete(bucket, name, Conditions.of(request.query), _generation(request))
        return Response(204)

    def _patch(self, request: Request, bucket: str, name: str) -> Response:
        given = uploads.parse_json(request.body)
        conditions = Conditions.of(request.query)
        changed = self.store.patch(bucket, name, given, conditions, _generation(request))
        return json_response(changed)

    def _copy(self, request: Request, *names: str) -> Response:
        source_bucket, source, bucket, name = names
        query = request.query
        found = self.store.get(
            source_bucket,
            source,
            Conditions.of(query, "ifSource"),
            _generation(request, "sourceGeneration"),
        )
        kept = {
            key: found.resource[key] for key in ("contentType", "metadata") if key in found.resource
        }
        given = {**kept, **uploads.parse_json(request.body)}
        made = self.store.insert(bucket, name, found.data, given, Conditions.of(query))
        return json_response(made.resource)

    def _rewrite(self, request: Request, *names: str) -> Response:
        resource = json.loads(self._copy(request, *names).body)
        size = {"totalBytesRewritten": resource["size"], "objectSize": resource["size"]}
        done = {"kind": "storage#rewriteResponse", **size, "done": True, "resource": resource}
        return json_response(done)

    def _compose(self, request: Request, bucket: str, name: str) -> Response:
        given = uploads.parse_json(request.body)
        sources = given.get("sourceObjects", [])
        if not 1 <= len(sources) <= 32:
            raise ApiError(400, "invalid", f"{len(sources)} objects to compose: 1 to 32 can be")
        parts = []
        for source in sources:
            conditions = Conditions.of(source.get("objectPreconditions", {}))
            if source.get("objectPreconditions", {}).keys() - {"ifGenerationMatch"}:
                raise not_modelled("other preconditions of sources than ifGenerationMatch")
            generation = source.get("generation")
            number = int(generation) if generation is not None else None
            parts.append(self.store.get(bucket, source["name"], conditions, number))
        count = sum(int(part.resource.get("componentCount", 1)) for part in parts)
        made = self.store.insert(
            bucket,
            name,
            b"".join(part.data for part in parts),
            given.get("destination", {}),
            Conditions.of(request.query),
            parts=count,
        )
        return json_response(made.resource)

    # Uploads.

    def _insert(self, request: Request, bucket: str) -> Response:
        query = request.query
        kind = query.get("uploadType")
        content_type = request.headers.get("Content-Type", "")
        if kind == "resumable":
            return self._begin(request, bucket)
        if kind == "media":
            given, content_type, data = {}, content_type, request.body
        elif kind == "multipart":
            given, content_type, data = uploads.split_related(request.body, content_type)
        else:
            raise not_modelled(f"uploadType={kind}")
        if content_type:
            given.setdefault("contentType", content_type)
        given.update(uploads.hashes(request.headers))
        name = query.get("name") or given.get("name", "")
        made = self.store.insert(bucket, name, data, given, Conditions.of(query))
        return json_response(made.resource)

    def _begin(self, request: Request, bucket: str) -> Response:
        given = uploads.parse_json(request.body)
        if kind := request.headers.get("X-Upload-Content-Type"):
            given.setdefault("contentType", kind)
        name = request.query.get("name") or given.get("name", "")
        session = uploads.Session(bucket, name, given, Conditions.of(request.query))
        # Checked now, and again when the object is made.
        self.store.check(bucket, name, session.conditions)
        upload_id = self.sessions.begin(session)
        place = f"{self.store.url}/upload/storage/v1/b/{bucket}/o"
        parameters = f"uploadType=resumable&name={quote(name, safe='')}&upload_id={upload_id}"
        return Response(
            200, {"Location": f"{place}?{parameters}", "X-GUploader-UploadID": upload_id}
        )

    def _resume(self, request: Request, _: str) -> Response:
        session = self.sessions.find(request.query.get("upload_id", ""))
        content_range = request.headers.get("Content-Range", "")
        with session.lock:
            if not request.whole:
                session.keep_some(content_range, request.body)
                return Response(400)
            sums = uploads.hashes(request.headers)
            if session.put(content_range, request.body, sums, self.store):
                assert session.made is not None
                return json_response(session.made.resource)
            have = len(session.received)
            return Response(308, {"Range": f"bytes=0-{have - 1}"} if have else {})

    def _cancel(self, request: Request, _: str) -> Response:
        session = self.sessions.find(request.query.get("upload_id", ""))
        with session.lock:
            if session.made is None:
                session.cancelled = True
                session.received.clear()
        return Response(499)


def _generation(request: Request, parameter: str = "generation") -> int | None:
    text = request.query.get(parameter)
    return int(text) if text else None
