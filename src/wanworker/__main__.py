"""`python -m wanworker` is the command line, installed or not."""

import sys

try:
    from wanworker.cli.main import main
except KeyboardInterrupt:  # Ctrl-C while the modules load
    sys.exit(130)

if __name__ == "__main__":
    sys.exit(main())
