"""A publication of 1,000,000 empty files that exist in a listing only: prints objects and peak MiB.

The workers report at once, without Dask, but the first batch is reported last. Everything else is
the client as it is, with the fake S3 in another process' place: the same, which only makes the peak
larger.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from streamtos3.cluster import publish
from streamtos3.cluster.address import parse_address
from streamtos3.cluster.processes import ClusterOptions
from streamtos3.model.options import Connection, Options
from streamtos3.publish.manifest import Entry
from streamtos3.publish.tree import TreeEntry
from streamtos3.runtime.cancel import CancelScope
from tests.rig.fake_s3 import FakeS3

COUNT = 1_000_000
ETAG = hashlib.md5(b"").hexdigest()


def listing() -> Iterator[TreeEntry]:
    for number in range(COUNT):
        yield TreeEntry(f"directory {number // 1000}/file {number}", "file", 0)


def entry(path: str) -> Entry:
    """As a worker reports it, but that the digest is another one each time, as digests are."""
    sha256 = hashlib.sha256(path.encode()).hexdigest()
    return Entry(
        path, "bucket", path, None, "http://h", None, 0, ETAG, sha256, "md5-etag", False, False
    )


class Prompt:
    """A dispatcher whose workers report at once, but for the first batch, which is late."""

    threads = 16

    def run(self, orders: Iterator[Any], take: Callable[[Any, Any], None]) -> None:
        late = list(islice(orders, 1))
        for order in chain(orders, late):
            entries = tuple(entry(path) for path, _ in order.files)
            take(order, publish.BatchReport("worker", entries, ()))


@contextmanager
def prompt(*_: Any) -> Iterator[Any]:
    yield SimpleNamespace(dispatcher=Prompt(), operation=None)


def main() -> None:
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    vars(publish)["running_on"] = prompt
    with FakeS3(buckets=["bucket"]) as fake, CancelScope() as scope:
        publication = publish.ClusterPublication(
            "/nowhere",
            "bucket",
            "",
            Options(connection=Connection(endpoint_url=fake.endpoint_url, region="us-east-1")),
            how=ClusterOptions(parse_address("local:2")),
            files=4,
            scope=scope,
            listing=listing,
        )
        publication.run()
        objects = sum(1 for piece in publication.document if '"path"' in piece)
    # Not by getrusage, which begins with what the parent held: see tests/rig/peak.py.
    peak_kib = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    print(objects, peak_kib // 1024)


if __name__ == "__main__":
    main()
