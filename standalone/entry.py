"""The entry point of the folder that `make standalone` builds."""

import os
import sys

# PyInstaller's loader points the search for shared libraries at its own folder, and notes what it
# did in variables. The producer that `run` starts must have its own libraries, and may be another
# of these programs.
_before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
os.environ.pop("LD_LIBRARY_PATH", None)
if _before is not None:
    os.environ["LD_LIBRARY_PATH"] = _before
for _name in [each for each in os.environ if each.startswith("_PYI_")]:
    del os.environ[_name]

from streamtos3.__main__ import main  # noqa: E402 - after the environment is as it was

if __name__ == "__main__":
    sys.exit(main())
