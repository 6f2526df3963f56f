"""What is kept of what an input does not name, for the sake of what it names."""

from __future__ import annotations

import re

import pytest

from beam_export.sources.asked import Asked, is_asked_for, outright, wanted_item
from beam_export.sources.entries import Exported, FolderTable, ListedItem, Skipped, Source
from beam_export.sources.hidden import Visible

ASKED = Asked(re.compile(r".*\.jpg"), Visible("*.jpg"))
SKIPPED = Skipped(".x")


def table(relative: str) -> Source:
    return Source("table", relative, f"/in/{relative}", 1)


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (table("a/metadata.csv"), FolderTable(table("a/metadata.csv"), near=True)),
        (table("a/captions.csv"), None),
        (table("_meta/metadata.csv"), None),
        (SKIPPED, None),
        (
            Exported("a/_tmp/lock", SKIPPED, ("u",), home="a"),
            Exported("a/_tmp/lock", None, ("u",), home="a"),
        ),
        (Exported("a/x.tar", table("a/x.tar"), ("u",), home="a"), None),
        (Exported("a/_tmp/x", SKIPPED, (), home="a"), None),
    ],
)
def test_what_says_something_of_others_is_kept(item: ListedItem, kept: ListedItem | None) -> None:
    assert wanted_item("a/other", item, ASKED) == kept
    assert kept is None or not is_asked_for(kept)


def test_what_is_asked_for_stays_as_it_is() -> None:
    for item in (table("a.jpg"), SKIPPED, Exported("a.jpg", SKIPPED, ("u",), home="")):
        assert wanted_item("a.jpg", item, ASKED) == item
        assert is_asked_for(item)


def test_of_what_is_named_outright_it_does_not_matter_whose_it_is() -> None:
    source = table("x.tar")
    items = [SKIPPED, Exported("x.tar", source, ("u",), home=""), Exported("y", None, (), home="")]
    assert list(outright(items)) == [SKIPPED, source]
