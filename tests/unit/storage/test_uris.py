from __future__ import annotations

import pytest
from apache_beam.io.filesystems import FileSystems
from hypothesis import given
from hypothesis import strategies as st

from beam_export.storage.uris import pin, scheme_of, unpin


@pytest.mark.parametrize("name", ["gs://b/x.jpg", "gs://b/x#1.jpg", "gs://b/x#17", "gs://b/a\nb"])
def test_a_pinned_uri_gives_both_back(name: str) -> None:
    assert unpin(pin(name, 1234)) == (name, 1234)


def test_what_has_no_generation_stays_as_it_is() -> None:
    assert pin("/x.jpg", 0) == "/x.jpg"
    assert unpin("/x#17") == ("/x#17", 0)
    assert unpin("s3://b/x#17") == ("s3://b/x#17", 0)


@given(
    st.from_regex(r"\s?[a-z0-9+./-]{0,4}(:|:/|://|)[a-zA-Z.:/ \n]{0,4}", fullmatch=True) | st.text()
)
def test_a_scheme_is_what_beam_takes_for_one(path: str) -> None:
    assert scheme_of(path) == FileSystems.get_scheme(path)
