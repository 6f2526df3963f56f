from __future__ import annotations

import hashlib
import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_export import naming

HASH = "0123456789ab"

# Written out here and not taken from the module: this is what readers of the format expect.
KEY = re.compile(r"[A-Za-z0-9\-][A-Za-z0-9_\-]*(/[A-Za-z0-9\-][A-Za-z0-9_\-]*)*")
MADE = re.compile(r"-[0-9a-f]{16}$")

any_text = st.text(st.characters(codec=None), max_size=300)
key_like = st.text(string.ascii_letters + string.digits + "_-/.", max_size=120)
hashes = st.text("0123456789abcdef", min_size=12, max_size=12)
numbers = st.integers(0, 10**9)


@pytest.mark.parametrize(
    "id",
    ["0", "000001", "train/cats/000123", "-x", "a_", "a__b-", "A" * 83, "a-0123456789ABCDEF"],
)
def test_valid_id_stays(id: str) -> None:
    assert naming.key_of(id) == id


@pytest.mark.parametrize(
    ("id", "text"),
    [
        ("", "sample"),
        ("a" * 84, "a" * 66),
        ("x-0123456789abcdef", "x-0123456789abcdef"),
        ("a\n", "a"),
        ("a.b/c d (1)", "a_b/c_d_1"),
        ("a__b c", "a__b_c"),
        ("../../etc/passwd", "etc/passwd"),
        ("a/../b", "a/b"),
        ("./a", "a"),
        ("/abs//x", "abs/x"),
        ("__a/.b", "a/b"),
        ("gs://bucket/x", "gs/bucket/x"),
        ("dir/日本", "dir/sample"),
        ("dir/", "dir/sample"),
        ("d" * 65 + "/x y", "d" * 65),
        ("\ud800", "sample"),
        ("é\0\n", "sample"),
    ],
)
def test_other_id_becomes_text_and_digest(id: str, text: str) -> None:
    key = naming.key_of(id)
    assert MADE.sub("", key) == text
    assert MADE.search(key)


def test_made_key_is_pinned() -> None:
    # The digits are of the SHA-256 of the id's UTF-8: `printf 'a b' | sha256sum`.
    assert naming.key_of("a b") == "a_b-c8687a08aa5d6ed2"


@given(any_text | key_like)
@example("\ud800/\udfff")
@example("/" * 300)
@example("." * 300)
@example("a/" * 150)
def test_key_is_a_key_with_room_for_any_extension(id: str) -> None:
    key = naming.key_of(id)
    assert KEY.fullmatch(key)
    assert len(naming.member_name(key, "e" * naming.MAX_EXT)) <= 100
    assert key == naming.key_of(id)


@given(any_text | key_like, st.integers(0, naming.LONGEST_EXT))
@example("a" * 83, 64)
@example("/" * 300, 64)
def test_a_key_leaves_room_for_its_samples_longest_extension(id: str, longest: int) -> None:
    key = naming.key_of(id, longest)
    assert KEY.fullmatch(key)
    assert len(naming.member_name(key, "e" * longest)) <= 100
    if longest <= naming.MAX_EXT or len(naming.key_of(id)) + 1 + longest <= 100:
        assert key == naming.key_of(id)
    else:
        assert MADE.search(key)
        assert key[-16:] == hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@given(any_text | key_like)
def test_key_is_the_id_or_looks_made(id: str) -> None:
    key = naming.key_of(id)
    assert (key == id) != bool(MADE.search(key))


@given(st.lists(any_text | key_like, unique=True, max_size=20))
def test_different_ids_have_different_keys(ids: list[str]) -> None:
    assert len({naming.key_of(id) for id in ids}) == len(ids)


def test_key_of_a_made_key_is_another_one() -> None:
    made = naming.key_of("a b")
    assert naming.key_of(made) != made


def test_sequential_key() -> None:
    assert naming.sequential_key(0) == "000000000"
    assert naming.sequential_key(123_456_789_012) == "123456789012"
    with pytest.raises(ValueError, match="-1"):
        naming.sequential_key(-1)


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_sequential_keys_sort_like_ranks(one: int, other: int) -> None:
    keys = naming.sequential_key(one), naming.sequential_key(other)
    assert (keys[0] < keys[1]) == (one < other)


@pytest.mark.parametrize(
    ("text", "ext"),
    [
        ("jpg", "jpg"),
        ("JPG", "jpg"),
        ("seg.PNG", "seg.png"),
        ("a_1", "a_1"),
        ("e" * 16, "e" * 16),
        ("e" * 64, "e" * 64),
        ("e" * 65, None),
        ("clip_embedding.npy", "clip_embedding.npy"),
        ("t5-xl.npy", "t5-xl.npy"),
        ("-", "-"),
        ("", None),
        (".jpg", None),
        ("jpg.", None),
        ("a..b", None),
        ("a b", None),
        ("jpg\n", None),
        ("jp\u212a", None),  # The Kelvin sign, which lower() turns into an ASCII k.
    ],
)
def test_clean_ext(text: str, ext: str | None) -> None:
    assert naming.clean_ext(text) == ext


#: What Hugging Face's datasets 4 takes for a split's name (`splits._split_re`), and what it keeps.
HUGGING_FACE_SPLIT = re.compile(r"\w+(\.\w+)*")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("train", "train"),
        ("v1.5_b", "v1.5_b"),
        ("a" * 64, "a" * 64),
        ("train-clean 100", "train_clean_100"),
        ("-", "3973e022"),
        ("All", "All_a52ace42"),
    ],
)
def test_a_split_keeps_its_name_where_loaders_take_it(name: str, key: str) -> None:
    assert naming.split_key(name) == key


@given(st.text(st.characters(exclude_categories=[]), max_size=80))
@example("all\n")
@example("\udc80")
def test_loaders_take_the_key_of_any_split(name: str) -> None:
    key = naming.split_key(name)
    assert len(key) <= 64
    assert key.isascii()
    assert HUGGING_FACE_SPLIT.fullmatch(key)
    assert key.lower() != "all"
    assert naming.split_key(key) == key


@given(st.lists(st.text(st.characters(min_codepoint=128, max_codepoint=1000)), unique=True))
def test_splits_in_other_scripts_do_not_meet(names: list[str]) -> None:
    assert len({naming.split_key(name) for name in names}) == len(names)


def test_shard_names() -> None:
    names = naming.ShardNames(HASH)
    assert names.tar(7) == "images-0123456789ab-000007.tar"
    assert names.parquet(1_234_567) == "images-0123456789ab-1234567.parquet"
    assert names.manifest == "images-0123456789ab-manifest.json"
    assert names.shards == "_meta/images-0123456789ab-shards.parquet"
    assert names.failures == "_meta/images-0123456789ab-failures.parquet"
    assert names.run == "_meta/images-0123456789ab-run.json"


@pytest.mark.parametrize("hash", ["", "0123456789AB", HASH + "0", HASH + "\n", "0123456789ag"])
def test_shard_names_refuse_what_is_no_hash(hash: str) -> None:
    with pytest.raises(ValueError, match="12 hex digits"):
        naming.ShardNames(hash)


@given(hashes, numbers)
@example(HASH, 999_999)
@example(HASH, 1_000_000)
def test_parse_gives_back_shards(hash: str, number: int) -> None:
    names = naming.ShardNames(hash)
    assert naming.parse(names.tar(number)) == (hash, "tar", number)
    assert naming.parse(names.parquet(number)) == (hash, "parquet", number)


@given(hashes)
def test_parse_gives_back_the_others(hash: str) -> None:
    names = naming.ShardNames(hash)
    assert naming.parse(names.manifest) == (hash, "manifest", None)
    assert naming.parse(names.shards) == (hash, "shards", None)
    assert naming.parse(names.failures) == (hash, "failures", None)
    assert naming.parse(names.run) == (hash, "run", None)


@pytest.mark.parametrize(
    "name",
    [
        "images-0123456789ab-00007.tar",
        "images-0123456789ab-0000007.tar",
        "images-0123456789ab-٠٠٠٠٠٠.tar",
        "images-0123456789ab-000007.tar\n",
        "images-0123456789ab-000007.tar.tmp",
        "images-0123456789abcd-000007.tar",
        "images-0123456789AB-000007.tar",
        "ximages-0123456789ab-000007.tar",
        "_meta/images-0123456789ab-000007.tar",
        "images-0123456789ab-shards.parquet",
        "_meta/images-0123456789ab-manifest.json",
        "images-0123456789ab-" + "9" * 5000 + ".tar",
        "README.md",
        "",
    ],
)
def test_parse_knows_no_other_name(name: str) -> None:
    assert naming.parse(name) is None
