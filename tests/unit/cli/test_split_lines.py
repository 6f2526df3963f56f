"""What the console says of splits."""

from __future__ import annotations

from beam_export.cli.split_lines import key_lines, split_lines


def test_nothing_is_said_without_splits() -> None:
    assert list(split_lines([])) == []


def test_splits_are_counted_and_empty_ones_named() -> None:
    given = [("train", 98, 10), ("test", 0, 0), ("val", 2, 1), ("x" * 99, 0, 0)]
    full, empty = split_lines(given)
    assert full == "  splits: train 98 in 10 shards, val 2 in 1 shard"
    assert empty.startswith("  no sample falls into the splits test, x")
    assert empty.endswith(": they are left out of card and indexes")
    assert len(empty) < 200


def test_many_are_counted_alone() -> None:
    (line,) = split_lines([(f"s{number}", 1, 1) for number in range(100)], more=7)
    assert line.endswith("s19 1 in 1 shard, 87 more")


def test_names_that_loaders_change_are_said_in_one_line() -> None:
    given = [("train", "train"), ("\u00e9t\u00e9", "t_bd010c64"), ("b<i>", "b_i")]
    (line,) = key_lines(given)
    assert line.endswith("which loaders take: \u00e9t\u00e9 is t_bd010c64, b<i> is b_i")
    assert list(key_lines(given[:1])) == []
    (line,) = key_lines([("x" * 999, f"s{number}") for number in range(25)])
    assert line.endswith("5 more")
    assert len(line) < 2000
