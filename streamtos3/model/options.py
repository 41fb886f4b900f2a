"""The options of uploads, downloads and connections, as frozen values without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..units import MIB
from .object_settings import ObjectSettings
from .parts import DEFAULT_CHUNK_BYTES, S3_LIMITS, Limits

__all__ = [
    "Addressing",
    "READ_BACK_UNASKED_BYTES",
    "ByteRange",
    "Connection",
    "Credentials",
    "Options",
    "Retries",
    "Verify",
]

READ_BACK_UNASKED_BYTES = 64 * MIB
"""The largest object that is read back without being asked for, where nothing else proves it."""

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
    `ca_bundle` is a file, or a directory of such files. `proxy_origin` says in messages where
    the proxy was configured. `limit_bytes_per_s` bounds the bytes of objects that all its
    connections together send and receive in a second; None: no limit.
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
    proxy_origin: str | None = None
    session_token: str | None = field(default=None, repr=False)
    credentials: Credentials | None = field(default=None, repr=False)
    limit_bytes_per_s: int | None = None


@dataclass(frozen=True)
class Retries:
    """How long a failing request is tried again.

    Retrying stops `retry_for_s` after the first failure, or after `tries` tries; with both None,
    after 15 minutes. It stops after `damage_tries` tries whose bytes were damaged, or that were
    refused without one of S3's reasons. `check_for_s` replaces `retry_for_s` in the check before
    the first byte.
    """

    first_wait_s: float = 1.0
    longest_wait_s: float = 60.0
    retry_for_s: float | None = None
    tries: int | None = None
    damage_tries: int = 5
    check_for_s: float = 30.0


@dataclass(frozen=True)
class Options:
    """Settings of `upload`; the defaults suit a stream of unknown length.

    Sizes are in bytes. `memory_bytes` bounds the part buffers (None: a quarter of what is free,
    at most 1 GiB). `expect_size_bytes` must be met exactly, `size_hint_bytes` only guides the
    part plan. With `resume`, an unfinished upload of the key is continued, and its parts are kept
    when this run fails too. `digests` are names in `integrity.digests.STREAM_DIGESTS`;
    `checksum`, one in `integrity.checksums.CHECKSUMS`, is sent with every part; `verify` says
    what must prove the object.
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
class ByteRange:
    """Bytes `first` to `last`, both included, as in HTTP.

    Without `last`, all from `first` on; without `first`, the last `last` bytes.
    """

    first: int | None
    last: int | None
