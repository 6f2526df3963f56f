from __future__ import annotations

import contextlib
import fcntl
import io
import itertools
import os
import re
import struct
import sys
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from beam_export.cli import display
from beam_export.cli.display import Progress, plan, summary
from beam_export.planning.steps import UNLIKE

PLANNED = {"planned": 50, "planned_shards": 3}
SHARD = {"shard": 2, "samples": 20, "size": 1_234_567, "found": 0}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still but for what tests add."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def lines() -> Iterator[tuple[Progress, io.StringIO]]:
    stream = io.StringIO()
    shown = Progress(stream)
    yield shown, stream
    shown.close()


@pytest.mark.parametrize("columns", [0, 80])
def test_a_terminal_without_a_width_gets_lines(clock: list[float], columns: int) -> None:
    parent, child = os.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24 * (columns > 0), columns, 0, 0))
    with os.fdopen(child, "w") as stream:
        shown = Progress(stream)
        shown.receive({"listed": 5})
        clock[0] += 20
        shown.receive({"listed": 6})
        shown.close()
    said = b""
    # An error is how a terminal ends that nobody writes to any more.
    with contextlib.suppress(OSError):
        while part := os.read(parent, 10_000):
            said += part
    os.close(parent)
    assert (b"listing: 11 images\r\n" in said) is (columns == 0)
    assert (b"listing: 11 images [" in said) is (columns == 80)


def test_a_narrow_terminal_shows_what_counts_and_no_bar() -> None:
    said = []
    for columns in (40, 80):
        parent, child = os.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        with os.fdopen(child, "w") as stream:
            shown = Progress(stream)
            assert str(shown._bar) == "starting ..."
            shown.receive(PLANNED)
            shown.receive({"copied": 20})
            said.append(str(shown._bar))
            shown.close()
        os.close(parent)
    narrow, wide = said
    assert re.fullmatch(r"writing: 20/50, \d\d:\d\d left", narrow)
    assert re.match(r"writing: +40%\|.*\| 20/50 \[", wide)


@pytest.mark.parametrize(("word", "stage"), [("listed", "listing"), ("ranked", "planning")])
def test_a_terminal_shows_a_count_as_it_comes(word: str, stage: str) -> None:
    stream = Terminal()
    shown = Progress(stream)
    for count in (300, 76):
        shown.receive({word: count})
    last = stream.getvalue().split("\r")[-1]
    shown.close()
    assert last.startswith(f"{stage}: 376 images")


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    stream = Terminal()
    shown = Progress(stream)
    assert "starting" in stream.getvalue()
    shown.receive({"listed": 1000})
    assert shown._bar is not None
    assert str(shown._bar).startswith("listing: 1000 images")
    shown.receive(PLANNED)
    assert "writing" in stream.getvalue()
    assert "0/50" in stream.getvalue()
    shown.receive({"copied": 10, "encoded": 5, "failed": 1, "bytes": 10**6})
    assert shown._bar is not None
    assert shown._bar.n == 16
    shown.receive({"kept": 20})
    assert shown._bar.n == 36
    shown.close()
    assert stream.getvalue().split("\r")[-1].strip() == ""
    assert "\n" not in stream.getvalue()
    shown.close()


def test_stages_have_names_and_counts_from_the_first_second(
    clock: list[float], lines: tuple[Progress, io.StringIO]
) -> None:
    shown, stream = lines
    shown.receive({"listed": 1000})
    clock[0] += 1
    shown.receive({"listed": 1000})
    shown.receive({"listed": 1000})
    clock[0] += 10
    shown.receive({"ranked": 500})
    clock[0] += 10
    shown.receive({"ranked": 500})
    shown.receive(PLANNED)
    clock[0] += 10
    shown.receive({"ranked": 500})
    shown.receive({"copied": 5})
    assert stream.getvalue().splitlines() == [
        "listing: 2,000 images",
        "planning: 1,000 images",
        "planned 50 images in 3 shards",
        "writing: 5 of 50 images, 0 images/s, about 90 s left",
    ]


def test_a_terminal_shows_which_stage_it_is() -> None:
    stream = Terminal()
    shown = Progress(stream)
    for counts, title in (({"listed": 1000}, "listing"), ({"ranked": 400}, "planning")):
        shown.receive(counts)
        assert shown._bar is not None
        (count,) = counts.values()
        assert str(shown._bar).startswith(f"{title}: {count} images")
    shown.receive(PLANNED)
    assert shown._bar is not None
    assert str(shown._bar).startswith("writing:")
    shown.close()


def test_lines_of_shards_stand_above_the_bar() -> None:
    stream = Terminal()
    shown = Progress(stream)
    shown.receive(PLANNED)
    shown.receive(SHARD)
    shown.receive(SHARD | {"shard": 1_234_567, "found": 1})
    shown.close()
    text = stream.getvalue()
    assert "shard 000002: 20 images, 1.23 MB\n" in text
    assert "shard 1234567: 20 images, 1.23 MB, finished before\n" in text


@pytest.mark.usefixtures("clock")
def test_no_terminal_gets_lines(lines: tuple[Progress, io.StringIO]) -> None:
    shown, stream = lines
    assert stream.getvalue() == ""
    shown.receive(PLANNED)
    shown.receive(SHARD)
    shown.receive({"copied": 10, "bytes": 100})
    assert stream.getvalue() == (
        "planned 50 images in 3 shards\nshard 000002: 20 images, 1.23 MB\n"
    )


def test_a_line_comes_now_and_then(clock: list[float], lines: tuple[Progress, io.StringIO]) -> None:
    shown, stream = lines
    shown.receive(PLANNED)
    for _ in range(4):
        clock[0] += 4
        shown.receive({"copied": 5, "bytes": 4_000_000})
        shown.receive({"bytes": 0})
    assert stream.getvalue().splitlines()[1:] == [
        "writing: 15 of 50 images, 1 images/s, 1 MB/s, about 28 s left"
    ]


def test_more_than_planned_leaves_no_time_below_nothing(
    clock: list[float], lines: tuple[Progress, io.StringIO]
) -> None:
    # Words of the plan may be lost.
    shown, stream = lines
    clock[0] += 20
    shown.receive({"copied": 5})
    assert stream.getvalue() == ("writing: 5 of 0 images, 0 images/s, about 0 s left\n")


def test_work_that_writes_nothing_has_a_name_and_no_bytes(
    clock: list[float], lines: tuple[Progress, io.StringIO]
) -> None:
    shown, stream = lines
    shown.expect(50, "reading")
    clock[0] += 20
    shown.receive({"kept": 10})
    assert stream.getvalue() == "reading: 10 of 50 images, 0 images/s, about 80 s left\n"


def test_the_end_counts_nothing_twice(lines: tuple[Progress, io.StringIO]) -> None:
    shown, _ = lines
    shown.receive({"copied": 10})
    shown.receive({"finished": 1, "copied": 10, "encoded": 0, "failed": 0, "bytes": 5})
    assert shown._done == 10


def test_words_in_any_order_and_number_do_no_harm() -> None:
    words: list[dict[str, int]] = [PLANNED, SHARD, {"copied": 60}, {}, {"finished": 1}]
    for stream in (Terminal(), io.StringIO()):
        for order in itertools.permutations(words):
            shown = Progress(stream)
            for counts in order:
                shown.receive(counts)
            shown.close()


def test_it_goes_where_errors_go_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    Progress().receive(PLANNED)
    assert stream.getvalue()


def manifest(**totals: int) -> dict[str, Any]:
    names = [
        "read",
        "filtered",
        "duplicate",
        "limited",
        "failed",
        "written",
        "copied",
        "encoded",
        "shards",
    ]
    zeros = dict.fromkeys([*names, "bytes", "parquet_bytes"], 0)
    return {
        "hash": "0123456789ab",
        "totals": {**zeros, **totals},
        "steps": [{"step": "read", "skipped": {}}, {"step": "write"}],
        "tables": [{"name": "_meta/images-0123456789ab-shards.parquet"}],
    }


def test_summary() -> None:
    made = manifest(
        read=19, written=12, shards=2, copied=7, encoded=5, failed=1, bytes=10**6, parquet_bytes=999
    )
    assert summary(made, "/out/", 1.25).splitlines() == [
        "12 images in 2 shards, 1 MB, in 1.2 s",
        "  copied 7, encoded 5, failed 1",
        "  /out/images-0123456789ab-manifest.json",
    ]


def test_summary_of_what_is_not_there() -> None:
    made = manifest(filtered=2, duplicate=3, limited=4)
    made["steps"][0]["skipped"] = {".txt": 2, "(no suffix)": 1}
    made["tables"].append({"name": "_meta/images-0123456789ab-failures.parquet"})
    assert summary(made, "gs://b/out", 0).splitlines()[2:6] == [
        "  left out 2 by --ids, --exclude_ids or --filter",
        "  left out 3 duplicates, 4 beyond --limit",
        "  passed by: 2 .txt, 1 (no suffix)",
        "  each failure with its reason: gs://b/out/_meta/images-0123456789ab-failures.parquet",
    ]


def test_summary_can_be_printed_wherever_the_output_lies() -> None:
    summary(manifest(), "/out/\udcff", 0).encode("utf-8")


def test_a_split_that_loaders_know_by_another_name_is_said() -> None:
    splits = [
        {"name": "all", "key": "all_5ef5ef03", "samples": 5, "shards": 1},
        {"name": "b-c", "key": "b_c", "samples": 0, "shards": 0},
    ]
    (line,) = [
        one
        for one in summary({**manifest(), "splits": splits}, "o", 1).split("\n")
        if "take" in one
    ]
    assert line.endswith("which loaders take: all is all_5ef5ef03")


def test_plan() -> None:
    facts = {"copied": 5, "copied_bytes": 5000, "encoded": 2, "encoded_bytes": 1}
    assert plan({**PLANNED, **facts}) == (
        "would write 50 images in 3 shards: 5 copied (5 kB), 2 encoded (from 1 byte), judged by "
        "their suffix; nothing was written\n"
        "  it may take 10 s on 1 core like those of our benchmarks, if the files come as fast: a "
        "guess by their number and size"
    )


def test_a_plan_says_what_is_passed_by() -> None:
    facts = {"copied": 5, "copied_bytes": 5000, "encoded": 2, "encoded_bytes": 1}
    skipped = {"(an export)": 2, ".md": 7}
    said = plan({**PLANNED, **facts, "skipped": skipped, "more_skipped": 1}).splitlines()
    assert said[1] == "  passed by: 7 .md, 2 (an export), 1 of other kinds"


def test_a_plan_says_what_lacks_to_read_it() -> None:
    facts = {"copied": 5, "copied_bytes": 5000, "encoded": 2, "encoded_bytes": 1}
    said = plan({**PLANNED, **facts, "lacking_heif": 2}).splitlines()
    assert said[1].startswith(
        "  2 images look like HEIC or HEIF, which takes an extra to read: pip "
    )


def test_the_guess_of_a_plan_is_by_its_work_and_the_cores() -> None:
    facts = {"copied": 0, "copied_bytes": 0, "encoded": 10**6, "encoded_bytes": 10**11}
    assert "it may take 39 min on 2 cores" in plan({**PLANNED, **facts}, cores=2)
    assert "it may take 12 min on 2 cores" in plan({**PLANNED, **facts}, resizes=True, cores=2)


def test_failures_are_told_by_reason() -> None:
    lines = summary(manifest(), "out", 1.0, failures=["2 with A (the first, x: y)"]).splitlines()
    assert "  failed: 2 with A (the first, x: y)" in lines


@pytest.mark.parametrize(
    ("step", "said", "words"),
    [
        ("encode", {"texts_not_utf8": 3}, "the .txt of 3 samples is not UTF-8"),
        (
            "read",
            {"several_images": 2, "several_images_examples": ["v1", "v2"]},
            "2 samples hold several images ('v1' say)",
        ),
        (
            "read",
            {"named_after_another": 1, "named_after_another_examples": ["0.seg.png"]},
            "1 image file is named after another ('0.seg.png' say)",
        ),
    ],
)
def test_what_is_odd_about_samples_is_told(step: str, said: dict[str, Any], words: str) -> None:
    made = manifest()
    made["steps"].append({"step": "encode"})
    assert words not in summary(made, "out", 1.0)
    next(one for one in made["steps"] if one["step"] == step).update(said)
    assert words in summary(made, "out", 1.0)


def test_what_is_not_the_same_for_all_samples_is_told() -> None:
    made = manifest(written=12, copied=12)
    made["steps"].append({"step": "encode", "copied": 12, "ensured": 1, "ensured_rgb": 1})
    step = {"samples": 12, "members": {"txt": 3}, "unequal": True}
    facts = {"lacks": {"samples": 12, "upright": 2}, "members": [step]}
    facts |= {UNLIKE: 1, f"{UNLIKE}_examples": ["the names of 'a'"]}
    lines = summary(made, "out", 1.0, facts=facts).splitlines()
    said = (
        "1 JPEG was not copied",
        "2 JPEGs carry an EXIF",
        "samples have unequal",
        "not kept: the",
    )
    for words in said:
        assert [line for line in lines if line.startswith(f"  {words}")], words
