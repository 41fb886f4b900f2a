"""botocore clients, as few as their time-outs allow, made when first needed.

botocore is imported when the first client is made, because it takes longer to load than a
short stream takes to store. The integrity and the cost of an upload rest on its settings
here; each says why.
"""

from __future__ import annotations

import functools
import os
import re
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from .._version import __version__
from ..errors import CredentialsError, UsageError
from ..model.options import Connection, Credentials
from ..runtime.rate import RateLimit
from .bodies import PartBody
from .credentials import read_keyfile

if TYPE_CHECKING:
    from ssl import SSLContext

    from botocore.config import Config
    from mypy_boto3_s3.client import S3Client

__all__ = [
    "REFUSAL_TEXT",
    "TIMEOUTS_S",
    "Clients",
    "FoundCredentials",
    "TimeoutProfile",
    "first_line",
    "library_versions",
    "load_libraries",
]

REFUSAL_TEXT = "FirstLine"
"""Under this name the `Error` of a botocore ClientError has the first line of a body in which
there was no S3 error."""

TimeoutProfile = Literal["question", "body", "commit", "question-after-body", "hint"]
"""What a request needs its time for: a short `question`, the `body` of a part, the `commit`, a
question right after these, over the connection that they have left open, or a `hint` while
somebody types."""

TIMEOUTS_S: dict[TimeoutProfile, tuple[float, float]] = {
    "question": (10, 20),
    "body": (60, 120),
    "commit": (60, 900),
    "question-after-body": (60, 20),
    "hint": (1, 2),
}
"""Seconds to connect, and to wait for an answer.

The first is also the time that one blocked send may take (docs/s3-facts.org, Sending), so it must
suit slow uplinks; servers that copy data at `complete` answer after minutes."""

# The operations for which the client for bodies, and its open connections, serve these two
# profiles: a client of their own would have to be made, and to connect, at the end of an upload.
_REUSES_CONNECTION: Mapping[TimeoutProfile, str] = {
    "commit": "CompleteMultipartUpload",
    "question-after-body": "HeadObject",
}
# The first botocore known to let a single request have a time-out of its own
# (boto/botocore#3770).
_FIRST_WITH_REQUEST_TIMEOUTS = (1, 44)


_RESULT = re.compile(rb"(</?)CompleteMultipartUploadResult\b")
_CODE_IN_RESULT = re.compile(
    rb"<CompleteMultipartUploadResult\b[^>]*>\s*(<(\w+)>[^<]*</\2>\s*)*<Code>"
)
_LONGEST_REFUSAL = 10_000
_TAG = re.compile(r"<[^>]*>")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class FoundCredentials:
    """Where the credentials come from, for people, and when they are renewed, if they are."""

    source: str
    access_key: str
    expires_at: datetime | None = None


_SOURCES = {
    "env": "the environment",
    "shared-credentials-file": "the shared credentials file",
    "config-file": "the AWS configuration file",
    "iam-role": "the instance's role",
    "container-role": "the container's role",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "an assumed role (web identity)",
    "sso": "single sign-on",
    "custom-process": "credential_process",
}
"""botocore's names of its providers, in words."""


class Clients:
    """The clients of one connection, each with up to `connections` open. Thread-safe.

    Can serve many uploads, one after another or in parallel: making clients costs more than
    storing a short stream. A client that is `given` serves every request.

    `accepted`: the service has accepted a request with these credentials. If it rejects them
    later, waiting may help, as while a key file is being replaced.
    `limit`: the rate that all transfers of these clients together keep to.
    """

    def __init__(
        self, connection: Connection, connections: int, *, given: S3Client | None = None
    ) -> None:
        self.accepted = False
        self.limit = RateLimit(connection.limit_bytes_per_s)
        self._given = given
        self._connection = connection
        self._connections = connections
        self._clients: dict[TimeoutProfile, S3Client] = {}
        self._session: Any = None
        self._authorities: SSLContext | None = None
        self._keyfile: Credentials | None = None
        self._bundle_in_memory: str | None = None
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def is_news(self, text: str) -> bool:
        """Whether this is said for the first time, by any of those that share these clients."""
        with self._lock:
            is_new = text not in self._told
            self._told.add(text)
        return is_new

    def get(self, profile: TimeoutProfile) -> S3Client:
        """The client with these time-outs; made when first needed."""
        if self._given is not None:
            return self._given
        kind = _serving_client(profile)
        with self._lock:
            if kind not in self._clients:
                self._clients[kind] = self._new_client(kind)
            return self._clients[kind]

    def endpoint_name(self) -> str:
        """Where requests go, for messages; never makes a client."""
        client = self._given or next(iter(self._clients.values()), None)
        return client.meta.endpoint_url if client else "S3"

    def find_credentials(self) -> FoundCredentials:
        """What requests are signed with. CredentialsError, or botocore's own, if there are none."""
        own = self._own_credentials()
        if own is not None:
            how = self._connection
            source = f"the keyfile {how.keyfile}" if how.keyfile else "the program's own settings"
            return FoundCredentials(source, own.access_key)
        self.get("question")
        found = self._session.get_credentials()
        if found is None:
            raise CredentialsError(
                "no credentials are found",
                hint="give them by --keyfile, by --profile, or where boto3 looks for them",
            )
        access_key = found.get_frozen_credentials().access_key
        expires_at = getattr(found, "_expiry_time", None)
        source = _SOURCES.get(found.method, found.method)
        return FoundCredentials(source, access_key, expires_at)

    def proxy_name(self, endpoint_url: str) -> str | None:
        """The proxy that requests to this address go through, and where it was configured.

        For messages: without its password. None where there is none.
        """
        from botocore.utils import get_environ_proxies

        scheme = urlsplit(endpoint_url).scheme or "https"
        config: Any = self._given.meta.config if self._given else None
        given = getattr(config, "proxies", None)
        url = (given or {}).get(scheme) or self._connection.proxy
        if url:
            return _name_of_proxy(url, self._connection.proxy_origin)
        url = get_environ_proxies(endpoint_url).get(scheme)
        # As urllib.request reads them: lower case wins.
        named = (n for n in (f"{scheme}_proxy", *os.environ) if n.lower() == f"{scheme}_proxy")
        origin = next((name for name in named if os.environ.get(name) == url), None)
        return _name_of_proxy(url, origin) if url else None

    def flaw_of_credentials(self) -> str | None:
        """What is odd about the credentials that boto3's chain has found; None if nothing is.

        Looks only at those that are fixed: others are fetched, and may have to be fetched anew.
        """
        from botocore.credentials import Credentials as Fixed

        found = self._session.get_credentials() if self._session and not self._keyfile else None
        if type(found) is not Fixed:
            return None
        parts = {
            "access key": found.access_key,
            "secret key": found.secret_key,
            "session token": found.token,
        }
        for name, text in parts.items():
            if text and text != text.strip():
                return f"the {name} begins or ends with white space"
        return None

    def forget_session(self) -> None:
        """Make the next request read all credentials again, the shared file included."""
        with self._lock:
            self._session = None
            self._authorities = None
            self._clients.clear()
            # A pipe, `-k <(pass show s3)`, gives its content only once.
            if os.path.isfile(self._connection.keyfile or ""):
                self._keyfile = None

    def renew(self, credentials: Credentials) -> None:
        """Use these credentials from the next request on, in place of the connection's own."""
        self._connection = replace(self._connection, credentials=credentials, keyfile=None)
        self.forget_session()

    def _new_client(self, profile: TimeoutProfile) -> S3Client:
        # botocore's own session and not boto3's: the chain is the same, and boto3 loads its
        # resource layer and s3transfer on top, a quarter of the start-up time.
        # `compat` is imported here, not from deep inside `session`: there, a loop in one of its
        # imports straddled two chunks of CPython's frame stack, and one of them was mapped and
        # unmapped 2,300 times, in 12 ms (strace shows it as mmap of 16 KiB).
        import botocore.compat
        import botocore.session

        from .botocore_tuning import compute_once, read_quickly, share_authorities
        from .repeated_puts import repeat_puts

        how = self._connection
        if self._session is None:
            self._session = botocore.session.Session(profile=how.profile)
            read_quickly(self._session)
        client: S3Client = self._session.create_client(
            "s3",
            region_name=how.region,
            endpoint_url=how.endpoint_url,
            verify=self._bundle() if how.verify_tls else False,
            config=self._config(profile),
            **self._keys(),
        )
        if "@" in urlsplit(client.meta.endpoint_url).netloc:
            raise UsageError(
                "the endpoint's URL carries a user name or password, which S3 does not use",
                hint="give the keys where boto3 looks for them, or by --keyfile",
            )
        self._authorities = share_authorities(client, self._authorities)
        compute_once(client)
        _register_hooks(client, profile)
        repeat_puts(client)
        return client

    def _config(self, profile: TimeoutProfile) -> Config:
        import botocore.config

        how = self._connection
        connect_s, answer_s = TIMEOUTS_S[profile]
        return botocore.config.Config(
            connect_timeout=connect_s,
            read_timeout=answer_s,
            # tenacity owns all retries; the numbers would multiply (invariant 7).
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=self._connections + 2,
            tcp_keepalive=True,
            # With Content-MD5 given, a checksum trailer on top would cost a second pass over
            # the body and break many S3-compatible servers (boto3#4392).
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": how.addressing},
            proxies={"http": how.proxy, "https": how.proxy} if how.proxy else None,
            user_agent_extra=f"streamtos3/{__version__}",
        )

    def _keys(self) -> dict[str, Any]:
        """The credentials for `create_client`; empty if boto3's chain is to find them."""
        own = self._own_credentials()
        if own is None:
            return {}
        return {
            "aws_access_key_id": own.access_key,
            "aws_secret_access_key": own.secret_key,
            "aws_session_token": own.session_token or self._connection.session_token,
        }

    def _own_credentials(self) -> Credentials | None:
        """The credentials that replace boto3's chain, if any do."""
        how = self._connection
        if not how.keyfile:
            return how.credentials
        if self._keyfile is None:
            self._keyfile = read_keyfile(how.keyfile, allow_insecure=how.insecure_keyfile)
        return self._keyfile

    def _bundle(self) -> str | None:
        """A file with the certificates of the CA bundle, which may be a directory.

        botocore takes only a file, and reads it for each connection. A directory is joined into
        a file in memory, because nothing may be written to the disk.
        """
        path = self._connection.ca_bundle
        if path is None or not os.path.isdir(path):
            return path
        if self._bundle_in_memory is None:
            certificates = b"\n".join(
                each.read_bytes() for each in sorted(Path(path).iterdir()) if each.is_file()
            )
            fd = os.memfd_create("streamtos3-ca", os.MFD_CLOEXEC)
            weakref.finalize(self, os.close, fd).atexit = False
            os.write(fd, certificates)
            self._bundle_in_memory = f"/proc/self/fd/{fd}"
        return self._bundle_in_memory


def load_libraries() -> None:
    """Load all that a client needs, by making one that nobody uses; asks nobody."""
    nowhere = Connection(
        endpoint_url="http://127.0.0.1:9", region="none", credentials=Credentials("none", "none")
    )
    Clients(nowhere, 1).get("body")


def _register_hooks(client: S3Client, profile: TimeoutProfile) -> None:
    """Change what botocore does around each request where that would do harm."""
    import botocore.handlers

    events = client.meta.events
    # A server that never sends "100 Continue" makes botocore take TLS session tickets for
    # an answer and fail every time (boto/botocore#3613).
    events.unregister("before-call.s3", botocore.handlers.add_expect_header)
    events.register("before-sign.s3", _signing)
    events.register("before-send.s3", _sending)
    events.register("response-received.s3", _keep_refusal)
    events.register("before-parse.s3.CompleteMultipartUpload", _find_error_in_success)
    for other, operation in _REUSES_CONNECTION.items():
        if profile == _serving_client(other):
            events.register(f"before-call.s3.{operation}", partial(_wait, TIMEOUTS_S[other][1]))


def _serving_client(profile: TimeoutProfile) -> TimeoutProfile:
    """The profile of the client that serves requests of this one."""
    if profile not in _REUSES_CONNECTION:
        return profile
    if _has_request_timeouts():
        return "body"
    return "question" if profile == "question-after-body" else profile


def _has_request_timeouts() -> bool:
    import botocore

    version = tuple(int(number) for number in botocore.__version__.split(".")[:2])
    return version >= _FIRST_WITH_REQUEST_TIMEOUTS


def _wait(answer_s: float, context: dict[str, Any], **_: Any) -> None:
    context["read_timeout"] = answer_s


def _signing(request: Any, **_: Any) -> None:
    if isinstance(request.data, PartBody):
        request.data.sending = False


def _sending(request: Any, **_: Any) -> None:
    if isinstance(request.body, PartBody):
        request.body.sending = True


def _find_error_in_success(response_dict: dict[str, Any], **_: Any) -> None:
    """Make an error of a 200 whose result is a code and a message, as Alluxio's is.

    botocore knows only those that say Error, and takes this one for a success without an ETag.
    """
    body = response_dict.get("body") or b""
    if response_dict["status_code"] == 200 and _CODE_IN_RESULT.search(body):
        response_dict["status_code"] = 500
        response_dict["body"] = _RESULT.sub(rb"\1Error", body)


def _keep_refusal(
    response_dict: Mapping[str, Any] | None, parsed_response: dict[str, Any] | None, **_: Any
) -> None:
    """Keep what a refusal says that is no S3 error; botocore throws it away."""
    error = (parsed_response or {}).get("Error")
    if not error or response_dict is None:
        return
    if error.get("Code") in (None, "", str(response_dict["status_code"])):
        error[REFUSAL_TEXT] = first_line(response_dict["body"])


def first_line(body: object) -> str | None:
    """The first line of text in an answer's body, at most 200 characters; None where that is none.

    Of a page of HTML its title, or what is left without the tags.
    """
    text = body[:_LONGEST_REFUSAL].decode("utf-8", "replace") if isinstance(body, bytes) else ""
    title = _TITLE.search(text)
    plain = " ".join(title[1].split()) if title else _TAG.sub("\n", text)
    lines = (" ".join(line.split()) for line in plain.splitlines())
    first = next((line for line in lines if line), None)
    return None if first is None or "\ufffd" in first else first[:200]


def _name_of_proxy(url: str, origin: str | None) -> str:
    scheme, separator, rest = url.rpartition("://")
    host = rest.rpartition("@")[2].rstrip("/")
    return f"the proxy {scheme}{separator}{host}" + (f" (from {origin})" if origin else "")


@functools.cache
def library_versions() -> dict[str, str]:
    """The versions of the libraries that the bytes went through, for the receipt."""
    import platform
    import ssl

    import botocore
    import urllib3

    return {
        "python": platform.python_version(),
        "botocore": botocore.__version__,
        "urllib3": str(getattr(urllib3, "__version__", "")),
        "openssl": ssl.OPENSSL_VERSION,
    }
