"""What of a directory may be of an export, and which files would show it."""

from __future__ import annotations

import pytest

from beam_export.sources.entries import Entry, Exported, Skipped, Source
from beam_export.sources.export_files import DirectoryExports, files_beside_shards, source_of

ONE = "0123456789ab"
TOKEN = 32 * "1"


def entry(name: str, size: int = 9, owner: str = "") -> Entry:
    return Entry(name, f"/in/{name}", size, owner)


@pytest.mark.parametrize(
    ("folder", "name", "home", "is_proof"),
    [
        ("", "README.md", "", False),
        ("a", "sizes.json", "a", False),
        ("a/_meta", f"images-{ONE}-shards.parquet", "a", True),
        ("_meta", f"images-{ONE}-run.json", "", True),
        ("_meta", "report.html", "", True),
        ("a/_tmp", "beam_export", "a", True),
        ("_tmp", "lock", "", True),
        (f"a/_tmp/{TOKEN}", "run", "a", True),
        (f"_tmp/{TOKEN}", f"claim-{64 * '0'}", "", True),
        (f"_tmp/{TOKEN}", f"spill-{TOKEN}", "", False),
        (f"_tmp/{TOKEN}", TOKEN, "", False),
    ],
)
def test_files_beside_shards_are_of_the_directory_of_the_shards(
    folder: str, name: str, home: str, is_proof: bool
) -> None:
    file = entry(name)
    (found,) = files_beside_shards([file, entry("x.bin")], folder).values()
    assert (found.home, found.proofs) == (home, (file.uri,) if is_proof else ())


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("", "notes.md"),
        ("", "lock"),
        ("_meta", "x.parquet"),
        ("_meta", f"images-{ONE}-000000.tar"),
        ("_tmp", "run"),
        ("_tmp", TOKEN),
        ("_tmp/x", "run"),
        (f"_tmp/{TOKEN}/a", "run"),
        (f"tmp/{TOKEN}", "run"),
    ],
)
def test_other_names_are_of_no_export(folder: str, name: str) -> None:
    assert files_beside_shards([entry(name)], folder) == {}


def wrapped(name: str, *others: str, owner: str = "") -> object:
    files = {one: entry(one) for one in (name, *others)}
    files[name] = entry(name, owner=owner)
    companions = tuple(files[one] for one in others if one == f"{name[:-4]}.parquet")
    source = source_of("webdataset", files[name], "d")._replace(companions=companions)
    return DirectoryExports(files, "d").wrapped(files[name], source)


def test_what_would_show_it_are_parquet_files_of_such_names() -> None:
    tables = [f"images-{ONE}-{number:06d}.parquet" for number in range(5)]
    found = wrapped(f"images-{ONE}-000000.tar", *tables)
    assert isinstance(found, Exported)
    assert (found.proofs, found.hash) == (tuple(f"/in/{one}" for one in tables[:3]), ONE)
    found = wrapped("cats-1.tar", "cats-1.parquet", "cats-2.parquet", "dogs.parquet")
    assert isinstance(found, Exported)
    assert (found.proofs, found.tar_bytes) == (("/in/cats-1.parquet", "/in/cats-2.parquet"), 0)
    # Renamed apart from it.
    found = wrapped("cats.tar", "x.parquet")
    assert isinstance(found, Exported)
    assert (found.proofs, found.tar_bytes) == (("/in/x.parquet",), 9)


def test_a_tar_alone_is_what_it_is_unless_its_storage_says_whose_it_is() -> None:
    assert isinstance(wrapped("cats.tar"), Source)
    found = wrapped("cats.tar", owner="a run")
    assert isinstance(found, Exported)
    assert found.marked
    table = entry("t.parquet", owner="")
    item = Skipped(".parquet")
    assert DirectoryExports({"t.parquet": table}, "").wrapped(table, item) is item
