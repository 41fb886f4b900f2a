"""streamtos3: stream standard input into S3, and prove that what was stored is what was read.

The library is what the command line calls: `upload(source, bucket, key, options=Options(...))`
returns a `Receipt` if and only if the whole input was stored and proved.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .errors import StreamToS3Error
    from .latch import Latch
    from .model import Connection, Credentials, Options, Receipt, Retries, StoredPart
    from .upload import upload

__version__ = "0.1.0"

__all__ = [
    "Connection",
    "Credentials",
    "Latch",
    "Options",
    "Receipt",
    "Retries",
    "StoredPart",
    "StreamToS3Error",
    "__version__",
    "upload",
]

_HOMES = {
    "Connection": "model",
    "Credentials": "model",
    "Latch": "latch",
    "Options": "model",
    "Receipt": "model",
    "Retries": "model",
    "StoredPart": "model",
    "StreamToS3Error": "errors",
    "upload": "upload",
}


def __getattr__(name: str) -> object:
    """Load the public names when they are first used: `--help` needs none of them (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


class _Package(ModuleType):
    """Keeps `streamtos3.upload` the function.

    Whoever imports the module of that name first makes the import system set it here.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and _HOMES.get(name) == name:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
