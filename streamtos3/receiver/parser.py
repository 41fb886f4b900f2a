"""Requests become lines: small ones at once, large ones in a process of their own.

A batch of 8 MiB takes seconds to parse, in which Python would run nothing else, in no thread. So
a second process parses what is larger than 64 KiB, one request at a time, begun with the first of
them. It ends when this one does, however that ends: its standard input is then closed. Where no
such process can be, a thread has to do; the others then wait longer for their turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import struct
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

from ..errors import InvalidEventError
from .cloudevents import event_lines

__all__ = ["EventParser", "ParserDied", "parse_requests"]

_LARGE_BYTES = 64 * 1024
_LENGTH = struct.Struct(">Q")
_BUFFER_BYTES = 2**20
# No byte code is written, and modules are found where this process finds them.
_PROGRAM = """
import sys
sys.path[:] = {path!r}
from streamtos3.receiver.parser import parse_requests
with open(0, "rb") as requests, open(1, "wb") as answers:
    parse_requests(requests, answers)
"""

_Headers = Sequence[tuple[bytes, bytes]]


class ParserDied(Exception):
    """The process that parses ended before it had answered; the next request gets another."""


class EventParser:
    """`event_lines` for an event loop that has others to answer. For one loop."""

    def __init__(self, max_record_bytes: int) -> None:
        self._max_record_bytes = max_record_bytes
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def lines(self, headers: _Headers, body: bytes) -> list[bytes]:
        """As `event_lines`. ParserDied where the process was killed meanwhile."""
        if len(body) <= _LARGE_BYTES:
            return event_lines(headers, body, max_record_bytes=self._max_record_bytes)
        request = list(headers), body, self._max_record_bytes
        async with self._turn:
            if await self._can_ask():
                found = await self._ask(pickle.dumps(request))
                answer = pickle.loads(found)
            else:
                answer = await asyncio.to_thread(_answer, *request)
        if isinstance(answer, InvalidEventError):
            raise answer
        lines: list[bytes] = answer
        return lines

    async def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _can_ask(self) -> bool:
        """Whether there is a process to ask, begun now if need be."""
        if self._process is None and not getattr(sys, "frozen", False):  # then it is no Python
            with contextlib.suppress(OSError):
                self._process = await self._start()
        return self._process is not None

    async def _ask(self, request: bytes) -> bytes:
        process = self._process
        assert process is not None
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(_LENGTH.pack(len(request)) + request)
            await process.stdin.drain()
            (size_bytes,) = _LENGTH.unpack(await process.stdout.readexactly(_LENGTH.size))
            return await process.stdout.readexactly(size_bytes)
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise ParserDied from error
        except asyncio.CancelledError:  # its answer would be taken for the next one's
            await self.close()
            raise

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-B", "-c", _PROGRAM.format(path=sys.path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_BUFFER_BYTES,
            start_new_session=True,  # a Ctrl-C is not for it
        )


def parse_requests(requests: BinaryIO, answers: BinaryIO) -> None:
    """What the process does: answer each request until there are no more.

    A signal to end is for the sink, which first has what is under way parsed.
    """
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        while len(length := requests.read(_LENGTH.size)) == _LENGTH.size:
            request = requests.read(*_LENGTH.unpack(length))
            answer = pickle.dumps(_answer(*pickle.loads(request)))
            answers.write(_LENGTH.pack(len(answer)) + answer)
            answers.flush()


def _answer(headers: _Headers, body: bytes, max_record_bytes: int) -> Any:
    try:
        return event_lines(headers, body, max_record_bytes=max_record_bytes)
    except InvalidEventError as error:
        return InvalidEventError(error.message, http_status=error.http_status)
