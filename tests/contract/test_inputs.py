"""docs/inputs.md says what is so: each row of its tables is held against the code."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.exports import ROOT
from support.listings import listed, make, own_tar

from beam_export.cli.flags import parse_export
from beam_export.errors import InputError
from beam_export.options import ExportOptions
from beam_export.planning.empty_plan import nothing_to_plan
from beam_export.samples import Failure
from beam_export.sources.entries import FolderTable, Item, Listed, Skipped, Source
from beam_export.sources.input_format import choose
from beam_export.sources.listing import list_images
from beam_export.sources.lookup_files import lookup_files
from beam_export.sources.patterns import Pattern, parse_inputs
from beam_export.sources.tables.beside import naming_images
from beam_export.sources.tables.encoding import UTF8
from beam_export.sources.tar.walk import TarMember
from beam_export.sources.tar.webdataset import WebDatasetSample, group_members
from beam_export.storage.uris import unpin
from beam_export.text import stored

#: What follows is held by `test_inputs_of_tables.py`.
PAGE = (ROOT / "docs" / "inputs.md").read_text().split("\n## Tables\n")[0]
LINES = PAGE.splitlines()
ROWS = [
    line.removeprefix("| ").split(" | ")[0]
    for line, below in itertools.pairwise([*LINES, ""])
    if line.startswith("| ") and not below.startswith("|---")
]


def read(folder: object, *names: str) -> tuple[dict[str, list[str]], list[str]]:
    """Returns the samples of a folder with the extensions of their fields, and what is skipped."""
    if names:
        make(Path(str(folder)), *names)
    found = list(choose(listed(folder), "auto"))
    samples = {
        one.relative.rpartition(".")[0]: [field.ext for field in one.fields]
        for one in found
        if isinstance(one, Listed)
    }
    return samples, [one.kind for one in found if isinstance(one, Skipped)]


def in_tar(*names: str) -> list[tuple[str, str, list[str]] | str]:
    items = [TarMember(name, 512 * at, 9) for at, name in enumerate(names, 1)]
    found: list[tuple[str, str, list[str]] | str] = []
    for one in group_members(items, "x.tar"):
        if isinstance(one, WebDatasetSample):
            found.append((one.key, one.image.ext, [field.ext for field in one.fields]))
        else:
            found.append(one.error if isinstance(one, Failure) else getattr(one, "kind", ""))
    return found


def paths(given: str) -> list[str]:
    return [one.path for one in parse_inputs(given)]


def directory(tmp: Path) -> None:
    assert parse_export(["-i", "photos/", "-o", "out"]).input == "photos/"
    assert set(read(tmp, "1.jpg", "a/b/2.png")[0]) == {"1", "a/b/2"}


def one_file(tmp: Path) -> None:
    make(tmp, "a.jpg", "b.jpg", "x.tar", "y.tar")
    assert set(read(tmp / "a.jpg")[0]) == {"a"}
    (only,) = choose(listed(tmp / "x.tar"), "auto")
    assert isinstance(only, Source)


def glob(tmp: Path) -> None:
    make(tmp, "photos/1.jpg", "photos/a/2.jpg", "photos/3.png")
    assert set(read(f"{tmp}/photos/**/*.jpg")[0]) == {"1", "a/2"}


def number_range(_: Path) -> None:
    assert paths("x-{000..123}.tar")[::123] == ["x-000.tar", "x-123.tar"]


def several(_: Path) -> None:
    assert paths("a,b") == ["a", "b"]


def given_twice(_: Path) -> None:
    with pytest.raises(InputError, match=r"--input is given twice, .* write --input=a,b for both"):
        parse_export(["--input", "a", "--input", "b", "-o", "out"])


def home(_: Path) -> None:
    assert paths("~/photos") == [f"{Path.home()}/photos"]


def exact_name(tmp: Path) -> None:
    (tmp / "a,b [old]").mkdir()
    assert paths(f"{tmp}/a,b [old]") == [f"{tmp}/a,b [old]"]


def sample(tmp: Path) -> None:
    assert read(tmp, "cats/1.jpg") == ({"cats/1": []}, [])


def sidecar(name: str, ext: str) -> Callable[[Path], None]:
    def check(tmp: Path) -> None:
        assert read(tmp, "cats/1.jpg", name) == ({"cats/1": [ext]}, [])

    return check


def whole_name(tmp: Path) -> None:
    make(tmp, "cats/1.jpg", "cats/1.png", "cats/1.jpg.txt", "cats/1.txt")
    found = [one for one in choose(listed(tmp), "auto") if isinstance(one, Listed)]
    names = [one.fields[0].uri.partition("\0")[0].rpartition("/")[2] for one in found]
    assert names == ["1.jpg.txt", "1.txt"]


def other_case(tmp: Path) -> None:
    assert read(tmp, "cats/1.JPG", "cats/1.jpg.txt")[0] == {"cats/1": ["txt"]}
    make(tmp, "a/cafe\u0301.jpg", "a/caf\xe9.txt", "b/1.JPG", "b/1.jpg", "b/1.jpg.txt")
    assert read(tmp / "a")[0] == {"cafe\u0301": ["txt"]}
    (one,) = choose(listed(tmp / "b/1.JPG"), "auto")
    assert isinstance(one, Listed)
    assert not one.fields


def two_forms(tmp: Path) -> None:
    found, skipped = read(tmp, *(f"caf{e}.{ext}" for e in FORMS for ext in ("jpg", "txt")))
    assert (found, skipped) == ({f"caf{e}": ["txt"] for e in FORMS}, [])


FORMS = ("e\u0301", "\xe9")


def near_tables(tmp: Path) -> None:
    make(tmp, "metadata.csv", *(f"photos/{name}" for name in ("metadata.csv", "1.jpg", "a/1.jpg")))
    for given in ("photos/**/*.jpg", "photos/{a,b}/*.jpg", "photos/1.jpg"):
        items = [one for pattern in parse_inputs(f"{tmp}/{given}") for one in _chosen(pattern)]
        paths_ = [one.source.path for one in items if isinstance(one, FolderTable)]
        assert paths_ == [f"{tmp}/photos/metadata.csv"]


def _chosen(pattern: Pattern) -> list[Item]:
    try:
        return list(choose(list_images(pattern, ""), "auto"))
    except InputError:
        # There is no `b`.
        return []


def mask(tmp: Path) -> None:
    assert set(read(tmp, "cats/1.jpg", "cats/1.seg.png")[0]) == {"cats/1", "cats/1.seg"}


def metadata(tmp: Path) -> None:
    make(tmp, "1.jpg")
    (tmp / "metadata.csv").write_text("file_name,score\n1.jpg,3\n")
    found = list(choose(listed(tmp), "auto"))
    assert any(isinstance(one, FolderTable) for one in found)


def not_utf8(tmp: Path) -> None:
    make(tmp, b"caf\xe9.jpg", b"caf\xe8.jpg")
    found = [one for one in choose(listed(tmp), "auto") if isinstance(one, Listed)]
    assert {os.fsencode(one.relative) for one in found} == {b"caf\xe9.jpg", b"caf\xe8.jpg"}
    # What becomes of both, as `tests/pipeline/test_read_samples.py` has it in exports.
    assert {stored(one.relative) for one in found} == {"caf\ufffd.jpg"}


def named(tmp: Path) -> None:
    make(tmp, "1.jpg", "t.csv", "ids.txt", "others.txt", "notes.txt")
    options = ExportOptions(
        output_dir="/out",
        metadata=f"{tmp}/t.csv",
        ids=f"{tmp}/ids.txt",
        exclude_ids=f"{tmp}/others.txt",
    )
    found = [one for one in choose(listed(tmp), "auto") if isinstance(one, Skipped)]
    left = [one.uri for one in found if not lookup_files(options).have(one.uri)]
    assert [os.path.basename(unpin(one)[0]) for one in left] == ["notes.txt"]


def captions(tmp: Path) -> None:
    make(tmp, "1.jpg")
    (tmp / "captions.csv").write_text("file_name,text\n1.jpg,a\n")
    (skipped,) = (one for one in choose(listed(tmp), "auto") if isinstance(one, Skipped))
    assert skipped.kind == ".csv"
    assert skipped.table is not None
    (said,) = naming_images([skipped.table], UTF8)
    assert "--metadata=.../captions.csv --metadata_key=file_name" in said
    pq.write_table(pa.table({"image": [b"\xff\xd8"]}), tmp / "t.parquet")
    (said,) = naming_images([Source("parquet", "t.parquet", f"{tmp}/t.parquet", 1)], UTF8)
    assert "t.parquet holds images itself" in said


def plain_tar(_: Path) -> None:
    assert in_tar("cats/1.jpg", "cats/1.txt") == [("cats/1", "jpg", ["txt"])]


def odd_names(_: Path) -> None:
    assert [in_tar(name)[0][0] for name in ("./1.jpg", "/1.jpg", "a//1.jpg")] == ["1", "1", "a/1"]


def left_right(_: Path) -> None:
    assert in_tar("1.left.jpg", "1.right.jpg") == [("1", "jpg", ["right.jpg"])]
    assert in_tar("1.b.png", "1.a.webp") == [("1", "webp", ["b.png"])]


def dotted(_: Path) -> None:
    assert in_tar("v1.0.jpg", "v1.1.jpg") == [("v1", "jpg", ["1.jpg"])]


def no_image(_: Path) -> None:
    assert in_tar("labels/1.txt") == ["NoImage"]


def hidden(tmp: Path) -> None:
    names = [".DS_Store", "._1.jpg"]
    folders = [".ipynb_checkpoints", "@eaDir", "__MACOSX", ".thumbnails"]
    names += [f"{folder}/1.jpg" for folder in folders]
    assert read(tmp, "1.jpg", *names) == ({"1": []}, ["(hidden)"] * 6)
    assert in_tar("a.jpg", *(f"{folder}/1.jpg" for folder in folders))[:4] == ["(hidden)"] * 4
    assert set(read(tmp / "._1.jpg")[0]) == {"._1"}


def other_files(tmp: Path) -> None:
    found = read(tmp, "1.jpg", "notes.md", "Thumbs.db", "list.csv")
    assert sorted(found[1]) == [".csv", ".db", ".md"]


def export(tmp: Path) -> None:
    name = "out/images-0123456789ab-000000"
    make(tmp, f"{name}.tar")
    table = pa.table({"image_id": ["a"]}).replace_schema_metadata({"beam_export.version": "1"})
    pq.write_table(table, tmp / f"{name}.parquet")
    assert [type(one) for one in choose(listed(tmp), "auto")] == [Source]
    make(tmp, "out/README.md", "out/_meta/images-0123456789ab-run.json")
    assert read(tmp, "1.jpg") == ({"1": []}, ["(an export)"] * 3)


def renamed_export(tmp: Path) -> None:
    export(tmp)
    for path in (tmp / "out").glob("images-*"):
        path.rename(path.with_stem("cats"))
    assert read(tmp) == ({"1": []}, ["(an export)"] * 3)


def unfinished_export(tmp: Path) -> None:
    make(tmp, "1.jpg", "out/images-0123456789ab-000000.tar", "out/_tmp/lock")
    assert [type(one) for one in choose(listed(tmp), "auto")][-1] is Skipped
    (tmp / "out/_tmp/lock").write_text("beam_export locks this file")
    assert read(tmp) == ({"1": []}, ["(an export)"] * 2)


def renamed_tars(tmp: Path) -> None:
    make(tmp, "1.jpg", "out/foreign.tar", "out/_tmp/lock")
    own_tar(tmp / "out/cats.tar")
    assert len([one for one in choose(listed(tmp), "auto") if isinstance(one, Source)]) == 2
    (tmp / "out/_tmp/lock").write_text("beam_export locks this file")
    assert read(tmp) == ({"1": []}, ["(an export)"] * 2)


def tars_alone(tmp: Path) -> None:
    make(tmp, "1.jpg")
    own_tar(tmp / "out/images-0123456789ab-000000.tar")
    assert [type(one) for one in choose(listed(tmp), "auto")] == [Listed, Source]


def second(tmp: Path) -> None:
    assert read(tmp, "1.jpg", "1.txt", "1.jpg.txt") == (
        {"1": ["txt"]},
        ["(second .txt of an image)"],
    )


CHECKS: dict[str, Callable[[Path], Any]] = {
    "`--input photos/`, `-i photos/`": directory,
    "`--input a.jpg`, `--input x.tar`": one_file,
    "`--input 'photos/**/*.jpg'`": glob,
    "`--input 'x-{000..123}.tar'`": number_range,
    "`--input a,b`": several,
    "`--input a --input b`": given_twice,
    "`--input ~/photos`": home,
    "`--input 'a,b [old]'`": exact_name,
    "`cats/1.jpg`": sample,
    "`cats/1.txt`": sidecar("cats/1.txt", "txt"),
    "`cats/1.json`": sidecar("cats/1.json", "json"),
    "`cats/1.jpg.txt`": whole_name,
    "`cats/1.JPG` and `cats/1.jpg.txt`": other_case,
    "`café.jpg` in both forms of Unicode": two_forms,
    "`cats/1.clip_embedding.npy`": sidecar("cats/1.clip_embedding.npy", "clip_embedding.npy"),
    "`cats/1.seg.png` beside `cats/1.jpg`": mask,
    "`metadata.csv` with a column `file_name`": metadata,
    "`metadata.csv` beside what `photos/**/*.jpg`, `photos/{a,b}/*.jpg` or `photos/1.jpg` names": (
        near_tables
    ),
    "a name that is not UTF-8": not_utf8,
    "`cats/1.jpg`, `cats/1.txt`": plain_tar,
    "`./1.jpg`, `/1.jpg`, `a//1.jpg`": odd_names,
    "`1.left.jpg`, `1.right.jpg`": left_right,
    "`v1.0.jpg`, `v1.1.jpg`": dotted,
    "`labels/1.txt` without an image": no_image,
    "`.DS_Store`, `._1.jpg`, all in `.ipynb_checkpoints`, `@eaDir`, `__MACOSX`": hidden,
    "`notes.md`, `Thumbs.db`, `list.csv` beside images": other_files,
    "`captions.csv` beside images": captions,
    "a table or list in the input that `--metadata`, `--ids` or `--exclude_ids` names": named,
    "an export of this tool below a folder of other images, its card and `_meta`": export,
    "such an export whose files were renamed": renamed_export,
    "one that is not finished: tars without their Parquet, `_tmp`": unfinished_export,
    "the same with tars of other names": renamed_tars,
    "tars alone, beside which nothing else of the export is left": tars_alone,
    "`1.txt` beside `1.jpg.txt`": second,
}


def test_every_row_of_the_page_has_its_check_and_no_other() -> None:
    assert list(CHECKS) == ROWS


@pytest.mark.parametrize("row", CHECKS)
def test_a_row_of_the_page_is_so(row: str, tmp_path: Path) -> None:
    CHECKS[row](tmp_path)


@pytest.mark.parametrize("suffix", re.findall(r"of\s+`(\.\w+)`\s+to", PAGE))
def test_what_to_do_is_said_as_the_page_has_it(suffix: str) -> None:
    said = nothing_to_plan([], False, output=None, hash_="0" * 12, skipped=[suffix]).sentence
    word = {".jxl": "convert", ".zip": "unpack", ".json": ".jsonl"}[suffix]
    assert word in said.split(": ", 1)[1]


def test_the_page_names_what_to_do_of_three_kinds() -> None:
    assert re.findall(r"of\s+`(\.\w+)`\s+to", PAGE) == [".jxl", ".zip", ".json"]
