"""Requests parsed elsewhere: as they would be here, and whatever happens to the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamtos3.errors import InvalidEventError
from streamtos3.receiver import parser as module
from streamtos3.receiver.cloudevents import event_lines
from streamtos3.receiver.parser import EventParser, ParserDied
from tests.rig.receiver_rig import WAIT_S, event

BATCHED = [(b"content-type", b"application/cloudevents-batch+json")]
LARGE = json.dumps([event(number, data="x" * 1000) for number in range(100)]).encode()
MAX = 1 << 20


@contextlib.asynccontextmanager
async def parsing() -> AsyncIterator[EventParser]:
    parser = EventParser(MAX)
    try:
        yield parser
    finally:
        await parser.close()


def process_of(parser: EventParser) -> int:
    assert parser._process is not None
    return parser._process.pid


def test_large_bodies_become_the_same_lines_in_one_process() -> None:
    async def run() -> None:
        async with parsing() as parser:
            both = await asyncio.gather(*(parser.lines(BATCHED, LARGE) for _ in range(2)))
            assert both == [event_lines(BATCHED, LARGE, max_record_bytes=MAX)] * 2
            pid = process_of(parser)
            await parser.lines(BATCHED, LARGE)
            assert process_of(parser) == pid

    asyncio.run(run())


def test_small_ones_need_no_process() -> None:
    async def run() -> None:
        async with parsing() as parser:
            assert await parser.lines(BATCHED, b"[]") == []
            assert parser._process is None

    asyncio.run(run())


def test_what_is_wrong_with_a_large_one_is_said_as_here() -> None:
    bad = LARGE.replace(b'"id": "42"', b'"id": 42')

    async def run() -> None:
        async with parsing() as parser:
            with pytest.raises(InvalidEventError) as elsewhere:
                await parser.lines(BATCHED, bad)
            with pytest.raises(InvalidEventError) as here:
                event_lines(BATCHED, bad, max_record_bytes=MAX)
            assert (elsewhere.value.message, elsewhere.value.http_status) == (
                here.value.message,
                here.value.http_status,
            )
            assert len(await parser.lines(BATCHED, LARGE)) == 100

    asyncio.run(run())


def test_after_it_was_killed_there_is_another() -> None:
    async def run() -> None:
        async with parsing() as parser:
            await parser.lines(BATCHED, LARGE)
            os.kill(process_of(parser), signal.SIGSTOP)
            asked = asyncio.ensure_future(parser.lines(BATCHED, LARGE))
            await asyncio.sleep(0)
            os.kill(process_of(parser), signal.SIGKILL)
            with pytest.raises(ParserDied):
                await asked
            assert len(await parser.lines(BATCHED, LARGE)) == 100

    asyncio.run(run())


def test_who_gives_up_leaves_no_answer_for_the_next_one() -> None:
    other = json.dumps([event(number, data="y" * 1000) for number in range(90)]).encode()

    async def run() -> None:
        async with parsing() as parser:
            await parser.lines(BATCHED, LARGE)
            os.kill(process_of(parser), signal.SIGSTOP)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(parser.lines(BATCHED, LARGE), 0.1)
            assert len(await parser.lines(BATCHED, other)) == 90

    asyncio.run(run())


def test_no_signal_to_end_is_for_it() -> None:
    async def run() -> None:
        async with parsing() as parser:
            await parser.lines(BATCHED, LARGE)
            pid = process_of(parser)
            for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(pid, signum)
            assert len(await parser.lines(BATCHED, LARGE)) == 100
            assert process_of(parser) == pid

    asyncio.run(run())


def test_it_ends_with_the_sink_however_that_ends() -> None:
    program = f"""
import asyncio, sys
from tests.servers.receiver.test_parser import BATCHED, LARGE, EventParser, MAX, process_of
async def run():
    parser = EventParser(MAX)
    await parser.lines(BATCHED, LARGE)
    print(process_of(parser), flush=True)
    await asyncio.sleep({WAIT_S})
asyncio.run(run())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as sink:
        assert sink.stdout is not None
        pid = int(sink.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        sink.kill()
    deadline_s = time.monotonic() + WAIT_S
    while Path(f"/proc/{pid}/exe").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize("why", ["frozen", "no program"])
def test_where_no_process_can_be_a_thread_does_it(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that was packed into one file is not a Python that could be asked to run ours."""
    if why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    else:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")

    async def run() -> None:
        async with parsing() as parser:
            assert len(await parser.lines(BATCHED, LARGE)) == 100
            with pytest.raises(InvalidEventError):
                await parser.lines(BATCHED, LARGE[:-1])
            assert parser._process is None

    asyncio.run(run())


def test_it_works_on_a_loop_in_any_thread() -> None:
    found: list[int] = []

    async def run() -> None:
        async with parsing() as parser:
            found.append(len(await parser.lines(BATCHED, LARGE)))

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join(WAIT_S)
    assert found == [100]


def test_it_writes_no_byte_code() -> None:
    assert module.__file__ is not None
    assert "-B" in Path(module.__file__).read_text(encoding="utf-8")
