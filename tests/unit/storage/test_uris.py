from __future__ import annotations

import pytest

from beam_export.storage.uris import pin, unpin


@pytest.mark.parametrize("name", ["gs://b/x.jpg", "gs://b/x#1.jpg", "gs://b/x#17", "gs://b/a\nb"])
def test_a_pinned_uri_gives_both_back(name: str) -> None:
    assert unpin(pin(name, 1234)) == (name, 1234)


def test_what_has_no_generation_stays_as_it_is() -> None:
    assert pin("/x.jpg", 0) == "/x.jpg"
    assert unpin("/x#17") == ("/x#17", 0)
    assert unpin("s3://b/x#17") == ("s3://b/x#17", 0)
