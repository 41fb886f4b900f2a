"""What the discarding endpoint answers: the S3 verbs that the measured programs use.

Keeps sizes and MD5s, in small files that all connections share, and no bytes. Objects named
`generated-BYTES` exist once they are asked for. A request that it does not know is answered
with 501.

An ETag is the Content-MD5 that the client declared. Where it declared none, `hashes` computes
it (and checks the declared ones); without, the ETag is made up, so that serving a client without
MD5s costs this machine no more than serving one with them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from .wire import Wire

__all__ = ["BLOCK", "Service", "composite_etag"]

MIB = 1 << 20
BLOCK = Random(5).randbytes(MIB)
"""What generated objects and the producer's streams repeat."""
GENERATED_PART_BYTES = 8 * MIB
_NO_FOLDER = quote("/", safe="")  # for keys without a slash; no name of a folder is this one
_LONG_AGO = "2026-11-06T11:00:00.000Z"


@dataclass(frozen=True)
class Stored:
    """What is kept of a part or an object."""

    size_bytes: int
    etag: str
    metadata: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write it so that no reader finds half of it."""
        new = path.with_name(f".{os.getpid()}-{path.name}")
        new.write_text(json.dumps([self.size_bytes, self.etag, self.metadata]), "ascii")
        new.rename(path)

    @classmethod
    def load(cls, path: Path) -> Stored:
        return cls(*json.loads(path.read_text("ascii")))


@dataclass(frozen=True)
class Request:
    """One request without its body."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @classmethod
    def read(cls, wire: Wire) -> Request:
        method, target, _ = wire.read_line().decode("latin-1").split(" ", 2)
        headers = {}
        while line := wire.read_line():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        return cls(method, unquote(url.path).strip("/"), query, headers)

    @property
    def metadata(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if "x-amz-meta-" in name}


class _AwsChunks:
    """Takes the framing of `aws-chunked` off, piece by piece."""

    def __init__(self) -> None:
        self._line = b""
        self._left_bytes = 0
        self._ended = False

    def payload(self, piece: memoryview) -> Iterator[memoryview]:
        while len(piece) and not self._ended:
            if self._left_bytes:
                data = piece[: self._left_bytes]
                self._left_bytes -= len(data)
                piece = piece[len(data) :]
                yield data
                continue
            text = bytes(piece[:200])
            head, newline, _ = text.partition(b"\n")
            self._line += head + newline
            piece = piece[len(head) + len(newline) :]
            if newline and self._line.strip():
                self._left_bytes = int(self._line.split(b";")[0], 16)
                self._ended = not self._left_bytes
            if newline:
                self._line = b""


class Service:
    """Serves one connection."""

    def __init__(self, wire: Wire, root: Path, latency_s: float, *, hashes: bool) -> None:
        self._wire = wire
        self._root = root
        self._latency_s = latency_s
        self._hashes = hashes

    def serve(self) -> None:
        """Answer requests until the client has enough."""
        while True:
            request = Request.read(self._wire)
            if request.headers.get("expect"):
                self._wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = self._body(request)
            if self._latency_s:
                self._wire.pause(self._latency_s)
            self._handle(request, body)

    def _handle(self, request: Request, body: tuple[int, str, bytes]) -> None:
        size_bytes, etag, text = body
        declared = request.headers.get("content-md5")
        if self._hashes and declared and bytes.fromhex(etag) != _from_base64(declared):
            self._refuse(400, "BadDigest")
        elif "/" not in request.path:
            self._list(request.path, request.query)
        elif request.method == "POST" and "uploads" in request.query:
            self._create(request)
        elif request.method == "POST" and "uploadId" in request.query:
            self._complete(request, text)
        elif request.method == "PUT" and "uploadId" in request.query:
            part = self._upload(request.query["uploadId"]) / f"{int(request.query['partNumber'])}"
            Stored(size_bytes, etag).save(part)
            self._answer(200, b"", {"ETag": f'"{etag}"'})
        elif request.method == "PUT":
            path = self._object(request.path)
            if "if-none-match" in request.headers and path.exists():
                self._refuse(412, "PreconditionFailed")
                return
            path.parent.mkdir(exist_ok=True)
            Stored(size_bytes, etag, request.metadata).save(path)
            self._answer(200, b"", {"ETag": f'"{etag}"'})
        elif request.method in ("GET", "HEAD"):
            self._get(request)
        elif request.method == "DELETE":
            self._answer(204)
        else:
            self._refuse(501, "NotImplemented")

    def _body(self, request: Request) -> tuple[int, str, bytes]:
        """Read the body: its size, its ETag, and its text where that is short."""
        headers = request.headers
        declared = headers.get("content-md5")
        framed = headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
        needs_text = request.method == "POST"
        wanted_hash = self._hashes and request.method == "PUT"
        md5 = hashlib.md5(usedforsecurity=False)
        size_bytes, text, chunks = 0, b"", _AwsChunks()
        for piece in self._raw_pieces(headers):
            size_bytes += len(piece)
            if needs_text:
                text += piece
            elif wanted_hash:
                for data in chunks.payload(piece) if framed else (piece,):
                    md5.update(data)
        size_bytes = int(headers.get("x-amz-decoded-content-length", size_bytes))
        if wanted_hash:
            etag = md5.hexdigest()
        elif declared:
            etag = _from_base64(declared).hex()
        else:
            etag = hashlib.md5(f"{request.path}{request.query}".encode()).hexdigest()
        return size_bytes, etag, text

    def _raw_pieces(self, headers: dict[str, str]) -> Iterator[memoryview]:
        """The body without HTTP's own framing."""
        if headers.get("transfer-encoding", "").lower() != "chunked":
            yield from self._wire.pieces(int(headers.get("content-length", 0)))
            return
        while size_bytes := int(self._wire.read_line().split(b";")[0], 16):
            yield from self._wire.pieces(size_bytes)
            self._wire.read_line()
        while self._wire.read_line():
            pass

    def _create(self, request: Request) -> None:
        upload_id = os.urandom(16).hex()
        upload = self._upload(upload_id)
        upload.mkdir()
        Stored(0, "", request.metadata).save(upload / "metadata")
        key = f"<Key>{request.path.partition('/')[2]}</Key>"
        self._answer(
            200,
            _xml("InitiateMultipartUploadResult", f"{key}<UploadId>{upload_id}</UploadId>"),
        )

    def _complete(self, request: Request, text: bytes) -> None:
        """Make the object of the parts that the request lists."""
        upload = self._upload(request.query["uploadId"])
        numbers = re.findall(rb"<PartNumber>(\d+)</PartNumber>", text)
        parts = [Stored.load(upload / number.decode()) for number in sorted(numbers, key=int)]
        etag = composite_etag([bytes.fromhex(part.etag) for part in parts])
        metadata = Stored.load(upload / "metadata").metadata
        size_bytes = sum(part.size_bytes for part in parts)
        path = self._object(request.path)
        path.parent.mkdir(exist_ok=True)
        Stored(size_bytes, etag, metadata).save(path)
        shutil.rmtree(upload)
        self._answer(200, _xml("CompleteMultipartUploadResult", f"<ETag>&quot;{etag}&quot;</ETag>"))

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        """A page of the bucket's objects: rclone reads nothing that it has not seen in a list."""
        starts = ("continuation-token", "marker", "start-after")
        after = next((query[name] for name in starts if query.get(name)), "")
        most = int(query.get("max-keys", 1000))
        rest = [key for key in self._keys(bucket, query.get("prefix", "")) if key > after]
        page, rows = rest[:most], ""
        for key in page:
            stored = Stored.load(self._object(f"{bucket}/{key}"))
            fields = f"<Key>{quote(key)}</Key><Size>{stored.size_bytes}</Size>"
            fields += (
                f"<ETag>&quot;{stored.etag}&quot;</ETag><LastModified>{_LONG_AGO}</LastModified>"
            )
            rows += f"<Contents>{fields}</Contents>"
        is_cut = len(page) < len(rest)
        head = f"<EncodingType>url</EncodingType><IsTruncated>{str(is_cut).lower()}</IsTruncated>"
        if is_cut:
            head += f"<NextMarker>{quote(page[-1])}</NextMarker>"
            head += f"<NextContinuationToken>{page[-1]}</NextContinuationToken>"
        self._answer(200, _xml("ListBucketResult", head + rows))

    def _keys(self, bucket: str, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        above, has_slash, _ = prefix.partition("/")
        objects = self._objects(bucket)
        folders = [objects / quote(above, safe="")] if has_slash else list(objects.iterdir())
        keys = []
        for folder in folders:
            start = "" if folder.name == _NO_FOLDER else unquote(folder.name) + "/"
            names = os.listdir(folder) if folder.exists() else []
            keys += [start + unquote(name) for name in names if not name.startswith(".")]
        return sorted(key for key in keys if key.startswith(prefix))

    def _get(self, request: Request) -> None:
        stored = self._find(request.path)
        if stored is None:
            self._refuse(404, "NoSuchKey", is_head=request.method == "HEAD")
            return
        first, end = _range(request, stored)
        headers = {
            "ETag": f'"{stored.etag}"',
            "Last-Modified": "Fri, 06 Nov 2026 11:00:00 GMT",
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            **stored.metadata,
        }
        if "partNumber" in request.query:
            headers["x-amz-mp-parts-count"] = stored.etag.partition("-")[2] or "1"
        is_part = (first, end) != (0, stored.size_bytes)
        if is_part:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{stored.size_bytes}"
        headers["Content-Length"] = str(end - first)
        self._answer(206 if is_part else 200, None, headers)
        if request.method == "GET":
            self._send_generated(first, end)

    def _send_generated(self, first: int, end: int) -> None:
        view = memoryview(BLOCK)
        while first < end:
            start = first % MIB
            piece = view[start : start + min(MIB - start, end - first, MIB // 4)]
            self._wire.send(piece)
            first += len(piece)

    def _find(self, path: str) -> Stored | None:
        generated = re.search(r"/generated-(\d+)$", path)
        if generated and not self._object(path).exists():
            self._object(path).parent.mkdir(exist_ok=True)
            _generated(int(generated[1])).save(self._object(path))
        try:
            return Stored.load(self._object(path))
        except FileNotFoundError:
            return None

    def _object(self, path: str) -> Path:
        """A folder for each first name of a key, so that a listing reads no others."""
        bucket, _, key = path.partition("/")
        first, has_slash, rest = key.partition("/")
        folder = quote(first, safe="") if has_slash else _NO_FOLDER
        name = quote(rest if has_slash else key, safe="")
        return self._objects(bucket) / folder / name

    def _objects(self, bucket: str) -> Path:
        folder = self._root / "objects" / quote(bucket, safe="")
        folder.mkdir(exist_ok=True)
        return folder

    def _upload(self, upload_id: str) -> Path:
        return self._root / "uploads" / quote(upload_id, safe="")

    def _refuse(self, status: int, code: str, *, is_head: bool = False) -> None:
        text = b"" if is_head else _xml("Error", f"<Code>{code}</Code><Message>{code}</Message>")
        self._answer(status, text)

    def _answer(
        self, status: int, body: bytes | None = b"", headers: dict[str, str] | None = None
    ) -> None:
        """Send an answer; with `body` None only its head, whose headers tell the length."""
        lines = [f"HTTP/1.1 {status} -", "Server: discarding", f"Date: {_date()}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None and status != 204:
            lines.append(f"Content-Length: {len(body)}")
        self._wire.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))


def _generated(size_bytes: int) -> Stored:
    """An object of which every part is the same, but perhaps the last."""
    parts, rest = divmod(size_bytes, GENERATED_PART_BYTES)
    full = hashlib.md5(BLOCK * (GENERATED_PART_BYTES // MIB)).digest()
    md5s = [full] * parts
    if rest:
        blocks = BLOCK * (rest // MIB) + BLOCK[: rest % MIB]
        md5s.append(hashlib.md5(blocks).digest())
    metadata = {"x-amz-meta-streamtos3-plan": f"{GENERATED_PART_BYTES}/10000"}
    return Stored(size_bytes, composite_etag(md5s), metadata)


def composite_etag(md5s: list[bytes]) -> str:
    """The ETag of an object of parts with these MD5s."""
    return f"{hashlib.md5(b''.join(md5s)).hexdigest()}-{len(md5s)}"


def _range(request: Request, stored: Stored) -> tuple[int, int]:
    if "partNumber" in request.query:
        first = (int(request.query["partNumber"]) - 1) * GENERATED_PART_BYTES
        return first, min(first + GENERATED_PART_BYTES, stored.size_bytes)
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if not match:
        return 0, stored.size_bytes
    end = int(match[2]) + 1 if match[2] else stored.size_bytes
    return int(match[1]), min(end, stored.size_bytes)


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text)


def _date() -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


def _xml(root: str, content: str) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{content}</{root}>'.encode()
