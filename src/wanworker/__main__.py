"""`python -m wanworker` is the command line, installed or not."""

import sys

from wanworker.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
