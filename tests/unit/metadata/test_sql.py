from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from support.four_samples import kept

from beam_export.errors import InputError
from beam_export.metadata.filter import Filter


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no expression"),
        ("score >", 'syntax error at or near ")"'),
        ("score > 0.5; drop table t", 'syntax error at or near ";"'),
        ("1) from t where (1", "more than one expression"),
        ("score in (select 1)", "a subquery"),
        ("sum(score) > 1", "sum()"),
        ("row_number() over () > 1", "a window"),
        ("score > $1", "a parameter"),
        ("*", "a star"),
        ("random() > 0.5", "random()"),
        ("day < now()", "now()"),
        ("age(day) > interval 1 day", "age()"),
        ("getenv('HOME') = 'x'", "getenv()"),
        ("read_text('/etc/passwd') = 'x'", "read_text()"),
        ("current_setting('threads') = '1'", "current_setting()"),
    ],
)
def test_what_is_no_expression_on_a_sample_is_refused_before_all_else(text: str, said: str) -> None:
    with pytest.raises(InputError, match="--filter=") as caught:
        Filter(text)
    assert said in caught.value.sentence


def test_files_cannot_be_reached_even_by_a_statement() -> None:
    import duckdb

    from beam_export.metadata import sql

    connection: Any = sql.connect()
    for statement in ("SELECT * FROM read_text('/etc/hostname')", "SET threads = 2"):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("score > 0 " + " " * 100_000, "has 100,010 characters, and 100,000 are the most"),
        ("(" * 2000 + "true" + ")" * 2000, "has expressions within expressions, and 100 levels"),
        ("score > 0" + " is null" * 300, "has expressions within expressions, and 100 levels"),
        ("+".join(["score"] * 150) + " > 1", "has expressions within expressions"),
        (" or ".join(["sqrt(score) > 1"] * 501), "has 501 operators, functions and casts"),
        (" or ".join(["score > 1"] * 2001), "has 2002 comparisons and other parts, and 2000 are"),
        ("concat(" + ",".join(["caption"] * 1001) + ") = 'x'", "has texts or lists of 1001 times"),
        ("caption = '\udc80'", "is no text: write it in UTF-8."),
        ("/* nothing */ -- at all", "is no expression"),
    ],
)
def test_cost_of_a_filter_is_bounded(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Filter(text)
    assert said in caught.value.sentence
    assert len(caught.value.sentence) < 700


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["score"] * 99) + " > 50",
        "sqrt(" * 95 + "score" + ")" * 95 + " > 0.9",
        "case when score > 0 then " * 90 + "true" + " end" * 90,
        "split in (" + ",".join(f"'id{number:06}'" for number in range(8000)) + ") or score > 0",
        " or ".join(f"score > {number}" for number in range(1500)) + " or score > 0",
    ],
)
def test_what_is_within_the_bounds_is_a_filter(text: str) -> None:
    assert kept(text) == ([3] if "+score" in text else [0, 3])


TIMES = """
import datetime, pyarrow as pa
from beam_export.metadata.filter import Filter
day = pa.array([datetime.datetime(2024, 5, 1, hour) for hour in (0, 12, 23)], pa.timestamp("us"))
columns = {"plain": day, "zoned": day.cast(pa.timestamp("us", "Asia/Tokyo"))}
for text in (
    "zoned >= '2024-05-01 12:00' and hour(zoned) > 12",
    "plain::timestamptz = zoned and day(zoned) = 1",
    "strftime(zoned, '%c %x %X %Z %A') = strftime(plain::timestamptz, '%c %x %X %Z %A')",
    "strftime(plain, '%A %B %H') = 'Wednesday May 12'",
    "lower('IŞ') = 'iş' and upper('i') = 'I' and plain::varchar like '2024-05-01 12%'",
):
    bound = Filter(text).bind({name: column.type for name, column in columns.items()})
    print(bound.keep({name: columns[name] for name in bound.types}, 3))
"""


def test_neither_zone_nor_language_of_the_machine_decides() -> None:
    said = set()
    for zone, language in (("UTC", "C.UTF-8"), ("Asia/Tokyo", "tr_TR.UTF-8"), ("America/Lima", "")):
        environment = {**os.environ, "TZ": zone, "LC_ALL": language, "LANG": language}
        command = [sys.executable, "-c", TIMES]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1
    assert [line.count("True") for line in said.pop().splitlines()] == [1, 3, 3, 1, 1]


HEAVY = """
import pyarrow as pa
from beam_export.metadata.filter import Filter
rows = pa.array(["ab " * 2000 + str(number) for number in range(1000)])
for text in (
    "||".join(["s"] * 40) + " = ''", "upper(lower(" * 49 + "s" + "))" * 49 + " = ''",
    f"replace(replace(s, 'a', '{'x' * 20}'), 'x', '{'y' * 20}') = ''",
    "len(string_split(s, '')) = 1",
    "concat(" + ",".join(["s"] * 900) + ") = ''", "s like '%_a%_b%_a%_b%_c%'",
    "regexp_matches(s, '[ab ].{200}c')", "lpad(s, 10000, 'x') || rpad(s, 10000, 'y') = ''",
):
    assert Filter(text).bind({"s": rows.type}).keep({"s": rows}, 1000) == [False] * 1000
def peak():
    # Of this program alone: `ru_maxrss` begins at what the process that started it held.
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0])
print(peak() >> 10)
"""


@pytest.mark.slow
def test_memory_of_a_filter_is_bounded() -> None:
    command = [sys.executable, "-c", HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    # Of 6 MB of text; without bounds, some take gigabytes. No progress is drawn beside it.
    assert int(done.stdout) < 1500
