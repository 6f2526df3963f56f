from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_export.shards import tar
from beam_export.tar_blocks import END_SIZE

SMALL = [
    ("cats/000001.jpg", b"\xff\xd8 not much of a JPEG"),
    ("cats/000001.json", b'{"score": 0.5}'),
    ("cats/000001.txt", b""),
    ("cats/000002.jpg", bytes(range(256)) * 2),
    ("cats/000002.seg.png", b"\x89PNG" * 300),
]

words = st.text("abcXYZ019-", min_size=1, max_size=12)
member_names = st.builds(
    lambda parts, ext: "/".join(parts) + "." + ext,
    st.lists(words, min_size=1, max_size=4),
    st.sampled_from(["jpg", "json", "txt", "seg.png", "a_1"]),
)
contents = st.binary(max_size=40) | st.integers(500, 1100).map(lambda size: b"x" * size)


def archive(members: list[tuple[str, bytes]]) -> bytes:
    fh = io.BytesIO()
    writer = tar.TarWriter(fh)
    for name, data in members:
        writer.add(name, data)
    writer.close()
    return fh.getvalue()


class Counting:
    """A file that keeps nothing but its size and its first bytes."""

    def __init__(self) -> None:
        self.size = 0
        self.head = b""

    def write(self, data: bytes) -> None:
        self.size += len(data)
        if len(self.head) < tar.BLOCK:
            self.head += bytes(data[: tar.BLOCK])


class Huge(bytes):
    """Bytes that claim to be larger than any memory."""

    def __new__(cls, size: int) -> Huge:
        made = super().__new__(cls)
        made.size = size
        return made

    def __len__(self) -> int:
        return self.size


def test_bytes_are_pinned() -> None:
    # Shards of one plan are the same bytes for ever; a change here is a new format version.
    assert hashlib.sha256(archive(SMALL)).hexdigest() == (
        "d2659941612f936b066849ac27290555117d8d122503e8576877a083ca10c195"
    )


def test_header_says_what_the_dialect_says() -> None:
    header = archive([("k.jpg", b"12345678")])[:512]
    assert header[:100] == b"k.jpg".ljust(100, b"\0")
    # Joined, since a literal of all of them would read "\00" where a field ends in "\0".
    fields = [b"0000644", b"0000000", b"0000000", b"00000000010", b"00000000000"]
    assert header[100:148] == b"".join(field + b"\0" for field in fields)
    assert header[148:156] == b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    assert header[156:265] == b"0" + bytes(100) + b"ustar\x0000"
    assert header[265:329] == bytes(64)
    assert header[345:] == bytes(167)


def test_same_bytes_as_tarfile() -> None:
    fh = io.BytesIO()
    with tarfile.open(fileobj=fh, mode="w", format=tarfile.USTAR_FORMAT) as archive_of_tarfile:
        for name, data in SMALL:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive_of_tarfile.addfile(info, io.BytesIO(data))
    ours, theirs = archive(SMALL), fh.getvalue()
    # tarfile pads to records of 10,240 bytes, and newer versions leave the device numbers empty.
    for start in range(0, len(ours), 512):
        block, other = bytearray(ours[start : start + 512]), bytearray(theirs[start : start + 512])
        if block[257:263] == b"ustar\0":
            for one in (block, other):
                one[148:156] = bytes(8)
                one[329:345] = bytes(16)
        assert block == other


@given(st.lists(st.tuples(member_names, contents), max_size=8))
def test_tarfile_reads_back_what_was_written(members: list[tuple[str, bytes]]) -> None:
    fh = io.BytesIO()
    writer = tar.TarWriter(fh)
    offsets = [writer.add(name, data) for name, data in members]
    writer.close()
    raw = fh.getvalue()
    assert writer.offset == len(raw) == END_SIZE + sum(tar.padded(len(d)) for _, d in members)
    for (_, data), offset in zip(members, offsets, strict=True):
        assert raw[offset : offset + len(data)] == data
    with tarfile.open(fileobj=io.BytesIO(raw)) as read:
        infos = read.getmembers()
        assert [i.name for i in infos] == [name for name, _ in members]
        assert [i.offset_data for i in infos] == offsets
        assert [read.extractfile(i).read() for i in infos] == [data for _, data in members]
        assert all(i.isreg() and i.mode == 0o644 and i.mtime == 0 for i in infos)
        assert all((i.uid, i.gid, i.uname, i.gname) == (0, 0, "", "") for i in infos)
        assert not read.pax_headers


@given(st.integers(0, 2000))
def test_padded_is_whole_blocks(size: int) -> None:
    assert tar.padded(size) % tar.BLOCK == 0
    assert 0 <= tar.padded(size) - size - tar.BLOCK < tar.BLOCK


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1, (1 << 16) + 512])
def test_large_members_are_written_alike(size: int) -> None:
    data = bytes(range(251)) * (size // 251 + 1)
    raw = archive([("a.jpg", data[:size]), ("b.jpg", b"b")])
    with tarfile.open(fileobj=io.BytesIO(raw)) as read:
        assert read.extractfile("a.jpg").read() == data[:size]
        assert read.extractfile("b.jpg").read() == b"b"


def test_archive_starts_where_the_file_stands() -> None:
    fh = io.BytesIO(b"before")
    fh.seek(6)
    assert tar.TarWriter(fh).add("a.jpg", b"x") == 512
    assert fh.getvalue()[6:11] == b"a.jpg"


def test_empty_archive_is_two_zero_blocks() -> None:
    assert archive([]) == bytes(1024)


def test_close_writes_the_end_once() -> None:
    fh = io.BytesIO()
    writer = tar.TarWriter(fh)
    writer.close()
    writer.close()
    assert fh.getvalue() == bytes(1024)
    with pytest.raises(ValueError, match="closed"):
        writer.add("a.jpg", b"")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        ".jpg",
        "a.",
        "a.JPG",
        "a b.jpg",
        "é.jpg",
        "/a.jpg",
        "a//b.jpg",
        "a/.jpg",
        "_a.jpg",
        "a/_b.jpg",
        "v1.0/a.jpg",
        "../a.jpg",
        "a.jpg\n",
        "a" * 97 + ".jpg",
    ],
)
def test_foreign_names_are_refused(name: str) -> None:
    fh = io.BytesIO()
    with pytest.raises(ValueError, match="is not a member's name"):
        tar.TarWriter(fh).add(name, b"")
    assert not fh.getvalue()


def test_name_of_100_bytes_is_written_whole() -> None:
    name = "a" * 96 + ".jpg"
    with tarfile.open(fileobj=io.BytesIO(archive([(name, b"x")]))) as read:
        assert read.getnames() == [name]


def test_largest_member() -> None:
    fh = Counting()
    writer = tar.TarWriter(fh)
    writer.add("a.jpg", Huge(8 * 2**30 - 1))
    assert tarfile.TarInfo.frombuf(fh.head, "ascii", "strict").size == 8 * 2**30 - 1
    assert writer.offset == 512 + 8 * 2**30
    with pytest.raises(ValueError, match="at most 8589934591"):
        writer.add("b.jpg", Huge(8 * 2**30))


def test_gnu_tar_lists_it(tmp_path: Path) -> None:
    if shutil.which("tar") is None:
        pytest.skip("there is no tar command on this machine")
    path = tmp_path / "small.tar"
    path.write_bytes(archive(SMALL))
    done = subprocess.run(
        ["tar", "tvf", str(path)], capture_output=True, text=True, check=True, env={"TZ": "UTC"}
    )
    assert done.stderr == ""
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [("-rw-r--r--", name) for name, _ in SMALL]


# webdataset leaves the tar for the garbage collector to close.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_webdataset_reads_it(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset", reason="webdataset is not installed")
    path = tmp_path / "small.tar"
    path.write_bytes(archive(SMALL))
    samples = list(wds.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["cats/000001", "cats/000002"]
    read = {
        f"{sample['__key__']}.{ext}": data
        for sample in samples
        for ext, data in sample.items()
        if not ext.startswith("__")
    }
    assert read == dict(SMALL)
