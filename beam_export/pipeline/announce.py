"""Announces an error of a pipeline before Beam raises it with a traceback of its own."""

from __future__ import annotations

import logging

from beam_export.errors import BeamExportError

__all__ = ["announced"]

_LOG = logging.getLogger("beam_export")


def announced(error: BeamExportError) -> BeamExportError:
    """Returns an error to be raised, with its sentence logged.

    In a pipeline of a user's own Beam raises it within a hundred lines of text, at the end of which
    nobody looks for it; the sentence stands above them. The command line keeps logs to itself, and
    prints the sentence when the run has ended.
    """
    _LOG.error("%s", error.sentence)
    return error
