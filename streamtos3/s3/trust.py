"""Certificate authorities, read once and not for every connection.

urllib3 reads the file anew for each, and the usual one of 140 certificates costs OpenSSL 3 some
30 ms of processor time: half a second where a stream goes over sixteen connections. Nothing
else about TLS is changed, and where botocore is not built as known here, nothing at all.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Authorities", "share_authorities"]


class Authorities(ssl.SSLContext):
    """A context that skips a file which it has read, unless the file has changed since."""

    def load_verify_locations(
        self, cafile: Any = None, capath: Any = None, cadata: Any = None
    ) -> None:
        """As ssl.SSLContext does."""
        read: set[object] = vars(self).setdefault("files_read", set())
        only_file = cafile is not None and capath is None and cadata is None
        found = _identity(cafile) if only_file else None
        if found is None or found not in read:
            super().load_verify_locations(cafile, capath, cadata)
            if found is not None:
                read.add(found)


def share_authorities(client: S3Client, shared: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """Have a new `client` use the context `shared` by an earlier one, or give its own for the next.

    For clients of the same settings. None where botocore's inside is not as expected.
    """
    inside: Any = client
    try:
        options = inside._endpoint.http_session._manager.connection_pool_kw
        own: ssl.SSLContext = options["ssl_context"]
    except (AttributeError, KeyError, TypeError):
        return shared
    if own.__class__ is not Authorities.__base__:  # somebody has put another TLS in its place
        return None
    if shared is None:
        own.__class__ = Authorities
        return own
    options["ssl_context"] = shared
    return shared


def _identity(path: Any) -> object:
    """What changes when the file does; None where it cannot be told."""
    try:
        found = os.stat(path)
    except (OSError, TypeError, ValueError):  # reading it will say what is wrong
        return None
    return os.fspath(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
