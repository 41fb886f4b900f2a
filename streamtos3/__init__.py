"""streamtos3: stream standard input into S3, and prove that what was stored is what was read.

The library is what the command line calls: `upload(source, bucket, key, options=Options(...))`
returns a `Receipt` if and only if the whole input was stored and proved. `download` reads an
object back; `verify_object` compares it with local data, a receipt or its own ETag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .downloader.download import download
    from .downloader.verify import verify_object
    from .errors import StreamToS3Error
    from .model.options import ByteRange, Connection, Credentials, Options, Retries
    from .receipts.file import read_receipt
    from .results import ReadReport, Receipt, StoredPart
    from .runtime.cancel import CancelScope
    from .s3.clients import Clients
    from .sources.base import Source
    from .uploader.upload import upload

__all__ = [
    "ByteRange",
    "CancelScope",
    "Clients",
    "Connection",
    "Credentials",
    "Options",
    "ReadReport",
    "Receipt",
    "Retries",
    "Source",
    "StoredPart",
    "StreamToS3Error",
    "__version__",
    "download",
    "read_receipt",
    "upload",
    "verify_object",
]

_HOMES = {
    "ByteRange": "model.options",
    "CancelScope": "runtime.cancel",
    "Clients": "s3.clients",
    "Connection": "model.options",
    "Credentials": "model.options",
    "Options": "model.options",
    "ReadReport": "results",
    "Receipt": "results",
    "Retries": "model.options",
    "Source": "sources.base",
    "StoredPart": "results",
    "StreamToS3Error": "errors",
    "download": "downloader.download",
    "read_receipt": "receipts.file",
    "upload": "uploader.upload",
    "verify_object": "downloader.verify",
}

_FORMER_NAMES = {"Latch": "CancelScope"}


def __getattr__(name: str) -> object:
    """Load the public names when they are first used: `--help` needs none of them (PEP 562).

    No module may have the name of a public function: importing it would replace the function.
    """
    name = _FORMER_NAMES.get(name, name)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
