"""`python -m beam_export` is the command `beam-export`."""

import sys

from beam_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
