"""A store of objects in place of a disk: what is not local goes through Beam's FileSystems."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem
from support.exports import check_export, directory_hashes, make_images, picture
from support.runs import run_export as run_local
from support.runs import run_pipeline

import beam_export
from beam_export.errors import InputError

#: The objects, by URI: content and time.
OBJECTS: dict[str, tuple[bytes, float]] = {}


class _Upload(io.BytesIO):
    """Becomes an object when it is closed, as uploads do."""

    def __init__(self, uri: str) -> None:
        super().__init__()
        self._uri = uri

    def close(self) -> None:
        if not self.closed:
            OBJECTS[self._uri] = (self.getvalue(), time.time())
        super().close()


class MemoryFileSystem(FileSystem):
    """As cloud stores are: no directories, and a rename is a copy."""

    @classmethod
    def scheme(cls) -> str:
        return "mem"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for uri, (content, moment) in sorted(OBJECTS.items()):
            if uri.startswith(dir_or_prefix):
                yield FileMetadata(uri, len(content), moment)

    def create(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        return _Upload(path)

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        return io.BytesIO(self._get(path)[0])

    def _get(self, path: str) -> tuple[bytes, float]:
        if path not in OBJECTS:
            raise BeamIOError(f"no object {path}", {path: FileNotFoundError(path)})
        return OBJECTS[path]

    def copy(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        for source, target in zip(source_file_names, destination_file_names, strict=True):
            OBJECTS[target] = (self._get(source)[0], time.time())

    def rename(self, source_file_names: list[str], destination_file_names: list[str]) -> None:
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path: str) -> bool:
        return path in OBJECTS

    def size(self, path: str) -> int:
        return len(self._get(path)[0])

    def last_updated(self, path: str) -> float:
        return self._get(path)[1]

    def checksum(self, path: str) -> str:
        return str(hash(self._get(path)[0]))

    def metadata(self, path: str) -> FileMetadata:
        content, moment = self._get(path)
        return FileMetadata(path, len(content), moment)

    def delete(self, paths: list[str]) -> None:
        for path in paths:
            self._get(path)
            del OBJECTS[path]


@pytest.fixture(autouse=True)
def _empty_store() -> Iterator[None]:
    OBJECTS.clear()
    yield
    OBJECTS.clear()


def upload(folder: Path, prefix: str) -> None:
    for path in folder.rglob("*.*"):
        uri = f"{prefix}/{path.relative_to(folder).as_posix()}"
        OBJECTS[uri] = (path.read_bytes(), time.time())


def download(prefix: str, folder: Path) -> Path:
    for uri, (content, _) in OBJECTS.items():
        if uri.startswith(prefix + "/"):
            path = folder / uri.removeprefix(prefix + "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def export(source: str, out: str, **options: Any) -> None:
    made = beam_export.ExportOptions(output_dir=out, **options)
    run_pipeline(lambda pipeline: pipeline | beam_export.ExportImages(source, made))


def test_from_a_store_to_a_store(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 9)
    (folder / "img00000.json").write_text('{"score": 1.5}')
    upload(folder, "mem://bucket/in")
    export("mem://bucket/in", "mem://bucket/in/out", images_per_tar=4)
    assert not [uri for uri in OBJECTS if "/_tmp/" in uri]
    out = download("mem://bucket/in/out", tmp_path / "out")
    check_export(out, 4, "--samples", "9")
    # From a disk: the same but for where the images came from.
    local = run_local(folder, tmp_path / "local", images_per_tar=4)
    ours, theirs = directory_hashes(out), directory_hashes(local.out)
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == {
        name for name in ours if name.endswith((".parquet", "manifest.json"))
    }
    before = {uri: moment for uri, (_, moment) in OBJECTS.items() if uri.endswith(".tar")}
    export("mem://bucket/in", "mem://bucket/in/out", images_per_tar=4)
    after = {uri: moment for uri, (_, moment) in OBJECTS.items() if uri.endswith(".tar")}
    assert before == after
    again = download("mem://bucket/in/out", tmp_path / "again")
    assert directory_hashes(again) == ours


def test_another_dataset_in_the_store() -> None:
    OBJECTS["mem://b/in/a.jpg"] = (picture(1), time.time())
    export("mem://b/in/*.jpg", "mem://b/out")
    with pytest.raises(InputError, match=r"holds 5 files .* of another dataset .* --clean"):
        export("mem://b/in/*.jpg", "mem://b/out", quality=50)


def test_samples_of_a_pipeline_spill_to_the_store(tmp_path: Path) -> None:
    import apache_beam as beam

    OBJECTS["mem://b/x.jpg"] = (picture(2), time.time())
    samples = [
        beam_export.Sample("bytes", picture(1)),
        beam_export.Sample("path", None, "mem://b/x.jpg"),
        beam_export.Sample("gone", None, "mem://b/y.jpg"),
    ]

    def build(pipeline: beam.Pipeline) -> None:
        made = pipeline | beam.Create(samples, reshuffle=False)
        made | beam_export.WriteShards("mem://b/out", max_failed_fraction=0.5)

    run_pipeline(build)
    assert not [uri for uri in OBJECTS if "/_tmp/" in uri]
    check_export(download("mem://b/out", tmp_path / "out"), 1000, "--samples", "2")


def test_tables_in_a_store_name_objects_beside_them_and_local_files(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(picture(2))
    file = io.BytesIO()
    pq.write_table(pa.table({"jpg": [picture(3)], "key": ["c"]}), file)
    lines = f"path,n\nx/a.jpg,1\n{tmp_path}/b.jpg,2\ngone.jpg,3\nmem://in/x/a [1]*.jpg,4\n"
    for name, content in {
        "t.csv": lines.encode(),
        "p.parquet": file.getvalue(),
        "x/a.jpg": picture(0),
        "x/a [1]*.jpg": picture(1),
    }.items():
        OBJECTS[f"mem://in/{name}"] = (content, 0.0)
    export = run_local(
        "mem://in/t.csv,mem://in/p.parquet", tmp_path / "out", max_failed_fraction=0.5
    )
    found = [row["original_path"] for row in export.rows]
    assert found == [
        "mem://in/x/a.jpg",
        f"{tmp_path}/b.jpg",
        "mem://in/x/a [1]*.jpg",
        "mem://in/p.parquet#0",
    ]
    assert [export.image(row) for row in export.rows] == [picture(n) for n in (0, 2, 1, 3)]
    assert [one["original_path"] for one in export.failures] == ["mem://in/gone.jpg"]


def test_indexes_in_a_store_are_those_on_a_disk(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "in", 5)
    local = run_local(folder, tmp_path / "local", images_per_tar=2, index="all")
    export(str(folder), "mem://bucket/out", images_per_tar=2, index="all")
    out = download("mem://bucket/out", tmp_path / "out")
    assert directory_hashes(out) == directory_hashes(local.out)
    OBJECTS["mem://bucket/out/sizes.json"] = (b"{}", time.time())
    with pytest.raises(InputError, match=r"holds sizes.json, where --index is to write"):
        export(str(folder), "mem://bucket/out", images_per_tar=2, index="all")
