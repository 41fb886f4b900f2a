"""Reads the input into parts of the planned sizes, and computes its digests on the way.

Runs in the upload's own thread. Parts come out in order, each in a buffer of the pool, which the
caller releases once the part is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

from ..errors import SourceError
from ..integrity.digests import StreamDigests
from ..model.options import Options
from ..model.parts import PartPlan
from ..runtime.buffers import Buffer, BufferPool
from ..runtime.cancel import CancelScope
from ..sources.base import Source
from ..units import format_size

__all__ = ["Part", "Reader", "check_expected_sha256", "check_expected_size"]

_READ_BYTES = 1 << 20  # small enough to be still in the processor's cache when it is hashed


class Part:
    """A part while it is being read and stored.

    `sha256` (hex): of its bytes, for the receipt, where whoever read it has computed that.
    """

    def __init__(self, number: int, offset_bytes: int, size_bytes: int, buffer: Buffer) -> None:
        self.number = number
        self.offset_bytes = offset_bytes
        self.buffer = buffer
        self.filled_bytes = 0
        self.sha256: str | None = None
        self._size_bytes = size_bytes

    @property
    def is_full(self) -> bool:
        """Whether the part has its planned size."""
        return self.filled_bytes == self._size_bytes

    @property
    def data(self) -> memoryview:
        """The bytes read so far."""
        return self.buffer.view[: self.filled_bytes]

    @property
    def room(self) -> memoryview:
        """Where the next read goes."""
        end = min(self.filled_bytes + _READ_BYTES, self._size_bytes)
        return self.buffer.view[self.filled_bytes : end]


class Reader:
    """Reads one source to its end. `size_bytes` and `digests` cover everything read so far."""

    def __init__(
        self, source: Source, pool: BufferPool, options: Options, scope: CancelScope
    ) -> None:
        self.size_bytes = 0
        self.first_byte_at: datetime | None = None
        # An expected digest must be computed too. A dict keeps the order, and each name once.
        names = [*options.digests, "sha256"] if options.expect_sha256 else options.digests
        self.digests = StreamDigests(dict.fromkeys(names))
        self._source = source
        self._plan: PartPlan  # set by `first_parts`
        self._pool = pool
        self._options = options
        self._scope = scope

    def first_parts(self, plan: PartPlan) -> tuple[Part, Part | None]:
        """Read the first part, and the first bytes of the second; None if there are none.

        `plan` gives the sizes of all parts. A full first part is held back until the second
        begins, because a stream that fits one part goes as one request. Raises SourceError.
        """
        self._plan = plan
        first = self._new_part(1)
        self._fill(first)
        if not first.is_full:
            return first, None
        second = self._new_part(2)
        if self._read_some(second):
            return first, second
        self._pool.release(second.buffer)
        return first, None

    def rest(self, part: Part) -> Iterator[Part]:
        """Yield `part` and all that follow, each as soon as it is full or the input ends."""
        self._fill(part)
        while part.is_full:
            yield part
            part = self._new_part(part.number + 1)
            self._fill(part)
        if part.filled_bytes:
            yield part

    def check_end(self) -> None:
        """Raise SourceError if the input did not truly end, or not as the user expected."""
        self._source.finish(self._scope)
        found = f"the input ended after {self.size_bytes} bytes"
        check_expected_size(found, self.size_bytes, self._options)
        check_expected_sha256(self.digests.hexdigests().get("sha256"), self._options)

    def _new_part(self, number: int) -> Part:
        """An empty part. SourceError if S3 allows no part of this number and input is left."""
        if number > self._plan.limits.max_parts:
            probe = Part(number, self.size_bytes, 1, self._pool.acquire(1))
            if self._read_some(probe):
                raise SourceError(
                    f"the input is longer than {self._plan.limits.max_parts} parts can hold "
                    f"({format_size(self._plan.capacity_bytes)})",
                    hint="give its size by --expect-size or --size-hint, or a larger --chunksize",
                )
            return probe
        size_bytes = self._plan.size_bytes(number)
        return Part(number, self.size_bytes, size_bytes, self._pool.acquire(size_bytes))

    def _fill(self, part: Part) -> None:
        """Read until `part` is full or the input ends."""
        while not part.is_full and self._read_some(part):
            pass

    def _read_some(self, part: Part) -> bool:
        """Read once into `part`; False at the end of the input."""
        room = part.room
        count = self._source.readinto(room, self._scope)
        if not count:
            return False
        if self.first_byte_at is None:
            self.first_byte_at = datetime.now(timezone.utc)
        self.digests.update(room[:count])
        part.filled_bytes += count
        self.size_bytes += count
        expected_bytes = self._options.expect_size_bytes
        if expected_bytes is not None and self.size_bytes > expected_bytes:
            raise SourceError(f"the input is longer than the {expected_bytes} bytes expected")
        return True


def check_expected_size(found: str, size_bytes: int, options: Options) -> None:
    """SourceError, which begins with `found`, if the user expects another size than this."""
    if options.expect_size_bytes not in (None, size_bytes):
        raise SourceError(f"{found}; {options.expect_size_bytes} were expected")
    if size_bytes < options.min_size_bytes:
        raise SourceError(f"{found}; at least {options.min_size_bytes} were expected")


def check_expected_sha256(found: str | None, options: Options) -> None:
    """SourceError if the user expects the input to have another SHA-256 than this (hex)."""
    wanted = options.expect_sha256
    if wanted and wanted.lower() != found:
        raise SourceError(f"the input's SHA-256 is {found}, but {wanted} was expected")
