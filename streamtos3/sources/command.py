"""A command as the source: its standard output is the stream, its exit status decides.

A pipe cannot tell that the program at its other end died half way; the parent of that program can.
The end of its output is the end of the input only once it has exited with a status that counts
as success. A failed upload also ends the command.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress

from ..errors import SourceError, UsageError, os_reason
from ..results import CommandReport
from ..runtime.cancel import Cancelled, CancelScope
from .base import FdSource, Source, WrappedSource

__all__ = ["CommandSource", "command_report_of"]

_INTERRUPTED_GRACE_S = 10.0
_START_WITHIN_S = 1.0  # a program on a network disk that hangs must not hide a second signal
_POLL_S = 0.02
# Ctrl-C on a terminal ends the producer as well as us; ours is the reason to report, even where
# the producer was quicker.
_OUR_SIGNAL_FIRST_S = 0.2


class CommandSource:
    """The standard output of `command`, which is started once the destination was checked.

    stdin_fd: what it reads, owned and closed by this source; None for the null device.
    ok_status: the exit statuses that count as success; 128+n for death by signal n.
    grace_s: how long it may live on after SIGTERM when the upload failed, but at most 10 s after
        a signal to us.
    recorded_as: the words that the receipt shows, where the command's own hold secrets.

    Without a terminal it gets a process group of its own, and all of the group is ended; on a
    terminal it stays in ours, so that Ctrl-C and password prompts work as in any pipeline.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin_fd: int | None = None,
        ok_status: Collection[int] = (0,),
        grace_s: float = 10.0,
        recorded_as: Sequence[str] | None = None,
    ) -> None:
        if not command:
            raise UsageError("no command to run")
        self.name = f"the output of {command[0]}"
        self.length_bytes: int | None = None
        self._command = tuple(command)
        self._recorded_as = tuple(recorded_as or command)
        self._stdin_fd = stdin_fd
        self._ok_status = frozenset(ok_status)
        self._grace_s = grace_s
        self._has_own_group = not _has_terminal()
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._output: FdSource | None = None
        self._scope: CancelScope | None = None
        self._report: CommandReport | None = None
        self._finished = False
        self._ender: threading.Thread | None = None

    def start(self) -> None:
        """Start the command. SourceError if that is not possible."""
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            # The kernel would discard its exit status, and `subprocess` would report 0.
            raise SourceError(f"cannot run {self._command[0]}: this process ignores SIGCHLD")
        read_fd, write_fd = os.pipe()
        self._output = FdSource(read_fd, self.name)
        self._began_s = time.monotonic()
        try:
            with self._starting:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL if self._stdin_fd is None else self._stdin_fd,
                    stdout=write_fd,
                    # A session, because Python 3.10 cannot create a group alone; without a
                    # terminal the two are equivalent.
                    start_new_session=self._has_own_group,
                )
        except OSError as error:
            raise _cannot_start(self._command[0], error) from error
        finally:
            os.close(write_fd)
            self._close_stdin()
        self._output.start()

    def readinto(self, view: memoryview, scope: CancelScope) -> int:
        """Read what the command has written. Once it fails, the scope fails too."""
        assert self._output is not None
        self._watch(scope)
        return self._output.readinto(view, scope)

    def finish(self, scope: CancelScope) -> None:
        """Wait for the exit. Cancelled, with a SourceError in the scope, if it was a failure."""
        self._watch(scope)
        scope.wait_for(lambda: self._report is not None)
        self._finished = True

    def command_report(self) -> CommandReport:
        """The command, its exit status and its run time."""
        assert self._report is not None
        return self._report

    def stop(self) -> None:
        """Begin to end the command, unless it has finished: SIGTERM, after the grace SIGKILL."""
        self._close_stdin()
        if self._output is not None:
            self._output.close()
        if self._process is None or self._finished:
            return
        if self._ender is None:
            name = "streamtos3-end-producer"
            self._ender = threading.Thread(target=self._end, args=(self._process,), name=name)
            self._ender.daemon = True
            self._ender.start()

    def close(self) -> None:
        """End the command if it has not finished, and wait for its end."""
        self.stop()
        if self._ender is not None:
            # Bounded: a process that hangs in the kernel outlives even SIGKILL.
            self._ender.join(self._grace_s + 2.0)

    def tell(self, signum: int) -> bool:
        """Forward a signal, unless the terminal has sent it. Returns False before the start.

        A start that is under way is waited for: the command may have begun to write.
        """
        if self._starting.acquire(timeout=_START_WITHIN_S):
            self._starting.release()
        if self._process is None:
            return False
        if self._has_own_group or signum != signal.SIGINT:
            self._send(signum)
        return True

    def kill(self) -> None:
        """Kill the command at once; does not wait."""
        if not self._finished:
            self._send(signal.SIGKILL)

    def _watch(self, scope: CancelScope) -> None:
        if self._scope is None:
            self._scope = scope
            threading.Thread(
                target=self._await_exit, args=(scope,), name="streamtos3-producer", daemon=True
            ).start()

    def _await_exit(self, scope: CancelScope) -> None:
        """In a thread: record the exit, or fail the scope if the status is a failure."""
        assert self._process is not None
        status = _as_shells_say(self._process.wait())
        run_time_s = time.monotonic() - self._began_s
        if status in self._ok_status:
            with scope.condition:
                self._report = CommandReport(self._recorded_as, status, run_time_s)
                scope.condition.notify_all()
            return
        with suppress(Cancelled):
            scope.sleep(_OUR_SIGNAL_FIRST_S)
            scope.fail(_failure(self._command[0], self._process.returncode, status))

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """In a thread: SIGTERM, after the grace SIGKILL; then reap it."""
        begun_s = time.monotonic()
        self._send(signal.SIGTERM)
        while not self._is_gone(process):
            if time.monotonic() >= self._deadline_s(begun_s):
                self._send(signal.SIGKILL)
                break
            time.sleep(_POLL_S)
        process.wait()

    def _deadline_s(self, begun_s: float) -> float:
        interrupted_s = self._scope.interrupted_at_s if self._scope is not None else None
        deadline_s = begun_s + self._grace_s
        return (
            deadline_s
            if interrupted_s is None
            else min(deadline_s, interrupted_s + _INTERRUPTED_GRACE_S)
        )

    def _is_gone(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the producer, and every process of a group of its own, has ended."""
        if process.poll() is None:
            return False
        if not self._has_own_group:
            return True
        with suppress(ChildProcessError):
            # As a container's process 1 we inherit the orphans of the group, and their zombies.
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                pass
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # macOS says so of a group of zombies
            return True
        return False

    def _send(self, signum: int) -> None:
        """Signal the producer, or its whole group; nothing if it is gone or not ours."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if self._has_own_group:
                os.killpg(self._process.pid, signum)
            else:
                self._process.send_signal(signum)

    def _close_stdin(self) -> None:
        """Close our copy, which would keep the command's writer from noticing that it is gone."""
        if self._stdin_fd is not None:
            os.close(self._stdin_fd)
            self._stdin_fd = None


def command_report_of(source: Source) -> CommandReport | None:
    """The report of the command that `source`, or the source it wraps, ran; None without one.

    Known once `finish` has returned.
    """
    while isinstance(source, WrappedSource):
        source = source.wrapped
    return source.command_report() if isinstance(source, CommandSource) else None


def _has_terminal() -> bool:
    """Whether a terminal controls us, so that Ctrl-C reaches our process group."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _as_shells_say(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _cannot_start(program: str, error: OSError) -> SourceError:
    reason = os_reason(error)
    hint = None
    if isinstance(error, FileNotFoundError) and len(program.split()) > 1:
        hint = f"a pipeline needs a shell: -- bash -c 'set -o pipefail; {program}'"
    return SourceError(f"cannot run {program}: {reason}", hint=hint)


def _failure(program: str, returncode: int, status: int) -> SourceError:
    if returncode < 0:
        try:
            name = signal.Signals(-returncode).name
        except ValueError:  # a real-time signal
            name = f"signal {-returncode}"
        ended = f"{program} was ended by {name}"
    else:
        ended = f"{program} exited with status {status}"
    return SourceError(
        f"{ended}, so its output is not known to be complete",
        hint=f"see its messages; if this status means success: --ok-status 0,{status}",
    )
