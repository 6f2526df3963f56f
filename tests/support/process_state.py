"""What a caller of a command can see of its own process."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

__all__ = ["process_state"]


def process_state() -> dict[str, Any]:
    """Returns what a caller can see of its process."""
    names = [name for name, one in logging.root.manager.loggerDict.items() if hasattr(one, "level")]
    return {
        "environment": dict(os.environ),
        "gc": (gc.get_threshold(), gc.isenabled()),
        "root": (logging.root.level, logging.root.handlers[:], logging.root.manager.disable),
        "levels": {name: logging.getLogger(name).level for name in names},
        "signals": {one: signal.getsignal(one) for one in signal.valid_signals()},
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "warnings": warnings.filters[:],
        "tempdir": tempfile.tempdir,
        "faults": faulthandler.is_enabled(),
        "dice": (random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2]),
        "pillow": (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK),
    }
