"""The policies of the upload queue, with an `upload` that asks no server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from streamtos3.errors import ExistsError, Interrupted, RefusedError
from streamtos3.model.events import Event, Warned
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Options
from streamtos3.results import Receipt
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sink.spool import ObjectHeader, Spool, SpoolFile
from streamtos3.sink.upload_queue import UploadQueue

WAIT_S = 30
AT = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


class Bench:
    """A queue whose uploads call `behave(key, scope)`; `reports` are the keys reported stored."""

    def __init__(self, directory: str, settings: ObjectSettings) -> None:
        self.spool = Spool(directory, 1 << 20)
        self.reading = CancelScope()
        self.reports: list[str] = []
        self.events: list[Event] = []
        self.resumed: dict[str, bool] = {}
        self.locked_until: dict[str, datetime | None] = {}
        self.behave: Callable[[str, CancelScope], None] = lambda key, scope: None
        self.queue = UploadQueue(
            Options(settings=settings),
            2,
            cast(Any, object()),
            self.reading,
            lambda receipt: self.reports.append(cast(str, receipt)),
            self.events.append,
        )

    def upload(
        self,
        source: object,
        bucket: str,
        key: str,
        *,
        options: Options,
        scope: CancelScope,
        **_: Any,
    ) -> Receipt:
        self.resumed[key] = options.resume
        self.locked_until[key] = options.settings.lock_until
        self.behave(key, scope)
        return cast(Receipt, key)

    def file(self, key: str, data: bytes = b"a\nb\n") -> SpoolFile:
        file = self.spool.create(ObjectHeader("bucket", key, AT.isoformat(), None))
        file.append(data, data.count(b"\n"))
        self.spool.end(file)
        return file

    def enqueue(self, *keys: str, recovered: bool = False) -> None:
        with self.queue.changed:
            for key in keys:
                self.queue.add_pending(key, 5.0)
                self.queue.enqueue_file(self.spool, self.file(key), recovered=recovered)

    def wait(self) -> None:
        with self.queue.changed:
            assert self.queue.changed.wait_for(lambda: not self.queue.unfinished, WAIT_S)

    def keys_in_spool(self) -> list[str]:
        return sorted(file.header.key for file in self.spool.recover())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    settings = ObjectSettings(lock_mode="GOVERNANCE", lock_until=AT, lock_for=timedelta(days=9))
    bench = Bench(str(tmp_path / "spool"), settings)
    monkeypatch.setattr("streamtos3.sink.upload_queue.upload_one_of_many", bench.upload)
    yield bench
    bench.queue.close()
    bench.reading.close()
    bench.spool.close()


def test_a_lock_of_some_days_begins_with_the_object_and_not_with_the_sink(bench: Bench) -> None:
    """Or a sink that runs for longer than that would end: the lock would be over at once."""
    before = datetime.now(timezone.utc)
    bench.enqueue("one")
    bench.wait()
    until = bench.locked_until["one"]
    assert until is not None
    assert until - before > timedelta(days=8.9)


def test_a_stored_file_leaves_the_spool_and_is_counted_and_reported(bench: Bench) -> None:
    bench.enqueue("one")
    bench.wait()
    figures = bench.queue.figures()
    assert (figures.stored_objects, figures.stored_records, figures.stored_bytes) == (1, 2, 4)
    assert (figures.oldest_age_s, bench.reports, bench.keys_in_spool()) == (None, ["one"], [])


def test_the_first_failure_ends_the_reading_and_not_the_upload_beside_it(bench: Bench) -> None:
    began, failed = threading.Event(), threading.Event()
    refused = RefusedError("access denied")

    def behave(key: str, scope: CancelScope) -> None:
        if key == "bad":
            assert began.wait(WAIT_S)
            raise refused
        began.set()
        assert failed.wait(WAIT_S)
        scope.check()

    bench.behave = behave
    bench.enqueue("good", "bad")
    with bench.queue.changed:
        assert bench.queue.changed.wait_for(lambda: bench.queue.unfinished == 1, WAIT_S)
    failed.set()
    bench.wait()
    assert (bench.queue.error, bench.reading.error) == (refused, refused)
    assert (bench.reports, bench.keys_in_spool()) == (["good"], ["bad"])
    with pytest.raises(Cancelled):
        bench.queue.check()


def test_after_a_failure_a_file_stays_in_the_spool_for_the_next_run(bench: Bench) -> None:
    bench.queue.fail(RefusedError("access denied"))
    bench.enqueue("later")
    bench.wait()
    assert (bench.reports, bench.resumed, bench.keys_in_spool()) == ([], {}, ["later"])
    assert (bench.queue.figures().oldest_age_s or 0) >= 5


def test_abort_cancels_the_uploads_under_way(bench: Bench) -> None:
    began = threading.Event()

    def behave(key: str, scope: CancelScope) -> None:
        began.set()
        with scope.condition:
            scope.wait_for(lambda: False)

    bench.behave = behave
    bench.enqueue("one")
    assert began.wait(WAIT_S)
    bench.queue.abort(15)
    bench.wait()
    assert isinstance(bench.queue.error, Interrupted)
    assert (bench.reports, bench.keys_in_spool()) == ([], ["one"])


def already_there(key: str, scope: CancelScope) -> None:
    raise ExistsError("the object exists")


def test_an_object_stored_before_a_crash_is_verified_and_not_stored_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[str] = []
    monkeypatch.setattr(
        "streamtos3.sink.upload_queue.verify_object",
        lambda bucket, key, **_: verified.append(key),
    )
    bench.behave = already_there
    bench.enqueue("one", recovered=True)
    bench.wait()
    assert (verified, bench.keys_in_spool(), bench.queue.error) == (["one"], [], None)
    assert (bench.queue.stored_objects, bench.reports) == (1, [])  # its receipt was lost
    assert any(isinstance(event, Warned) for event in bench.events)


def test_an_object_that_exists_is_an_error_where_no_crash_explains_it(bench: Bench) -> None:
    bench.behave = already_there
    bench.enqueue("one")
    bench.wait()
    assert isinstance(bench.queue.error, ExistsError)
    assert bench.keys_in_spool() == ["one"]


@pytest.mark.parametrize(
    ("recovered", "data", "resumed"),
    [
        (True, b"x" * (1 << 19) + b"\n", True),
        (True, b"x\n", False),
        (False, b"x" * (1 << 19) + b"\n", False),
    ],
)
def test_only_a_long_file_of_an_earlier_process_looks_for_an_upload_to_resume(
    bench: Bench, recovered: bool, data: bytes, resumed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.queue, "_options", Options(chunk_bytes=1 << 20))
    with bench.queue.changed:
        bench.queue.enqueue_file(bench.spool, bench.file("one", data), recovered=recovered)
    bench.wait()
    assert bench.resumed == {"one": resumed}
