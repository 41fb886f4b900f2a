"""What an operation reports while it runs, and how a listener is called."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..results import StoredPart

__all__ = [
    "Event",
    "PartStored",
    "PartsStored",
    "RangeRead",
    "ReadStarted",
    "Resuming",
    "Retrying",
    "Started",
    "UploadCreated",
    "Warned",
    "WorkersCounted",
    "serialized",
]

_log = logging.getLogger("streamtos3")


@dataclass(frozen=True)
class Started:
    """The destination was checked and reading begins. `length_bytes` is None where unknown."""

    length_bytes: int | None
    part_bytes: int
    capacity_bytes: int
    parts_grow: bool


@dataclass(frozen=True)
class ReadStarted:
    """The object was found, and reading of `length_bytes` begins (None where unknown)."""

    length_bytes: int | None


@dataclass(frozen=True)
class RangeRead:
    """Another `size_bytes` were read and passed on, in order; `in_flight` ranges are requested."""

    size_bytes: int
    in_flight: int = 0


@dataclass(frozen=True)
class UploadCreated:
    """A multipart upload was created."""

    upload_id: str


@dataclass(frozen=True)
class Resuming:
    """An earlier run's unfinished upload is continued; `parts` of its parts hold `size_bytes`."""

    upload_id: str
    parts: int
    size_bytes: int


@dataclass(frozen=True)
class PartStored:
    """A part (or the one request) is stored and its ETag compared; `in_flight` are being sent."""

    part: StoredPart
    in_flight: int = 0


@dataclass(frozen=True)
class PartsStored:
    """Parts that a worker of a cluster has stored meanwhile; told to its client alone.

    The client reports each of them as `PartStored`.
    """

    parts: tuple[StoredPart, ...]


@dataclass(frozen=True)
class Retrying:
    """A request failed and will be tried again in `wait_s` seconds.

    `action` says what the request is for, `reason` why try number `tries` failed.
    """

    action: str
    tries: int
    wait_s: float
    reason: str


@dataclass(frozen=True)
class Warned:
    """Something the operator should know, though the upload continues."""

    message: str


@dataclass(frozen=True)
class WorkersCounted:
    """So many processes of a cluster take part now; told when the number changes."""

    workers: int


Event = (
    ReadStarted
    | RangeRead
    | Started
    | UploadCreated
    | Resuming
    | PartStored
    | PartsStored
    | Retrying
    | Warned
    | WorkersCounted
)


def serialized(on_event: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Wrap `on_event`: one call at a time, and an exception that it raises is only logged."""
    lock = threading.Lock()

    def emit(event: Event) -> None:
        with lock:
            try:
                if on_event is not None:
                    on_event(event)
            except Exception:  # noqa: BLE001 - logged; a listener must not fail the upload
                _log.exception("the listener failed on %r", event)

    return emit
