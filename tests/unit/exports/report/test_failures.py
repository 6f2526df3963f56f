from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import picture
from support.made_exports import NAMES, make_export

from beam_export.errors import RunError
from beam_export.exports.opening import open_catalog
from beam_export.exports.report import failures as failures_module
from beam_export.exports.report.failures import failure_groups
from beam_export.samples import Failure, Sample

SAMPLES = [Sample(id="a", image=picture(1))]


def lost(number: int, error: str = "ValueError", stage: str = "decode") -> Failure:
    return Failure(f"{number:03d}", f"/in/{number:03d}.jpg", stage, error, f"message {number}")


def test_failures_are_grouped_by_stage_and_error(tmp_path: Path) -> None:
    failures = [
        *(lost(number) for number in range(8)),
        lost(50, error="OSError", stage="read"),
        lost(51, error="OSError", stage="list"),
    ]
    out = make_export(tmp_path / "out", SAMPLES, failures=failures)
    found = failure_groups(open_catalog(str(out)))
    assert [one[:3] for one in found] == [
        ("decode", "ValueError", 8),
        ("list", "OSError", 1),
        ("read", "OSError", 1),
    ]
    assert found[0].examples == failures[:5]


def test_reasons_of_one_error_are_groups_of_their_own(tmp_path: Path) -> None:
    broken, empty = (
        [lost(number)._replace(message=text) for number in range(start, start + 2)]
        for start, text in ((0, "the image is broken at byte 7"), (2, "the image is empty"))
    )
    out = make_export(tmp_path / "out", SAMPLES, failures=[*broken, *empty])
    found = failure_groups(open_catalog(str(out)))
    assert [one.examples for one in found] == [broken, empty]
    assert [one[:3] for one in found] == 2 * [("decode", "ValueError", 2)]


def test_without_failures_there_are_no_groups(tmp_path: Path) -> None:
    assert failure_groups(open_catalog(str(make_export(tmp_path / "out", SAMPLES)))) == []


def test_of_many_reasons_the_rest_is_one_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures_module, "_MOST_GROUPS", 2)
    failures = [lost(number, error=f"Error{number}") for number in range(5)]
    out = make_export(tmp_path / "out", SAMPLES, failures=failures)
    found = failure_groups(open_catalog(str(out)))
    assert [one[:3] for one in found] == [
        ("decode", "Error0", 1),
        ("decode", "Error1", 1),
        ("", "other reasons", 3),
    ]


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", None])
def test_a_damaged_table_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    out = make_export(tmp_path / "out", SAMPLES, failures=[lost(1)])
    if content is None:
        (out / NAMES.failures).unlink()
    else:
        (out / NAMES.failures).write_bytes(content)
    with pytest.raises(RunError, match=r"failures\.parquet is damaged"):
        failure_groups(open_catalog(str(out)))
