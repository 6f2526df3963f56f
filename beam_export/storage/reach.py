"""Finds within seconds that an object store cannot be reached at all.

Requests are retried for minutes, as is right where a network fails for a moment. Where there is no
network, no name or no key, nothing comes of that: the process that launches a run asks once,
before its first request. Any answer of the store will do.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

__all__ = ["PATIENCE", "why_unreachable"]

#: Seconds to connect, and to wait for an answer.
PATIENCE = (5.0, 20.0)
#: Seconds between attempts: a name may fail to resolve once.
_PAUSES = (0.5, 2.0)
#: What stands in the text of an exception, or of its cause, and what it means.
_REASONS = (
    (("ProxyError", "ProxyConnectionError"), "the proxy does not answer"),
    (("SSLError", "CERTIFICATE"), "its certificate is not trusted"),
    (("NameResolution", "Name or service", "gaierror"), "its name cannot be resolved"),
    (("Timeout", "timed out"), "nothing answers there"),
    (("refused",), "the connection is refused"),
)


def why_unreachable(ask: Callable[[], object], failures: tuple[type[Exception], ...]) -> str | None:
    """Returns why a store cannot be reached, in a few words; None if it answers.

    Args:
        ask: makes one request, without retries.
        failures: what it raises if there is no answer.
    """
    reason = None
    for pause in (*_PAUSES, None):
        try:
            ask()
        except failures as error:
            reason = _in_words(error)
        else:
            return None
        if pause is not None:
            time.sleep(pause)
    return reason


def _in_words(error: Exception) -> str:
    text = "".join(traceback.format_exception(error))
    for signs, words in _REASONS:
        if any(sign in text for sign in signs):
            return words
    return "no connection could be made"
