"""``python -m captum_certified`` is the command ``captum-certified``."""

import sys

from captum_certified.cli import main

if __name__ == "__main__":
    sys.exit(main())
