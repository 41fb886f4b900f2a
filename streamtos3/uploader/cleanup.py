"""Undoing an upload: settle, abort where that is safe, and say what remains in the bucket.

Every failure ends in a known state. An upload whose commit is undecided is never aborted, one
that is to be resumed is kept, and an abort that fails is told with the command that repeats it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

from ..errors import ExistsError
from ..runtime.cancel import CancelScope
from ..runtime.workers import WorkerPool
from .commit import Commit
from .multipart import MultipartUpload

__all__ = ["INTERRUPTED_SETTLE_S", "Undo"]

INTERRUPTED_SETTLE_S = 5.0
"""How long what is in flight may take to settle after a signal."""

_SETTLE_S = 60.0
_ABORT_S = 30.0


class Undo:
    """What happens to one upload when it fails; `url` is its destination.

    `keeps_parts`: a later run is to go on with the upload.
    """

    def __init__(
        self, url: str, workers: WorkerPool, scope: CancelScope, *, keeps_parts: bool
    ) -> None:
        self._url = url
        self._workers = workers
        self._scope = scope
        self._keeps_parts = keeps_parts

    def left_behind(
        self, first: BaseException, multipart: MultipartUpload | None, commit: Commit | None
    ) -> str | None:
        """Settle, and abort where that is safe; what remains, or None if nothing does.

        `first` is the error that ended the upload; `multipart` and `commit` are None as long as
        there was none.
        """
        # Before anything was sent that changes the bucket, nobody need be waited for.
        settled = multipart is None and commit is None
        settled = settled or self._workers.wait_idle(_SETTLE_S, INTERRUPTED_SETTLE_S)
        if commit is not None and commit.left_behind:
            self.sweep(multipart)
            named = multipart is not None and multipart.upload_id and commit.is_undecided
            upload = f"; the upload id is {multipart.upload_id}" if named and multipart else ""
            return f"{commit.left_behind}{upload}"
        if multipart is None:
            return None
        if not multipart.upload_id:
            return self._forget_unheard(multipart, settled)
        is_gone = getattr(first, "code", None) == "NoSuchUpload"
        if self._keeps_parts and not is_gone and not isinstance(first, ExistsError):
            return (
                f"unfinished upload {multipart.upload_id} of {self._url}, kept for --resume; "
                "its parts are billed until it is completed or aborted"
            )
        return self._abort(multipart)

    def sweep(self, multipart: MultipartUpload | None) -> None:
        """Drop what was begun and never heard of."""
        if multipart is not None:
            self._regardless(multipart.sweep)

    def _forget_unheard(self, multipart: MultipartUpload, settled: bool) -> str | None:
        """Abort what an unanswered `create` may have begun."""
        if self._regardless(multipart.abort) and settled:
            return None
        return f"an upload of {self._url} may have been begun; the answer that names it never came"

    def _abort(self, multipart: MultipartUpload) -> str | None:
        if self._regardless(multipart.abort):
            return None
        return (
            f"unfinished upload {multipart.upload_id} of {self._url} could not be aborted; its "
            f"parts are billed until it is: streamtos3 uploads abort {shlex.quote(self._url)} "
            f"--upload-id {shlex.quote(multipart.upload_id)} --older-than 0"
        )

    def _regardless(self, call: Callable[[], None]) -> bool:
        """Tidy up, whatever has failed before; whether that succeeded in time."""
        workers = WorkerPool(1, self._scope)
        try:
            task = workers.submit(call, even_if_cancelled=True)
        except RuntimeError:  # the system has no thread left to give
            return False
        workers.wait_idle(_ABORT_S, 2 * INTERRUPTED_SETTLE_S)
        workers.shutdown()
        return task.has_value
