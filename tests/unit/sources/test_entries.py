"""What a source that cannot be read becomes, and what files are by their names."""

from __future__ import annotations

import errno

import pytest

from beam_export.samples import Failure
from beam_export.sources.entries import broken_source, unreadable_source
from beam_export.storage.base import ReplacedError


def test_a_broken_source_is_a_failure_that_any_file_can_hold() -> None:
    assert broken_source("a\udce9.tar", "/in/a\udce9.tar", "it ends early") == Failure(
        "a\ufffd.tar", "/in/a\ufffd.tar", "list", "BrokenSource", "it ends early"
    )


def test_an_error_that_lasts_is_the_failure_of_its_source() -> None:
    failure = unreadable_source("t", "/t", "the table", PermissionError(errno.EACCES, "no access"))
    assert (failure.error, failure.message) == (
        "BrokenSource",
        "the table cannot be read: no access",
    )


def test_a_source_that_was_replaced_has_changed() -> None:
    failure = unreadable_source("t", "/t", "the table", ReplacedError("/t"))
    assert failure.error == "SourceChanged"
    assert failure.message == "the table has been replaced since it was listed"


def test_an_error_that_may_pass_is_raised_again() -> None:
    error = OSError(errno.EIO, "a bad moment")
    with pytest.raises(OSError, match="a bad moment") as caught:
        unreadable_source("t", "/t", "the table", error)
    assert caught.value is error
