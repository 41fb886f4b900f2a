"""A group commit for MD5s: threads that want one at the same time get theirs from one call.

Several MD5s cost hardly more than one (`integrity.md5`). Whoever comes first computes them for all
who wait at that moment; who comes meanwhile waits for the next turn. So nobody is held back for
company, and the more there is to do, the more is done at once.
"""

from __future__ import annotations

import threading

from ..integrity.digests import part_md5
from ..integrity.md5 import md5_method, md5s

__all__ = ["Md5Group"]


class _Request:
    """What one thread waits for: a digest, or the error of the call that was to compute it."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.digest: bytes | None = None
        self.error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.digest is not None or self.error is not None


class Md5Group:
    """Shared by the threads of one operation."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: list[_Request] = []
        self._is_busy = False

    def digest(self, data: memoryview) -> bytes:
        """Binary MD5 of `data`, which must not change meanwhile.

        Waits for at most two computations: the one under way, and its own. Raises what the
        computation raises (MemoryError), in every thread whose data was part of it.
        """
        if md5_method().lanes == 1:  # hashlib: each thread computes its own, side by side
            return part_md5(data)
        request = _Request(data)
        with self._condition:
            self._waiting.append(request)
            self._condition.wait_for(lambda: request.is_done or not self._is_busy)
            if not request.is_done:
                self._is_busy = True
                batch, self._waiting = self._waiting, []
        if not request.is_done:
            self._compute(batch)
        if request.error is not None:
            raise request.error
        assert request.digest is not None
        return request.digest

    def _compute(self, batch: list[_Request]) -> None:
        """Answer all of `batch`, whatever happens, and let the next turn begin."""
        digests: list[bytes] = []
        error: BaseException | None = None
        try:
            digests = md5s([request.data for request in batch])
        except BaseException as caught:  # noqa: BLE001 - raised in every thread that waits for it
            error = caught
        with self._condition:
            for request, digest in zip(batch, digests, strict=error is None):
                request.digest = digest
            for request in batch:
                request.error = error
            self._is_busy = False
            self._condition.notify_all()
