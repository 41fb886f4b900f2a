"""Secrets apart from what travels openly: tasks, logs and the dashboard never show one.

A task carries options without secrets. Where a worker needs one, it arrives once, in a `Secrets`,
whose text shows nothing, and waits here for the tasks of its operation.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from ..errors import CredentialsError
from ..model.options import Credentials, Options

__all__ = ["Secrets", "accept_secrets", "forget_secrets", "split_options", "wait_for_secrets"]

_WAIT_S = 60.0  # from a worker's first task to the message of the plug-in that it is told by


@dataclass(frozen=True)
class Secrets:
    """What must not be seen: credentials, a proxy with its password, the customer's key."""

    credentials: Credentials | None = field(default=None, repr=False)
    proxy: str | None = field(default=None, repr=False)
    sse_c_key: bytes | None = field(default=None, repr=False)

    @property
    def are_none(self) -> bool:
        """Whether there is nothing to send."""
        return self == Secrets()

    def put_into(self, options: Options) -> Options:
        """`options` with these secrets."""
        connection = options.connection
        if self.credentials is not None:
            connection = replace(connection, credentials=self.credentials)
        if self.proxy is not None:
            connection = replace(connection, proxy=self.proxy)
        settings = replace(options.settings, sse_c_key=self.sse_c_key)
        return replace(options, connection=connection, settings=settings)


def split_options(options: Options) -> tuple[Options, Secrets]:
    """`options` as they may be seen by anybody, and what was taken out of them."""
    connection, settings = options.connection, options.settings
    proxy = connection.proxy if "@" in (connection.proxy or "") else None
    credentials = connection.credentials
    secrets = Secrets(credentials, proxy, settings.sse_c_key)
    openly = replace(
        connection,
        credentials=None,
        session_token=None,
        proxy=None if proxy else connection.proxy,
    )
    settings = replace(settings, sse_c_key=None)
    return replace(options, connection=openly, settings=settings), secrets


_arrived = threading.Condition()
_delivered: dict[str, Secrets] = {}


def accept_secrets(operation_id: str, secrets: Secrets) -> None:
    """In a worker process: keep the secrets of an operation, or newer ones."""
    with _arrived:
        _delivered[operation_id] = secrets
        _arrived.notify_all()


def forget_secrets(operation_id: str) -> None:
    """In a worker process: the operation is over."""
    with _arrived:
        _delivered.pop(operation_id, None)


def wait_for_secrets(operation_id: str) -> Secrets:
    """In a worker process: the secrets of an operation. CredentialsError if they do not come."""
    with _arrived:
        if not _arrived.wait_for(lambda: operation_id in _delivered, _WAIT_S):
            raise CredentialsError("the credentials that the client was to send did not arrive")
        return _delivered[operation_id]
