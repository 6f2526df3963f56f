from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest
from support.listings import failures, listed, make, only_images, pinned, relatives, skipped

from beam_export.errors import InputError
from beam_export.samples import WHOLE, Failure, Member
from beam_export.sources.entries import IMAGE_SUFFIXES, Listed, Source
from beam_export.storage.open_files import open_source
from beam_export.storage.uris import is_local

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def test_sources_come_at_their_place_with_what_they_are(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.tar", "c/x.Tar.GZ", "c/t.csv", "d.parquet", "c/t.jsonl")
    # A tar beside a Parquet of another name may be one of an export, whose files were renamed.
    items = [getattr(item, "item", item) for item in listed(tmp_path)]
    found = [item for item in items if isinstance(item, (Listed, Source))]
    kinds = {item.relative: item.kind for item in found if isinstance(item, Source)}
    assert [item.relative for item in found] == [
        *("a.tar", "b.jpg", "c/t.csv", "c/t.jsonl", "c/x.Tar.GZ", "d.parquet")
    ]
    assert kinds == {
        "a.tar": "webdataset",
        "c/t.csv": "table",
        "c/t.jsonl": "table",
        "c/x.Tar.GZ": "webdataset",
        "d.parquet": "parquet",
    }


def test_a_source_that_cannot_be_looked_at_is_a_broken_one(tmp_path: Path) -> None:
    (tmp_path / "a.tar").symlink_to(tmp_path / "nowhere")
    (failure,) = failures(listed(tmp_path))
    assert (failure.stage, failure.error) == ("list", "BrokenSource")


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "a b .jpg",
        " .jpg",
        "a.b..c.jpg",
        "ünï/код/图片.jpg",
        "new\nline/x\n.jpg",
        "e" * 251 + ".jpg",
        "d" * 255 + "/" + "e" * 251 + ".jpg",
        "*?[a]{b}.jpg",
        "back\\slash.jpg",
        "quote'\".jpg",
    ],
)
def test_any_name_is_listed_as_it_is(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    (found,) = listed(tmp_path)
    assert isinstance(found, Listed)
    assert found.relative == name
    assert found.image == Member("jpg", pinned(os.path.join(tmp_path, name)), WHOLE, 1)
    assert found.fields == ()
    with open_source(found.image.uri) as source:
        assert source.read() == b"x"


def test_a_name_that_is_no_unicode_can_be_read_back(tmp_path: Path) -> None:
    make(tmp_path, b"caf\xe9/\xff.jpg", b"caf\xe9/\xff.txt")
    (found,) = listed(tmp_path)
    assert isinstance(found, Listed)
    assert os.fsencode(found.relative) == b"caf\xe9/\xff.jpg"
    with open_source(found.image.uri) as source:
        assert source.read() == b"x"
    assert [field.size for field in found.fields] == [2]


def test_equal_names_in_different_directories_are_different(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b/x.jpg", "a/x.txt")
    found = listed(tmp_path)
    assert relatives(found) == ["a/x.jpg", "b/x.jpg"]
    assert [len(one.fields) for one in found if isinstance(one, Listed)] == [1, 0]


def test_suffixes_in_any_case_are_images(tmp_path: Path) -> None:
    make(tmp_path, *(f"{suffix}.{suffix.upper()}" for suffix in IMAGE_SUFFIXES), "x.JpEg")
    found = listed(tmp_path)
    assert len(relatives(found)) == len(IMAGE_SUFFIXES) + 1
    exts = {one.image.ext for one in found if isinstance(one, Listed)}
    assert exts == IMAGE_SUFFIXES


def test_other_files_are_counted_by_suffix(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg", "a.rar", "b.RAR", "README", "jpg", "png", ".DS_Store", "y.", "z.a b")
    found = listed(tmp_path)
    assert relatives(found) == ["x.jpg"]
    assert skipped(found) == [
        "(hidden)",
        *["(no suffix)"] * 4,
        "(other suffix)",
        ".rar",
        ".rar",
    ]


# Sidecars.


def test_sidecars_travel_with_their_image(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg", "x.txt", "x.json", "x.XML", "x.cls", "y.txt", "xx.txt", "d/x.npy")
    found = listed(tmp_path)
    (image,) = (one for one in found if isinstance(one, Listed))
    uris = [pinned(tmp_path / f"x.{suffix}") for suffix in ("cls", "json", "txt", "XML")]
    assert list(image.fields) == [
        Member("cls", uris[0], WHOLE, 5),
        Member("json", uris[1], WHOLE, 3),
        Member("txt", uris[2], WHOLE, 2),
        Member("xml", uris[3], WHOLE, 4),
    ]
    assert skipped(found) == [".npy", ".txt", ".txt"]


def test_images_of_one_stem_share_sidecars_and_are_none(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg", "x.png", "x.txt")
    found = listed(tmp_path)
    assert relatives(found) == ["x.jpg", "x.png"]
    assert [[f.ext for f in one.fields] for one in found if isinstance(one, Listed)] == [
        ["txt"],
        ["txt"],
    ]
    assert skipped(found) == []


def test_sidecars_of_one_name_in_the_tar_are_a_failure(tmp_path: Path) -> None:
    make(tmp_path, "d/x.jpg", "d/x.txt", "d/x.TXT", "d/y.jpg")
    found = listed(f"{tmp_path}/{{d,}}")
    assert relatives(found)[0] == "d/y.jpg"
    first = failures(found)[0]
    assert first == Failure(
        "d/x",
        str(tmp_path / "d/x.jpg"),
        "list",
        "ValueError",
        "its sidecars x.TXT and x.txt would have the same name in the tar",
    )


def test_sidecars_that_no_tar_can_name_are_counted(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg", "x.a b", "x.é", "x." + "l" * 65, "x.\n", "x")
    found = listed(tmp_path)
    assert relatives(found) == ["x.jpg"]
    assert [one.fields for one in found if isinstance(one, Listed)] == [()]
    assert skipped(found) == ["(no suffix)", *["(other suffix)"] * 4]


# What is no plain file.


def test_a_directory_named_like_an_image(tmp_path: Path) -> None:
    make(tmp_path, "x.jpg/y.png", "x.jpg/z/w.jpg", "v.jpg")
    (tmp_path / "empty.jpg").mkdir()
    assert only_images(tmp_path) == ["v.jpg", "x.jpg/y.png", "x.jpg/z/w.jpg"]
    assert only_images(tmp_path / "x.jpg") == ["y.png", "z/w.jpg"]
    assert only_images(tmp_path / "empty.jpg") == []


def test_links_are_followed(tmp_path: Path) -> None:
    make(tmp_path, "in/a.jpg", "elsewhere/b/c.jpg", "elsewhere/d.jpg")
    (tmp_path / "in/l").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/m").symlink_to(tmp_path / "elsewhere/b")
    (tmp_path / "in/n.jpg").symlink_to(tmp_path / "elsewhere/d.jpg")
    found = listed(tmp_path / "in")
    assert relatives(found) == ["a.jpg", "l/b/c.jpg", "l/d.jpg", "m/c.jpg", "n.jpg"]
    assert [one.image.size for one in found if isinstance(one, Listed)] == [1, 2, 3, 2, 3]


def test_loops_of_links_end(tmp_path: Path) -> None:
    make(tmp_path, "a/b/x.jpg")
    (tmp_path / "a/self.jpg").symlink_to("self.jpg")
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "a/b/up").symlink_to("..")
    (tmp_path / "a/b/top").symlink_to(tmp_path)
    found = listed(tmp_path)
    assert relatives(found) == ["a/b/x.jpg"]
    assert skipped(found) == ["(link to a directory above itself)"] * 2 + ["(no suffix)"]
    (loop,) = failures(found)
    assert loop[:4] == ("a/self", str(tmp_path / "a/self.jpg"), "list", "OSError")


def test_links_to_each_other_end(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a/b").symlink_to("../b")
    (tmp_path / "b/a").symlink_to("../a")
    found = listed(tmp_path)
    assert relatives(found) == ["a/b/y.jpg", "a/x.jpg", "b/a/x.jpg", "b/y.jpg"]
    assert len(skipped(found)) == 2


def test_dangling_links(tmp_path: Path) -> None:
    for name in ("x.jpg", "d.txt"):
        (tmp_path / name).symlink_to("nowhere")
    found = listed(tmp_path)
    assert failures(found) == [
        Failure("x", str(tmp_path / "x.jpg"), "list", "OSError", os.strerror(2))
    ]
    assert skipped(found) == [".txt"]
    assert failures(listed(tmp_path / "x.jpg")) == failures(found)


def test_what_is_no_file_is_passed_by_and_counted(tmp_path: Path) -> None:
    for name in ("x.jpg", "pipe", "t.tar", "t.csv"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "s.jpg"))
        make(tmp_path, "y.jpg")
        found = listed(tmp_path)
        assert relatives(found) == ["y.jpg"]
        assert skipped(found) == [*["(FIFO)"] * 4, "(character device)", "(socket)"]
        for name, kind in ("x.jpg", "FIFO"), ("null.jpg", "character device"), ("s.jpg", "socket"):
            with pytest.raises(InputError) as caught:
                listed(tmp_path / name)
            assert caught.value.sentence == (
                f"--input={tmp_path / name} is a {kind}, which is never read: give a regular file."
            )


@pytest.mark.skipif(IS_ROOT, reason="root may read any directory")
def test_a_directory_that_may_not_be_read(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "b/y.jpg")
    (tmp_path / "a").chmod(0)
    try:
        found = listed(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o755)
    assert relatives(found) == ["b/y.jpg"]
    assert [one.error for one in failures(found)] == ["BrokenSource"]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def refuse(path: str) -> Any:
        if os.path.basename(path) == "broken":
            raise PermissionError(13, os.strerror(13), path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


@pytest.mark.usefixtures("broken")
def test_a_directory_that_cannot_be_listed_is_a_broken_source(tmp_path: Path) -> None:
    make(tmp_path, "d/broken/x.jpg", "d/c.jpg", "d/y.jpg")
    found = listed(f"{tmp_path}/{{d,}}")
    assert relatives(found)[:2] == ["d/c.jpg", "d/y.jpg"]
    first = failures(found)[0]
    assert first == Failure(
        "d/broken",
        str(tmp_path / "d/broken"),
        "list",
        "BrokenSource",
        f"the directory cannot be listed: {os.strerror(13)}",
    )
    (tmp_path / "broken").mkdir()
    assert [one.error for one in failures(listed(tmp_path / "broken"))] == ["BrokenSource"]


@pytest.mark.usefixtures("broken")
def test_a_glob_minds_only_directories_that_it_can_match_in(tmp_path: Path) -> None:
    make(tmp_path, "broken/x.jpg", "a/x.jpg", "a/broken/x.jpg")
    assert only_images(f"{tmp_path}/a*/x.jpg") == ["a/x.jpg"]
    assert [one.image_id for one in failures(listed(f"{tmp_path}/b*/x.jpg"))] == ["broken"]
    assert [one.image_id for one in failures(listed(f"{tmp_path}/**/x.jpg"))] == [
        "a/broken",
        "broken",
    ]


# Inputs.


def test_a_single_file_with_its_sidecars(tmp_path: Path) -> None:
    make(tmp_path, "d/x.jpg", "d/x.txt", "d/x.jpg.jpg", "d/y.jpg", "d/e/x.jpg")
    (found,) = listed(tmp_path / "d/x.jpg")
    assert isinstance(found, Listed)
    assert (found.relative, len(found.fields)) == ("x.jpg", 1)
    assert skipped(listed(tmp_path / "d/x.txt")) == []


def test_globs(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "a.txt", "x.png", "d/xa.jpg", "d/e/xb.jpg", "f/g.jpg", "f/h/i.jpg")
    found = listed(f"{tmp_path}/*.jpg")
    assert relatives(found) == ["a.jpg"]
    assert [len(one.fields) for one in found if isinstance(one, Listed)] == [1]
    assert only_images(f"{tmp_path}/**/x*") == ["d/e/xb.jpg", "d/xa.jpg", "x.png"]
    assert only_images(f"{tmp_path}/[df]/*.jpg") == ["d/xa.jpg", "f/g.jpg"]
    assert only_images(f"{tmp_path}/?/?/*") == ["d/e/xb.jpg", "f/h/i.jpg"]
    assert only_images(f"{tmp_path}/**.png") == ["x.png"]
    # A directory that a glob matches is exported as a whole.
    assert only_images(f"{tmp_path}/[f]") == ["f/g.jpg", "f/h/i.jpg"]
    assert only_images(f"{tmp_path}/[df]/*") == [
        "d/e/xb.jpg",
        "d/xa.jpg",
        "f/g.jpg",
        "f/h/i.jpg",
    ]


def test_braces_share_the_root(tmp_path: Path) -> None:
    make(tmp_path, "a/1/x.jpg", "a/2/x.jpg", "a/3/x.jpg", "y1.jpg", "y2.jpg")
    assert only_images(f"{tmp_path}/a/{{1..2}}") == ["1/x.jpg", "2/x.jpg"]
    assert only_images(f"{tmp_path}/{{a/3,a/1}}") == ["a/3/x.jpg", "a/1/x.jpg"]
    assert only_images(f"{tmp_path}/y{{1,2}}.jpg") == ["y1.jpg", "y2.jpg"]
    assert only_images(f"{tmp_path}/a/{{1..2}}/*.jpg") == ["1/x.jpg", "2/x.jpg"]


def test_relative_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "a/x.jpg", "b/x.jpg", "y.jpg")
    monkeypatch.chdir(tmp_path)
    assert only_images("{a,b}") == ["a/x.jpg", "b/x.jpg"]
    assert only_images("*.jpg") == ["y.jpg"]
    assert only_images("[ab]/*") == ["a/x.jpg", "b/x.jpg"]
    assert only_images(".") == ["a/x.jpg", "b/x.jpg", "y.jpg"]
    assert only_images("a/") == ["x.jpg"]
    assert only_images("a,b") == ["x.jpg", "x.jpg"]
    (found,) = listed("y.jpg")
    assert isinstance(found, Listed)
    assert found.image.uri == pinned(tmp_path / "y.jpg")


def test_wildcards_in_names_that_are_there(tmp_path: Path) -> None:
    make(tmp_path, "[2020]/x.jpg", "2/x.jpg", "what?.jpg", "{a}/z.jpg")
    assert only_images(tmp_path / "[2020]") == ["x.jpg"]
    assert only_images(tmp_path / "what?.jpg") == ["what?.jpg"]
    assert only_images(tmp_path / "{a}") == ["z.jpg"]


@pytest.mark.parametrize("text", ["nowhere", "nowhere/*", "*.tif", "d/{1..2}"])
def test_nothing_there_is_a_sentence(tmp_path: Path, text: str) -> None:
    make(tmp_path, "x.jpg", "d/1/y.jpg")
    with pytest.raises(InputError, match=re.escape(f"--input={tmp_path}/{text}: there is no")):
        listed(f"{tmp_path}/{text}")


def test_a_name_that_is_not_there_can_be_told_even_if_it_is_no_unicode(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        listed(f"{tmp_path}/\udcff")
    assert caught.value.sentence.count(f"{tmp_path}/\\xff") == 2


def test_the_output_is_left_out(tmp_path: Path) -> None:
    make(tmp_path, "a/x.jpg", "a/out/y.jpg", "a/outer/z.jpg", "out/v.jpg")
    (tmp_path / "a/link").symlink_to("out")
    out = str(tmp_path / "a/out")
    assert only_images(tmp_path / "a", out) == ["outer/z.jpg", "x.jpg"]
    assert only_images(f"{tmp_path}/a/*", out + "/") == ["outer/z.jpg", "x.jpg"]
    # It may be what lies around the input, or far away.
    assert only_images(tmp_path / "a/outer", str(tmp_path / "a")) == ["z.jpg"]
    assert only_images(tmp_path / "out", "gs://b/out") == ["v.jpg"]


@pytest.mark.parametrize(
    ("path", "local"), [("/a", True), ("a:b/c", True), ("gs://b/a", False), ("fake://a", False)]
)
def test_is_local(path: str, local: bool) -> None:
    assert is_local(path) is local
