"""`python -m beam_export` is the command `beam-export`."""

import sys

from beam_export.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
