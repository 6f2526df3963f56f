"""The core on storage that Beam reads: listing, and samples' bytes."""

from __future__ import annotations

import errno
import io
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from apache_beam.io.filesystem import FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems
from hypothesis import given, settings
from hypothesis import strategies as st
from support.listings import Item, listed, make, only_images, pinned, relatives

from beam_export.errors import InputError, SampleError
from beam_export.samples import WHOLE, Member
from beam_export.sources.entries import Listed, Skipped
from beam_export.sources.reader import Reader
from beam_export.storage.registry import check_reachable
from beam_export.storage.uris import scheme_of

CONTENT = bytes(range(200))
#: What the object store holds, by its URI.
FILES: dict[str, bytes] = {}


class FakeFileSystem(FileSystem):
    """An object store: flat names, no directories, listed by prefix."""

    @classmethod
    def scheme(cls) -> str:
        return "fake"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath, *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        # An object store sorts; a caller should not need it to.
        for path in sorted(FILES, reverse=True):
            if path.startswith(dir_or_prefix):
                yield self.metadata(path)

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(FILES[path]))

    def exists(self, path: str) -> bool:
        return path in FILES

    def open(self, path: str, *_: Any, **__: Any) -> BinaryIO:
        return io.BytesIO(FILES[path])

    def _not_here(self, *_: Any) -> Any:
        raise NotImplementedError

    mkdirs = create = copy = rename = size = last_updated = checksum = delete = _not_here


@pytest.fixture
def remote() -> Iterator[dict[str, bytes]]:
    FILES.clear()
    yield FILES
    FILES.clear()


@given(
    st.from_regex(r"\s?[a-z0-9+./-]{0,4}(:|:/|://|)[a-zA-Z.:/ \n]{0,4}", fullmatch=True) | st.text()
)
def test_a_scheme_is_what_beam_takes_for_one(path: str) -> None:
    assert scheme_of(path) == FileSystems.get_scheme(path)


def test_an_unknown_scheme_is_named_with_its_flag() -> None:
    with pytest.raises(InputError, match=r"--ids=nope://x: Beam has no file system here for nope"):
        check_reachable("--ids", "nope://x")


# Listing.

parts = st.text("ab.-/é\U0001f600", min_size=1, max_size=3).map(lambda text: text.strip("/.") + "a")
trees = st.lists(
    st.tuples(st.lists(parts, max_size=3), parts, st.sampled_from(["jpg", "PNG", "txt", "c d"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(trees)
def test_order_is_that_of_whole_paths_on_any_storage(
    tree: list[tuple[list[str], str, str]],
) -> None:
    names = {"/".join([*folders, name]) + "." + suffix for folders, name, suffix in tree}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), *sorted(names))
        local = listed(folder)
        FILES.clear()
        FILES.update(files_under(folder))
        elsewhere = listed("fake://b/" + os.path.basename(folder))
        as_local = [as_if_local(item, folder) for item in elsewhere]
        FILES.clear()
    images = [name for name in names if name.endswith(("jpg", "PNG"))]
    assert relatives(local) == sorted(images, key=os.fsencode)
    assert as_local == local


def files_under(root: str | Path) -> dict[str, bytes]:
    """Returns a directory's files as those of the object store."""
    parent = os.path.dirname(root)
    return {
        f"fake://b/{path.relative_to(parent)}": path.read_bytes()
        for path in Path(root).rglob("*")
        if path.is_file()
    }


def as_if_local(item: Item, root: str | Path) -> Item:
    """Returns a remote item with the paths that it has in the local directory."""

    def local(uri: str) -> str:
        return pinned(uri.replace("fake://b/", f"{os.path.dirname(root)}/"))

    if isinstance(item, Skipped):
        return item._replace(uri=local(item.uri)) if item.uri else item
    if not isinstance(item, Listed):
        return item
    image, *fields = (one._replace(uri=local(one.uri)) for one in (item.image, *item.fields))
    return Listed(item.relative, image, tuple(fields))


@pytest.mark.parametrize(
    "text",
    [
        "in",
        "in/",
        "in/*.jpg",
        "in/*.j*",
        "in/**/x*",
        "in/[df]/*",
        "in/[d]",
        "in/{d,f}",
        "in/{d,f}/*.png",
        "in/x.jpg",
        "in/{x,y}.jpg",
        "in/?.jpg",
        "i*",
    ],
)
def test_remote_is_as_local(tmp_path: Path, remote: dict[str, bytes], text: str) -> None:
    make(
        tmp_path,
        *("in/x.jpg", "in/x.txt", "in/x.json", "in/xx.jpg", "in/y.jpg", "in/y.json", "in/y.a b"),
        *("in/d/x.png", "in/d/x.txt", "in/d/e/x.jpg", "in/f/z.png", "in/d-e.jpg", "in/README"),
        *("in2/x.jpg", "in/new\nline.jpg", "in/x.jpg.gz"),
    )
    remote.update(files_under(tmp_path))
    remote[f"fake://b/{tmp_path.name}/in/d/"] = b""  # what some tools make for a directory
    elsewhere = listed(f"fake://b/{tmp_path.name}/{text}")
    assert elsewhere
    assert [as_if_local(item, tmp_path) for item in elsewhere] == listed(f"{tmp_path}/{text}")


def test_remote_output_is_left_out(remote: dict[str, bytes]) -> None:
    remote.update(
        {"fake://b/a/out/x.jpg": b"", "fake://b/a/y.jpg": b"", "fake://b/a/outer.jpg": b""}
    )
    assert only_images("fake://b/a", "fake://b/a/out") == ["outer.jpg", "y.jpg"]
    assert only_images("fake://b/a", "fake://b") == ["out/x.jpg", "outer.jpg", "y.jpg"]
    assert only_images("fake://b/a/*", "fake://b/a/out/") == ["outer.jpg", "y.jpg"]


@pytest.mark.parametrize("text", ["fake://b/no", "fake://b/a/*.png", "fake://b/a/y"])
def test_remote_nothing_there_is_a_sentence(remote: dict[str, bytes], text: str) -> None:
    remote["fake://b/a/y.jpg"] = b""
    with pytest.raises(InputError, match=re.escape(f"--input={text}: there is no {text}")):
        listed(text)


# Samples' bytes.


@pytest.fixture
def reader() -> Iterator[Reader]:
    with Reader(1000) as reader:
        yield reader


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What there is, by its uri: bytes, or an error that reading gives."""
    files: dict[str, Any] = {}

    def opened(uri: str, compression_type: str) -> io.BytesIO:
        assert compression_type == "uncompressed"
        if isinstance(files[uri], bytes):
            return io.BytesIO(files[uri])
        raise files[uri]

    monkeypatch.setattr(FileSystems, "open", opened)
    monkeypatch.setattr(FileSystems, "exists", files.__contains__)
    return files


@pytest.mark.parametrize("offset", [WHOLE, 0])
def test_other_file_systems(
    cloud: dict[str, Any], reader: Reader, slept: list[float], offset: int
) -> None:
    cloud["s3://b/x.jpg"] = CONTENT
    member = Member("jpg", "s3://b/x.jpg", offset, 200)
    assert reader.read(member) == CONTENT
    assert reader.read(member._replace(offset=150, size=50)) == CONTENT[150:]
    with pytest.raises(SampleError, match="has 200 now"):
        reader.read(member._replace(size=201))
    # Not found is an error of every file system's own making.
    with pytest.raises(SampleError) as caught:
        reader.read(member._replace(uri="s3://b/no.jpg"))
    reason = f"the .jpg cannot be read: {os.strerror(errno.ENOENT)}"
    assert caught.value.args == ("read", "OSError", reason)
    assert slept == []


def test_errors_of_other_file_systems_are_raised(
    cloud: dict[str, Any], reader: Reader, slept: list[float]
) -> None:
    cloud["s3://b/x.jpg"] = OSError("the network is gone")
    with pytest.raises(OSError, match="network is gone"):
        reader.read(Member("jpg", "s3://b/x.jpg", WHOLE, 5))
    assert len(slept) == 2
    cloud["s3://b/y.jpg"] = RuntimeError("403")
    with pytest.raises(RuntimeError, match="403"):
        reader.read(Member("jpg", "s3://b/y.jpg", WHOLE, 5))


def test_files_far_away_are_read_at_the_same_time(
    cloud: dict[str, Any], reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(8, timeout=30)
    members = [Member("jpg", f"s3://b/{number}", WHOLE, 200) for number in range(8)]
    cloud.update({member.uri: CONTENT for member in members})
    opened = FileSystems.open

    def wait(uri: str, compression_type: str) -> Any:
        together.wait()
        return opened(uri, compression_type)

    monkeypatch.setattr(FileSystems, "open", wait)
    assert reader.read_all(members) == [CONTENT] * 8
