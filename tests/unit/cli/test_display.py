from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from beam_export.cli import display
from beam_export.cli.display import Progress, plan, summary

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
        "15 of 50 images, 1 images/s, 1 MB/s, about 28 s left"
    ]


def test_more_than_planned_leaves_no_time_below_nothing(
    clock: list[float], lines: tuple[Progress, io.StringIO]
) -> None:
    # Words of the plan may be lost.
    shown, stream = lines
    clock[0] += 20
    shown.receive({"copied": 5})
    assert stream.getvalue() == "5 of 0 images, 0 images/s, 0 bytes/s, about 0 s left\n"


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
        "  passed by files that are no images: 1 (no suffix), 2 .txt",
        "  each failure with its reason: gs://b/out/_meta/images-0123456789ab-failures.parquet",
    ]


def test_summary_can_be_printed_wherever_the_output_lies() -> None:
    summary(manifest(), "/out/\udcff", 0).encode("utf-8")


def test_plan() -> None:
    facts = {"copied": 5, "copied_bytes": 5000, "encoded": 2, "encoded_bytes": 1}
    assert plan({**PLANNED, **facts}) == (
        "would write 50 images in 3 shards: 5 copied (5 kB), 2 encoded (from 1 byte), judged by "
        "their suffix; nothing was written"
    )
