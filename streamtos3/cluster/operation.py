"""What every operation on a cluster shares on the client's side: from the address to the end.

Opens the cluster, takes the secrets out of the options, checks the workers, and ends everything
that still runs on them, however the operation ended.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .._version import __version__
from ..errors import SourceError, StreamToS3Error, UsageError, os_reason
from ..model.events import Event, Warned
from ..model.options import Connection, Options
from ..runtime.buffers import default_memory_bytes
from ..runtime.cancel import CancelScope
from ..s3.bucket import Bucket
from .connection import Cluster, open_cluster
from .credentials import SecretsChannel, secrets_to_send
from .dispatch import Dispatcher
from .processes import ClusterOptions, LocalProcesses
from .session import Operation, compare_once
from .shared_file import FileIdentity, SharedFile

__all__ = ["Running", "check_sources", "edges_of", "running_on"]

_CHECK_S = 120.0
_AWS = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True)
class Running:
    """An operation that has begun: its orders carry `operation`, `dispatcher` gives them out.

    `edge_bytes`: see `edges_of`.
    """

    cluster: Cluster
    operation: Operation
    dispatcher: Dispatcher
    edge_bytes: int | None


def edges_of(how: ClusterOptions, options: Options) -> int | None:
    """How much of either end of a file tells it from others; see `SharedFile.identify`."""
    return None if how.address.is_local else options.chunk_bytes


@contextmanager
def running_on(
    how: ClusterOptions,
    bucket: Bucket,
    options: Options,
    scope: CancelScope,
    emit: Callable[[Event], None],
    processes: LocalProcesses | None,
) -> Iterator[Running]:
    """One operation on the cluster, which has a worker when the block begins.

    processes: what `processes_of` gave for its address; they end with the operation.

    `options` are the client's: on this machine `jobs`, `memory_bytes` and the limit of the rate are
    shared out to its processes, elsewhere each process has them all. What still runs when the
    block ends is stopped.
    """
    openly, secrets = secrets_to_send(how.address, options, sends=how.sends_credentials)
    with open_cluster(how.address, processes, scope) as cluster:
        operation_id = uuid.uuid4().hex
        dispatcher = Dispatcher(cluster, operation_id, scope, emit, options.retries.retry_for_s)
        try:
            dispatcher.start()
            if how.address.is_local:
                openly = _share_out(openly, len(dispatcher.workers))
            connection = _where_the_client_is(openly.connection, bucket)
            openly = replace(openly, connection=connection, command_line=None)
            operation = Operation(operation_id, bucket.name, openly, not secrets.are_none)
            with SecretsChannel(cluster, operation_id, options, secrets, scope):
                if not how.address.is_local:  # else they are this very program
                    _check_workers(cluster)
                yield Running(cluster, operation, dispatcher, edges_of(how, options))
        finally:
            if not dispatcher.end():
                emit(Warned("not all workers could be told to stop; they do when they notice"))


def _where_the_client_is(connection: Connection, bucket: Bucket) -> Connection:
    """With the endpoint and the region that the client's environment or files name.

    Those of a worker may name others, or none, and it would store the parts at AWS.
    """
    endpoint_url, host = connection.endpoint_url, urlsplit(bucket.endpoint_url).hostname or ""
    if endpoint_url is None and not host.endswith(_AWS):
        endpoint_url = bucket.endpoint_url
    region = connection.region or bucket.region
    return replace(connection, endpoint_url=endpoint_url, region=region)


def _check_workers(cluster: Cluster) -> None:
    """UsageError where a worker lacks streamtos3, or has another version of it."""
    for address, found in _answers(cluster, _version_there).items():
        if isinstance(found, ImportError):
            raise UsageError(
                f"the worker {address} cannot load streamtos3: {found}",
                hint="install the same version of streamtos3 on every worker",
            )
        if isinstance(found, BaseException):
            raise found
        if found != __version__:
            raise UsageError(
                f"the worker {address} has streamtos3 {found}, here it is {__version__}",
                hint="install the same version of streamtos3 on every worker",
            )


def check_sources(running: Running, path: str, identity: FileIdentity) -> None:
    """SourceError, which names the worker, where one does not see the same file as the client.

    What a worker that is gone has read was looked at after each of its tasks.
    """
    look = partial(_look_at_file, running.operation.id, path, identity)
    for address, error in _answers(running.cluster, look).items():
        if isinstance(error, StreamToS3Error):
            raise SourceError(
                f"{error.message} (worker {address})",
                hint="every worker must see the same file under the same path",
            )
        if isinstance(error, BaseException):
            raise error


def _answers(cluster: Cluster, function: Callable[[], Any]) -> dict[str, Any]:
    """Those of the workers that are still there; `function` must not raise an OSError itself."""
    answers = cluster.run_on_all(function, timeout_s=_CHECK_S)
    return {address: each for address, each in answers.items() if not isinstance(each, OSError)}


def _version_there() -> str:
    return __version__


async def _look_at_file(
    operation_id: str, path: str, identity: FileIdentity
) -> StreamToS3Error | None:
    """On a worker, beside its tasks: what is wrong with the file, None if nothing is."""
    import asyncio

    def look() -> StreamToS3Error | None:
        try:
            with SharedFile(path) as file:
                compare_once(operation_id, file, identity)
                file.check_unchanged(identity)
        except StreamToS3Error as error:
            return error
        except OSError as error:  # which would be taken for a worker that is gone
            return SourceError(f"cannot read {path}: {os_reason(error)}")
        return None

    return await asyncio.to_thread(look)


def _share_out(options: Options, processes: int) -> Options:
    memory_bytes = options.memory_bytes or default_memory_bytes()
    connection = options.connection
    if connection.limit_bytes_per_s is not None:
        share_bytes = max(1, connection.limit_bytes_per_s // processes)
        connection = replace(connection, limit_bytes_per_s=share_bytes)
    return replace(
        options,
        connection=connection,
        jobs=max(1, options.jobs // processes),
        memory_bytes=max(memory_bytes // processes, 2 * options.chunk_bytes),
    )
