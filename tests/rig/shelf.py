"""An object on the fake to be read back: stored by the program, or put there by hand."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from streamtos3 import Options, ReadReport, Receipt, Retries, download, upload
from streamtos3.errors import UnprovedError
from streamtos3.model.events import Event, Retrying
from streamtos3.model.parts import Limits
from tests.rig.client import composite, md5, plain_client
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.quirks import Stored
from tests.rig.support import payload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

P = 1000
"""The part size of most objects here."""

OPTIONS = Options(
    chunk_bytes=P,
    jobs=4,
    memory_bytes=20 * P,
    retries=Retries(first_wait_s=0.001, longest_wait_s=0.002, tries=4),
    limits=Limits(min_part_bytes=1, growth_after_parts=3, growth_every_parts=3),
)


@dataclass
class Shelf:
    """A fake, a proxy before it, and a client of the proxy."""

    fake: FakeS3
    proxy: FaultProxy
    client: S3Client
    events: list[Event] = field(default_factory=list)

    def store(self, data: bytes, **changes: Any) -> Receipt:
        """Upload `data` as `bkt/k`; the receipt, whatever proves the object."""
        options = replace(OPTIONS, **changes)
        try:
            return upload(io.BytesIO(data), "bkt", "k", options=options, client=self.client)
        except UnprovedError as error:
            return error.receipt

    def place(
        self,
        bodies: Sequence[bytes],
        *,
        metadata: dict[str, str] | None = None,
        tells_parts: bool = True,
    ) -> bytes:
        """Put a foreign multipart object there as `bkt/k`."""
        sizes = tuple(len(body) for body in bodies) if tells_parts else ()
        stored = Stored(b"".join(bodies), composite(*bodies), metadata or {}, sizes)
        self.fake.objects["bkt", "k"] = stored
        return stored.body

    def place_whole(self, body: bytes, etag: str | None = None) -> bytes:
        """Put an object of one request there as `bkt/k`."""
        self.fake.objects["bkt", "k"] = Stored(body, etag or md5(body), {})
        return body

    def rot(self, at_byte: int) -> None:
        """Flip a bit of the stored object, and leave its ETag alone."""
        stored = self.fake.objects["bkt", "k"]
        body = bytearray(stored.body)
        body[at_byte] ^= 1
        self.fake.objects["bkt", "k"] = replace(stored, body=bytes(body))

    def read(self, output: Any = None, **changes: Any) -> tuple[ReadReport, bytes]:
        """Download `bkt/k`: the report and the bytes."""
        out = io.BytesIO() if output is None else output
        options = replace(OPTIONS, **changes.pop("options", {}))
        report = download(
            "bkt",
            "k",
            out,
            options=options,
            client=self.client,
            on_event=self.events.append,
            **changes,
        )
        return report, out.getvalue() if isinstance(out, io.BytesIO) else b""

    @property
    def ranges(self) -> list[str]:
        """The Range of every GET, as they came."""
        return [seen.headers["range"] for seen in self.proxy.seen if seen.verb == "get"]

    @property
    def retried(self) -> int:
        return sum(isinstance(event, Retrying) for event in self.events)

    def fail(self, action: str, **how: Any) -> None:
        self.proxy.faults.append(Fault("get", action, **how))


@contextmanager
def shelf(**quirks: Any) -> Iterator[Shelf]:
    with (
        FakeS3(Quirks(min_part_bytes=1, **quirks), buckets=("bkt",)) as fake,
        FaultProxy(fake.endpoint_url) as proxy,
    ):
        client = plain_client(proxy.endpoint_url)
        yield Shelf(fake, proxy, client)
        client.close()


def once(act: Callable[[], object]) -> Callable[[FaultProxy], object]:
    """`act` as a fault's callback."""
    return lambda _: act()


def bodies_of(*sizes: int) -> list[bytes]:
    """Consecutive pieces of the usual payload."""
    data, bodies = payload(sum(sizes)), []
    for size in sizes:
        bodies.append(data[:size])
        data = data[size:]
    return bodies
