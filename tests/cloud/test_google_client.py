"""What Google's client raises becomes an OSError in one sentence, without the query of a URL."""

from __future__ import annotations

import errno

import pytest

pytest.importorskip("google.cloud.storage")

import google.auth.exceptions
import requests
from google.api_core import exceptions

from beam_export.storage.google_client import as_os_errors, split_bucket

URI = "gs://bucket/a/b.jpg"


@pytest.mark.parametrize(
    ("error", "number", "words"),
    [
        (exceptions.NotFound("gone"), errno.ENOENT, "No such file"),
        (exceptions.Forbidden("no"), errno.EACCES, "answered 403"),
        (exceptions.Unauthorized("no"), errno.EACCES, "gcloud auth application-default login"),
        (exceptions.ServiceUnavailable("later"), errno.EIO, "answered 503"),
        (exceptions.RetryError("late", exceptions.BadGateway("x")), errno.EIO, "no good answer"),
        (google.auth.exceptions.TransportError("proxy"), errno.EIO, "no token could be had"),
        (google.auth.exceptions.DefaultCredentialsError("none"), errno.EACCES, "none"),
        (requests.ConnectionError("reset"), errno.EIO, "the connection broke"),
    ],
)
def test_errors_have_the_number_of_their_kind_and_the_file(
    error: Exception, number: int, words: str
) -> None:
    with pytest.raises(OSError, match=words) as caught, as_os_errors(URI):
        raise error
    assert caught.value.errno == number
    assert caught.value.filename == URI


def test_the_key_of_an_upload_is_not_shown() -> None:
    with pytest.raises(OSError, match="connection broke") as caught, as_os_errors(URI):
        raise requests.ConnectionError("for url: https://host/upload?upload_id=SECRET")
    assert "SECRET" not in str(caught.value)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), as_os_errors(URI):
        raise KeyError("x")


def test_names_of_objects_may_have_slashes() -> None:
    bucket, name = split_bucket(URI)
    assert (bucket.name, name) == ("bucket", "a/b.jpg")
