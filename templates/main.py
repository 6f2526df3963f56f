"""What the launcher of the Flex Template runs: it passes flags alone, so `export` is meant."""

import sys

from beam_export.cli.main import main

sys.exit(main())
