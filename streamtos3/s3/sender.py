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
from typing import Any

from ..errors import CredentialsError, StreamToS3Error, TransientError
from ..model.options import Connection
from .clients import Clients, FoundCredentials, TimeoutProfile

__all__ = ["Sender"]


class Sender:
    """Sends requests with the clients of one connection. Thread-safe.

    `common`: the parameters that every request carries, such as the bucket's name.
    """

    def __init__(self, clients: Clients, connection: Connection, common: Mapping[str, Any]) -> None:
        self._clients = clients
        self._connection = connection
        self._common = common
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
        """Where requests go."""
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
            call = getattr(self._clients.get(profile), operation)
            common = dict(self._common)
            if operation == "head_bucket":  # the one verb that names no payer
                common.pop("RequestPayer", None)
            answer: dict[str, Any] = call(**common, **parameters)
            self._note_time(answer)
        return answer

    def pages(self, action: str, operation: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """The pages of a listing, 1,000 entries each, each asked for when it is wanted."""
        with self.mapped_errors(action):
            paginator: Any = self._clients.get("question").get_paginator(operation)  # type: ignore[call-overload]
            for page in paginator.paginate(**self._common, **parameters):
                self._note_time(page)
                yield page

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
            mapped = translate(error, action, endpoint=endpoint, accepted_before=accepted)
            if isinstance(mapped, TransientError) and mapped.expired:
                self._clients.forget_session()
            raise mapped from error
        else:
            self._clients.accepted = True

    def _note_time(self, answer: Any) -> None:
        """Keep what the service's clock says."""
        try:
            date = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
            self._clock = parsedate_to_datetime(date), time.monotonic()
        except (KeyError, TypeError, ValueError):  # no answer, no Date, or one that is none
            return
