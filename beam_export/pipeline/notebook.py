"""Refuses to build a pipeline in IPython or Jupyter where Beam cannot."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from beam_export.errors import InputError

__all__ = ["check_notebook"]

#: What Beam imports as soon as it finds itself in IPython, for each pipeline; it imports pandas.
_BEAMS_OWN = "apache_beam.runners.interactive.interactive_environment"


def check_notebook() -> None:
    """Raises InputError if this is IPython, and the pandas here is none that Beam works with."""
    if not _is_ipython():
        return
    try:
        importlib.import_module(_BEAMS_OWN)
    except (ImportError, AttributeError) as error:
        beam = importlib.metadata.version("apache-beam")
        raise InputError(
            f"this is IPython, where Beam {beam} takes a pandas below 3, and {_pandas()} "
            f"({error}): pip install 'beam_export[notebook]', and start the kernel again."
        ) from None


def _is_ipython() -> bool:
    # Where it has not been imported, nothing runs in it.
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get is not None and get() is not None


def _pandas() -> str:
    try:
        return f"pandas {importlib.metadata.version('pandas')} is installed"
    except importlib.metadata.PackageNotFoundError:
        return "none is installed"
