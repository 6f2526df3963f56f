"""The objects: buckets, generations, preconditions, pages of listings. Knows nothing of HTTP."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import google_crc32c

__all__ = ["ApiError", "Conditions", "Listing", "Store", "StoredObject", "not_modelled"]

#: What an uploader may say of an object; nothing else is kept, so nothing else is taken.
SETTABLE = {
    "cacheControl",
    "contentDisposition",
    "contentLanguage",
    "contentType",
    "metadata",
}
#: What an uploader may say that is held against what arrives.
CHECKED = {"bucket", "crc32c", "md5Hash", "name", "size"}

Resource = dict[str, Any]


class ApiError(Exception):
    """What is answered in place of a result."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


def not_modelled(what: str) -> ApiError:
    """Returns the refusal of what the emulator would otherwise have to guess."""
    return ApiError(501, "notImplemented", f"the emulator does not model {what}")


@dataclasses.dataclass(frozen=True)
class StoredObject:
    """One generation of an object."""

    data: bytes
    resource: Resource

    @property
    def generation(self) -> int:
        return int(self.resource["generation"])

    @property
    def metageneration(self) -> int:
        return int(self.resource["metageneration"])


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Preconditions of a request (cloud.google.com/storage/docs/request-preconditions)."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str], prefix: str = "if") -> Conditions:
        """Reads the parameters `ifGenerationMatch` and so on; `ifSource` is the other prefix."""
        words = {
            "generation_match": "GenerationMatch",
            "generation_not_match": "GenerationNotMatch",
            "metageneration_match": "MetagenerationMatch",
            "metageneration_not_match": "MetagenerationNotMatch",
        }
        try:
            return cls(
                **{k: int(query[prefix + w]) for k, w in words.items() if prefix + w in query}
            )
        except ValueError as error:
            raise ApiError(400, "invalid", f"a precondition is no number: {error}") from error

    def check(self, current: StoredObject | None, *, reading: bool) -> None:
        """Raises 412, or 304 where a reader has already what there is."""
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else None
        for wanted, is_so in (
            (self.generation_match, generation),
            (self.metageneration_match, metageneration),
        ):
            if wanted is not None and wanted != is_so:
                raise ApiError(412, "conditionNotMet", "At least one of the pre-conditions failed.")
        for unwanted, is_so in (
            (self.generation_not_match, generation),
            (self.metageneration_not_match, metageneration),
        ):
            if unwanted is not None and (unwanted == is_so or current is None):
                status = 304 if reading else 412
                raise ApiError(status, "conditionNotMet", "The object is what was excluded.")


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a page of a listing is asked to hold."""

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    after: str = ""
    size: int = 1000


class Store:
    """All buckets; each change is one step for whoever else looks.

    Attributes:
        url: of the server, for the links in resources.
        page_size: the most entries of a page, whatever is asked for.
    """

    def __init__(self, page_size: int = 1000) -> None:
        self.url = ""
        self.page_size = page_size
        self._lock = threading.RLock()
        self._buckets: dict[str, Resource] = {}
        self._objects: dict[str, dict[str, StoredObject]] = {}
        self._last_generation = 0

    def clear(self) -> None:
        with self._lock:
            self._buckets.clear()
            self._objects.clear()

    # Buckets.

    def create_bucket(self, given: Resource, project: str) -> Resource:
        name = given.get("name", "")
        unknown = set(given) - {"name", "location", "softDeletePolicy", "storageClass"}
        if unknown:
            raise not_modelled(f"a bucket's {', '.join(sorted(unknown))}")
        with self._lock:
            if name in self._buckets:
                raise ApiError(409, "conflict", f"the bucket {name} exists")
            self._buckets[name] = {
                "kind": "storage#bucket",
                "id": name,
                "name": name,
                "projectNumber": str(binascii.crc32(project.encode())),
                "location": given.get("location") or "US",
                "storageClass": "STANDARD",
                "softDeletePolicy": {"retentionDurationSeconds": "0"},
                "metageneration": "1",
                "timeCreated": _now(),
                "updated": _now(),
                "selfLink": f"{self.url}/storage/v1/b/{name}",
            }
            self._objects[name] = {}
            return self._buckets[name]

    def bucket(self, name: str) -> Resource:
        with self._lock:
            if name not in self._buckets:
                raise ApiError(404, "notFound", "The specified bucket does not exist.")
            return self._buckets[name]

    def delete_bucket(self, name: str) -> None:
        with self._lock:
            self.bucket(name)
            if self._objects[name]:
                raise ApiError(409, "conflict", "The bucket you tried to delete is not empty.")
            del self._buckets[name], self._objects[name]

    # Objects.

    def get(
        self, bucket: str, name: str, conditions: Conditions, generation: int | None = None
    ) -> StoredObject:
        """Returns an object that is there; there are no noncurrent versions of any."""
        found = self._live(bucket, name)
        if found is None or generation not in (None, found.generation):
            raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
        conditions.check(found, reading=True)
        return found

    def check(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Raises what writing an object would raise now."""
        conditions.check(self._live(bucket, name), reading=False)

    def insert(
        self,
        bucket: str,
        name: str,
        data: bytes,
        given: Resource,
        conditions: Conditions,
        parts: int = 0,
    ) -> StoredObject:
        """Makes a new generation; `parts` is the number of those that it was composed of."""
        _check_name(name)
        if unknown := set(given) - SETTABLE - CHECKED:
            raise not_modelled(f"an object's {', '.join(sorted(unknown))}")
        sums = {"crc32c": _crc32c(data), "md5Hash": _base64(hashlib.md5(data).digest())}
        for key, value in {**sums, "size": str(len(data))}.items():
            if key in given and str(given[key]) != value:
                raise ApiError(
                    400, "invalid", f"{key} of what arrived is {value}: not {given[key]}"
                )
        if parts:
            del sums["md5Hash"]
            sums["componentCount"] = str(parts)
        with self._lock:
            conditions.check(self._live(bucket, name), reading=False)
            kept = {key: given[key] for key in SETTABLE & set(given) if given[key] is not None}
            made = StoredObject(data, {**kept, **sums, **self._facts(bucket, name, len(data))})
            made.resource.setdefault("contentType", "application/octet-stream")
            self._objects[bucket][name] = made
            return made

    def _facts(self, bucket: str, name: str, size: int) -> Resource:
        # Higher than every other, and like the real ones in microseconds.
        self._last_generation = max(self._last_generation + 1, time.time_ns() // 1000)
        generation, now, quoted = str(self._last_generation), _now(), quote(name, safe="")
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "name": name,
            "bucket": bucket,
            "generation": generation,
            "metageneration": "1",
            "size": str(size),
            "storageClass": "STANDARD",
            "etag": _base64(generation.encode()),
            "timeCreated": now,
            "updated": now,
            "selfLink": f"{self.url}/storage/v1/b/{bucket}/o/{quoted}",
            "mediaLink": f"{self.url}/download/storage/v1/b/{bucket}/o/{quoted}"
            f"?generation={generation}&alt=media",
        }

    def patch(
        self,
        bucket: str,
        name: str,
        given: Resource,
        conditions: Conditions,
        generation: int | None = None,
    ) -> Resource:
        """Changes what is said of an object: null takes away, `metadata` key by key."""
        if unknown := set(given) - SETTABLE:
            raise not_modelled(f"a change of {', '.join(sorted(unknown))}")
        with self._lock:
            found = self._live(bucket, name)
            if found is None or generation not in (None, found.generation):
                raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
            conditions.check(found, reading=False)
            changed = dict(given)
            if given.get("metadata") is not None:
                changed["metadata"] = _some(
                    {**found.resource.get("metadata", {}), **given["metadata"]}
                )
            again = {"metageneration": str(found.metageneration + 1), "updated": _now()}
            made = StoredObject(found.data, _some({**found.resource, **changed, **again}))
            self._objects[bucket][name] = made
            return made.resource

    def delete(
        self, bucket: str, name: str, conditions: Conditions, generation: int | None = None
    ) -> None:
        with self._lock:
            found = self._live(bucket, name)
            if found is None or generation not in (None, found.generation):
                raise ApiError(404, "notFound", f"No such object: {bucket}/{name}")
            conditions.check(found, reading=False)
            del self._objects[bucket][name]

    def list(self, bucket: str, asked: Listing) -> tuple[list[Resource], list[str], str]:
        """Returns a page: objects, common prefixes, and the last entry if more may follow."""
        size = min(asked.size, self.page_size)
        with self._lock:
            self.bucket(bucket)
            objects = self._objects[bucket]
            # The order of code points is that of the bytes in UTF-8, in which they are listed.
            entries = _entries(sorted(objects), asked)
            items: list[Resource] = []
            prefixes: list[str] = []
            last = ""
            for entry, is_prefix in entries:
                if len(items) + len(prefixes) == size:
                    return items, prefixes, last
                last = entry
                if is_prefix:
                    prefixes.append(entry)
                else:
                    items.append(objects[entry].resource)
            return items, prefixes, ""

    def _live(self, bucket: str, name: str) -> StoredObject | None:
        with self._lock:
            self.bucket(bucket)
            return self._objects[bucket].get(name)


def _entries(names: Iterable[str], asked: Listing) -> Iterator[tuple[str, bool]]:
    """Yields each entry once, in order: a name, or a prefix that several names share."""
    before = ""
    for name in names:
        if not name.startswith(asked.prefix) or name < asked.start:
            continue
        if asked.end and name >= asked.end:
            return
        head, cut, _ = name[len(asked.prefix) :].partition(asked.delimiter or "\0")
        entry = asked.prefix + head + cut if asked.delimiter and cut else name
        is_prefix = bool(asked.delimiter and cut)
        # What a page ended with is not on the next one; nor is, again, the prefix it ended with.
        if entry <= asked.after or (is_prefix and entry == before):
            continue
        before = entry
        yield entry, is_prefix


def _check_name(name: str) -> None:
    """See cloud.google.com/storage/docs/objects#naming."""
    if not 1 <= len(name.encode()) <= 1024 or {"\r", "\n"} & set(name) or name in (".", ".."):
        raise ApiError(400, "invalid", f"{name!r} is no name of an object")


def _some(resource: Resource) -> Resource:
    return {key: value for key, value in resource.items() if value is not None}


def _crc32c(data: bytes) -> str:
    return _base64(google_crc32c.Checksum(data).digest())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _now() -> str:
    """Returns the time in milliseconds, as the real one does."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
