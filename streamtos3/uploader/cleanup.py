"""Cleaning up after a failed upload: wait, abort where that is safe, and say what is left.

Every failure ends in a known state. An upload whose commit is undecided is never aborted, one
that is to be resumed is kept, and an abort that fails is reported with the command that repeats
it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from ..errors import ExistsError
from ..runtime.cancel import CancelScope
from ..runtime.workers import WorkerPool
from .commit import Commit
from .multipart import MultipartUpload

__all__ = ["CLEANUP_S", "INTERRUPTED_CLEANUP_S", "INTERRUPTED_SETTLE_S", "Cleanup"]

INTERRUPTED_SETTLE_S = 5.0
"""How long to wait for requests in flight after a signal."""

_SETTLE_S = 60.0
_ABORT_S = 30.0

CLEANUP_S = _SETTLE_S + _ABORT_S
"""How long a cleanup takes at most."""

INTERRUPTED_CLEANUP_S = 2 * INTERRUPTED_SETTLE_S
"""How long after a signal a cleanup ends at the latest."""


class Cleanup:
    """What happens to one upload when it fails; `url` is its destination.

    `keeps_parts`: a later run is to resume the upload.
    """

    def __init__(
        self, url: str, workers: WorkerPool, scope: CancelScope, *, keeps_parts: bool
    ) -> None:
        self._url = url
        self._workers = workers
        self._scope = scope
        self.keeps_parts = keeps_parts

    def run(
        self, first: BaseException, multipart: MultipartUpload | None, commit: Commit | None
    ) -> str | None:
        """Wait for requests in flight, abort where that is safe; returns what is left, or None.

        `first` is the error that ended the upload; `multipart` and `commit` are None if the
        upload did not come that far. Takes 90 s at most, 10 s after a signal.
        """
        # Before anything was sent that changes the bucket, there is nothing to wait for.
        is_idle = multipart is None and commit is None
        is_idle = is_idle or self._workers.wait_idle(_SETTLE_S, INTERRUPTED_SETTLE_S)
        if commit is not None and commit.left_behind:
            self.sweep(multipart)
            left_behind = commit.left_behind
            if commit.is_undecided and multipart is not None and multipart.upload_id:
                left_behind += f"; the upload id is {multipart.upload_id}"
            return left_behind
        if multipart is None:
            return None
        if not multipart.upload_id:
            return self._abort_unanswered(multipart, is_idle=is_idle)
        is_gone = getattr(first, "code", None) == "NoSuchUpload"
        if self.keeps_parts and not is_gone and not isinstance(first, ExistsError):
            return (
                f"unfinished upload {multipart.upload_id} of {self._url}, kept for --resume; "
                "its parts are billed until it is completed or aborted"
            )
        return self._abort(multipart)

    def sweep(self, multipart: MultipartUpload | None) -> None:
        """Abort uploads that were begun but whose answer never arrived."""
        if multipart is not None:
            self._run_in_time(multipart.sweep)

    def _abort_unanswered(self, multipart: MultipartUpload, *, is_idle: bool) -> str | None:
        """Abort what a `create` may have begun, of which no answer arrived."""
        if self._run_in_time(multipart.abort) and is_idle:
            return None
        return f"an upload of {self._url} may have been begun; the answer with its id never arrived"

    def _abort(self, multipart: MultipartUpload) -> str | None:
        if self._run_in_time(multipart.abort):
            return None
        return (
            f"unfinished upload {multipart.upload_id} of {self._url} could not be aborted; its "
            f"parts are billed until it is: streamtos3 uploads abort {shlex.quote(self._url)} "
            f"--upload-id {shlex.quote(multipart.upload_id)} --older-than 0"
        )

    def _run_in_time(self, call: Callable[[], None]) -> bool:
        """Run `call` although the scope has failed; whether it succeeded in time."""
        workers = WorkerPool(1, self._scope)
        try:
            task = workers.submit(call, even_if_cancelled=True)
        except RuntimeError:  # the system gives no more threads
            return False
        workers.wait_idle(_ABORT_S, INTERRUPTED_CLEANUP_S)
        workers.shutdown()
        return task.has_value
