"""What an operation returns: receipts, reports and figures, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

__all__ = [
    "CommandReport",
    "Proof",
    "ReadReport",
    "Receipt",
    "RetriedRequest",
    "SinkFigures",
    "StoredPart",
]


@dataclass(frozen=True)
class StoredPart:
    """One part whose ETag was compared. `md5` and `etag` are hex, without quotes.

    `etag_is_md5` is False if the service encrypts and its ETag is therefore not an MD5.
    `resumed`: stored by an earlier run and not sent again. `checksum`: S3's additional
    checksum in base64, where one was asked for. `stored_at`: when its ETag was compared, or of a
    resumed part when the service says that it was stored; None where nobody knows. `worker` and
    `sha256` (hex): which process of a cluster stored it, and what it read; None for one machine.
    A cluster's client stores what fits one request itself: then `worker` alone is None.
    """

    number: int
    offset_bytes: int
    size_bytes: int
    md5: str
    etag: str
    tries: int
    etag_is_md5: bool = True
    resumed: bool = False
    checksum: str | None = None
    stored_at: datetime | None = None
    worker: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class RetriedRequest:
    """A request that failed at `at`, on try number `tries`, and was sent again after `wait_s`."""

    at: datetime
    action: str
    tries: int
    wait_s: float
    reason: str


@dataclass(frozen=True)
class Proof:
    """What proved the parts and the object; None where nothing did."""

    parts: str | None
    object: str | None


@dataclass(frozen=True)
class CommandReport:
    """The producer that `run` started: its words, exit status and run time.

    `exit_status` is as a shell reports it: 128+n if signal n ended it.
    """

    command: tuple[str, ...]
    exit_status: int
    run_time_s: float


@dataclass(frozen=True)
class Receipt:
    """What was stored, and what proved it. docs/formats.org describes each field.

    Times are UTC. `etag_expected` and `etag_found` are without quotes; `first_byte_at` is None
    for an empty stream; `upload_id` is None for a stream sent in one request; `token` is
    None where an earlier run began the upload (its parts that were kept are `resumed`).
    `retried` holds the first 10,000 of `retries`. `source` is what messages call the input;
    `utc_offset` (`+01:00`) that of this machine's own time at the end.
    `checksums`: CRCs of the whole in base64, by name, where the parts' were combined.
    """

    bucket: str
    key: str
    endpoint: str
    region: str | None
    version_id: str | None
    size_bytes: int
    etag_expected: str
    etag_found: str | None
    parts: tuple[StoredPart, ...]
    part_plan: str
    digests: Mapping[str, str]
    proof: Proof
    retries: int
    upload_id: str | None
    token: str | None
    started_at: datetime
    first_byte_at: datetime | None
    ended_at: datetime
    host: str
    user: str
    command_line: tuple[str, ...] | None
    program: str
    libraries: Mapping[str, str]
    command: CommandReport | None = None
    key_template: str | None = None
    case: Mapping[str, str] = field(default_factory=dict)
    retried: tuple[RetriedRequest, ...] = ()
    source: str | None = None
    utc_offset: str | None = None
    platform: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1


@dataclass(frozen=True)
class SinkFigures:
    """What a sink has done since it began, and what it still holds.

    Bytes are those of the records, before compression. `spool_bytes` is what the spool takes on
    the disk; `oldest_age_s` how long ago the oldest record that is not stored yet was received,
    in seconds, None where all are.
    """

    received_records: int = 0
    received_bytes: int = 0
    stored_records: int = 0
    stored_bytes: int = 0
    stored_objects: int = 0
    spool_bytes: int = 0
    retries: int = 0
    oldest_age_s: float | None = None


@dataclass(frozen=True)
class ReadReport:
    """What was read back or looked at, and what proved it. docs/formats.org describes each field.

    `offset_bytes` and `size_bytes`: the bytes that were delivered or compared. `compared` names
    what was compared. `proof` is None where nothing proves the object; `digests` are
    of all its bytes, where they were read; `metadata` is the object's, decoded.
    """

    bucket: str
    key: str
    endpoint: str
    version_id: str | None
    object_bytes: int
    etag: str | None
    offset_bytes: int
    size_bytes: int
    compared: tuple[str, ...]
    proof: str | None
    digests: Mapping[str, str]
    retries: int
    started_at: datetime
    ended_at: datetime
    program: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    schema: int = 1
