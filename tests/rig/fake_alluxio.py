"""A strict fake of Alluxio's S3 endpoint as of 2.x, and no more than that can do.

What it lacks, from its handlers' source: everything is below a path, upload ids are small numbers,
an object's ETag is the MD5 of the whole, listings show empty ETags, metadata and conditions are
dropped, `Range` and `partNumber` are ignored, a bucket has no HEAD, unfinished uploads cannot be
listed, errors of `complete` come inside a 200, and a key that ends in a slash is a directory. Any
credentials will do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal
from xml.sax.saxutils import escape

from tests.rig.client import md5
from tests.rig.fake_s3 import Answer, FakeS3
from tests.rig.quirks import Part, Quirks, Refusal, Stored, Upload
from tests.rig.wire import Connection, S3Request

__all__ = ["PREFIX", "FakeAlluxio"]

PREFIX = "/api/v1/s3"
_NOT_BELOW = Answer(404, b"<html><title>Error 404 Not Found</title></html>")

NoListing = Literal["lists-objects", "405", "501", "json"]


class FakeAlluxio(FakeS3):
    """`no_listing`: how a list of unfinished uploads is refused.

    By default the question is not understood, and the bucket's objects are listed instead.
    """

    def __init__(
        self, buckets: Iterable[str] = ("bkt",), *, no_listing: NoListing = "lists-objects"
    ) -> None:
        quirks = Quirks(
            complete_etag="whole-md5",
            if_none_match="ignored",
            drops_metadata=True,
            ignores_range=True,
        )
        super().__init__(quirks, buckets)
        self.no_listing = no_listing

    def __enter__(self) -> FakeAlluxio:
        super().__enter__()
        self.endpoint_url += PREFIX
        return self

    def _answer_to(self, client: Connection) -> Answer:
        if not client.path.startswith(PREFIX + "/"):
            client.close_connection = True
            return _NOT_BELOW
        client.path = client.path.removeprefix(PREFIX)
        return super()._answer_to(client)

    def _dispatch(self, asked: S3Request) -> Answer:
        if asked.verb in ("get", "head"):
            asked = replace(asked, query={})
        return super()._dispatch(asked)

    def _do_head_bucket(self, asked: S3Request) -> Answer:
        raise Refusal(405, "MethodNotAllowed")

    def _do_put_object(self, asked: S3Request) -> Answer:
        if asked.key.endswith("/"):
            self.objects[asked.bucket, asked.key] = Stored(b"", md5(b""), {})
            return Answer()
        return super()._do_put_object(asked)

    def _new_upload_id(self) -> str:
        return str(len(self.uploads) + len(self.completed) + 1)

    def _do_complete(self, asked: S3Request) -> Answer:
        try:
            return super()._do_complete(asked)
        except Refusal as refusal:
            xml = (
                f"<CompleteMultipartUploadResult><Code>{refusal.code}</Code>"
                f"<Message>{refusal.message}</Message></CompleteMultipartUploadResult>"
            )
            return Answer(200, xml.encode())

    def _listed_etag(self, part: Part) -> str:
        return '""'

    def _do_list_uploads(self, asked: S3Request) -> Answer:
        if self.no_listing == "405":
            raise Refusal(405, "MethodNotAllowed")
        if self.no_listing == "501":
            raise Refusal(501, "NotImplemented")
        if self.no_listing == "json":
            return Answer(400, b'{"error": "unknown query"}')
        rows = "".join(
            f'<Contents><Key>{escape(key)}</Key><ETag>""</ETag><Size>{len(stored.body)}</Size></Contents>'
            for (bucket, key), stored in self.objects.items()
            if bucket == asked.bucket
        )
        xml = f"<ListBucketResult><Name>{asked.bucket}</Name>{rows}</ListBucketResult>"
        return Answer(200, xml.encode())

    def _upload(self, asked: S3Request) -> Upload:
        """By its number, which says nothing of the key."""
        upload = self.uploads.get(asked.query["uploadId"])
        if upload is None:
            raise Refusal(404, "NoSuchUpload")
        return upload
