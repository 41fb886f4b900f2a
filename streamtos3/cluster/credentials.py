"""How secrets come to the workers: by their own chain, or once to each by the scheduler's plug-in.

Permanent credentials are never sent: what leaks must expire.
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import TracebackType

from ..errors import StreamToS3Error, UsageError
from ..model.options import Options
from ..runtime.cancel import CancelScope
from ..runtime.workers import WorkerPool
from ..s3.credentials import read_keyfile
from ..s3.temporary import TemporaryCredentials
from .address import ClusterAddress
from .connection import Cluster
from .secrets import Secrets, split_options

__all__ = ["SecretsChannel", "secrets_to_send", "with_read_keyfile"]

_LOOK_S = 20.0


def with_read_keyfile(options: Options) -> Options:
    """`options` with the content of a keyfile that is a pipe, which can be read only once."""
    how = options.connection
    if not how.keyfile or (os.path.isfile(how.keyfile) and not how.session_token):
        return options
    found = read_keyfile(how.keyfile, allow_insecure=how.insecure_keyfile)
    found = replace(found, session_token=found.session_token or how.session_token)
    return replace(options, connection=replace(how, keyfile=None, credentials=found))


def secrets_to_send(
    address: ClusterAddress, options: Options, *, sends: bool
) -> tuple[Options, Secrets]:
    """The options that travel with every task, and what is sent apart from them.

    Processes of this machine are sent what they cannot find themselves. Anywhere else that, and
    the client's credentials if they are temporary, is sent only if `sends`. Raises UsageError
    where something would have to be sent, CredentialsError where it may not.
    """
    openly, secrets = split_options(options)
    if sends:
        current = TemporaryCredentials(options.connection).current()
        secrets = replace(secrets, credentials=current)
    elif not secrets.are_none and not address.is_local:
        raise UsageError(
            f"{_first_of(secrets)} would have to be sent to the workers",
            hint="--dask-credentials sends it, if the credentials are temporary ones",
        )
    if secrets.credentials is not None:
        connection = replace(openly.connection, keyfile=None, profile=None)
        openly = replace(openly, connection=connection)
    return openly, secrets


def _first_of(secrets: Secrets) -> str:
    if secrets.credentials is not None:
        return "the credentials of the keyfile"
    return "the proxy's password" if secrets.proxy is not None else "the key of --sse-c-key-file"


class SecretsChannel:
    """Sends the secrets once to every worker, those that join later included, for one operation.

    Temporary credentials are sent anew when they are renewed here. Without secrets it does nothing.
    """

    def __init__(
        self,
        cluster: Cluster,
        operation_id: str,
        options: Options,
        secrets: Secrets,
        scope: CancelScope,
    ) -> None:
        self._cluster = cluster
        self._operation_id = operation_id
        self._secrets = secrets
        self._scope = scope
        self._renews = secrets.credentials is not None and options.connection.credentials is None
        self._source = TemporaryCredentials(options.connection)
        self._watch = WorkerPool(1, scope)
        self._is_over = False

    def __enter__(self) -> SecretsChannel:
        if not self._secrets.are_none:
            from .plugin import SecretsPlugin

            plugin = SecretsPlugin(self._operation_id, self._cluster.client_id, self._secrets)
            self._cluster.register_plugin(plugin, plugin.name)
            if self._renews:
                self._watch.submit(self._renew)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._scope.condition:
            self._is_over = True
            self._scope.condition.notify_all()
        self._watch.shutdown()
        if not self._secrets.are_none:
            from .plugin import forget

            try:
                self._cluster.run_on_scheduler(forget, self._operation_id)
            except StreamToS3Error:  # a scheduler that has gone remembers nothing
                return

    def _renew(self) -> None:
        """In a thread: look for renewed credentials, and send them."""
        from .plugin import send_anew

        while not self._is_over:
            self._scope.wait_for(lambda: self._is_over, _LOOK_S)
            found = None if self._is_over else self._source.current()
            if not self._is_over and found != self._secrets.credentials:
                self._secrets = replace(self._secrets, credentials=found)
                self._cluster.run_on_scheduler(send_anew, self._operation_id, self._secrets)
