"""What a case runs on: the endpoint, the certificate, the environment, and what arrived there."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from .certificate import make_certificate
from .measure import Figures, ProgramFailed, drain, feed
from .programs import BUCKET, STREAMTOS3, Copier, Program, environment_of, streamtos3_by
from .service import BLOCK, composite_etag

__all__ = ["Files", "Ground", "Link", "Place"]

MIB = 1 << 20
# Service and clients would else agree on a cipher each after its own taste, and OpenSSL's costs
# a fifth more than Go's; S3 prefers this one too.
_OPENSSL_CONFIG = """\
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = default
[default]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""
_PART_SIZES_MIB = (5, 8, 50)  # of the measured programs


@dataclass(frozen=True)
class Link:
    """How far away the endpoint is; zeros are no limit. `checks`: it computes all MD5s."""

    latency_ms: float = 0
    mib_per_s: float = 0
    checks: bool = False


@dataclass(frozen=True)
class Files:
    """A directory of `count` files, all of the same size and all different."""

    count: int
    size_bytes: int


@dataclass(frozen=True)
class Place:
    """A temporary directory with a certificate and without anybody's configuration."""

    folder: Path
    authority: Path
    certificate: Path

    @classmethod
    def prepare(cls, folder: Path) -> Place:
        authority, certificate = make_certificate(folder)
        # Behind those that every user has, because reading them is not free.
        authority.write_bytes(_usual_authorities() + authority.read_bytes())
        (folder / "openssl.cnf").write_text(_OPENSSL_CONFIG)
        (folder / "config").write_text("[default]\ns3 =\n    addressing_style = path\n")
        return cls(folder, authority, certificate)

    def files(self, files: Files) -> Path:
        """The directory of these files, made when it is first asked for."""
        directory = self.folder / f"{files.count}-of-{files.size_bytes}"
        if not directory.exists():
            directory.mkdir()
            for number in range(files.count):
                block = Random(number).randbytes(min(files.size_bytes, MIB))
                with (directory / f"{number:06}.bin").open("wb") as file:
                    for start in range(0, files.size_bytes, MIB):
                        file.write(block[: files.size_bytes - start])
        return directory

    @contextmanager
    def endpoint(self, link: Link) -> Iterator[Ground]:
        """An endpoint over TLS; what it cost is in the ground's `endpoint_cpu_s` afterwards."""
        command = [sys.executable, "-m", "bench.endpoint", "--certificate", str(self.certificate)]
        command += ["--latency-ms", str(link.latency_ms), "--mib-per-s", str(link.mib_per_s)]
        server = subprocess.Popen(
            command + ["--hash"] * link.checks,
            env={**os.environ, "OPENSSL_CONF": str(self.folder / "openssl.cnf")},
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            ground = Ground(f"https://127.0.0.1:{port}", self)
            yield ground
        finally:
            server.terminate()
            # It removes what it holds, which may be tens of thousands of objects.
            rest, _ = server.communicate(timeout=300)
        ground.endpoint_cpu_s = float(rest)


class Ground:
    """One endpoint, and the way to run programs against it."""

    def __init__(self, url: str, place: Place) -> None:
        self.endpoint_cpu_s = 0.0
        self._url = url
        self._place = place
        self._environment = environment_of(url, place.authority, place.folder)
        self._tls = ssl.create_default_context(cafile=str(place.authority))
        self._count = 0

    def put(self, program: Program, size_bytes: int, mib_per_s: float = 0.0) -> Figures:
        """Run `program` on a stream. ProgramFailed unless all of it has arrived."""
        figures, stored_bytes, _ = self._put(program, size_bytes, mib_per_s)
        if program.stores and stored_bytes != size_bytes:
            raise ProgramFailed(f"{stored_bytes} bytes of {size_bytes} are stored")
        return figures

    def prove(self, program: Program, size_bytes: int) -> None:
        """ProgramFailed unless `program` stores this very stream; the endpoint must check."""
        _, _, etag = self._put(program, size_bytes, 0.0)
        if program.stores and etag not in _possible_etags(size_bytes):
            raise ProgramFailed("what is stored is not what was read")

    def get(self, program: Program, size_bytes: int) -> Figures:
        """Run `program` on an object that is made up."""
        words = program.command(self._url, f"generated-{size_bytes}")
        return drain(words, self._environment, size_bytes)

    def copy(self, copier: Copier, files: Files, *, again: bool = False) -> Figures:
        """Run `copier` on a directory, or, `again`, a second time and measure that.

        ProgramFailed unless all files have arrived.
        """
        self._count += 1
        prefix = f"directory-{self._count}"
        words = copier.command(self._url, str(self._place.files(files)), prefix)
        figures = self.call(words)
        if again:
            figures = self.call(words)
        stored = self._sizes(prefix)
        if stored != [files.size_bytes] * files.count:
            raise ProgramFailed(f"{len(stored)} objects of {sum(stored)} bytes are stored")
        return figures

    def file(self, size_bytes: int) -> Path:
        """A file with the bytes of the object that is made up; written when first asked for."""
        path = self._place.folder / f"generated-{size_bytes}"
        if not path.exists():
            with path.open("wb") as file:
                for _ in range(0, size_bytes, MIB):
                    file.write(BLOCK)
        return path

    def verify(self, size_bytes: int) -> Figures:
        """Compare that file with that object."""
        words = streamtos3_by([*STREAMTOS3, "verify"])(self._url, f"generated-{size_bytes}")
        return self.call([*words, str(self.file(size_bytes))])

    def call(self, words: list[str]) -> Figures:
        """Run a command without an input."""
        return feed(words, self._environment, 0)

    def _put(self, program: Program, size_bytes: int, mib_per_s: float) -> tuple[Figures, int, str]:
        self._count += 1
        key = f"stream-{self._count}"
        words = program.command(self._url, key)
        figures = feed(words, self._environment, size_bytes, mib_per_s)
        return figures, *self._head(key)

    def _head(self, key: str) -> tuple[int, str]:
        """Size and ETag of what is stored."""
        answer, _ = self._ask("HEAD", f"/{BUCKET}/{key}")
        return int(answer.get("Content-Length", 0)), answer.get("ETag", "").strip('"')

    def _sizes(self, prefix: str) -> list[int]:
        """The sizes of all objects below `prefix`."""
        _, page = self._ask("GET", f"/{BUCKET}?prefix={prefix}/&max-keys=1000000")
        return [int(size) for size in re.findall(rb"<Size>(\d+)</Size>", page)]

    def _ask(self, method: str, target: str) -> tuple[http.client.HTTPMessage, bytes]:
        netloc = urlsplit(self._url).netloc
        connection = http.client.HTTPSConnection(netloc, context=self._tls, timeout=30)
        try:
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.headers, answer.read()
        finally:
            connection.close()


def _usual_authorities() -> bytes:
    """The 140 authorities that botocore trusts where nothing is said; without importing it."""
    botocore = find_spec("botocore")
    assert botocore is not None and botocore.origin is not None
    return Path(botocore.origin).with_name("cacert.pem").read_bytes()


def _possible_etags(size_bytes: int) -> list[str]:
    """What a true ETag of the producer's stream may be, for every part size in use.

    Never holds the stream: the memory of this process would show in everybody's peak.
    """
    whole = hashlib.md5()
    etags = []
    for part_mib in _PART_SIZES_MIB:
        md5s = []
        for start in range(0, size_bytes, part_mib * MIB):
            md5 = hashlib.md5()
            for _ in range(start, min(start + part_mib * MIB, size_bytes), MIB):
                md5.update(BLOCK)
            md5s.append(md5.digest())
        etags.append(composite_etag(md5s))
    for _ in range(0, size_bytes, MIB):
        whole.update(BLOCK)
    return [*etags, whole.hexdigest()]
