"""Splits a stream of bytes into lines, each with its newline, and hands groups of them to a sink.

Groups and not single lines, because making records durable costs once per group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..errors import Interrupted, SourceError, SpoolError, StreamToS3Error
from ..runtime.cancel import Cancelled, CancelScope
from ..sources.base import Source

__all__ = ["LineReader", "LineSink", "store_lines"]

_READ_BYTES = 1 << 20
# A line costs some fifty bytes besides its own, and a megabyte may be a million of them.
_MANY_LINES = 16_384
_FEW_BYTES = 1 << 16


class LineReader:
    """Reads the lines of `source` to its end."""

    def __init__(self, source: Source, max_record_bytes: int) -> None:
        self._source = source
        self._max_bytes = max_record_bytes
        self._rest = bytearray()
        self._ahead = b""
        self._refused = 0
        self._lines = 0

    def take_unfinished(self) -> bytes:
        """The bytes read since the last newline: a signal may leave some. Then there are none."""
        unfinished = bytes(self._rest)
        self._rest.clear()
        return unfinished

    @property
    def remaining(self) -> int:
        """How many lines were read and are in no group, one whose end has not come included."""
        text = bytes(self._rest) + self._ahead
        return self._refused + text.count(b"\n") + (text[-1:] not in (b"", b"\n"))

    def groups(self, scope: CancelScope) -> Iterator[list[bytes]]:
        """Lists of whole lines, as they come; the last line may lack its newline.

        Raises SourceError when the input fails or a line has more than `max_record_bytes`
        before its newline; the lines before it come first. Cancelled when the scope fails.
        """
        view = memoryview(bytearray(_READ_BYTES))
        while count := self._source.readinto(view, scope):
            data = bytes(view[:count])
            step_bytes = count if data.count(b"\n") <= _MANY_LINES else _FEW_BYTES
            for start in range(0, count, step_bytes):
                self._ahead = data[start + step_bytes :]
                yield from self._taken(data[start : start + step_bytes])
        self._source.finish(scope)
        if self._rest:
            last = bytes(self._rest)
            self._rest.clear()
            yield [last]

    def _taken(self, data: bytes) -> Iterator[list[bytes]]:
        """The lines that end in `data`; what comes after the last one is kept."""
        lines = data.split(b"\n")
        self._rest += lines[0]
        if len(lines) > 1:
            whole = [bytes(self._rest), *lines[1:-1]]
            self._rest = bytearray(lines[-1])
            yield from self._checked(whole)
        if len(self._rest) > self._max_bytes:
            raise self._too_long(self._lines + 1)

    def _checked(self, lines: list[bytes]) -> Iterator[list[bytes]]:
        good = next((n for n, line in enumerate(lines) if len(line) > self._max_bytes), len(lines))
        self._lines += good
        self._refused = len(lines) - good
        if good:
            yield [line + b"\n" for line in lines[:good]]
        if self._refused:
            raise self._too_long(self._lines + 1)

    def _too_long(self, number: int) -> SourceError:
        return SourceError(
            f"line {number} of {self._source.name} is longer than {self._max_bytes} bytes",
            hint="--max-record allows longer ones; the lines before it are stored",
        )


class LineSink(Protocol):
    """What lines go into; see `sink.Sink`."""

    reading: CancelScope

    def append(self, records: Sequence[bytes]) -> None:
        """Take whole lines."""

    def append_unfinished(self, data: bytes) -> None:
        """Take what was read of a line."""

    def count_unstored(self, records: int) -> None:
        """Note lines that were read and will not be appended."""

    def finish(self, failed: StreamToS3Error | None = None) -> None:
        """Store everything, and raise what went wrong; `failed` is what ended the reading."""


def store_lines(source: Source, sink: LineSink, max_record_bytes: int) -> None:
    """Read lines until the input ends or the sink is stopped, and store them all.

    Raises SourceError where the input failed or a line is too long, after what came before it
    was stored; and what `Sink.append` and `Sink.finish` raise.
    """
    failed: SourceError | SpoolError | None = None
    reader = LineReader(source, max_record_bytes)
    try:
        source.start()
        _read_lines(reader, sink)
    except Cancelled:
        pass  # `finish` knows why
    except (SourceError, SpoolError) as error:
        failed = error
    sink.count_unstored(reader.remaining)
    sink.finish(failed)
    if failed is not None:
        raise failed


def _read_lines(reader: LineReader, sink: LineSink) -> None:
    try:
        for group in reader.groups(sink.reading):
            sink.append(group)
    except Cancelled:
        if not isinstance(sink.reading.error, Interrupted):
            raise
        unfinished = reader.take_unfinished()
        if unfinished:
            sink.append_unfinished(unfinished)
