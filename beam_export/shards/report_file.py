"""The file of a report in the output directory: written, known again, and never put over another.

Its second line has the digest of all that follows, so that a page that somebody has edited, or put
there, is not taken for one of ours.
"""

from __future__ import annotations

import hashlib
import re

from beam_export.errors import InputError
from beam_export.shards.output import Output

__all__ = ["REPORT", "check_report", "find_report", "is_report", "put_report", "sealed_page"]

#: The name of the file.
REPORT = "_meta/report.html"

_HEAD = b"<!doctype html>\n<!-- made by beam-export report; sha256 of all below: %s -->\n"
_SEALED = re.compile(re.escape(_HEAD).replace(b"%s", b"([0-9a-f]{64})") + b"(.*)", re.DOTALL)


def sealed_page(html: bytes) -> bytes:
    """Returns the file of a page: a document type, the digest, and the page."""
    return _HEAD % hashlib.sha256(html).hexdigest().encode() + html


def is_report(content: bytes) -> bool:
    """Returns whether a file is a report that this tool has written and nobody has edited.

    >>> is_report(sealed_page(b"<html></html>")), is_report(b"<!doctype html>")
    (True, False)
    """
    found = _SEALED.fullmatch(content)
    return found is not None and hashlib.sha256(found[2]).hexdigest().encode() == found[1]


def find_report(output: Output) -> str:
    """Returns `ours` if the output has a report of this tool, `kept` for anything else there.

    And `""` if nothing has its name.
    """
    kind = output.kind(REPORT)
    if kind != "file":
        return kind and "kept"
    with output.read(REPORT) as source:
        return "ours" if is_report(source.read()) else "kept"


def check_report(output: Output) -> None:
    """Checks that a report may be written.

    Raises:
        InputError: if something that is not this tool's has its name.
    """
    if find_report(output) == "kept":
        raise InputError(
            f"OUT={output.directory} holds {REPORT}, which is not this tool's, or was edited: move "
            "it away, and run again."
        )


def put_report(output: Output, html: bytes) -> str:
    """Writes a report, and returns its path.

    Raises:
        InputError: if something that is not this tool's has its name.
        RunError: if another run writes there, or there is no room.
    """
    # First: what is there when it is looked at is all that may be replaced.
    snapshot = output.snapshot(REPORT)
    check_report(output)
    content = sealed_page(html)
    if not output.holds(REPORT, content):
        with output.writing(REPORT, snapshot) as target:
            target.write(content)
    return output.path(REPORT)
