"""The process's one client of Google Cloud Storage, and its errors as errors of files.

One client, since each brings a pool of connections of its own: Beam's file system makes one, with
new connections, for each file that it opens. It is made where it is first needed and never
travels. With `STORAGE_EMULATOR_HOST` set it asks for no credentials; else it has the default ones
(Dataflow: of the worker), and where there are none it reads what is public.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import threading
import urllib.request
from collections.abc import Iterator

import google.auth.exceptions
import requests.adapters
import urllib3.exceptions
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from beam_export.storage.base import LANES, ReplacedError
from beam_export.storage.uris import unpin

__all__ = ["RETRY", "TIMEOUT", "blob_of", "bucket_of", "client", "told"]

#: For 408, 429, 5xx, timeouts and connections that break; waits grow, and are drawn by lot.
RETRY = DEFAULT_RETRY.with_delay(initial=0.25, maximum=20.0, multiplier=2.0).with_timeout(150.0)
#: Seconds: to connect, and between two bytes.
TIMEOUT = (20.0, 60.0)

#: Besides the readers, threads of the runner ask for something, each one thing at a time.
_CONNECTIONS = 4 * LANES
#: What follows a URL's question mark may hold the key to an upload that is going on.
_QUERY = re.compile(r"\?[^\s'\")]*")
_LASTING = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT}
#: Variables that name certificates to trust.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_lock = threading.Lock()


def client() -> storage.Client:
    """Returns the client of this process.

    Raises:
        google.auth.exceptions.GoogleAuthError: if its credentials are no good.
    """
    with _lock:
        # A process that was forked must not go on with connections of another.
        return _make(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))


@functools.lru_cache(maxsize=1)
def _make(process: int, emulator: str | None) -> storage.Client:
    # Else it asks for the metadata of each bucket once, for traces that nobody has asked for.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    if emulator:
        made = storage.Client.create_anonymous_client()
    else:
        try:
            # Objects are of buckets, not of projects: none has to be known.
            made = storage.Client(project=None)
        except google.auth.exceptions.DefaultCredentialsError:
            made = storage.Client.create_anonymous_client()
    pool = requests.adapters.HTTPAdapter(pool_connections=8, pool_maxsize=_CONNECTIONS)
    for scheme in ("http://", "https://"):
        made._http.mount(scheme, pool)
    # Else all of the environment is looked through for each request, which takes a fifth of it.
    made._http.trust_env = bool(urllib.request.getproxies()) or any(map(os.environ.get, _BUNDLES))
    return made


def bucket_of(uri: str) -> tuple[storage.Bucket, str]:
    """Returns the bucket of a URI, not looked at, and the name in it."""
    name, _, inside = uri.removeprefix("gs://").partition("/")
    return client().bucket(name), inside


def blob_of(uri: str, *, chunk_size: int | None = None) -> storage.Blob:
    """Returns the object of a URI, not looked at; of just one content if the URI is pinned."""
    plain, generation = unpin(uri)
    bucket, name = bucket_of(plain)
    return bucket.blob(name, chunk_size=chunk_size, generation=generation or None)


@contextlib.contextmanager
def told(uri: str) -> Iterator[None]:
    """Raises errors of the client as an OSError that says what is wrong, and no secret.

    Those of `errno` ENOENT and EACCES are lasting; the others were tried again, in vain.

    Raises:
        ReplacedError: if a precondition does not hold.
    """
    try:
        yield
    except exceptions.PreconditionFailed:
        raise ReplacedError(uri) from None
    except (exceptions.GoogleAPICallError, InvalidResponse) as error:
        code = _code(error)
        raise OSError(_LASTING.get(code, errno.EIO), _reason(code, error), uri) from None
    except google.auth.exceptions.TransportError as error:
        raise OSError(errno.EIO, f"no token could be had: {_plain(error)}", uri) from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise PermissionError(errno.EACCES, _plain(error), uri) from None
    except exceptions.RetryError as error:
        reason = f"Google Cloud Storage gave no good answer: {_plain(error.cause or error)}"
        raise OSError(errno.EIO, reason, uri) from None
    except DataCorruption:
        raise OSError(
            errno.EIO, "its bytes do not have the checksum that they came with", uri
        ) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise OSError(errno.EIO, f"the connection broke: {_plain(error)}", uri) from None


def _code(error: Exception) -> int:
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return int(getattr(error, "code", 0) or 0)


def _reason(code: int, error: Exception) -> str:
    if code == 404:
        return os.strerror(errno.ENOENT)
    hint = ": log in with `gcloud auth application-default login`" if code == 401 else ""
    return f"Google Cloud Storage answered {code} ({type(error).__name__}){hint}"


def _plain(error: BaseException) -> str:
    first = str(error).splitlines() or [""]
    return _QUERY.sub("", f"{type(error).__name__}: {first[0]}")
