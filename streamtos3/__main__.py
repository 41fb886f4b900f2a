"""The entry point of the program, `python -m streamtos3` included."""

import signal

# The command line takes a moment to load, and installs handlers of its own after that. Until
# then nothing has begun, and Ctrl-C ends the program as SIGTERM does, without a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from .cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
