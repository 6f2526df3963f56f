"""It is the emulator that is right: each rule of it, driven by Google's client and by Beam's."""

from __future__ import annotations

import base64
import gc
import hashlib
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.devices import need_gcp
from support.gcs import Emulator

#: Google's client does not close what it has read an error from.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)

GRANULE = 256 * 1024


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[Any]:
    from google.cloud import storage

    # Anonymous, as that of everybody who follows STORAGE_EMULATOR_HOST.
    with storage.Client(project="test") as made:
        yield made
    # See `pytestmark`: not in another module's tests.
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.fixture
def remote(client: Any, bucket: str) -> Any:
    """The bucket, as Google's client sees it."""
    return client.bucket("bucket")


@pytest.fixture
def beam_files(emulator: Emulator) -> Any:
    need_gcp()
    from apache_beam.io.filesystems import FileSystems

    return FileSystems


@pytest.fixture
def quick() -> Any:
    """How often and how soon Google's client tries again."""
    need_gcp()
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.05).with_timeout(10.0)


def status_of(call: Callable[[], object]) -> int:
    """Returns the status that a call of Google's client fails with."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud.storage.exceptions import InvalidResponse

    try:
        call()
    except GoogleAPICallError as error:
        return int(error.code or 0)
    except InvalidResponse as error:
        return error.response.status_code
    return 200


def raw(emulator: Emulator, method: str, target: str, **headers: str) -> tuple[int, bytes]:
    """Asks as no client does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(emulator.url + target, None, named, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


# Objects, their generations and sums.


def test_what_was_written_is_read_and_known(remote: Any) -> None:
    blob = remote.blob("a/b c+ü.bin")
    blob.metadata = {"writer": "7"}
    blob.upload_from_string(noise(1000), content_type="image/jpeg")
    found = remote.get_blob("a/b c+ü.bin")
    assert found.download_as_bytes() == noise(1000)
    assert (found.size, found.content_type, found.metadata) == (1000, "image/jpeg", {"writer": "7"})
    assert found.md5_hash == base64.b64encode(hashlib.md5(noise(1000)).digest()).decode()
    assert found.generation == blob.generation
    assert found.metageneration == 1
    assert abs(found.updated.timestamp() - time.time()) < 60


def test_each_write_is_a_generation_of_its_own(remote: Any) -> None:
    seen = []
    for number in range(3):
        blob = remote.blob("x")
        blob.upload_from_string(str(number))
        seen.append(blob.generation)
    assert seen == sorted(set(seen))
    assert remote.blob("x", generation=seen[2]).download_as_bytes() == b"2"
    # What was replaced is gone: there is no object versioning.
    assert status_of(remote.blob("x", generation=seen[1]).download_as_bytes) == 404
    assert status_of(lambda: remote.blob("x", generation=seen[1]).reload()) == 404
    assert status_of(lambda: remote.delete_blob("x", generation=seen[1])) == 404


@pytest.mark.parametrize("sums", [{"crc32c": "AAAAAA=="}, {"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}])
def test_content_of_another_sum_is_refused(remote: Any, sums: dict[str, str]) -> None:
    blob = remote.blob("x")
    blob._properties.update(sums)
    blob._changes.update(sums)
    assert status_of(lambda: blob.upload_from_string(b"abc", checksum=None)) == 400
    assert not blob.exists()


def test_metadata_is_patched_key_by_key(remote: Any) -> None:
    blob = remote.blob("x")
    blob.metadata = {"a": "1", "b": "2"}
    blob.upload_from_string(b"abc")
    blob.metadata = {"a": None, "c": "3"}
    blob.cache_control = "no-store"
    blob.patch()
    again = remote.get_blob("x")
    assert again.metadata == {"b": "2", "c": "3"}
    assert (again.cache_control, again.metageneration) == ("no-store", 2)
    assert again.generation == blob.generation


def test_copies_rewrites_and_compositions(remote: Any) -> None:
    source = remote.blob("a")
    source.metadata = {"k": "v"}
    source.upload_from_string(b"aaa", content_type="text/plain")
    copied = remote.copy_blob(source, remote, "b/c")
    assert (copied.download_as_bytes(), copied.metadata) == (b"aaa", {"k": "v"})
    rewritten = remote.blob("d")
    assert rewritten.rewrite(source) == (None, 3, 3)
    assert (rewritten.content_type, rewritten.crc32c) == ("text/plain", source.crc32c)
    composed = remote.blob("e")
    composed.compose([source, copied, source])
    assert composed.download_as_bytes() == b"aaaaaaaaa"
    assert (composed.component_count, composed.md5_hash) == (3, None)


def test_what_is_not_there(client: Any, remote: Any) -> None:
    assert client.lookup_bucket("nowhere") is None
    assert remote.get_blob("none") is None
    assert not remote.blob("none").exists()
    assert status_of(remote.blob("none").download_as_bytes) == 404
    assert status_of(remote.blob("none").delete) == 404
    assert status_of(remote.blob("none").patch) == 404
    assert status_of(lambda: remote.copy_blob(remote.blob("none"), remote, "x")) == 404
    assert status_of(lambda: client.bucket("nowhere").blob("x").upload_from_string(b"")) == 404
    assert status_of(lambda: list(client.list_blobs("nowhere"))) == 404


def test_buckets(client: Any, remote: Any) -> None:
    assert remote.exists()
    made = client.create_bucket("another", location="us-central1")
    assert client.get_bucket("another").location.lower() == "us-central1"
    assert made.project_number == client.get_bucket("bucket").project_number
    assert status_of(lambda: client.create_bucket("another")) == 409
    made.blob("x").upload_from_string(b"")
    assert status_of(made.delete) == 409
    made.delete_blob("x")
    made.delete()
    assert client.lookup_bucket("another") is None


@pytest.mark.parametrize("name", ["a\nb", "x" * 1025, "."])
def test_names_that_no_object_can_have(remote: Any, name: str) -> None:
    assert status_of(lambda: remote.blob(name).upload_from_string(b"")) == 400


# Preconditions: of each kind of request, each that it takes.


@pytest.mark.parametrize("size", [3, 3 * GRANULE])
@pytest.mark.parametrize("there", [False, True])
def test_preconditions_of_uploads(remote: Any, there: bool, size: int) -> None:
    """Of one request and of several."""
    generation = 0
    if there:
        blob = remote.blob("x")
        blob.upload_from_string(b"old")
        generation = blob.generation

    def upload(**conditions: int) -> int:
        made = remote.blob("x", chunk_size=GRANULE if size > GRANULE else None)
        return status_of(lambda: made.upload_from_string(noise(size), **conditions))

    assert upload(if_generation_match=generation + 1) == 412
    assert upload(if_generation_match=0) == (412 if there else 200)
    if there:
        assert remote.blob("x").download_as_bytes() == b"old"
        assert upload(if_generation_not_match=generation) == 412
        assert upload(if_metageneration_match=2) == 412
        assert upload(if_generation_match=generation, if_metageneration_match=1) == 200
        assert upload(if_generation_match=generation) == 412
    assert remote.blob("x").download_as_bytes() == noise(size)
    assert upload(if_generation_not_match=0) == 200
    assert upload(if_generation_not_match=1) == 200


def test_the_precondition_that_no_client_can_set(emulator: Emulator, bucket: str) -> None:
    """Google's misspells it for uploads, and what is misspelt is refused."""
    target = "/upload/storage/v1/b/bucket/o?uploadType=media&name=x&"
    emulator.put(f"{bucket}/x", b"abc")
    assert raw(emulator, "POST", f"{target}ifMetagenerationNotMatch=1")[0] == 412
    assert raw(emulator, "POST", f"{target}ifMetagenerationNotMatch=2")[0] == 200
    assert raw(emulator, "POST", f"{target}ifMetaGenerationNotMatch=2")[0] == 501
    assert raw(emulator, "POST", f"{target}ifGenerationMatch=x")[0] == 400
    emulator.forget()


def test_who_comes_first_while_chunks_are_on_their_way(remote: Any) -> None:
    """The precondition is held at the end too, not only where the upload begins."""
    from google.cloud.storage.exceptions import InvalidResponse

    late = remote.blob("x").open("wb", chunk_size=GRANULE, if_generation_match=0)
    late.write(noise(GRANULE + 1))
    remote.blob("x").upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(InvalidResponse, match="412"):
        late.close()
    assert remote.blob("x").download_as_bytes() == b"first"


def test_preconditions_of_reads(remote: Any) -> None:
    blob = remote.blob("x")
    blob.upload_from_string(b"abc")
    generation = blob.generation
    for read in (
        lambda **conditions: remote.blob("x").download_as_bytes(**conditions),
        lambda **conditions: remote.blob("x").download_as_bytes(start=1, end=1, **conditions),
        lambda **conditions: remote.blob("x").reload(**conditions),
    ):
        assert status_of(lambda read=read: read(if_generation_match=generation)) == 200
        assert status_of(lambda read=read: read(if_generation_match=generation + 1)) == 412
        assert status_of(lambda read=read: read(if_generation_not_match=generation)) == 304
        assert status_of(lambda read=read: read(if_generation_not_match=1)) == 200
        assert status_of(lambda read=read: read(if_metageneration_match=1)) == 200
        assert status_of(lambda read=read: read(if_metageneration_match=2)) == 412
        assert status_of(lambda read=read: read(if_metageneration_not_match=1)) == 304
        assert status_of(lambda read=read: read(if_metageneration_not_match=2)) == 200


@pytest.mark.parametrize(
    ("act", "conditions", "wanted"),
    [
        (act, conditions, wanted)
        for act in ("delete", "patch", "copy", "rewrite", "compose")
        for conditions, wanted in [
            ({"if_generation_match": 1}, 412),
            ({"if_generation_not_match": "it"}, 412),
            ({"if_metageneration_match": 2}, 412),
            ({"if_metageneration_not_match": 1}, 412),
            ({"if_generation_match": "it", "if_metageneration_match": 1}, 200),
            ({"if_generation_not_match": 1, "if_metageneration_not_match": 2}, 200),
        ]
        # Google's client has no such parameters of it.
        if act != "compose" or not any("not" in key for key in conditions)
    ],
)
def test_preconditions_of_changes(
    remote: Any, act: str, conditions: dict[str, Any], wanted: int
) -> None:
    other = remote.blob("other")
    other.upload_from_string(b"other")
    blob = remote.blob("x")
    blob.upload_from_string(b"abc")
    given = {key: blob.generation if value == "it" else value for key, value in conditions.items()}
    blob.content_language = "de"

    def change() -> object:
        match act:
            case "copy":
                return remote.copy_blob(other, remote, "x", **given)
            case "rewrite":
                return remote.blob("x").rewrite(other, **given)
            case "compose":
                return remote.blob("x").compose([other], **given)
            case _:
                return getattr(blob, act)(**given)

    assert status_of(change) == wanted
    if wanted == 412:
        assert remote.get_blob("x").generation == blob.generation


def test_preconditions_of_sources(remote: Any) -> None:
    source = remote.blob("a")
    source.upload_from_string(b"abc")
    other = source.generation + 1
    assert status_of(lambda: remote.copy_blob(source, remote, "b", source_generation=other)) == 404
    for condition, value, wanted in [
        ("if_source_generation_match", other, 412),
        ("if_source_generation_match", source.generation, 200),
        ("if_source_metageneration_match", 2, 412),
        ("if_source_metageneration_match", 1, 200),
    ]:
        given = {condition: value}
        assert status_of(lambda g=given: remote.copy_blob(source, remote, "b", **g)) == wanted
        assert status_of(lambda g=given: remote.blob("b").rewrite(source, **g)) == wanted
    matched = remote.blob("c")
    call = lambda: matched.compose([source], if_source_generation_match=[other])  # noqa: E731
    assert status_of(call) == 412


# Ranges.


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-0", 206, b"0"),
        ("bytes=2-4", 206, b"234"),
        ("bytes=2-", 206, b"23456789"),
        ("bytes=8-100", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-100", 206, b"0123456789"),
        ("bytes=10-", 416, None),
        ("bytes=10-12", 416, None),
        ("bytes=-0", 416, None),
        # What is no range is not looked at.
        ("bytes=4-2", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_ranges(
    emulator: Emulator, bucket: str, wanted: str, status: int, content: bytes | None
) -> None:
    emulator.put(f"{bucket}/x", b"0123456789")
    found = raw(emulator, "GET", "/storage/v1/b/bucket/o/x?alt=media", Range=wanted)
    assert found[0] == status
    assert content in (None, found[1])


def test_ranges_by_the_client(remote: Any) -> None:
    data = noise(3 * GRANULE)
    blob = remote.blob("x")
    blob.upload_from_string(data)
    assert blob.download_as_bytes(start=5, end=9) == data[5:10]
    assert blob.download_as_bytes(start=-7) == data[-7:]
    assert blob.download_as_bytes(start=len(data) - 1, end=len(data) + 99) == data[-1:]
    assert status_of(lambda: blob.download_as_bytes(start=len(data))) == 416
    with blob.open("rb", chunk_size=GRANULE) as source:
        assert source.seek(-3, 2) == len(data) - 3
        assert source.read() == data[-3:]
        assert source.read(1) == b""
        source.seek(GRANULE - 1)
        assert source.read(2) == data[GRANULE - 1 : GRANULE + 1]


def test_nothing_of_nothing_is_no_range(remote: Any) -> None:
    remote.blob("x").upload_from_string(b"")
    assert remote.blob("x").download_as_bytes() == b""
    assert status_of(lambda: remote.blob("x").download_as_bytes(start=0)) == 416


def test_ranges_by_beam(bucket: str, beam_files: Any) -> None:
    data = noise(3 * GRANULE)
    with beam_files.create(f"{bucket}/d/x.tar", compression_type="uncompressed") as target:
        target.write(data)
    with beam_files.open(f"{bucket}/d/x.tar", compression_type="uncompressed") as source:
        source.seek(GRANULE)
        assert source.read(10) == data[GRANULE : GRANULE + 10]
        source.seek(len(data))
        assert source.read(10) == b""


# Listings.

NAMES = ["a", "a/1", "a/2", "a/b/1", "b", "b/", "b/1", "c", "ü/1", "z", "z.x", "\U0001f600"]


@pytest.fixture
def many(emulator: Emulator, bucket: str) -> list[str]:
    for name in NAMES:
        emulator.put(f"{bucket}/{name}", name.encode())
    return sorted(NAMES, key=str.encode)


@pytest.mark.parametrize(
    ("asked", "names", "prefixes"),
    [
        ({}, sorted(NAMES, key=str.encode), set()),
        ({"prefix": "a/"}, ["a/1", "a/2", "a/b/1"], set()),
        ({"prefix": "z."}, ["z.x"], set()),
        ({"prefix": "none"}, [], set()),
        ({"delimiter": "/"}, ["a", "b", "c", "z", "z.x", "\U0001f600"], {"a/", "b/", "ü/"}),
        ({"prefix": "a/", "delimiter": "/"}, ["a/1", "a/2"], {"a/b/"}),
        ({"prefix": "b/", "delimiter": "/"}, ["b/", "b/1"], set()),
        ({"start_offset": "b"}, ["b", "b/", "b/1", "c", "z", "z.x", "ü/1", "\U0001f600"], set()),
        ({"end_offset": "b"}, ["a", "a/1", "a/2", "a/b/1"], set()),
        ({"start_offset": "a/2", "end_offset": "b/"}, ["a/2", "a/b/1", "b"], set()),
        ({"prefix": "a", "start_offset": "a/b", "end_offset": "zz"}, ["a/b/1"], set()),
    ],
)
@pytest.mark.parametrize("page_size", [None, 1, 2, 3])
def test_listings(
    client: Any,
    many: list[str],
    emulator: Emulator,
    asked: dict[str, str],
    names: list[str],
    prefixes: set[str],
    page_size: int | None,
) -> None:
    """Whatever a page holds, nothing is lost, nothing comes twice, and all of it in order."""
    emulator.forget()
    found = client.list_blobs("bucket", page_size=page_size, **asked)
    assert [one.name for one in found] == names
    assert found.prefixes == prefixes
    pages = -(-(len(names) + len(prefixes)) // page_size) if page_size else 1
    assert emulator.counts()["requests"] == max(pages, 1)


def test_a_page_has_no_more_than_asked_for(client: Any, many: list[str]) -> None:
    assert [one.name for one in client.list_blobs("bucket", max_results=5)] == many[:5]
    pages = client.list_blobs("bucket", page_size=5).pages
    assert [len(list(page)) for page in pages] == [5, 5, 2]


def test_a_page_has_no_more_than_the_server_gives(bucket: str) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    with Emulator.start("--page_size=4") as small:
        small.make_bucket("bucket")
        for number in range(10):
            small.put(f"gs://bucket/{number}", b"")
        options = {"api_endpoint": small.url}
        with storage.Client("test", AnonymousCredentials(), client_options=options) as other:
            found = [one.name for one in other.list_blobs("bucket", page_size=9)]
        assert found == [str(number) for number in range(10)]
        assert small.counts()["requests"] == 3


def test_a_listing_tells_what_an_object_is(client: Any, remote: Any) -> None:
    blob = remote.blob("x")
    blob.upload_from_string(b"abc")
    (found,) = client.list_blobs("bucket")
    assert (found.generation, found.size, found.crc32c) == (blob.generation, 3, blob.crc32c)
    (part,) = client.list_blobs("bucket", fields="items(name,size),nextPageToken")
    assert (part.name, part.size, part.crc32c) == ("x", 3, None)


def test_listings_by_beam(bucket: str, beam_files: Any, many: list[str]) -> None:
    (result,) = beam_files.match([f"{bucket}/a/**"])
    assert sorted(one.path for one in result.metadata_list) == [
        f"{bucket}/{name}" for name in ("a/1", "a/2", "a/b/1")
    ]
    (result,) = beam_files.match([f"{bucket}/a/*"])
    assert {one.path for one in result.metadata_list} == {f"{bucket}/a/1", f"{bucket}/a/2"}


# Uploads of several requests.


def start_upload(client: Any, name: str, data: bytes, chunk: int = GRANULE) -> Any:
    """Begins a resumable upload; each `transmit_next_chunk` is one request."""
    import io

    from google.cloud.storage._media.requests import ResumableUpload

    url = f"{client._connection.API_BASE_URL}/upload/storage/v1/b/bucket/o?uploadType=resumable"
    upload = ResumableUpload(url, chunk)
    upload.initiate(client._http, io.BytesIO(data), {"name": name}, "image/jpeg")
    return upload


@pytest.mark.parametrize("size", [0, 1, GRANULE, GRANULE + 1, 2 * GRANULE])
def test_uploads_of_chunks(client: Any, remote: Any, size: int) -> None:
    upload = start_upload(client, "x", noise(size))
    while not upload.finished:
        assert not remote.blob("x").exists()
        upload.transmit_next_chunk(client._http)
    found = remote.get_blob("x")
    assert found.download_as_bytes() == noise(size)
    assert found.content_type == "image/jpeg"


@pytest.mark.parametrize("size", [0, 1, GRANULE, 2 * GRANULE, 2 * GRANULE + 5])
def test_uploads_whose_size_is_not_known_before(remote: Any, size: int) -> None:
    with remote.blob("x").open("wb", chunk_size=GRANULE) as target:
        for start in range(0, size, 100_000):
            target.write(noise(size)[start : start + 100_000])
    assert remote.blob("x").download_as_bytes() == noise(size)


def put(client: Any, upload: Any, content_range: str, data: bytes = b"") -> tuple[int, str]:
    """Sends a chunk by hand; returns the status and the range that is there."""
    headers = {"content-range": content_range}
    response = client._http.request("PUT", upload.resumable_url, data=data, headers=headers)
    return response.status_code, response.headers.get("range", "")


def test_an_upload_is_asked_how_far_it_is_and_goes_on(client: Any, remote: Any) -> None:
    data = noise(2 * GRANULE + 10)
    upload = start_upload(client, "x", data)
    total = len(data)
    assert put(client, upload, f"bytes */{total}") == (308, "")
    assert put(client, upload, f"bytes 0-{GRANULE - 1}/{total}", data[:GRANULE]) == (
        308,
        f"bytes=0-{GRANULE - 1}",
    )
    assert put(client, upload, "bytes */*") == (308, f"bytes=0-{GRANULE - 1}")
    # Ahead of what is there, not whole granules, other than it says: refused, and nothing kept.
    assert put(client, upload, f"bytes {GRANULE + 1}-{GRANULE + 2}/{total}", b"ab")[0] == 503
    assert put(client, upload, f"bytes {GRANULE}-{GRANULE + 2}/{total}", b"abc")[0] == 400
    assert put(client, upload, f"bytes {GRANULE}-{GRANULE + 2}/{total}", b"ab")[0] == 400
    assert put(client, upload, "bytes */*") == (308, f"bytes=0-{GRANULE - 1}")
    assert not remote.blob("x").exists()
    # What is there may come again.
    status, _ = put(client, upload, f"bytes 0-{total - 1}/{total}", data)
    assert status == 200
    assert remote.blob("x").download_as_bytes() == data
    # It is made once, however often it is asked for.
    generation = remote.get_blob("x").generation
    assert put(client, upload, f"bytes */{total}")[0] == 200
    assert remote.get_blob("x").generation == generation


def test_a_cancelled_upload_makes_nothing(client: Any, remote: Any) -> None:
    upload = start_upload(client, "x", noise(2 * GRANULE))
    upload.transmit_next_chunk(client._http)
    assert client._http.request("DELETE", upload.resumable_url).status_code == 499
    assert put(client, upload, "bytes */*")[0] == 499
    assert put(client, upload, f"bytes */{GRANULE}")[0] == 499
    assert not remote.blob("x").exists()


def test_an_upload_that_nobody_began(client: Any, remote: Any) -> None:
    upload = start_upload(client, "x", b"")
    upload._resumable_url = upload.resumable_url + "0"
    assert put(client, upload, "bytes */*")[0] == 404


def test_a_file_that_is_not_closed_well_makes_nothing(
    bucket: str, emulator: Emulator, beam_files: Any
) -> None:
    def write() -> None:
        with beam_files.create(f"{bucket}/x", compression_type="uncompressed") as target:
            target.write(noise(100))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        write()
    assert emulator.list(bucket) == {}


# Batches.


def test_batches(client: Any, remote: Any) -> None:
    for name in "abc":
        remote.blob(name).upload_from_string(name)
    with client.batch(raise_exception=False) as batch:
        remote.delete_blob("a")
        remote.delete_blob("none")
        remote.copy_blob(remote.blob("b"), remote, "d")
        remote.delete_blob("c", if_generation_match=1)
        patched = remote.blob("b")
        patched.metadata = {"k": "v"}
        patched.patch()
    assert [one.status_code for one in batch._responses] == [204, 404, 200, 412, 200]
    assert [one.name for one in client.list_blobs("bucket")] == ["b", "c", "d"]
    assert remote.get_blob("b").metadata == {"k": "v"}


def test_a_batch_has_no_more_than_a_hundred(client: Any, remote: Any) -> None:
    def delete(count: int) -> None:
        with client.batch(raise_exception=False):
            for number in range(count):
                remote.delete_blob(str(number))

    assert status_of(lambda: delete(100)) == 200
    assert status_of(lambda: delete(101)) == 400


def test_beam_renames_copies_and_deletes(bucket: str, emulator: Emulator, beam_files: Any) -> None:
    for number in range(3):
        emulator.put(f"{bucket}/from/{number}", str(number).encode())
    old = [f"{bucket}/from/{number}" for number in range(3)]
    new = [f"{bucket}/to/{number}" for number in range(3)]
    beam_files.rename(old, new)
    assert list(emulator.list(bucket)) == new
    beam_files.copy(new, old)
    beam_files.delete(new)
    assert list(emulator.list(bucket)) == old
    assert emulator.get(old[2]) == b"2"
    assert beam_files.exists(old[0])
    assert not beam_files.exists(new[0])
    assert beam_files.checksum(old[2]) == emulator.stat(old[2])["crc32c"]


# Faults.


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_comes_as_often_as_ordered(
    remote: Any, emulator: Emulator, quick: Any, status: int
) -> None:
    remote.blob("x").upload_from_string(b"abc")
    emulator.fail("status", method="GET", path="o/x", count=2, status=status)
    assert status_of(lambda: remote.blob("x").download_as_bytes(retry=None)) == status
    assert remote.blob("x").download_as_bytes(retry=quick) == b"abc"
    seen = [(one["status"], one["fault"]) for one in emulator.log() if one["call"] == "objects.get"]
    assert seen == [(status, "status"), (status, "status"), (200, "")]


def test_faults_meet_what_they_are_ordered_for(remote: Any, emulator: Emulator) -> None:
    for name in ("a b", "ab"):
        remote.blob(name).upload_from_string(b"abc")
    emulator.fail("status", method="GET", path="o/a b", count=None, skip=1)
    read = [status_of(lambda: remote.blob("a b").download_as_bytes(retry=None)) for _ in range(3)]
    assert read == [200, 503, 503]
    assert status_of(lambda: remote.blob("ab").download_as_bytes(retry=None)) == 200
    assert status_of(lambda: remote.blob("a b").upload_from_string(b"abc")) == 200
    emulator.calm()
    assert status_of(lambda: remote.blob("a b").download_as_bytes(retry=None)) == 200


def test_a_reset_comes_before_anything_is_done(remote: Any, emulator: Emulator) -> None:
    import requests

    emulator.fail("reset", method="POST")
    with pytest.raises(requests.ConnectionError):
        remote.blob("x").upload_from_string(b"abc", retry=None)
    assert not remote.blob("x").exists()
    emulator.fail("reset", method="GET")
    with pytest.raises(requests.ConnectionError):
        remote.blob("x").exists(retry=None)


@pytest.mark.parametrize("kind", ["lost", "late_status"])
def test_an_answer_that_is_lost_is_of_something_done(
    remote: Any, emulator: Emulator, quick: Any, kind: str
) -> None:
    """So a create-only upload that is tried again finds what it made itself."""
    emulator.fail(kind, method="POST", path="upload")
    upload = remote.blob("x").upload_from_string
    assert status_of(lambda: upload(b"abc", if_generation_match=0, retry=quick)) == 412
    assert remote.blob("x").download_as_bytes() == b"abc"


def test_a_truncated_answer(remote: Any, emulator: Emulator, quick: Any) -> None:
    import requests

    data = noise(3 * GRANULE)
    remote.blob("x").upload_from_string(data)
    emulator.fail("truncated", method="GET", count=2)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        remote.blob("x").download_as_bytes(retry=None)
    assert remote.blob("x").download_as_bytes(retry=quick) == data


def test_a_corrupt_answer_has_another_sum(remote: Any, emulator: Emulator) -> None:
    from google.cloud.storage.exceptions import DataCorruption

    remote.blob("x").upload_from_string(b"abc")
    emulator.fail("corrupt", method="GET")
    with pytest.raises(DataCorruption):
        remote.blob("x").download_as_bytes(retry=None)
    assert remote.blob("x").download_as_bytes() == b"abc"


def test_an_upload_in_one_request_that_breaks_makes_nothing(
    remote: Any, emulator: Emulator, quick: Any
) -> None:
    import requests

    data = noise(2 * GRANULE)
    emulator.fail("interrupted", size=GRANULE + 7, count=2)
    with pytest.raises(requests.ConnectionError):
        remote.blob("x").upload_from_string(data, retry=None)
    assert not remote.blob("x").exists()
    remote.blob("x").upload_from_string(data, retry=quick)
    assert remote.blob("x").download_as_bytes() == data


def test_a_chunk_that_breaks_is_kept_in_granules_and_resumed(
    client: Any, remote: Any, emulator: Emulator
) -> None:
    import requests

    data = noise(4 * GRANULE)
    upload = start_upload(client, "x", data, 4 * GRANULE)
    emulator.fail("interrupted", method="PUT", size=2 * GRANULE + 9)
    upload._retry_strategy = None
    with pytest.raises(requests.ConnectionError):
        upload.transmit_next_chunk(client._http)
    assert not remote.blob("x").exists()
    upload._invalid = True
    upload.recover(client._http)
    assert upload.bytes_uploaded == 2 * GRANULE
    emulator.forget()
    upload.transmit_next_chunk(client._http)
    assert emulator.log()[0]["received"] == 2 * GRANULE
    assert remote.blob("x").download_as_bytes() == data


def test_an_upload_whose_client_dies_makes_nothing(bucket: str, emulator: Emulator) -> None:
    """It has sent one chunk, and ends without a word."""
    program = """
import os
from google.cloud import storage
target = storage.Client(project="test").bucket("bucket").blob("x").open("wb", chunk_size=262144)
target.write(bytes(300_000))
os._exit(1)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == 1
    assert [one["status"] for one in emulator.log() if one["call"] == "uploads.put"] == [308]
    assert emulator.list(bucket) == {}


def test_latency(remote: Any, emulator: Emulator) -> None:
    remote.blob("x").upload_from_string(b"abc")
    emulator.set_latency(0.2)
    start = time.monotonic()
    remote.blob("x").download_as_bytes()
    assert time.monotonic() - start > 0.19
    emulator.set_latency(0)
    emulator.fail("slow", seconds=0.3)
    start = time.monotonic()
    remote.blob("x").download_as_bytes()
    assert time.monotonic() - start > 0.29


def test_an_object_is_replaced_while_it_is_read(remote: Any, emulator: Emulator) -> None:
    blob = remote.blob("x")
    blob.upload_from_string(b"abc")
    emulator.fail("replaced", method="GET", path="o/x.*alt=media")
    read = remote.blob("x").download_as_bytes
    assert status_of(lambda: read(if_generation_match=blob.generation)) == 412
    assert read() == bytes(255 - byte for byte in b"abc")


def test_a_part_of_a_batch_fails_alone(client: Any, remote: Any, emulator: Emulator) -> None:
    for name in "ab":
        remote.blob(name).upload_from_string(name)
    emulator.fail("status", method="DELETE", path="o/b", status=429)
    with client.batch(raise_exception=False) as batch:
        remote.delete_blob("a")
        remote.delete_blob("b")
    assert [one.status_code for one in batch._responses] == [204, 429]
    assert [one.name for one in client.list_blobs("bucket")] == ["b"]


def test_faults_at_random_are_as_many_as_ordered_and_the_same_again(
    remote: Any, emulator: Emulator
) -> None:
    import requests

    remote.blob("x").upload_from_string(b"abc")

    def failing() -> list[int]:
        emulator.calm()
        emulator.fail_at_random(0.2, seed=7)
        failed = []
        for number in range(200):
            try:
                if status_of(lambda: remote.blob("x").download_as_bytes(retry=None)) != 200:
                    failed.append(number)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                failed.append(number)
        return failed

    first = failing()
    assert 20 < len(first) < 60
    assert failing() == first


# What is not modelled.


@pytest.mark.parametrize(
    ("method", "target", "headers", "what"),
    [
        ("GET", "/storage/v1/b", {}, "GET /storage/v1/b"),
        ("GET", "/storage/v1/b/bucket/o/x/acl", {}, "GET /storage/v1/b/bucket/o/x/acl"),
        ("GET", "/bucket/x", {}, "GET /bucket/x"),
        ("PUT", "/storage/v1/b/bucket/o/x", {}, "PUT"),
        ("GET", "/storage/v1/b/bucket/o?matchGlob=*", {}, "parameter matchGlob of objects.list"),
        ("GET", "/storage/v1/b/bucket/o?versions=true", {}, "noncurrent versions"),
        ("GET", "/storage/v1/b/bucket/o/x?userProject=p", {}, "parameter userProject"),
        ("GET", "/storage/v1/b/bucket/o/x?alt=proto", {}, "alt=proto"),
        ("GET", "/storage/v1/b/bucket/o/x", {"If_None_Match": "x"}, "header If-None-Match"),
        ("GET", "/storage/v1/b/bucket/o/x?alt=media", {"Range": "bytes=0-1,3-4"}, "several ranges"),
        ("POST", "/upload/storage/v1/b/bucket/o?uploadType=other", {}, "uploadType=other"),
        ("POST", "/batch/storage/v2", {}, "POST /batch/storage/v2"),
    ],
)
def test_what_is_not_modelled_is_refused(
    emulator: Emulator, bucket: str, method: str, target: str, headers: dict[str, str], what: str
) -> None:
    emulator.put(f"{bucket}/x", b"abcdef")
    status, body = raw(emulator, method, target, **headers)
    assert status == 501
    assert (
        f"does not model {'the ' if what.startswith(('par', 'head')) else ''}{what}"
        in body.decode()
    )
    assert emulator.counts()["refused"] == 1
    emulator.forget()


@pytest.mark.parametrize("what", ["contentEncoding", "storageClass"])
def test_what_an_object_cannot_be_here(remote: Any, emulator: Emulator, what: str) -> None:
    blob = remote.blob("x")
    blob._properties[what] = "gzip"
    blob._changes.add(what)
    assert status_of(lambda: blob.upload_from_string(b"abc")) == 501
    emulator.forget()


def test_counts(remote: Any, emulator: Emulator) -> None:
    emulator.forget()
    remote.blob("x").upload_from_string(noise(1000))
    remote.blob("x").download_as_bytes(start=10, end=19)
    counts = emulator.counts()
    assert counts["requests"] == 2
    assert 1000 < counts["received"] < 2000
    assert 10 < counts["sent"] < 2000
    assert counts["faults"] == counts["refused"] == 0
