"""The specification as an object, stored last: its presence means that all is there."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace

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
from .manifest import Specification, names_same_objects, specification_json

__all__ = ["Manifest"]


class Manifest:
    """The object `key`. `options` as for the publication: with `resume`, one that is there stays.

    `document` is what was stored; None before that, and where an equal one was there.
    """

    def __init__(
        self, bucket: str, key: str, options: Options, clients: Clients, scope: CancelScope
    ) -> None:
        self.document: str | None = None

        self._key = key
        settings = replace(options.settings, content_type="application/json", content_encoding=None)
        self._options = replace(options, settings=settings, resume=False)
        self._may_stay = options.resume
        self._clients = clients
        self._scope = scope
        self._s3_bucket = Bucket(bucket, options.connection, settings=settings, client=clients)
        self._retrier = Retrier(options.retries, scope, lambda event, error: None)

    def check_key(self) -> None:
        """ExistsError, known before the first byte and not after the last."""
        if not self._may_stay:
            check_destination(
                self._s3_bucket,
                self._retrier,
                self._key,
                overwrite=self._options.overwrite,
                check_for_s=self._options.retries.check_for_s,
            )

    def store(self, specification: Specification) -> None:
        """Store it; ExistsError where an object is there that says something else."""
        document = specification_json(specification)
        try:
            with self._scope.child() as scope:
                upload(
                    io.BytesIO(document.encode()),
                    self._s3_bucket.name,
                    self._key,
                    options=self._options,
                    client=self._clients,
                    scope=scope,
                )
        except ExistsError:
            if not (self._may_stay and self._says_the_same(specification, len(document))):
                raise
        else:
            self.document = document

    def _says_the_same(self, specification: Specification, size_bytes: int) -> bool:
        patience_s = self._options.retries.check_for_s
        found = find_object(self._s3_bucket, self._retrier, self._key, None, patience_s)
        if found.size_bytes > 2 * size_bytes:  # something else, and perhaps too large to hold
            return False
        there = io.BytesIO()
        # What it says is compared here, whatever proves it.
        with self._scope.child() as scope, suppress(UnprovedReadError):
            download(
                self._s3_bucket.name,
                self._key,
                there,
                options=self._options,
                client=self._clients,
                scope=scope,
            )
        return names_same_objects(there.getvalue(), specification)
