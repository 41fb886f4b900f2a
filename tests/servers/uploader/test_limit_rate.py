"""--limit-rate: what an upload sends and a download receives, on a clock that the limit moves."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner

from streamtos3 import download, upload
from streamtos3.cli import program
from streamtos3.errors import Interrupted
from streamtos3.model.options import Options
from streamtos3.runtime.cancel import CancelScope
from streamtos3.runtime.rate import RateLimit
from tests.rig.fault_rig import KEY, Bench, interrupting
from tests.rig.proxy import Fault
from tests.rig.support import MIB, assert_nothing_left, payload

RATE = 2 * MIB


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.on_sleep()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    limit = partial(RateLimit, clock=lambda: clock.now_s, sleep=clock.sleep)
    monkeypatch.setattr("streamtos3.s3.clients.RateLimit", limit)
    return clock


def limited(bench: Bench, **changes: Any) -> Options:
    """One transfer at a time, or several would each move the clock for the same wait."""
    connection = replace(bench.options.connection, limit_bytes_per_s=RATE)
    return replace(bench.options, connection=connection, jobs=1, **changes)


def test_an_upload_and_a_download_take_the_time_that_the_limit_prescribes(
    on_seaweed: Bench, clock: Clock
) -> None:
    data = payload(20 * MIB)
    options = limited(on_seaweed)
    upload(io.BytesIO(data), on_seaweed.bucket, KEY, options=options)
    assert clock.now_s == pytest.approx(10, rel=0.05)
    read = io.BytesIO()
    download(on_seaweed.bucket, KEY, read, options=options)
    assert clock.now_s == pytest.approx(20, rel=0.05)
    assert read.getvalue() == data


def test_one_request_is_paced_too(on_seaweed: Bench, clock: Clock) -> None:
    upload(io.BytesIO(payload(4 * MIB)), on_seaweed.bucket, KEY, options=limited(on_seaweed))
    assert clock.now_s == pytest.approx(2, rel=0.05)


def test_what_is_sent_again_counts_again(on_seaweed: Bench, clock: Clock) -> None:
    options = limited(on_seaweed)
    on_seaweed.stores(Fault("put-part", "500"), connection=options.connection, jobs=1)
    sent_bytes = len(on_seaweed.data()) + on_seaweed.part_bytes
    assert clock.now_s == pytest.approx(sent_bytes / RATE, rel=0.05)


def test_a_signal_ends_an_upload_that_the_limit_holds_back(on_fake: Bench, clock: Clock) -> None:
    with CancelScope() as scope:
        clock.on_sleep = lambda: interrupting(scope)(None)
        with pytest.raises(Interrupted):
            upload(
                io.BytesIO(payload(MIB)),
                on_fake.bucket,
                KEY,
                options=limited(on_fake, chunk_bytes=MIB // 4),
                scope=scope,
            )
    assert_nothing_left(on_fake.s3, on_fake.bucket, KEY)


@pytest.mark.parametrize(
    "words",
    [
        ["put", "-", "s3://bucket/key"],
        ["run", "s3://bucket/key", "--", "true"],
        ["sink", "s3://bucket/key"],
        ["publish", ".", "s3://bucket/key"],
        ["get", "s3://bucket/key", "-"],
        ["verify", "s3://bucket/key"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_moves_objects_has_the_option(words: list[str]) -> None:
    words = [words[0], "--limit-rate", "1KB/s", *words[1:]]
    result = CliRunner().invoke(program, words, prog_name="streamtos3", input="x")
    assert result.exit_code == 2
    assert "a limit of 1000 B a second is too low" in result.stderr
