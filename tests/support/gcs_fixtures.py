"""Fixtures for tests against the emulator of Google Cloud Storage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.devices import need_gcp
from support.gcs import Emulator

__all__ = ["bucket", "emulator"]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An emulator that this process, and those that it starts, take for Google Cloud Storage."""
    need_gcp()
    with Emulator.start() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environ.items():
            patch.setenv(name, value)
        path = tmp_path_factory.mktemp("credentials") / "credentials.json"
        running.write_credentials(path)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        yield running


@pytest.fixture
def bucket(emulator: Emulator) -> Iterator[str]:
    """The URI of an empty bucket; whatever the test asked for has to be modelled."""
    emulator.reset()
    emulator.make_bucket("bucket")
    yield "gs://bucket"
    refused = [one["target"] for one in emulator.log() if one["status"] == 501]
    assert refused == [], "the emulator models none of these"
