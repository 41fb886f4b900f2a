"""The exception tree: every failure has one meaning, one exit status and one hint.

Library code raises from this tree and nothing else; `cli` is the only place that prints or
exits. The exit statuses are grouped by what the operator does next; the table is in
docs/guarantees.org.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # for annotations only: loading it takes a tenth of --help's time
    from .results import ReadReport, Receipt

__all__ = [
    "AbsentError",
    "ConditionError",
    "CredentialsError",
    "ExistsError",
    "IntegrityError",
    "Interrupted",
    "InvalidEventError",
    "OutputClosedError",
    "OutputError",
    "RangeIgnoredError",
    "RefusedError",
    "ReportError",
    "RetriesUsedUpError",
    "SourceError",
    "SpoolError",
    "SpoolFullError",
    "SpoolTooSmallError",
    "StoreError",
    "StreamToS3Error",
    "TransientError",
    "UndecidedError",
    "UnprovedError",
    "UnprovedReadError",
    "UnprovedReceiptError",
    "UnreachableError",
    "UnsupportedError",
    "UsageError",
    "leave_behind",
    "leave_behind_of",
    "os_reason",
]

_LONGEST_REASON = 300
_THROTTLED_CODES = frozenset({"SlowDown", "ServiceUnavailable", "Throttling", "TooManyRequests"})
_leaving = threading.Lock()


class StreamToS3Error(Exception):
    """Base of all errors a caller may see.

    `message` says what was attempted and what came back, in one line; `hint` names the next
    step; `left_behind` says what this upload leaves in the bucket, None if nothing.
    """

    exit_status: ClassVar[int] = 1

    def __init__(
        self, message: str, *, hint: str | None = None, left_behind: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.left_behind = left_behind

    def __reduce__(self) -> tuple[object, ...]:
        """To travel from a worker: by what it holds, as some classes demand more to be made."""
        return _restored, (type(self), self.args, vars(self))


def _restored(
    kind: type[StreamToS3Error], arguments: tuple[object, ...], state: dict[str, object]
) -> StreamToS3Error:
    error = kind.__new__(kind, *arguments)
    vars(error).update(state)
    return error


class UsageError(StreamToS3Error):
    """The command line, or an option given to the library, is invalid or contradicts another."""

    exit_status = 2


class SourceError(StreamToS3Error):
    """The input failed. Never raised for anything the store did (docs/design.org, invariant 10)."""

    exit_status = 7


class SpoolError(StreamToS3Error):
    """Records could not be made durable in the spool; those that were stay there."""

    exit_status = 7


class SpoolFullError(SpoolError):
    """The spool has reached its limit; there is room again once some of it has been uploaded."""


class SpoolTooSmallError(SpoolError):
    """Records that the spool could not hold even if nothing else were in it."""


class InvalidEventError(SourceError):
    """A request to a sink is not a valid CloudEvent; nothing of it is stored.

    `http_status` is the status of the answer. The message is truncated: it may quote at length.
    """

    def __init__(self, message: str, *, http_status: int = 400) -> None:
        super().__init__(message[:_LONGEST_REASON])
        self.http_status = http_status

    def at(self, index: int) -> InvalidEventError:
        """This error for the event at `index` of a batch, counted from 0."""
        return InvalidEventError(f"event {index}: {self.message}", http_status=self.http_status)


class IntegrityError(StreamToS3Error):
    """What the service holds or sends is not what was read."""

    exit_status = 9


class UnprovedError(StreamToS3Error):
    """The object is stored, but nothing this endpoint answers proves it."""

    exit_status = 10

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        left_behind: str | None = None,
        receipt: Receipt,
    ) -> None:
        super().__init__(message, hint=hint, left_behind=left_behind)
        self.receipt = receipt


class UnprovedReadError(StreamToS3Error):
    """The object was read or looked at, but nothing proves that it is what was stored."""

    exit_status = 10

    def __init__(self, message: str, *, hint: str | None = None, report: ReadReport) -> None:
        super().__init__(message, hint=hint)
        self.report = report


class UnprovedReceiptError(StreamToS3Error):
    """Nothing in a receipt is wrong, but nothing proves all of what it was asked to prove."""

    exit_status = 10


class ReportError(StreamToS3Error):
    """Stored and proved, but the receipt, log or report could not be written."""

    exit_status = 11


class OutputError(StreamToS3Error):
    """What was read from the store could not be written to the output."""

    exit_status = 11


class OutputClosedError(OutputError):
    """The reader of the output went away, as `head` does; the program exits as by SIGPIPE."""


class StoreError(StreamToS3Error):
    """The service answered with an error, or did not answer.

    `code` is the S3 error code (None where there was no answer), `http_status` and
    `request_id` what the answer carried.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.http_status = http_status
        self.request_id = request_id


class CredentialsError(StoreError):
    """No usable credentials: none found, malformed, unknown to the service or expired."""

    exit_status = 3


class UnreachableError(StoreError):
    """The endpoint was never reached, or what answers there does not speak S3."""

    exit_status = 4


class RefusedError(StoreError):
    """The service refuses for good; trying again cannot help."""

    exit_status = 5


class RangeIgnoredError(RefusedError):
    """A range was asked for, and the answer is the whole object."""


class UnsupportedError(RefusedError):
    """The service does not have what was asked for."""


class AbsentError(RefusedError):
    """There is no such bucket, object or upload; `code` says which."""


class ConditionError(RefusedError):
    """412: the condition of a conditional write was not met."""


class ExistsError(StoreError):
    """The object exists and overwriting was not asked for."""

    exit_status = 6


class RetriesUsedUpError(StoreError):
    """A failure that may pass by waiting lasted longer than the retry policy allows."""

    exit_status = 8


class UndecidedError(RetriesUsedUpError):
    """The commit was sent and its answer never came: the object may or may not be there.

    Never followed by an abort: that could destroy a stored object on some servers.
    """


class TransientError(StoreError):
    """A failure worth another try. `runtime.retry` handles it; a caller never sees one.

    `throttled`: the service asks for less. `damaged`: the bytes did not arrive as sent.
    `refused`: a refusal that may be a stranger's on the way, and is final if it is repeated.
    `expired`: new credentials are needed first. `sent`: the request may have left. `answered`:
    an HTTP answer came. `retry_after_s`: what the service asked for, in seconds.
    """

    exit_status = 8

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        damaged: bool = False,
        refused: bool = False,
        expired: bool = False,
        sent: bool = True,
        answered: bool = True,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(
            message, hint=hint, code=code, http_status=http_status, request_id=request_id
        )
        self.throttled = code in _THROTTLED_CODES
        self.damaged = damaged
        self.refused = refused
        self.expired = expired
        self.sent = sent
        self.answered = answered
        self.retry_after_s = retry_after_s


class Interrupted(BaseException):
    """A signal ended the work. Not an `Exception`, so that no `except Exception` swallows it."""

    def __init__(self, signum: int) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"interrupted by {name}")
        self.message = f"interrupted by {name}"
        self.hint: str | None = None
        self.left_behind: str | None = None
        self.signum = signum
        self.exit_status = 128 + signum


def leave_behind(error: BaseException, what: str, upload_ids: Iterable[str] = ()) -> None:
    """Note on `error` that `what` is left in the bucket; what was noted before stays.

    `upload_ids`: those of unfinished uploads among it, for programs; `error.upload_ids` has all.

    One error may end many uploads at the same time, each of which may leave something.
    """
    with _leaving:
        before = vars(error).get("left_behind")
        # By `vars`, because an unexpected error may be of any class and must carry it too.
        vars(error)["left_behind"] = f"{before}; {what}" if before else what
        vars(error)["upload_ids"] = (*vars(error).get("upload_ids", ()), *upload_ids)


def leave_behind_of(later: BaseException, first: BaseException) -> None:
    """Note on `first`, the error that is reported, what the upload that failed with `later` left.

    When the service becomes unreachable each of many uploads fails, and one error is reported.
    """
    left_behind = getattr(later, "left_behind", None)
    if later is not first and left_behind:
        leave_behind(first, left_behind, getattr(later, "upload_ids", ()))


def os_reason(error: BaseException) -> str:
    """Why the system refused, in lower case and without the error number: `permission denied`."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).lower()
