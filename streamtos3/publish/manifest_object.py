"""The specification as an object, stored last: its presence means that everything is there."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from ..downloader.download import download
from ..errors import ExistsError, UnprovedReadError
from ..model.options import Options
from ..runtime.cancel import CancelScope
from ..runtime.retry import Retrier
from ..s3.bucket import Bucket
from ..s3.clients import Clients
from ..s3.context import find_object
from ..uploader.preflight import check_destination
from ..uploader.upload import upload
from .manifest import Specification, names_same_objects, specification_pieces

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["ManifestObject"]


class ManifestObject:
    """The object `key`. `options` are the publication's: with `resume`, an equal one is kept.

    `stored` is the specification that was stored; None before that, and if an equal one was kept.
    """

    def __init__(
        self, bucket: str, key: str, options: Options, clients: Clients, scope: CancelScope
    ) -> None:
        self.stored: Specification | None = None

        self._key = key
        settings = options.settings.for_a_document("application/json")
        self._options = replace(options, settings=settings, resume=False)
        self._keeps_equal = options.resume
        self._clients = clients
        self._scope = scope
        self._bucket = Bucket(bucket, options.connection, settings=settings, client=clients)
        self._retrier = Retrier(options.retries, scope, lambda event, error: None)

    def check_key(self) -> None:
        """Raise ExistsError if the key is taken: before the first byte, not after the last."""
        if not self._keeps_equal:
            check_destination(
                self._bucket,
                self._retrier,
                self._key,
                overwrite=self._options.overwrite,
                check_for_s=self._options.retries.check_for_s,
            )

    def store(self, specification: Specification) -> None:
        """Store `specification`. ExistsError if the key holds a document of other objects."""
        document = io.BufferedReader(_Document(specification))
        try:
            with self._scope.child() as scope:
                upload(
                    document,
                    self._bucket.name,
                    self._key,
                    options=self._options,
                    client=self._clients,
                    scope=scope,
                )
        except ExistsError:
            size_bytes = sum(map(len, specification_pieces(specification)))
            if not (self._keeps_equal and self._is_equal(specification, size_bytes)):
                raise
        else:
            self.stored = specification

    def _is_equal(self, specification: Specification, size_bytes: int) -> bool:
        patience_s = self._options.retries.check_for_s
        found = find_object(self._bucket, self._retrier, self._key, None, patience_s)
        if found.size_bytes > 2 * size_bytes:  # something else, and perhaps too large to hold
            return False
        there = io.BytesIO()
        # The content is compared below, so no other proof of it is needed.
        with self._scope.child() as scope, suppress(UnprovedReadError):
            download(
                self._bucket.name,
                self._key,
                there,
                options=self._options,
                client=self._clients,
                scope=scope,
            )
        return names_same_objects(there.getvalue(), specification)


class _Document(io.RawIOBase):
    """A specification as a file, made while it is read."""

    def __init__(self, specification: Specification) -> None:
        self._pieces = specification_pieces(specification)
        self._rest = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer` as far as the piece that was begun goes."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece.encode()
        view = memoryview(buffer)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
