"""Tests of grouping: against webdataset where it reads right, by what is said where it does not."""

from __future__ import annotations

import io
import itertools
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.exports import SHARED

from beam_export.samples import Failure, Member
from beam_export.sources.entries import Skipped
from beam_export.sources.tar.walk import (
    StreamedMember,
    TarFault,
    TarMember,
    TarNote,
    TarOther,
    stream_members,
    walk_members,
)
from beam_export.sources.tar.webdataset import (
    WebDatasetSample,
    group_members,
    image_extension,
    plain_name,
    split_member,
)

TARS = SHARED / "data" / "webdataset"
URI = "in/x.tar"
Item = TarMember | TarOther | TarNote | TarFault
Outcome = WebDatasetSample | Failure | Skipped | TarNote


def members(*names: str) -> list[Item]:
    return [TarMember(name, 512 + 1024 * place, 100 + place) for place, name in enumerate(names)]


def outcomes(*names: str) -> list[Outcome]:
    return list(group_members(members(*names), URI))


def exts(found: list[Outcome]) -> list[tuple[str, ...]]:
    """Returns key, image and fields of each sample; there has to be nothing else."""
    assert all(isinstance(one, WebDatasetSample) for one in found), found
    return [(one.key, one.image.ext, *(field.ext for field in one.fields)) for one in found]


def failure(found: list[Outcome]) -> Failure:
    (one,) = found
    assert isinstance(one, Failure)
    assert one.stage == "list"
    return one


# Names.


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("./0.jpg", "0.jpg"),
        ("/0.jpg", "0.jpg"),
        ("//0.jpg", "0.jpg"),
        (".//0.jpg", "0.jpg"),
        ("././0.jpg", "0.jpg"),
        ("/data/set/0.jpg", "data/set/0.jpg"),
        ("a//b.jpg", "a/b.jpg"),
        ("a/./b.jpg", "a/b.jpg"),
        ("./a/.//b.jpg", "a/b.jpg"),
        ("../0.jpg", "../0.jpg"),
        ("a/..b.jpg", "a/..b.jpg"),
        ("a.b/c..jpg", "a.b/c..jpg"),
    ],
)
def test_a_name_of_a_tar_is_taken_without_what_names_no_folder(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    (sample,) = outcomes(name) if split_member(plain) else [None]
    if isinstance(sample, WebDatasetSample):
        key, ext = split_member(plain) or ("", "")
        assert (sample.key, sample.image.ext) == (key, ext.rpartition(".")[2])
        assert sample.name == name


def test_members_of_one_plain_name_are_one_sample() -> None:
    found = outcomes("./a/0.jpg", "a//0.txt", "/a/0.json")
    assert exts(found) == [("a/0", "jpg", "json", "txt")]
    assert [one.name for one in found if isinstance(one, WebDatasetSample)] == ["./a/0.jpg"]


def test_the_same_image_under_two_ways_to_write_its_name_comes_twice() -> None:
    assert exts(outcomes("./0.jpg", "1.jpg", "0.jpg")) == [(key, "jpg") for key in "010"]
    assert failure(outcomes("./0.jpg", "0.txt", "0.jpg")).error == "DuplicateMember"


@pytest.mark.parametrize(
    "name",
    [
        "._0.jpg",
        "./._0.jpg",
        "a/._0.jpg",
        ".ipynb_checkpoints/0.jpg",
        "a/.ipynb_checkpoints/0.jpg",
        "@eaDir/0.jpg",
        "a/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg",
        "__MACOSX/._0.jpg",
        "__MACOSX/a/0.jpg",
        "./__MACOSX/0.jpg",
        ".thumbnails/0.jpg",
        ".git/x",
        "a//.cache//0.jpg",
    ],
)
def test_hidden_members_are_passed_by(name: str) -> None:
    found = outcomes("0.jpg", name)
    assert exts(found[1:]) == [("0", "jpg")]
    assert found[0] == Skipped("(hidden)")


@pytest.mark.parametrize("name", ["@eaDir.jpg", "__MACOSX.jpg", "a@eaDir/0.jpg", "../0.jpg"])
def test_a_name_that_looks_hidden_is_not(name: str) -> None:
    assert len(exts(outcomes(name))) == 1


def test_failures_name_the_member_as_the_tar_does() -> None:
    assert failure(outcomes("./a//0.txt")).original_path == f"{URI}#./a//0.txt"
    assert failure(outcomes("./a//0.txt")).image_id == "a/0"


@pytest.mark.parametrize(
    ("name", "key", "ext"),
    [
        ("a.jpg", "a", "jpg"),
        ("a.b.jpg", "a", "b.jpg"),
        ("x.y/a.JPG", "x.y/a", "JPG"),
        ("./a.jpg", "./a", "jpg"),
        ("../a.jpg", "../a", "jpg"),
        ("/abs/a.jpg", "/abs/a", "jpg"),
        ("caf\udce9.jpg", "caf\udce9", "jpg"),
        ("a\nb.jpg", "a\nb", "jpg"),
        ("a..jpg", "a", ".jpg"),
    ],
)
def test_a_name_splits_at_the_first_dot_of_its_last_part(name: str, key: str, ext: str) -> None:
    assert split_member(name) == (key, ext)


@pytest.mark.parametrize("name", ["", "a", "x.y/a", ".a.jpg", "d/.a.jpg", "a.", "d/", "d.d/", ".."])
def test_names_of_no_sample(name: str) -> None:
    assert split_member(name) is None


@given(st.text("ab./_", max_size=12))
def test_splits_as_webdataset_does(name: str) -> None:
    tariterators = pytest.importorskip("webdataset.tariterators")
    key, ext = tariterators.base_plus_ext(name)
    # It has `d/.a` as a sample of the folder's name, and an empty extension.
    quirk = name.rpartition("/")[2].startswith(".") or name.endswith(".")
    if not quirk:
        assert split_member(name) == ((key, ext) if key is not None else None)


# Images.


# Two underscores make a member meta only at the top.
@given(st.text("ajpg._@\n", min_size=1, max_size=9).filter(lambda name: name[:2] != "__"))
def test_a_name_without_folders_has_the_outcome_that_it_has_in_a_folder(name: str) -> None:
    alone, inside = outcomes(name), outcomes(f"f/{name}")
    renamed = [
        one._replace(key=f"f/{one.key}", name=f"f/{one.name}")
        if isinstance(one, WebDatasetSample)
        else one._replace(
            image_id=f"f/{one.image_id}",
            original_path=one.original_path.replace("#", "#f/", 1),
        )
        if isinstance(one, Failure)
        else one
        for one in alone
    ]
    assert renamed == inside


@pytest.mark.parametrize(
    ("given_exts", "image"),
    [
        (["webp", "png", "jpeg", "jpg"], "jpg"),
        (["webp", "png", "jpeg"], "jpeg"),
        (["webp", "png"], "png"),
        (["bmp", "avif", "webp"], "webp"),
        (["tif", "bmp"], "bmp"),
        (["left.jpg", "tif", "right.jpg"], "tif"),
        (["right.jpg", "left.jpg", "json"], "left.jpg"),
        (["json", "txt", "npy", "jpg.txt"], None),
        ([], None),
    ],
)
def test_the_image_is_the_first_by_kind_then_by_name(
    given_exts: list[str], image: str | None
) -> None:
    assert image_extension(given_exts) == image


def test_the_image_of_a_compound_extension_has_its_suffix() -> None:
    (sample,) = outcomes("d/a.Left.JPG", "d/a.right.jpg", "d/a.txt")
    assert sample == WebDatasetSample(
        "d/a",
        "d/a.Left.JPG",
        Member("jpg", URI, 512, 100),
        (Member("right.jpg", URI, 1536, 101), Member("txt", URI, 2560, 102)),
    )


# Samples.


def test_adjacent_members_are_a_sample() -> None:
    found = outcomes("a.txt", "a.JPG", "a.Json", "b.png", "c/a.jpg")
    assert exts(found) == [("a", "jpg", "json", "txt"), ("b", "png"), ("c/a", "jpg")]


def test_interleaved_members_are_a_sample_in_order_of_the_first() -> None:
    found = outcomes("a.jpg", "b.txt", "c.jpg", "b.jpg", "a.txt")
    assert exts(found) == [("a", "jpg", "txt"), ("b", "jpg", "txt"), ("c", "jpg")]


def test_a_key_that_comes_back_whole_is_two_samples_each_in_its_place() -> None:
    found = outcomes("a.jpg", "a.txt", "b.jpg", "a.jpg", "c.jpg", "a.png")
    assert exts(found) == [
        ("a", "jpg", "txt"),
        ("b", "jpg"),
        ("a", "jpg"),
        ("c", "jpg"),
        ("a", "png"),
    ]
    assert [one.image.offset for one in found] == [512, 2560, 3584, 4608, 5632]


@pytest.mark.parametrize(
    "names",
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "a.JPG"),
        ("a.jpg", "a.txt", "a.jpg", "a.txt"),
        ("a.jpg", "b", "a.jpg"),
        ("a.txt", "a.jpg", "a.TXT"),
    ],
)
def test_an_extension_twice_in_a_run_is_a_failure(names: tuple[str, ...]) -> None:
    found = [one for one in outcomes(*names) if not isinstance(one, Skipped)]
    assert failure(found)[:2] == ("a", f"in/x.tar#{names[0]}")
    assert failure(found).error == "DuplicateMember"


def test_runs_that_are_not_whole_are_a_failure() -> None:
    first, second = outcomes("a.jpg", "a.txt", "b.jpg", "a.txt")
    assert isinstance(first, Failure)
    assert first.message == "its .txt comes twice in the tar, and not in samples that are whole"
    assert exts([second]) == [("b", "jpg")]


def test_runs_end_where_an_archive_does() -> None:
    one, two = members("a.jpg", "a.jpg")
    note = TarNote(1024, "an archive ends before this, and the file goes on")
    first, *found = group_members([one, note, two], URI)
    assert first == note
    assert exts(found) == [("a", "jpg"), ("a", "jpg")]


def test_a_sample_without_an_image_is_a_failure() -> None:
    found = failure(outcomes("a.txt", "a.json"))
    assert found == Failure(
        "a", "in/x.tar#a.txt", "list", "NoImage", "it has no image, only .json, .txt"
    )


@pytest.mark.parametrize("ext", ["e" * 65, "odd ext", "x..y", "é"])
def test_a_field_that_no_shard_can_hold_is_a_failure(ext: str) -> None:
    found = failure(outcomes("a.jpg", f"a.{ext}"))
    assert found.error == "ValueError"
    assert f".{ext} is not an extension" in found.message


def test_an_image_may_have_any_extension() -> None:
    assert exts(outcomes("a.an extension of its own.jpg", "b.x.y.z.w.v.u.t.png")) == [
        ("a", "jpg"),
        ("b", "png"),
    ]


def test_failures_are_printable() -> None:
    found = failure(outcomes("caf\udce9.txt"))
    assert found.image_id == "caf\ufffd"
    assert found.original_path == "in/x.tar#caf\ufffd.txt"


# What is no sample.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a", "(no extension)"),
        ("", "(no extension)"),
        ("a.", "(no extension)"),
        (".hidden.jpg", "(hidden)"),
        ("d/._a.jpg", "(hidden)"),
        ("__info__", "(__x__)"),
        ("__info__.json", "(__x__)"),
        ("d/__info__.json", "(__x__)"),
        ("__MACOSX__/a.jpg", "(__x__)"),
    ],
)
def test_what_is_passed_by_is_counted(name: str, kind: str) -> None:
    found = outcomes("b.jpg", name, "c.jpg")
    assert [one for one in found if isinstance(one, Skipped)] == [Skipped(kind)]
    assert exts([one for one in found if not isinstance(one, Skipped)]) == [
        ("b", "jpg"),
        ("c", "jpg"),
    ]


def test_a_sample_may_be_called_like_a_description() -> None:
    assert exts(outcomes("__a__.jpg", "__a__.json")) == [("__a__", "jpg", "json")]


def other(name: str, kind: str = "symbolic link", error: str = "NotAFile") -> TarOther:
    return TarOther(name, 0, kind, error)


@pytest.mark.parametrize("item", [other("a.jpg"), other("a.PNG", "FIFO")])
def test_a_link_with_an_image_name_is_a_failure(item: TarOther) -> None:
    found = failure(list(group_members([item], URI)))
    assert (found.image_id, found.error) == ("a", "NotAFile")
    assert found.message == f"its .{item.name[2:]} is a {item.kind}"


def test_a_link_among_a_samples_members_is_its_failure() -> None:
    found = failure(list(group_members([*members("a.jpg"), other("a.txt")], URI)))
    assert found.message == "its .txt is a symbolic link"


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (other("a.txt"), "(symbolic link)"),
        (other("a"), "(symbolic link)"),
        (other("d.jpg", "directory"), "(directory)"),
        (other(".a.jpg"), "(symbolic link)"),
    ],
)
def test_links_and_directories_without_samples_are_counted(item: TarOther, kind: str) -> None:
    assert list(group_members([item], URI)) == [Skipped(kind)]


def test_lost_data_are_a_failure_whatever_the_name() -> None:
    found = failure(list(group_members([other("a.bin", "sparse file", "SparseFile")], URI)))
    assert (found.error, found.message) == ("SparseFile", "its .bin is a sparse file")


# Broken tars.

FAULT = TarFault(4096, "the file ends within a header")


def test_the_last_sample_before_a_fault_may_lack_members() -> None:
    broken, first, last = group_members([*members("a.jpg", "b.jpg"), FAULT], URI)
    assert broken == Failure(
        "x.tar",
        "in/x.tar",
        "list",
        "BrokenSource",
        "the tar cannot be read on from byte 4096: the file ends within a header",
    )
    assert exts([first]) == [("a", "jpg")]
    assert isinstance(last, Failure)
    assert last[:4] == ("b", "in/x.tar#b.jpg", "list", "Truncated")


def test_a_sample_before_the_end_of_an_archive_is_whole() -> None:
    _, broken, sample = group_members([*members("a.jpg"), TarNote(1024, "ends"), FAULT], URI)
    assert isinstance(broken, Failure)
    assert exts([sample]) == [("a", "jpg")]


def test_a_truncated_member_is_its_samples_failure() -> None:
    cut = other("b.txt", "truncated file", "Truncated")
    _, first, last = group_members([*members("a.jpg", "b.jpg"), cut, FAULT], URI)
    assert exts([first]) == [("a", "jpg")]
    assert isinstance(last, Failure)
    assert last.message == "its .txt is a truncated file"


NAMES = st.lists(st.from_regex(r"\A(d/)?[abc]?(\.(jpg|txt|JPG|x y|left\.png))?\Z"), max_size=12)


@given(NAMES)
@example(["d/a.jpg", "d/a.x y", "a.jpg", "d/a.jpg"])
def test_every_member_ends_in_one_place(names: list[str]) -> None:
    found = outcomes(*names)
    samples = [one for one in found if isinstance(one, WebDatasetSample)]
    placed = [member.offset for one in samples for member in (one.image, *one.fields)]
    assert len(placed) == len(set(placed))
    failed = {one.image_id for one in found if isinstance(one, Failure)}
    keys = [split[0] for item in members(*names) if (split := split_member(item.name))]
    runs = [key for key, _ in itertools.groupby(keys)]
    ends = [
        one.key if isinstance(one, WebDatasetSample) else one.image_id
        for one in found
        if not isinstance(one, Skipped)
    ]
    # Of samples with one id, each a run of members, one may fail while another is whole.
    for key in failed & {one.key for one in samples}:
        assert 1 < runs.count(key) == ends.count(key)
    left = [item for item in members(*names) if item.offset not in placed]
    of_samples = [split for item in left if (split := split_member(item.name))]
    assert {key for key, _ in of_samples} == failed
    assert len(left) - len(of_samples) == sum(isinstance(one, Skipped) for one in found)


# Real tars.


def read(name: str) -> list[Outcome]:
    path = TARS / name
    if not path.exists():
        pytest.skip("needs the shared data sets")
    with path.open("rb") as fh:
        items: list[Item] = [
            item.member if isinstance(item, StreamedMember) else item
            for item in (stream_members(fh, 1 << 28) if path.suffix == ".gz" else walk_members(fh))
        ]
    return list(group_members(items, name))


@pytest.mark.parametrize("number", range(3))
def test_agrees_with_webdataset_sample_by_sample(number: int) -> None:
    tariterators = pytest.importorskip("webdataset.tariterators")
    name = f"clothing-{number:06d}.tar"
    found = read(name)
    data = (TARS / name).read_bytes()
    files = tariterators.tar_file_expander([{"url": name, "stream": io.BytesIO(data)}])
    for sample, wanted in zip(found, tariterators.group_by_keys(files), strict=True):
        assert isinstance(sample, WebDatasetSample)
        mine = {
            member.ext: data[member.offset : member.offset + member.size]
            for member in (sample.image, *sample.fields)
        }
        assert sample.key == wanted["__key__"]
        assert mine == {ext: value for ext, value in wanted.items() if ext[:2] != "__"}


@pytest.mark.parametrize(
    ("name", "samples", "failures", "skipped"),
    [
        ("dup-keys.tar", 1, [("a", "DuplicateMember")], []),
        ("empty.tar", 0, [], []),
        ("gnutar.tar.gz", 5, [], []),
        ("interleaved-keys.tar", 2, [], []),
        ("links.tar", 1, [(key, "NotAFile") for key in "bcfg"], ["(directory)"]),
        (
            "meta-keys.tar",
            0,
            [("a", "DuplicateMember")],
            ["(__x__)", "(__x__)", "(hidden)", "(no extension)"],
        ),
        ("missing-parts.tar", 3, [("b", "NoImage")], []),
        ("names-gnu.tar", 16, [], []),
        ("names-pax.tar", 16, [], []),
        ("sparse-64MiB-gnu.tar", 0, [("sparse", "SparseFile")], []),
        (
            "truncated-in-file.tar",
            10,
            [("truncated-in-file.tar", "BrokenSource"), ("train/IMG_2407", "Truncated")],
            [],
        ),
    ],
)
def test_odd_tars(
    name: str, samples: int, failures: list[tuple[str, str]], skipped: list[str]
) -> None:
    found = read(f"odd/{name}")
    assert sum(isinstance(one, WebDatasetSample) for one in found) == samples
    failed = [(one.image_id, one.error) for one in found if isinstance(one, Failure)]
    assert failed == failures
    assert sorted(one.kind for one in found if isinstance(one, Skipped)) == skipped
    assert len(found) == samples + len(failures) + len(skipped)


def test_the_odd_tars_are_all_here() -> None:
    if not TARS.exists():
        pytest.skip("needs the shared data sets")
    marks = test_odd_tars.pytestmark
    assert {path.name for path in (TARS / "odd").iterdir()} == {row[0] for row in marks[0].args[1]}


def test_the_names_of_both_dialects_are_the_same_samples() -> None:
    one = [(sample.key, sample.image.size) for sample in read("odd/names-gnu.tar")]
    other_one = [(sample.key, sample.image.size) for sample in read("odd/names-pax.tar")]
    assert one[:6] == other_one[:6]
    assert one[7:] == other_one[7:]


def test_interleaved_members_come_together() -> None:
    assert exts(read("odd/interleaved-keys.tar")) == [("a", "jpg", "txt"), ("b", "jpg", "txt")]


def test_members_in_any_order_are_the_same_samples() -> None:
    names = [f"{key}.{ext}" for key in "abcdefgh" for ext in ("jpg", "txt", "json")]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(exts(outcomes(*shuffled))) == exts(outcomes(*names))
