"""The process's client of Google Cloud Storage, and its errors as OSError.

There is one client per process, since each has a pool of connections of its own: Beam's file system
makes a client, with new connections, for each file that it opens. It is made at the first request
and never pickled. With `STORAGE_EMULATOR_HOST` set it asks for no credentials; else it has the
default ones (on Dataflow, the worker's), and where there are none it reads what is public.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import os
import re
import threading
import urllib.request
from collections.abc import Iterator

import google.auth.exceptions
import google_crc32c
import requests
import requests.adapters
import urllib3.exceptions
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from beam_export.storage.base import CONCURRENT_REQUESTS, ReplacedError
from beam_export.storage.reach import PATIENCE, why_unreachable
from beam_export.storage.uris import unpin

__all__ = [
    "OWNER",
    "RETRY",
    "TIMEOUT",
    "as_os_errors",
    "blob_of",
    "client",
    "cloud_unreachable",
    "crc32c_text",
    "existing_blob",
    "is_broken_transfer",
    "split_bucket",
]

#: Key of an object's metadata that holds the mark of the run that wrote it.
OWNER = "beam-export-run"

#: Of 408, 429, 5xx, timeouts and broken connections; waits grow, and are drawn at random.
RETRY = DEFAULT_RETRY.with_delay(initial=0.25, maximum=20.0, multiplier=2.0).with_timeout(150.0)
#: Seconds: to connect, and between two bytes.
TIMEOUT = (20.0, 60.0)

#: Threads of the runner make requests besides the readers', each one at a time.
_CONNECTIONS = 4 * CONCURRENT_REQUESTS
#: The query of a URL, which may hold the key of an upload that is in progress.
_QUERY = re.compile(r"\?[^\s'\")]*")
_ERRNOS = {401: errno.EACCES, 403: errno.EACCES, 404: errno.ENOENT}
#: Environment variables that name certificates to trust.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_lock = threading.Lock()


def client() -> storage.Client:
    """Returns the client of this process.

    Raises:
        google.auth.exceptions.GoogleAuthError: if its credentials are not valid.
    """
    with _lock:
        # A forked process must not use the connections of its parent.
        return _make(os.getpid(), os.environ.get("STORAGE_EMULATOR_HOST"))


@functools.lru_cache(maxsize=1)
def _make(process: int, emulator: str | None) -> storage.Client:
    # Else it requests the metadata of each bucket once, for traces that are not recorded.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    if emulator:
        made = storage.Client.create_anonymous_client()
    else:
        try:
            # Objects belong to buckets, not to projects, so none has to be known.
            made = storage.Client(project=None)
        except google.auth.exceptions.DefaultCredentialsError:
            made = storage.Client.create_anonymous_client()
    pool = requests.adapters.HTTPAdapter(pool_connections=8, pool_maxsize=_CONNECTIONS)
    for scheme in ("http://", "https://"):
        made._http.mount(scheme, pool)
    # Else the whole environment is searched at each request, a fifth of its processor time.
    made._http.trust_env = bool(urllib.request.getproxies()) or any(map(os.environ.get, _BUNDLES))
    return made


def cloud_unreachable() -> str | None:
    """Returns why the storage cannot be reached, in a few words; None if it answers."""
    endpoint = client().api_endpoint

    def ask() -> None:
        with contextlib.suppress(requests.exceptions.ReadTimeout):
            requests.head(endpoint, timeout=PATIENCE)

    return why_unreachable(ask, (requests.ConnectionError,))


def split_bucket(uri: str) -> tuple[storage.Bucket, str]:
    """Returns the bucket of `gs://bucket/name`, and the name; makes no request."""
    name, _, inside = uri.removeprefix("gs://").partition("/")
    return client().bucket(name), inside


def blob_of(uri: str, *, chunk_size: int | None = None) -> storage.Blob:
    """Returns the object of a URI; of a pinned one, that generation alone; makes no request."""
    plain, generation = unpin(uri)
    bucket, name = split_bucket(plain)
    return bucket.blob(name, chunk_size=chunk_size, generation=generation or None)


def existing_blob(uri: str) -> storage.Blob | None:
    """Returns the object of a URI with its attributes loaded; None if there is none.

    Raises:
        OSError: if it cannot be asked for.
    """
    blob = blob_of(uri)
    with as_os_errors(uri):
        try:
            blob.reload(timeout=TIMEOUT, retry=RETRY)
        except exceptions.NotFound:
            return None
    return blob


def crc32c_text(checksum: google_crc32c.Checksum) -> str:
    """Returns a crc32c as the storage writes it, in base64."""
    return base64.b64encode(checksum.digest()).decode()


def is_broken_transfer(error: OSError) -> bool:
    """Returns whether a transfer came damaged or broke off, and is worth another attempt.

    All other transient errors the client has retried already.
    """
    return error.errno == errno.EIO


@contextlib.contextmanager
def as_os_errors(uri: str) -> Iterator[None]:
    """Raises errors of the client in the block as OSError, with the cause and without secrets.

    Those of `errno` ENOENT and EACCES are permanent; the others were retried in vain.

    Raises:
        ReplacedError: if a precondition does not hold.
    """
    try:
        yield
    except exceptions.PreconditionFailed:
        raise ReplacedError(uri) from None
    except (exceptions.GoogleAPICallError, InvalidResponse) as error:
        code = _code(error)
        raise OSError(_ERRNOS.get(code, errno.EIO), _reason(code, error), uri) from None
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
