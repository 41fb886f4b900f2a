"""How one request to a bucket is sent: by which client, and what its errors become.

Nothing is tried again here; `runtime.retry` does that. Every error that leaves is one of our own
tree, mapped in `error_mapping`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from ..errors import CredentialsError, StreamToS3Error, TransientError
from ..model.endpoints import check_access_point, endpoint_warning
from ..model.options import Connection
from .clients import Clients, FoundCredentials, TimeoutProfile

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

__all__ = ["Sender"]


class Sender:
    """Sends requests with the clients of one connection. Thread-safe.

    `common`: the parameters that every request carries, such as the bucket's name.
    """

    def __init__(self, clients: Clients, connection: Connection, common: Mapping[str, Any]) -> None:
        self._clients = clients
        self._connection = connection
        self._common = common
        self._address_checked = False
        self._clock: tuple[datetime, float] | None = None

    @property
    def server_time(self) -> datetime | None:
        """What the service's clock says now; None before its first answer."""
        if self._clock is None:
            return None
        said, at_s = self._clock
        return said + timedelta(seconds=time.monotonic() - at_s)

    @property
    def endpoint_url(self) -> str:
        """The URL that requests are sent to."""
        return self._clients.get("question").meta.endpoint_url

    @property
    def region(self) -> str | None:
        """The region that requests are signed for."""
        return self._clients.get("question").meta.region_name

    def find_credentials(self) -> FoundCredentials:
        """What requests are signed with. CredentialsError where there is nothing."""
        try:
            return self._clients.find_credentials()
        except StreamToS3Error:
            raise
        except Exception as error:
            from .error_mapping import translate

            endpoint = self._connection.endpoint_url or self._clients.endpoint_name()
            raise translate(
                error, "find credentials", endpoint=endpoint, accepted_before=False
            ) from error

    def send(
        self, action: str, operation: str, profile: TimeoutProfile = "question", **parameters: Any
    ) -> dict[str, Any]:
        """Send one request and return its answer; errors say "cannot `action`"."""
        with self.mapped_errors(action):
            call = getattr(self._client(profile), operation)
            common = dict(self._common)
            if operation == "head_bucket":  # the only request that names no payer
                common.pop("RequestPayer", None)
            answer: dict[str, Any] = call(**common, **parameters)
            self._note_time(answer)
        return answer

    def pages(self, action: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The pages of a listing, 1,000 entries each, requested one by one as they are needed."""
        with self.mapped_errors(action):
            paginator: Any = self._client("question").get_paginator(operation)  # type: ignore[call-overload]
            for page in paginator.paginate(**self._common, **parameters):
                self._note_time(page)
                yield page

    def _client(self, profile: TimeoutProfile) -> S3Client:
        """The client, once it is known that bucket and endpoint do not exclude each other."""
        client = self._clients.get(profile)
        if not self._address_checked and "Bucket" in self._common:  # else: which buckets are there
            check_access_point(
                self._common["Bucket"], self._connection.endpoint_url, client.meta.endpoint_url
            )
            self._address_checked = True
        return client

    def is_news(self, text: str) -> bool:
        """Whether this is said for the first time, by any that shares the clients."""
        return self._clients.is_news(text)

    def endpoint_warning(self) -> str | None:
        """What is odd about bucket and endpoint, once for all that share the clients.

        Asked after a first request, which has made a client.
        """
        url = self._clients.endpoint_name()
        warning = endpoint_warning(self._common["Bucket"], url, self._connection.addressing)
        return warning if warning and self.is_news(warning) else None

    @contextmanager
    def mapped_errors(self, action: str) -> Iterator[None]:
        """Raise one of our own errors for whatever leaves botocore inside the block."""
        try:
            yield
        except CredentialsError as error:  # a keyfile that is being rewritten just now
            if not self._clients.accepted:
                raise
            self._clients.forget_session()
            raise TransientError(
                f"cannot {action}: {error.message}", hint=error.hint, expired=True, sent=False
            ) from error
        except StreamToS3Error:
            raise
        except Exception as error:
            from .error_mapping import translate

            self._note_time(getattr(error, "response", None))
            endpoint = self._connection.endpoint_url or self._clients.endpoint_name()
            accepted = self._clients.accepted
            mapped = translate(
                error,
                action,
                endpoint=endpoint,
                accepted_before=accepted,
                proxy=self._clients.proxy_name(endpoint),
                flaw=self._clients.flaw_of_credentials,
            )
            if isinstance(mapped, TransientError) and mapped.expired:
                self._clients.forget_session()
            raise mapped from error
        else:
            self._clients.accepted = True

    def _note_time(self, answer: Any) -> None:
        """Remember the time by the service's clock."""
        try:
            date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
            self._clock = parsedate_to_datetime(date), time.monotonic()
        except (KeyError, TypeError, ValueError):  # no answer, no Date, or an invalid one
            return
