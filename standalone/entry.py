"""The entry point of the folder that `make standalone` builds."""

import sys

from streamtos3.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
