"""`python -m onesearch_fast`: the command line, where its program is not on the path."""

import sys

from onesearch_fast.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
