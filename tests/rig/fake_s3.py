"""A strict S3 in memory, for what real servers will not do on command.

By default it is as strict as S3 itself about MD5s, part lists and conditions; a `Quirks` gives it
the traits of the imitators: servers that check nothing, ETags that are no MD5, answers without an
ETag, conditions that are ignored. It knows the verbs that the program uses and no more, ignores
signatures, and keeps all it holds and was asked open to inspection.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import threading
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import quote_plus
from uuid import uuid4
from xml.sax.saxutils import escape

from tests.rig.quirks import Part, Quirks, Refusal, Stored, Upload
from tests.rig.wire import Connection, Listener, S3Request, error_xml

__all__ = ["FakeS3", "Quirks"]


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = {}


class FakeS3:
    """A running fake: `with FakeS3(Quirks(...), buckets=("b",)) as fake: ... fake.endpoint_url`."""

    def __init__(self, quirks: Quirks | None = None, buckets: Iterable[str] = ("b",)) -> None:
        self.quirks = quirks or Quirks()
        self.buckets = set(buckets)
        self.objects: dict[tuple[str, str], Stored] = {}
        self.uploads: dict[str, Upload] = {}
        self.completed: dict[str, Upload] = {}
        self.requests: list[S3Request] = []
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def __enter__(self) -> FakeS3:
        fake = self

        class Client(Connection):
            def _serve(self) -> None:
                answer = fake._answer_to(self)
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else answer.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

        self._listener = Listener(Client)
        self.endpoint_url = f"http://127.0.0.1:{self._listener.port}"
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._listener.close()

    def count(self, verb: str) -> int:
        return sum(request.verb == verb for request in self.requests)

    def _answer_to(self, client: Connection) -> Answer:
        asked = S3Request.parse(client)
        length = int(asked.headers.get("content-length", 0))
        body = client.rfile.read(length)
        with self._lock:
            self.requests.append(asked)
            try:
                if len(body) < length:
                    client.close_connection = True
                    raise Refusal(400, "IncompleteBody")
                answer = self._dispatch(replace(asked, body=body))
            except Refusal as refusal:
                error = error_xml(refusal.code, refusal.message)
                answer = Answer(refusal.status, error, {"Content-Type": "application/xml"})
        now = datetime.now(timezone.utc) + timedelta(seconds=self.quirks.clock_offset_s)
        common = {
            "Date": format_datetime(now.replace(microsecond=0), usegmt=True),
            "x-amz-request-id": f"FAKE{next(self._numbers):012X}",
        }
        if answer.status != 204:
            common["Content-Length"] = str(len(answer.body))
        return answer._replace(headers={**common, **answer.headers})

    def _dispatch(self, asked: S3Request) -> Answer:
        if self.quirks.makes_missing_buckets and asked.verb in ("create", "put-object"):
            self.buckets.add(asked.bucket)
        if asked.bucket not in self.buckets:
            raise Refusal(404, "NoSuchBucket")
        verb = getattr(self, "_do_" + asked.verb.replace("-", "_"), None)
        if verb is None:
            raise Refusal(501, "NotImplemented", f"the fake does not know {asked.verb}")
        answer: Answer = verb(asked)
        return answer

    # Objects

    def _do_head_bucket(self, asked: S3Request) -> Answer:
        return Answer()

    def _do_get(self, asked: S3Request) -> Answer:
        if self.quirks.head_forbidden:
            raise Refusal(403, "AccessDenied")
        stored = self._existing(asked)
        etag = self.quirks.shown_etag_of(stored)
        if asked.headers.get("if-match", "*").strip('"') not in ("*", etag):
            raise Refusal(412, "PreconditionFailed")
        shown = {"ETag": _quoted(etag), "Last-Modified": "Fri, 06 Nov 2026 11:00:00 GMT"}
        shown |= {"x-amz-meta-" + name: value for name, value in stored.metadata.items()}
        if asked.part and stored.part_sizes:
            shown["x-amz-mp-parts-count"] = str(len(stored.part_sizes))
        size = len(stored.body)
        heeds_range = asked.part or not self.quirks.ignores_range
        first, end = _range(asked, stored) if heeds_range else (0, size)
        if (first, end) != (0, size):
            shown["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        status = 206 if "Content-Range" in shown else 200
        return Answer(status, stored.body[first:end], shown | self.quirks.headers_of(stored))

    _do_head = _do_get

    def _do_delete(self, asked: S3Request) -> Answer:
        self.objects.pop((asked.bucket, asked.key), None)
        return Answer(204)

    def _do_put_object(self, asked: S3Request) -> Answer:
        self.quirks.check_digest(asked)
        self._check_conditions(asked)
        body = self.quirks.kept(0, asked.body)
        stored = Stored(body, self.quirks.etag_of(asked.body), self.quirks.metadata_of(asked))
        self.objects[asked.bucket, asked.key] = stored
        return Answer(200, b"", {"ETag": _quoted(stored.etag)} | self.quirks.headers_of(stored))

    def _do_list_objects(self, asked: S3Request) -> Answer:
        query = asked.query
        after = query.get("continuation-token", query.get("start-after", ""))
        keys = sorted(key for bucket, key in self.objects if bucket == asked.bucket)
        rest = [key for key in keys if key.startswith(query.get("prefix", "")) and key > after]
        page = rest[: min(self.quirks.page_size, int(query.get("max-keys", 1_000)))]
        is_encoded = query.get("encoding-type") == "url"
        encoded = quote_plus if is_encoded and not self.quirks.misspells_listed else str
        rows = ""
        for key in page:
            stored = self.objects[asked.bucket, key]
            etag = _quoted(self.quirks.shown_etag_of(stored))
            fields = _fields(Key=encoded(key), Size=len(stored.body), ETag=etag)
            rows += f"<Contents>{fields}</Contents>"
        fields = _fields(Name=asked.bucket, IsTruncated=str(len(page) < len(rest)).lower())
        fields += _fields(EncodingType="url") if is_encoded else ""
        fields += _fields(NextContinuationToken=page[-1]) if len(page) < len(rest) else ""
        return Answer(200, _xml("ListBucketResult", fields + rows))

    # Multipart uploads

    def _do_create(self, asked: S3Request) -> Answer:
        upload_id = self._new_upload_id()
        metadata = self.quirks.metadata_of(asked)
        now = datetime.now(timezone.utc)
        upload = Upload(upload_id, asked.bucket, asked.key, metadata, now)
        self.uploads[upload_id] = upload
        fields = _fields(Bucket=asked.bucket, Key=asked.key, UploadId=upload_id)
        return Answer(200, _xml("InitiateMultipartUploadResult", fields), self.quirks.headers_of())

    def _new_upload_id(self) -> str:
        """The number in front makes the ids of one key sort by the time of their creation."""
        return f"{next(self._numbers):08x}-{uuid4().hex}"

    def _do_put_part(self, asked: S3Request) -> Answer:
        upload = self._upload(asked)
        number = self.quirks.check_number(asked.part)
        self.quirks.check_digest(asked)
        etag = self.quirks.etag_of(asked.body)
        part = Part(number, self.quirks.kept(number, asked.body), etag)
        if not self.quirks.keeps_resent_parts:
            upload.parts = [other for other in upload.parts if other.number != number]
        upload.parts = sorted([*upload.parts, part], key=lambda part: part.number)
        return Answer(200, b"", {"ETag": _quoted(etag)} | self.quirks.headers_of())

    def _do_complete(self, asked: S3Request) -> Answer:
        again = self.completed.get(asked.query["uploadId"])
        place = asked.bucket, asked.key
        if again and self.quirks.complete_idempotent and place in self.objects:
            if self.quirks.complete_idempotent == "412":
                self._check_conditions(asked)
            return self._completed(asked, self.objects[place])
        upload = self._upload(asked)
        parts = self._listed_parts(upload, asked.body)
        sizes = [len(part.body) for part in parts]
        self.quirks.check_sizes(sizes)
        total = str(sum(sizes))
        if asked.headers.get("x-amz-mp-object-size", total) != total:
            raise Refusal(400, "InvalidRequest", "the parts do not add up to x-amz-mp-object-size")
        self._check_conditions(asked)
        etag = self.quirks.final_etag_of(parts)
        stored = Stored(b"".join(part.body for part in parts), etag, upload.metadata, tuple(sizes))
        self.objects[place] = stored
        self.completed[upload.upload_id] = self.uploads.pop(upload.upload_id)
        return self._completed(asked, stored)

    def _completed(self, asked: S3Request, stored: Stored) -> Answer:
        etag = "" if self.quirks.complete_etag == "empty" else stored.etag
        fields = _fields(Bucket=asked.bucket, Key=asked.key, ETag=_quoted(etag))
        body = _xml("CompleteMultipartUploadResult", fields)
        return Answer(200, body, self.quirks.headers_of(stored))

    def _do_abort(self, asked: S3Request) -> Answer:
        del self.uploads[self._upload(asked).upload_id]
        return Answer(204)

    def _do_list_parts(self, asked: S3Request) -> Answer:
        upload = self._upload(asked)
        marker = int(asked.query.get("part-number-marker", 0))
        rest = [part for part in upload.parts if part.number > marker]
        page = rest[: min(self.quirks.page_size, int(asked.query.get("max-parts", 1_000)))]
        shown = (
            _fields(PartNumber=p.number, ETag=self._listed_etag(p), Size=len(p.body)) for p in page
        )
        rows = "".join(f"<Part>{part}</Part>" for part in shown)
        fields = _fields(Bucket=asked.bucket, Key=asked.key, UploadId=upload.upload_id)
        fields += _fields(IsTruncated=str(len(page) < len(rest)).lower(), MaxParts=len(page))
        fields += _fields(NextPartNumberMarker=page[-1].number) if page else ""
        return Answer(200, _xml("ListPartsResult", fields + rows))

    def _listed_etag(self, part: Part) -> str:
        return _quoted(part.etag)

    def _do_list_uploads(self, asked: S3Request) -> Answer:
        query = asked.query
        after = query.get("key-marker", ""), query.get("upload-id-marker", "\x7f")
        rest = sorted(
            (upload.key, upload.upload_id, upload)
            for upload in self.uploads.values()
            if upload.bucket == asked.bucket
            and upload.key.startswith(query.get("prefix", ""))
            and (upload.key, upload.upload_id) > after
        )
        page = rest[: min(self.quirks.page_size, int(query.get("max-uploads", 1_000)))]
        # As S3: a key that XML cannot carry spoils the answer, unless encoding is asked for.
        encoded = quote_plus if query.get("encoding-type") == "url" else str
        shown = (
            _fields(Key=encoded(k), UploadId=i, Initiated=_iso(u.initiated)) for k, i, u in page
        )
        rows = "".join(f"<Upload>{upload}</Upload>" for upload in shown)
        fields = _fields(Bucket=asked.bucket, IsTruncated=str(len(page) < len(rest)).lower())
        if page:
            fields += _fields(NextKeyMarker=encoded(page[-1][0]), NextUploadIdMarker=page[-1][1])
        return Answer(200, _xml("ListMultipartUploadsResult", fields + rows))

    # Rules

    def _upload(self, asked: S3Request) -> Upload:
        upload = self.uploads.get(asked.query["uploadId"])
        if upload is None or (upload.bucket, upload.key) != (asked.bucket, asked.key):
            raise Refusal(404, "NoSuchUpload")
        return upload

    def _listed_parts(self, upload: Upload, body: bytes) -> list[Part]:
        with contextlib.suppress(ElementTree.ParseError, ValueError):
            listed = [
                (int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "").strip('"'))
                for part in ElementTree.fromstring(body).iterfind("{*}Part")
            ]
            numbers = [number for number, _ in listed]
            if numbers != sorted(set(numbers)):
                raise Refusal(400, "InvalidPartOrder")
            if listed:
                return [upload.find(number, etag) for number, etag in listed]
        raise Refusal(400, "MalformedXML")

    def _existing(self, asked: S3Request) -> Stored:
        stored = self.objects.get((asked.bucket, asked.key))
        if stored is None:
            raise Refusal(404, "NoSuchKey")
        return stored

    def _check_conditions(self, asked: S3Request) -> None:
        if "if-none-match" in asked.headers:
            heeded = self.quirks.heeds_if_none_match(asked.verb)
            if heeded and (asked.bucket, asked.key) in self.objects:
                raise Refusal(412, "PreconditionFailed")
        if "if-match" in asked.headers:
            etag = self._existing(asked).etag
            if asked.headers["if-match"].strip('"') not in ("*", etag):
                raise Refusal(412, "PreconditionFailed")


def _range(asked: S3Request, stored: Stored) -> tuple[int, int]:
    """The bytes asked for by part number or by Range, as first and end."""
    sizes, size = stored.part_sizes, len(stored.body)
    if asked.part and sizes:
        if asked.part > len(sizes):
            raise Refusal(416, "InvalidPartNumber")
        return sum(sizes[: asked.part - 1]), sum(sizes[: asked.part])
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.headers.get("range", ""))
    if not match:
        return 0, size
    low, high = match.groups()
    first = int(low) if low else max(0, size - int(high))
    end = min(size, int(high) + 1) if low and high else size
    if first >= end:
        raise Refusal(416, "InvalidRange")
    return first, end


def _quoted(etag: str) -> str:
    return f'"{etag}"' if etag else ""


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.000Z}"


def _fields(**fields: object) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())


def _xml(root: str, content: str) -> bytes:
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<?xml version="1.0"?>\n<{root} xmlns="{namespace}">{content}</{root}>'.encode()
