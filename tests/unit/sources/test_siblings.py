from __future__ import annotations

import os
from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st

from beam_export.sources.entries import Entry, Listed, join
from beam_export.sources.siblings import Found, group_listing, group_siblings

HASH = "0123456789ab"
NAMES = st.one_of(
    st.text("ab.-0", min_size=1, max_size=5),
    st.builds(
        "{}.{}".format,
        st.text("ab.-", min_size=1, max_size=3),
        st.sampled_from(["jpg", "png", "txt", "JSON", "tar", "tar.gz", "parquet", "idx", "csv"]),
    ),
    st.sampled_from(["a.jpg.txt", "a.b.jpg", "a.clip.npy", "b.c.d.txt", "b.jpg", "b.jpg.a.txt"]),
    st.sampled_from(["a.JPG", "a.jpg.txt", "e\u0301.jpg", "\xe9.txt", "e.txt", "ae\u0301.npy"]),
    st.sampled_from(["a\xe9.a.jpg", "a\xe9.A.jpg", "ae\u0301.a.JPG.txt", "\xe9.jpg"]),
    st.sampled_from(["a_stats.json", f"images-{HASH}-000000.tar", f"images-{HASH}-000000.parquet"]),
    st.sampled_from([f"images-{HASH}-manifest.json", f"images-{HASH}-000001.tar"]),
    st.sampled_from([f"images-{HASH}-{end}" for end in ("000000.tar.idx", "wids.json")]),
)
PATHS = st.lists(
    st.builds(
        "/".join,
        st.builds(lambda folders, name: [*folders, name], st.lists(NAMES, max_size=2), NAMES),
    ),
    unique=True,
    max_size=14,
)


def entries(paths: list[str]) -> list[tuple[str, Entry]]:
    found = []
    for at, path in enumerate(sorted(paths, key=os.fsencode)):
        folder, _, name = path.rpartition("/")
        found.append((folder, Entry(name, path, at)))
    return found


def at_once(files: list[tuple[str, Entry]]) -> list[Found]:
    folders: dict[str, list[Entry]] = {}
    for folder, file in files:
        folders.setdefault(folder, []).append(file)
    found = [one for folder, inside in folders.items() for one in group_siblings(inside, folder)]
    return sorted(found, key=lambda one: os.fsencode(one[0]))


@given(PATHS)
@example(["a.jpg", "a.b/c.jpg", "a.txt", "a.b.jpg"])
@example(["x.idx", "y.jpg", "x.tar", "a.jpg", "x_stats.json"])
@example(["d/a.jpg", "d.e/b.tar", "d.jpg", "d.txt"])
@example(["x.a.b.npy", "x.a.png", "x.jpg"])
@example(["x.JPG", "x.a.b.npy", "x.a.png"])
@example(["x.a.npy", "x.b.jpg", "x.c.jpg", "x.jpg"])
@example(["d.e/x.a.npy", "d.e/x.b.jpg", "d.e/x.jpg", "d.jpg"])
@example(["ae\u0301.jpg", "af.jpg", "a\xe9.txt"])
@example(["e\u0301.jpg", "f/f.jpg", "z.jpg", "\xe9.jpg.txt"])
@example(["d/e\u0301.jpg", "d/f.jpg", "d/\xe9.JPG.a.txt"])
@example(["x.jpg", "x.jpg-2.jpg", "x.jpg.a.txt", "x.jpg.txt"])
def test_it_is_as_if_all_was_looked_at_together(paths: list[str]) -> None:
    files = entries(paths)
    assert list(group_listing(files)) == at_once(files)


def test_images_go_on_as_they_come() -> None:
    taken = 0

    def listing() -> Iterator[tuple[str, Entry]]:
        nonlocal taken
        for number in range(10**6):
            for ext in ("jpg", "txt"):
                taken += 1
                yield "d", Entry(f"x.{number:07d}.{ext}", "", 0)

    for count, (place, item) in enumerate(group_listing(listing())):
        assert isinstance(item, Listed)
        assert place == join("d", f"x.{count:07d}.jpg")
        assert taken <= 2 * count + 3
        if count == 100:
            break
    assert count == 100


def test_the_indexes_of_an_export_are_neither_its_manifest_nor_its_shards() -> None:
    ends = ["000000.tar", "000000.parquet", "000000.idx", "000000.tar.idx", "manifest.json"]
    ends += ["000001.idx", "wids.json", "train-wids.json"]
    files = [file for _, file in entries([f"images-{HASH}-{end}" for end in ends])]
    found = {path.partition(f"{HASH}-")[2]: item for path, item in group_siblings(files, "")}
    kinds = {path: type(getattr(item, "item", item)).__name__ for path, item in found.items()}
    assert kinds == {
        "000000.tar": "Source",
        "manifest.json": "Source",
        **dict.fromkeys(["000000.parquet", "000000.idx", "000000.tar.idx"], "Companion"),
        **dict.fromkeys(["000001.idx", "wids.json", "train-wids.json"], "Skipped"),
    }
    source = found["000000.tar"].item
    assert source.dali_index.name == f"images-{HASH}-000000.idx"
