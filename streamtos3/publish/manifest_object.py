"""The specification as an object, stored last: its presence means that everything is there."""

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

__all__ = ["ManifestObject"]


class ManifestObject:
    """The object `key`. `options` are the publication's: with `resume`, an equal one is kept.

    `document` is the text that was stored; None before that, and if an equal one was kept.
    """

    def __init__(
        self, bucket: str, key: str, options: Options, clients: Clients, scope: CancelScope
    ) -> None:
        self.document: str | None = None

        self._key = key
        settings = replace(options.settings, content_type="application/json", content_encoding=None)
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
        document = specification_json(specification)
        try:
            with self._scope.child() as scope:
                upload(
                    io.BytesIO(document.encode()),
                    self._bucket.name,
                    self._key,
                    options=self._options,
                    client=self._clients,
                    scope=scope,
                )
        except ExistsError:
            if not (self._keeps_equal and self._is_equal(specification, len(document))):
                raise
        else:
            self.document = document

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
