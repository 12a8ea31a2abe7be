"""`python -m vrl`: the `vrl` command of the source tree in the working folder, as a submitted Ray job needs it."""

import sys

from vrl.cli import main

sys.exit(main())
