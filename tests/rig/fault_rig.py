"""An upload through the fault proxy, and the two ways in which it may end.

A `Bench` is a server, the proxy in front of it, and a stream of three parts. Every test of a
fault ends in `stores` or in `fails`, and both look at the object as well as at the open uploads.
"""

from __future__ import annotations

import functools
import io
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from streamtos3 import Connection, Options, Receipt, Retries, upload
from streamtos3.errors import Interrupted, StreamToS3Error
from streamtos3.model.events import Event
from streamtos3.model.parts import Limits
from streamtos3.runtime.cancel import CancelScope
from tests.rig.client import composite, md5
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import (
    MIB,
    assert_nothing_left,
    object_exists,
    open_uploads,
    payload,
    s3_client,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "stream"
TAIL_BYTES = 1000
E = TypeVar("E", bound=BaseException)


@dataclass
class Bench:
    """`stores` and `fails` add faults to the proxy, upload, and check what is there then."""

    proxy: FaultProxy
    s3: S3Client
    bucket: str
    part_bytes: int
    fake: FakeS3 | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def options(self) -> Options:
        return Options(
            connection=Connection(endpoint_url=self.proxy.endpoint_url, region="us-east-1"),
            chunk_bytes=self.part_bytes,
            jobs=3,
            limits=Limits(min_part_bytes=1),
            retries=Retries(first_wait_s=0.01, tries=4, check_for_s=2.0),
        )

    def data(self, parts: int = 3) -> bytes:
        """A stream of so many parts, the last of them short; of one, it is one request."""
        return _stream(parts, self.part_bytes)[0]

    def run(
        self, *faults: Fault, parts: int = 3, scope: CancelScope | None = None, **changes: Any
    ) -> Receipt:
        """Upload a stream to KEY through a proxy with these faults."""
        self.proxy.faults.extend(faults)
        return upload(
            io.BytesIO(self.data(parts)),
            self.bucket,
            KEY,
            options=replace(self.options, **changes),
            on_event=self.events.append,
            scope=scope,
        )

    def stores(self, *faults: Fault, parts: int = 3, **changes: Any) -> Receipt:
        """The upload must succeed: the object is the stream, and nothing else is there."""
        receipt = self.run(*faults, parts=parts, **changes)
        self.check_stored(receipt, parts)
        assert [fault for fault in faults if not fault.struck] == []
        return receipt

    def check_stored(self, receipt: Receipt, parts: int = 3) -> None:
        data, etag = _stream(parts, self.part_bytes)
        stored = self.s3.get_object(Bucket=self.bucket, Key=KEY)
        assert stored["Body"].read() == data
        assert (receipt.etag_found, receipt.etag_expected) == (etag, etag)
        assert receipt.proof.object is not None
        assert receipt.size_bytes == len(data)
        assert open_uploads(self.s3, self.bucket) == []

    def fails(self, kind: type[E], *faults: Fault, parts: int = 3, **changes: Any) -> E:
        """The upload must end by this very class of error, and nothing be left."""
        error = self.raises(kind, *faults, parts=parts, **changes)
        self.proxy.faults.clear()
        assert_nothing_left(self.s3, self.bucket, KEY)
        assert getattr(error, "left_behind", None) is None
        return error

    def raises(self, kind: type[E], *faults: Fault, parts: int = 3, **changes: Any) -> E:
        """The upload must end by this very class of error, and a clear line that says why."""
        with pytest.raises(kind) as caught:
            self.run(*faults, parts=parts, **changes)
        error = caught.value
        assert type(error) is kind, repr(error)
        assert isinstance(error, StreamToS3Error | Interrupted)
        assert [fault for fault in faults if not fault.struck] == []
        assert "\n" not in error.message
        assert not error.message.endswith(".")
        return error

    @property
    def exists(self) -> bool:
        return object_exists(self.s3, self.bucket, KEY)

    @property
    def stored(self) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=KEY)["Body"].read()

    @property
    def open_uploads(self) -> list[tuple[str, str]]:
        return open_uploads(self.s3, self.bucket)


@functools.cache
def _stream(parts: int, part_bytes: int) -> tuple[bytes, str]:
    """A stream, the same in all tests, and the ETag of the object that it becomes."""
    data = payload((parts - 1) * part_bytes + TAIL_BYTES)
    pieces = [data[at : at + part_bytes] for at in range(0, len(data), part_bytes)]
    return data, composite(*pieces) if parts > 1 else md5(data)


@contextmanager
def fake_bench(monkeypatch: pytest.MonkeyPatch, quirks: Quirks | None = None) -> Iterator[Bench]:
    """A bench on the strict fake, which takes parts of any size."""
    use_keys(monkeypatch, "key", "secret")
    quirks = quirks or Quirks(min_part_bytes=1)
    with (
        FakeS3(quirks, buckets=("bucket",)) as fake,
        FaultProxy(fake.endpoint_url) as proxy,
    ):
        client = s3_client(fake.endpoint_url, "key", "secret")
        yield Bench(proxy, client, "bucket", TAIL_BYTES + 1, fake)
        client.close()


@contextmanager
def real_bench(
    monkeypatch: pytest.MonkeyPatch, url: str, keys: tuple[str, str], s3: S3Client, bucket: str
) -> Iterator[Bench]:
    """A bench on a server that wants parts of 5 MiB as S3 does."""
    use_keys(monkeypatch, *keys)
    with FaultProxy(url, credentials=keys) as proxy:
        yield Bench(proxy, s3, bucket, 5 * MIB)


def slowly(*values: Any) -> list[Any]:
    """Values of a parameter that are left to the slow part of the suite."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


TWINS = {"500", "502", "429", "request-timeout", "incomplete-body", "reset-before", "reset-after"}
TWINS |= {"empty-200", "xhtml-200", "error-200-after", "conflict"}


def one_of_each_kind(actions: Iterable[Any]) -> list[Any]:
    """Actions of the proxy, or rows that begin with one; the slow part has those with a twin."""
    rows = list(actions)
    return [
        pytest.param(*([row] if isinstance(row, str) else row), marks=pytest.mark.slow)
        if (row if isinstance(row, str) else row[0]) in TWINS
        else row
        for row in rows
    ]


def use_keys(monkeypatch: pytest.MonkeyPatch, access_key: str, secret_key: str) -> None:
    """Let the program find these keys, and clean up in a hurry."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
    hasty = Retries(first_wait_s=0.01, retry_for_s=2.0)
    monkeypatch.setattr("streamtos3.uploader.multipart._ABORT_RETRIES", hasty)


def interrupting(scope: CancelScope) -> Callable[[object], None]:
    """A fault's callback: SIGTERM comes just now."""
    return lambda _: scope.fail(Interrupted(signal.SIGTERM))
