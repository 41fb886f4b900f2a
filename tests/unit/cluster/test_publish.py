"""What the client of a cluster keeps of a publication, and how it cuts the batches."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator

from streamtos3.cluster.address import parse_address
from streamtos3.cluster.processes import ClusterOptions
from streamtos3.cluster.publish import (
    BatchReport,
    ClusterPublication,
    PackedEntries,
    PublishOrder,
    cut_batches,
)
from streamtos3.cluster.session import Operation
from streamtos3.model.options import Options
from streamtos3.publish.manifest import Entry
from streamtos3.runtime.cancel import CancelScope

BATCH_FILES = 100


def entry(number: int) -> Entry:
    path = f"directory {number // 1000}/file {number}"
    etag = hashlib.md5(b"").hexdigest()
    sha256 = hashlib.sha256(b"").hexdigest()
    return Entry(path, "b", path, None, "http://h", None, 0, etag, sha256, "md5-etag", False, False)


def batch(number: int) -> tuple[Entry, ...]:
    return tuple(map(entry, range(number * BATCH_FILES, (number + 1) * BATCH_FILES)))


def count_held() -> int:
    """How many reports and entries there are as objects, in this process."""
    gc.collect()
    return sum(type(each) in (BatchReport, Entry) for each in gc.get_objects())


def test_packed_entries_come_back_as_they_were_in_the_order_of_the_batches() -> None:
    packed = PackedEntries()
    for number in reversed(range(100)):
        packed.add(number, batch(number))
    packed.add(100, ())
    assert list(packed) == [entry(number) for number in range(100 * BATCH_FILES)]
    assert len(packed) == packed.count == 100 * BATCH_FILES
    assert not PackedEntries()


def test_while_the_first_batch_is_late_no_report_of_another_one_is_held() -> None:
    held = count_held()
    with CancelScope() as scope:
        how = ClusterOptions(parse_address("local:2"))
        publication = ClusterPublication(
            "/nowhere", "bucket", "", Options(), how=how, files=4, scope=scope
        )

        def report(number: int) -> None:
            files = tuple((each.path, 0) for each in batch(number))
            operation = Operation("id", "bucket", Options())
            order = PublishOrder(operation, number, "/nowhere", "", files, 4, False)
            publication._take(order, BatchReport("worker", batch(number), ()))

        for number in range(1, 20):
            report(number)
        assert count_held() == held
        assert publication.specification.objects == 19 * BATCH_FILES
        report(0)
        found = publication.specification
    assert list(found.entries) == [entry(number) for number in range(20 * BATCH_FILES)]


def test_batches_have_about_equal_bytes() -> None:
    def files() -> Iterator[tuple[str, int]]:
        yield from ((f"f{number}", number) for number in range(100))

    batches = list(cut_batches(files(), 10, 300))
    assert [each for batch in batches for each in batch] == list(files())
    assert max(map(len, batches)) == 10
    assert all(sum(size for _, size in batch) <= 300 for batch in batches)
