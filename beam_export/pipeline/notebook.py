"""Says in one sentence that Beam cannot work with the pandas that is installed.

Beam imports pandas wherever it is, and builds no pipeline in IPython or Jupyter without it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from beam_export.errors import InputError

__all__ = ["check_notebook", "pandas_misfit"]

#: What Beam imports as soon as it finds itself in IPython, for each pipeline; it imports pandas.
_BEAMS_OWN = "apache_beam.runners.interactive.interactive_environment"
#: What a library says of itself that was compiled for another numpy.
_OTHER_NUMPY = "numpy.dtype size changed"


def check_notebook() -> None:
    """Raises InputError if this is IPython, and the pandas here is none that Beam works with."""
    if not _is_ipython():
        return
    try:
        importlib.import_module(_BEAMS_OWN)
    except Exception as error:
        # One built for another numpy ends with a ValueError, and the next may end otherwise.
        beam = importlib.metadata.version("apache-beam")
        raise InputError(
            f"this is IPython, where Beam {beam} takes a pandas from 2.2 on and below 3, and "
            f"{_pandas()} ({error}): pip install 'beam_export[notebook]', and start the kernel "
            "again."
        ) from None


def pandas_misfit(error: BaseException) -> InputError | None:
    """Returns the error of a pandas that does not fit the numpy here; None for any other.

    Args:
        error: that Beam's import has ended with.
    """
    if not isinstance(error, ValueError) or _OTHER_NUMPY not in str(error):
        return None
    return InputError(
        f"Beam imports pandas, and {_pandas()}, which was built for another numpy than the "
        f"{importlib.metadata.version('numpy')} here: pip install 'pandas>=2.2,<3'."
    )


def _is_ipython() -> bool:
    # Where it has not been imported, nothing runs in it.
    get = getattr(sys.modules.get("IPython"), "get_ipython", None)
    return get is not None and get() is not None


def _pandas() -> str:
    try:
        return f"pandas {importlib.metadata.version('pandas')} is installed"
    except importlib.metadata.PackageNotFoundError:
        return "none is installed"
