"""`python -m vrl`: the `vrl` command of the source tree in the working folder, for submitted Ray jobs."""

import sys

from vrl.cli import main

sys.exit(main())
