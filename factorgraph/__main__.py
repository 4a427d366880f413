"""``python -m factorgraph``: the command `factorgraph`, see `cli`."""

import sys

from factorgraph.cli import main

sys.exit(main())
