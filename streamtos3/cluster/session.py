"""What a worker process keeps for one operation: connections, part memory, open files.

Made by the first task of the operation and shared by all of them, because clients cost more than a
short task does. It ends when the client says so.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import SourceError
from ..integrity.checksums import CHECKSUMS
from ..model.events import Event
from ..model.options import Options
from ..runtime.buffers import BufferPool, default_memory_bytes
from ..runtime.cancel import CancelScope
from ..runtime.host import LoadMeter
from ..s3.bucket import Bucket
from ..s3.clients import Clients
from ..s3.context import OperationContext
from .secrets import Secrets, accept_secrets, forget_secrets, wait_for_secrets
from .shared_file import FileIdentity, SharedFile

__all__ = [
    "LARGEST_BATCH",
    "Operation",
    "OperationEnded",
    "Session",
    "accept",
    "active_tasks",
    "begin_end",
    "compare_once",
    "drop",
    "session_of",
    "worker_name",
]

_IDLE_S = 3600.0
# Kept open: two batches of files, each by as many threads, large files by a second one. One too
# few is a new connection, and its handshake, for every other file.
_CONNECTIONS_A_JOB = 4
# Twice what `uploader.part_batches` has: on AVX-512 the MD5s of eight parts take as long as those
# of four (docs/performance.org, Dask).
LARGEST_BATCH = 8
_BUFFERS = LARGEST_BATCH + 2  # a batch, and two parts that are being sent meanwhile


class OperationEnded(BaseException):
    """The client has ended the operation, so what its tasks still do is moot.

    Not an `Exception`, for the reason that `Cancelled` is none.
    """


@dataclass(frozen=True)
class Operation:
    """What all tasks of one operation carry; without secrets.

    `options`: `jobs` and `memory_bytes` are those of one worker process. `sends_secrets`: the
    client sends secrets, and no task begins before they have arrived.
    """

    id: str
    bucket: str
    options: Options
    sends_secrets: bool = False


@dataclass
class Session:
    """One operation in this process. `tasks`: how many are running."""

    id: str
    context: OperationContext
    clients: Clients
    pool: BufferPool
    tasks: int = 0
    used_at_s: float = 0.0

    @property
    def options(self) -> Options:
        """With the secrets."""
        return self.context.options

    @contextmanager
    def open_file(self, path: str, identity: FileIdentity) -> Iterator[SharedFile]:
        """The shared file, which is the same as the client's and stays so until it is closed.

        SourceError otherwise.
        """
        with SharedFile(path) as file:
            compare_once(self.id, file, identity)
            file.check_unchanged(identity)
            yield file
            file.check_unchanged(identity)


_lock = threading.Lock()
_sessions: dict[str, Session] = {}
_ended: deque[str] = deque(maxlen=1000)
_compared: dict[tuple[str, str, FileIdentity], tuple[int, int]] = {}
_MOST_COMPARED = 1000


@contextmanager
def session_of(operation: Operation, emit: Callable[[Event], None]) -> Iterator[Session]:
    """The session of an operation, made if there is none, in use inside the block.

    `emit` gets the events of a session that is made here. Raises OperationEnded where the
    client has ended it, CredentialsError where the secrets do not arrive.
    """
    secrets = wait_for_secrets(operation.id) if operation.sends_secrets else Secrets()
    with _lock:
        if operation.id in _ended:
            raise OperationEnded
        session = _sessions.get(operation.id)
        if session is None:
            _drop_idle()
            session = _sessions[operation.id] = _new_session(operation, secrets, emit)
        session.tasks += 1
    try:
        yield session
    finally:
        with _lock:
            session.tasks -= 1
            session.used_at_s = time.monotonic()


def compare_once(operation_id: str, file: SharedFile, identity: FileIdentity) -> None:
    """SourceError where `file` is another one; read once in each process and operation.

    After that it must be the one that was read, by device and inode: a file that was put in its
    place for a while may have the same size and time.
    """
    this = operation_id, file.path, identity
    with _lock:
        seen = _compared.get(this)
    if seen is None:
        file.check_same(identity)
        with _lock:
            seen = _compared.setdefault(this, file.device_and_inode)
            if len(_compared) > _MOST_COMPARED:
                del _compared[next(iter(_compared))]
    if file.device_and_inode != seen:
        raise SourceError(f"{file.path} changed while it was read")


def accept(operation_id: str, secrets: Secrets) -> None:
    """Take the secrets of an operation, or newer credentials in place of those that expire."""
    accept_secrets(operation_id, secrets)
    with _lock:
        session = _sessions.get(operation_id)
    if session is not None and secrets.credentials is not None:
        session.clients.renew(secrets.credentials)


def begin_end(operation_id: str) -> None:
    """Let all tasks of the operation end soon, and no new one begin."""
    with _lock:
        _ended.append(operation_id)
        session = _sessions.get(operation_id)
    forget_secrets(operation_id)
    if session is not None:
        session.context.scope.fail(OperationEnded())


def active_tasks(operation_id: str) -> int:
    """How many tasks, and requests of theirs, are still running."""
    session = _sessions.get(operation_id)
    return session.tasks + session.context.workers.unfinished if session else 0


def drop(operation_id: str) -> None:
    """Forget the session of an operation that has ended."""
    with _lock:
        session = _sessions.pop(operation_id, None)
    if session is not None:
        _close(session)


def worker_name(address: str) -> str:
    """How receipts and messages name this process: `HOST ADDRESS`."""
    return f"{socket.gethostname()} {address}"


def _new_session(operation: Operation, secrets: Secrets, emit: Callable[[Event], None]) -> Session:
    options = secrets.put_into(operation.options)
    checksum = CHECKSUMS[options.checksum] if options.checksum else None
    clients = Clients(options.connection, _CONNECTIONS_A_JOB * options.jobs)
    # The service has accepted the client with them. If they expire, newer ones are on their way.
    clients.accepted = operation.sends_secrets
    bucket = Bucket(
        operation.bucket,
        options.connection,
        settings=options.settings,
        checksum=checksum,
        client=clients,
    )
    scope = CancelScope()
    context = OperationContext(bucket, options, scope, emit)
    # A slow link is kept busy by all jobs while a batch is read. Where the processors are busy, by
    # whatever process of this machine, more buffers are no gain.
    most = options.jobs + LARGEST_BATCH + 1
    load = LoadMeter()
    memory_bytes = options.memory_bytes or default_memory_bytes()
    pool = BufferPool(memory_bytes, most, scope, lambda: not load.has_spare_time())
    pool.allow(_BUFFERS)
    context.on_throttled = pool.hold_back
    return Session(operation.id, context, clients, pool)


def _drop_idle() -> None:
    """Forget what the client of which was killed has left; called with the lock held."""
    now_s = time.monotonic()
    for operation_id, session in list(_sessions.items()):
        if not session.tasks and now_s - session.used_at_s > _IDLE_S:
            del _sessions[operation_id]
            _close(session)


def _close(session: Session) -> None:
    session.context.workers.shutdown()
    session.pool.close()
    session.context.scope.close()
