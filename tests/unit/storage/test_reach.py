"""`storage.reach`: whether a store answers is known in seconds; a slow one is waited for."""

from __future__ import annotations

import pytest

from beam_export.errors import InputError
from beam_export.storage import registry
from beam_export.storage.reach import why_unreachable
from beam_export.storage.registry import check_reachable, check_scheme


class Store:
    """Fails as often as it has errors, and counts how often it is asked."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_one_that_answers_in_the_end_is_there(slept: list[float], failures: int) -> None:
    store = Store(*[ConnectionError("x")] * failures)
    assert why_unreachable(store, (ConnectionError,)) is None
    assert store.asked == failures + 1
    assert len(slept) == failures


def caused(text: str) -> ConnectionError:
    error = ConnectionError("no connection")
    error.__cause__ = OSError(text)
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (caused("[Errno -2] Name or service not known"), "its name cannot be resolved"),
        (caused("gaierror"), "its name cannot be resolved"),
        (ConnectionError("ConnectTimeoutError"), "nothing answers there"),
        (ConnectionError("[Errno 111] Connection refused"), "the connection is refused"),
        (ConnectionError("ProxyError('Cannot connect')"), "the proxy does not answer"),
        (ConnectionError("SSLError: CERTIFICATE_VERIFY_FAILED"), "its certificate is not trusted"),
        (ConnectionError("whatever"), "no connection could be made"),
    ],
)
def test_one_that_never_answers_has_a_reason_after_three_attempts(
    slept: list[float], error: Exception, reason: str
) -> None:
    store = Store(*[error] * 5)
    assert why_unreachable(store, (ConnectionError,)) == reason
    assert store.asked == 3
    assert sum(slept) < 5


def test_other_errors_are_none_of_this(slept: list[float]) -> None:
    with pytest.raises(KeyError):
        why_unreachable(Store(KeyError("x")), (ConnectionError,))
    assert slept == []


def test_a_path_on_a_store_that_does_not_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "_answered", set())
    monkeypatch.setattr(registry, "_unreachable", lambda path: "its name cannot be resolved")
    monkeypatch.setattr(registry, "check_scheme", lambda flag, path: None)
    for path, store in (("gs://b/x", "Google Cloud Storage"), ("s3://b/x", "S3")):
        with pytest.raises(InputError) as caught:
            check_reachable("--input", path)
        assert caught.value.sentence == (
            f"--input={path}: {store} cannot be reached from this machine (its name cannot be "
            "resolved): see to that, and run again."
        )


def test_a_bucket_that_has_answered_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("beam_export.storage.google_client")
    asked: list[str] = []
    monkeypatch.setattr(registry, "_answered", set())
    monkeypatch.setattr(client, "cloud_unreachable", lambda: asked.append("gs"))
    for path in ("gs://b/x", "gs://b/y", "gs://b"):
        check_reachable("--input", path)
    check_scheme("--input", "gs://other/x")
    assert asked == ["gs"]
