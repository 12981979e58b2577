"""`python -m tests.faults`: see `kills.py`."""

import sys

from tests.faults.kills import main

if __name__ == "__main__":
    sys.exit(main())
