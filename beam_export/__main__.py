"""Runs the command `beam-export` as `python -m beam_export`."""

import sys

from beam_export.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
