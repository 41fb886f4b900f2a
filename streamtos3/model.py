"""The values that travel between the modules: frozen, typed, without behaviour of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from .parts import DEFAULT_CHUNK_BYTES, S3_LIMITS, Limits
from .settings import ObjectSettings

__all__ = [
    "Addressing",
    "ByteRange",
    "CommandReport",
    "Connection",
    "Credentials",
    "Event",
    "Options",
    "PartStored",
    "Proof",
    "RangeRead",
    "ReadReport",
    "ReadStarted",
    "Receipt",
    "Resuming",
    "Retrying",
    "Retries",
    "SinkFigures",
    "Started",
    "StoredPart",
    "UploadCreated",
    "Verify",
    "Warned",
]

Addressing = Literal["auto", "path", "virtual"]
Verify = Literal["auto", "etag", "checksum", "readback", "none"]


@dataclass(frozen=True)
class Credentials:
    """An access key; the secrets never show in `repr`."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Connection:
    """How the service is reached. Everything unset is left to boto3's usual chain.

    `keyfile` (`KEY:SECRET` or `KEY:SECRET:TOKEN`) replaces that chain and is read again when
    the service calls the credentials expired. `proxy` may carry a password. `session_token`
    goes with a keyfile that has none. `credentials` are used where no keyfile is named.
    `ca_bundle` is a file, or a directory of such files.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    keyfile: str | None = None
    insecure_keyfile: bool = False
    addressing: Addressing = "auto"
    ca_bundle: str | None = None
    verify_tls: bool = True
    proxy: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Retries:
    """How long a failing request is tried again.

    A request gives up `retry_for_s` after its first failure, or after `tries` tries; with both
    None, after 15 minutes. Damaged bytes give up after five tries. `check_for_s` bounds the
    check before the first byte.
    """

    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    retry_for_s: float | None = None
    tries: int | None = None
    damage_tries: int = 5
    check_for_s: float = 30.0


@dataclass(frozen=True)
class Options:
    """What `upload` may be told; the defaults suit a stream of unknown length.

    Sizes are in bytes. `memory_bytes` bounds the part buffers (None: a quarter of what is free,
    at most 1 GiB). `expect_size_bytes` must be met exactly, `size_hint_bytes` only guides the
    part plan. With `resume`, an unfinished upload of the key goes on, and its parts are kept
    when this run fails too. `digests` are names of `digest.STREAM_DIGESTS`; `checksum` one of
    `checksums.CHECKSUMS`, sent with every part; `verify` says what must prove the object.
    `key_of_a_file`: the key comes from a file's name and may hold line breaks.
    For the receipt alone: `command_line`, already without secrets, `key_template`, from which
    the key was made, and the forensic `case`.
    """

    connection: Connection = Connection()
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    jobs: int = 16
    memory_bytes: int | None = None
    expect_size_bytes: int | None = None
    min_size_bytes: int = 0
    expect_sha256: str | None = None
    size_hint_bytes: int | None = None
    equal_parts: bool = False
    overwrite: bool = False
    resume: bool = False
    key_of_a_file: bool = False
    digests: tuple[str, ...] = ("sha256",)
    verify: Verify = "auto"
    checksum: str | None = None
    settings: ObjectSettings = ObjectSettings()
    retries: Retries = Retries()
    limits: Limits = S3_LIMITS
    command_line: tuple[str, ...] | None = None
    key_template: str | None = None
    case: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredPart:
    """One part whose ETag was compared. `md5` and `etag` are hex, without quotes.

    `etag_is_md5` is False where the service encrypts and its ETag is therefore no MD5.
    `resumed`: stored by an earlier run and not sent again. `checksum`: S3's additional
    checksum in base64, where one was asked for.
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


@dataclass(frozen=True)
class Proof:
    """What proved the parts and the object; None where nothing did."""

    parts: str | None
    object: str | None


@dataclass(frozen=True)
class CommandReport:
    """The producer that `run` started: its words, exit status and run time.

    `exit_status` is what a shell would say: 128+n where signal n ended it.
    """

    command: tuple[str, ...]
    exit_status: int
    run_time_s: float


@dataclass(frozen=True)
class Receipt:
    """What was stored, and what proved it. Documented field by field in README.org.

    Times are UTC. `etag_expected` and `etag_found` are without quotes; `first_byte_at` is None
    for an empty stream; `upload_id` is None for a stream that went as one request; `token` is
    None where an earlier run began the upload (its parts that were kept are `resumed`).
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
    schema: int = 1


@dataclass(frozen=True)
class SinkFigures:
    """What a sink has done since it began, and what it still holds.

    Bytes are those of the records, before compression. `spool_bytes` is what the spool takes on
    the disk; `oldest_at` when the oldest record that is not stored yet was received, None
    where all are.
    """

    received_records: int = 0
    received_bytes: int = 0
    stored_records: int = 0
    stored_bytes: int = 0
    stored_objects: int = 0
    spool_bytes: int = 0
    retries: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True)
class ByteRange:
    """Bytes `first` to `last`, both included, as in HTTP.

    Without `last`, all from `first` on; without `first`, the last `last` bytes.
    """

    first: int | None
    last: int | None


@dataclass(frozen=True)
class ReadReport:
    """What was read back or looked at, and what proved it. Documented in README.org.

    `offset_bytes` and `size_bytes`: the bytes that were delivered or compared. `compared` names
    what was held against what. `proof` is None where nothing proves the object; `digests` are
    of all its bytes, where they were read.
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
    schema: int = 1


@dataclass(frozen=True)
class ReadStarted:
    """The object was found, and reading of `length_bytes` begins (None where unknown)."""

    length_bytes: int | None


@dataclass(frozen=True)
class RangeRead:
    """So many bytes more were read and handed on, in order."""

    size_bytes: int
    in_flight: int = 0


@dataclass(frozen=True)
class Started:
    """The destination was checked and reading begins. `length_bytes` is None where unknown."""

    length_bytes: int | None
    part_bytes: int
    capacity_bytes: int
    parts_grow: bool


@dataclass(frozen=True)
class UploadCreated:
    """A multipart upload exists from here on."""

    upload_id: str


@dataclass(frozen=True)
class Resuming:
    """An earlier run's unfinished upload goes on; `parts` of it hold `size_bytes`."""

    upload_id: str
    parts: int
    size_bytes: int


@dataclass(frozen=True)
class PartStored:
    """A part (or the one request) is stored and its ETag was compared; others are in flight."""

    part: StoredPart
    in_flight: int = 0


@dataclass(frozen=True)
class Retrying:
    """A request failed and will be tried again in `wait_s` seconds."""

    what: str
    tries: int
    wait_s: float
    reason: str


@dataclass(frozen=True)
class Warned:
    """Something the operator should know, though the upload goes on."""

    message: str


Event = (
    ReadStarted | RangeRead | Started | UploadCreated | Resuming | PartStored | Retrying | Warned
)
