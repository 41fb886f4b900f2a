"""`run`: what a command puts out becomes an object if, and only if, the command succeeds."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from mypy_boto3_s3.client import S3Client

from streamtos3 import Options, Receipt, upload
from streamtos3.cli import program
from streamtos3.cli.commands.run import run as run_command
from streamtos3.errors import Interrupted, SourceError, UsageError
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.sources.command import CommandSource
from tests.rig.process import Store, is_alive, is_zombie, wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, object_exists, payload

KEY = "dump"
SIZE = 12 * MIB
# Puts out SIZE bytes in three parts.
THREE_PARTS = f"head -c {SIZE} /dev/zero"


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def store(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> Store:
    return Store(seaweed, s3, bucket)


def upload_output(
    store: Store,
    script: str = "",
    command: list[str] | None = None,
    *,
    ok_status: tuple[int, ...] = (0,),
) -> Receipt:
    """`run` as a library does it, in this process."""
    source = CommandSource(command or ["sh", "-c", script], ok_status=ok_status)
    options = Options(chunk_bytes=5 * MIB)
    return upload(source, store.bucket, KEY, options=options, client=store.s3)


def pids(path: Path, count: int = 1) -> list[int]:
    """The process ids that a producer has written, one a line."""
    wait_until(
        lambda: path.exists() and len(path.read_text().split()) >= count, lambda: f"{count} pids"
    )
    return [int(word) for word in path.read_text().split()]


def test_stores_the_output_of_a_command_that_succeeds(store: Store, tmp_path: Path) -> None:
    receipt_path = tmp_path / "receipt.json"
    began_s = time.monotonic()
    with store.run(f"{THREE_PARTS}; sleep 0.2", "--receipt", receipt_path) as program:
        assert program.wait() == 0, program.stderr
    elapsed_s = time.monotonic() - began_s
    assert store.body() == bytes(SIZE)
    command = json.loads(receipt_path.read_text())["command"]
    assert command["command"] == ["sh", "-c", f"{THREE_PARTS}; sleep 0.2"]
    assert command["exit_status"] == 0
    assert 0.2 <= command["run_time_s"] < elapsed_s


def test_the_receipt_of_another_source_names_no_command(store: Store) -> None:
    assert upload(io.BytesIO(), store.bucket, KEY, client=store.s3).command is None


def test_the_receipt_shows_no_password_of_an_address(store: Store) -> None:
    words = ["--json", f"s3://{store.bucket}/{KEY}", "--", "echo", "pg://me:secret@db/x"]
    with store.start("run", *words) as program:
        assert program.wait() == 0, program.stderr
        receipt = program.read_stdout()
    assert "secret" not in receipt
    assert json.loads(receipt)["command"]["command"] == ["echo", "pg://***@db/x"]
    assert store.body() == b"pg://me:secret@db/x\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (f"{THREE_PARTS}; exit 3", "sh exited with status 3"),
        ("echo short; exit 1", "sh exited with status 1"),
        (f"{THREE_PARTS}; kill -9 $$", "sh was ended by SIGKILL"),
        ("kill -TERM $$", "sh was ended by SIGTERM"),
        (f"{THREE_PARTS}; exec >&-; sleep 0.1; exit 4", "sh exited with status 4"),
    ],
)
def test_a_command_that_fails_stores_nothing(store: Store, script: str, said: str) -> None:
    with pytest.raises(SourceError, match=f"{said}, so its output is not known to be complete"):
        upload_output(store, script)
    store.assert_nothing_left()


def test_a_command_that_fails_is_status_7_in_one_line_with_a_hint(store: Store) -> None:
    with store.run(f"{THREE_PARTS}; exit 3") as program:
        store.assert_failed(program, 7, "streamtos3: error: sh exited with status 3, so its output")
        assert len(program.stderr.splitlines()) == 2
        assert "hint: see its messages; if this status means success: --ok-status 0,3" in (
            program.stderr
        )


def test_a_command_that_fails_ends_the_upload_though_its_child_keeps_the_pipe(
    store: Store, tmp_path: Path
) -> None:
    """Its child would keep it open for ever; a plain pipe would wait, and then be wrong."""
    noted = tmp_path / "pids"
    script = f"{THREE_PARTS}; sleep 1000 & echo $! > {noted}; exit 3"
    with store.run(script) as program:
        store.assert_failed(program, 7, "exited with status 3")
        (child,) = pids(noted)
        assert not is_alive(child), "the whole group is ended"


def test_the_end_of_input_comes_when_the_last_writer_has_let_go(store: Store) -> None:
    """As in any pipeline: what a child writes after its parent's success belongs to the stream."""
    upload_output(store, "(sleep 0.3; echo late) & echo early")
    assert store.body() == b"early\nlate\n"


def test_a_child_that_outlives_a_success_is_left_alone(store: Store, tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    upload_output(store, f"sleep 1000 >&- 2>&- & echo $! > {noted}; echo done")
    (child,) = pids(noted)
    assert is_alive(child)
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    ("ok", "script", "stored"),
    [
        ((0, 1), "echo x; exit 1", True),
        ((0, 1), "echo x; exit 2", False),
        ((1,), "echo x", False),
        ((0, 143), "echo x; kill -TERM $$", True),
    ],
)
def test_ok_status_names_what_means_success(
    store: Store, ok: tuple[int, ...], script: str, stored: bool
) -> None:
    if stored:
        receipt = upload_output(store, script, ok_status=ok)
        assert receipt.command is not None
        assert receipt.command.exit_status == ok[-1]
        assert store.body() == b"x\n"
    else:
        with pytest.raises(SourceError):
            upload_output(store, script, ok_status=ok)
        store.assert_nothing_left()


def test_ok_status_is_a_list_on_the_command_line(store: Store) -> None:
    """As tar needs it, whose 1 means that a file changed while it was read."""
    with store.run("echo x; exit 1", "--ok-status", "0, 1") as program:
        assert program.wait() == 0, program.stderr
    assert store.body() == b"x\n"


@pytest.mark.parametrize(
    ("mode", "reason", "hint"),
    [
        (0o644, "permission denied", ""),
        (0o755, "exec format error", ""),
        (None, "no such file or directory", "a pipeline needs a shell"),
    ],
)
def test_a_command_that_cannot_be_started_is_a_failed_input(
    store: Store, tmp_path: Path, mode: int | None, reason: str, hint: str
) -> None:
    command = tmp_path / "dump | gzip"
    if mode is not None:
        command.write_text("neither a program nor a script")
        command.chmod(mode)
    with pytest.raises(SourceError) as caught:
        upload_output(store, command=[str(command)])
    assert caught.value.message == f"cannot run {command}: {reason}"
    assert (caught.value.hint or "").startswith(hint)
    assert caught.value.exit_status == 7
    store.assert_nothing_left()


def test_the_command_starts_only_after_the_check(store: Store, tmp_path: Path) -> None:
    started = tmp_path / "started"
    url = f"s3://{store.bucket}-there-is-none/{KEY}"
    with store.start("run", url, "--", "touch", started) as program:
        assert program.wait() == 5, program.stderr
    assert not started.exists()


def test_standard_input_goes_to_the_command_alone(store: Store) -> None:
    data = payload(SIZE)
    with store.run("cat", stdin=None) as program:
        program.write(data)
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert store.body() == data


def test_a_closed_standard_input_is_the_null_device_for_the_command(store: Store) -> None:
    with store.run("cat; echo done", prepare=lambda: os.close(0)) as program:
        assert program.wait() == 0, program.stderr
    assert store.body() == b"done\n"


def test_standard_error_passes_through_however_much_it_is(store: Store) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done >&2; echo out"
    with store.run(script, "-q") as program:
        assert program.wait() == 0
        assert program.stderr.splitlines() == [f"line {i}" for i in range(20000)]
    assert store.body() == b"out\n"


def test_a_failed_upload_ends_a_silent_command(
    store: Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    """The reader waits for the producer, which waits for nothing: the refusal must wake it."""
    proxy.faults = [Fault("put-part", "access-denied")]
    noted = tmp_path / "pids"
    script = f"echo $$ > {noted}; {THREE_PARTS}; exec sleep 1000"
    began_s = time.monotonic()
    with store.run(script, proxy=proxy) as program:
        store.assert_failed(program, 5, "AccessDenied")
        assert time.monotonic() - began_s < 8, "no grace is needed by who obeys SIGTERM"
        (producer,) = pids(noted)
        assert not is_alive(producer) and not is_zombie(producer)


@pytest.mark.slow
def test_a_failed_upload_ends_the_whole_group_and_insists_after_the_grace(
    store: Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.faults = [Fault("put-part", "access-denied")]
    noted = tmp_path / "pids"
    stubborn = f"trap '' TERM PIPE; echo $$ >> {noted}; while :; do sleep 0.1; done"
    script = f"trap '' TERM PIPE; (sh -c \"{stubborn}\") & echo $$ >> {noted}; {THREE_PARTS}; wait"
    with store.run(script, "--grace", "1s", proxy=proxy) as program:
        store.assert_failed(program, 5, "AccessDenied")
        for pid in pids(noted, 2):
            assert not is_alive(pid)


@pytest.mark.slow
def test_the_abort_does_not_wait_for_the_command(store: Store, proxy: FaultProxy) -> None:
    proxy.faults = [Fault("put-part", "access-denied")]
    script = f"trap '' TERM PIPE; {THREE_PARTS}; while :; do sleep 0.1; done"
    began_s = time.monotonic()
    with store.run(script, "--grace", "3s", proxy=proxy) as program:
        wait_until(lambda: proxy.count("abort"), lambda: "the abort")
        aborted_after_s = time.monotonic() - began_s
        assert program.wait() == 5
        assert time.monotonic() - began_s > aborted_after_s + 1.5
    store.assert_nothing_left()


def test_a_parent_that_ignores_sigchld_does_not_turn_failure_into_success(store: Store) -> None:
    """The kernel then keeps no exit status, and Python's subprocess reports 0 for all."""
    ignore = lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # noqa: E731
    with store.run("echo half a dump; exit 3", prepare=ignore) as program:
        store.assert_failed(program, 7, "exited with status 3")


def test_ctrl_c_on_a_terminal_reaches_both_and_ours_is_the_reason(
    store: Store, tmp_path: Path
) -> None:
    noted = tmp_path / "pids"
    script = (
        f"trap '' TERM; trap 'echo told > {noted}.told; exit 1' INT; echo $$ > {noted}; "
        "while :; do sleep 0.1; done"
    )
    with store.run(script, on_terminal=True) as program:
        (producer,) = pids(noted)
        assert os.getpgid(producer) == os.getpgid(program.pid)
        program.type(b"\x03")
        assert program.wait() == 128 + signal.SIGINT
        assert "interrupted by SIGINT" in program.read_terminal()
        assert Path(f"{noted}.told").exists()
        assert not is_alive(producer)
    store.assert_nothing_left()


def test_without_a_terminal_the_command_has_a_group_of_its_own(
    store: Store, tmp_path: Path
) -> None:
    noted = tmp_path / "pids"
    with store.run(f"echo $$ > {noted}; exec sleep 1000") as program:
        (producer,) = pids(noted)
        assert os.getpgid(producer) == producer
        program.send(signal.SIGTERM)
        store.assert_failed(program, 128 + signal.SIGTERM, "interrupted by SIGTERM")
        assert not is_alive(producer)


def test_a_password_prompt_of_the_command_works_on_a_terminal(store: Store) -> None:
    script = "printf 'password: ' > /dev/tty; read word < /dev/tty; echo got $word"
    with store.run(script, on_terminal=True) as program:
        shown = b""
        while b"password: " not in shown:
            shown += os.read(program.terminal, 1024)
        program.type(b"sesame\n")
        assert program.wait() == 0
    assert store.body() == b"got sesame\n"


def test_finish_stores_what_a_stopped_command_still_has_to_say(
    store: Store, tmp_path: Path
) -> None:
    """As tcpdump does: told to stop, it writes its last packets and exits with status 0."""
    noted = tmp_path / "pids"
    script = (
        f"trap 'echo last; exit 0' TERM; echo first; echo $$ > {noted}; while :; do sleep 0.1; done"
    )
    with store.run(script, "--on-interrupt", "finish") as program:
        pids(noted)
        program.send(signal.SIGTERM)
        assert program.wait() == 0, program.stderr
        assert program.stderr.count("SIGTERM: reading to the end of the input") == 1
    assert store.body() == b"first\nlast\n"


def test_finish_on_a_terminal_lets_ctrl_c_end_the_command_once(
    store: Store, tmp_path: Path
) -> None:
    noted = tmp_path / "pids"
    script = (
        f"trap 'echo told; n=1' INT; echo $$ > {noted}; "
        'while [ -z "$n" ]; do sleep 0.1; done; sleep 0.5; exit 0'
    )
    with store.run(script, "--on-interrupt", "finish", on_terminal=True) as program:
        pids(noted)
        program.type(b"\x03")
        assert program.wait() == 0, program.read_terminal()
    assert store.body() == b"told\n"


def test_finish_does_not_excuse_a_command_that_dies_of_the_signal(
    store: Store, tmp_path: Path
) -> None:
    noted = tmp_path / "pids"
    script = f"echo $$ > {noted}; exec sleep 1000"
    with store.run(script, "--on-interrupt", "finish") as program:
        pids(noted)
        program.send(signal.SIGTERM)
        store.assert_failed(program, 7, "ended by SIGTERM", "--ok-status 0,143")


def test_a_second_signal_leaves_at_once_and_takes_the_command_along(
    store: Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.faults = [Fault("put-part", "stop-answering", times=-1, forward=True)]
    noted = tmp_path / "pids"
    script = f"trap '' TERM PIPE; echo $$ > {noted}; {THREE_PARTS}; while :; do sleep 0.1; done"
    with store.run(script, proxy=proxy) as program:
        (producer,) = pids(noted)
        wait_until(lambda: store.parts() == 2, lambda: "the parts whose answers never come")
        program.send(signal.SIGINT)
        time.sleep(0.3)
        assert program.returncode is None
        sent_s = program.send(signal.SIGINT)
        assert program.wait() == 128 + signal.SIGINT
        assert time.monotonic() - sent_s < 2
        assert "left at once on a second signal; upload " in program.stderr
        wait_until(lambda: not is_alive(producer), lambda: "the producer's end")


@pytest.mark.parametrize(
    "words",
    [
        ["s3://b/k", "pg_dump", "mydb"],
        ["s3://b/k", "pg_dump", "-h", "host"],
        ["s3://b/k", "-Fc"],
        ["s3://b/k", "--"],
        ["--", "echo"],
        ["one", "s3://b/k", "--", "echo"],
        ["s3://b/k", "s3://b/l", "--", "echo"],
        ["--ok-status", "one", "s3://b/k", "--", "echo"],
        ["--ok-status", "256", "s3://b/k", "--", "echo"],
        ["--ok-status", "", "s3://b/k", "--", "echo"],
    ],
)
def test_a_wrong_command_line_is_status_2_with_a_hint(words: list[str]) -> None:
    result = CliRunner().invoke(program, ["run", *words])
    assert result.exit_code == 2
    assert "streamtos3: hint: " in result.output


def test_help_needs_no_command() -> None:
    for words in (["--help"], ["--json", "--help"], ["--help", "--", "true"]):
        result = CliRunner().invoke(program, ["run", *words])
        assert result.exit_code == 0
        assert "COMMAND is run as it is, without a shell" in result.output
    short = CliRunner().invoke(program, ["run", "-h"])
    assert (short.exit_code, "--ok-status" in short.output) == (0, True)


def test_options_after_the_separator_belong_to_the_command(store: Store) -> None:
    words = ["run", f"s3://{store.bucket}/{KEY}", "--", "echo", "--help", "--", "-q"]
    with store.start(*words) as program:
        assert program.wait() == 0, program.stderr
    assert store.body() == b"--help -- -q\n"


def test_run_knows_the_options_of_put() -> None:
    from streamtos3.cli.commands.put import put as put_command

    names = {name for each in put_command.params for name in each.opts}
    more = {name for each in run_command.params for name in each.opts} - names
    assert more == {"--ok-status", "--grace"}


class TestCommandSource:
    """The source by itself, as a library uses it."""

    def test_a_command_must_be_given(self) -> None:
        with pytest.raises(UsageError, match="no command"):
            CommandSource([])

    def test_reads_to_the_end_and_reports(self) -> None:
        source = CommandSource(["echo", "hello"], recorded_as=["echo", "***"])
        with CancelScope() as scope:
            source.start()
            view = memoryview(bytearray(10))
            assert source.readinto(view, scope) == 6
            assert bytes(view[:6]) == b"hello\n"
            assert source.readinto(view, scope) == 0
            source.finish(scope)
            source.close()
        report = source.command_report()
        assert (report.command, report.exit_status) == (("echo", "***"), 0)
        assert report.run_time_s > 0

    def test_a_failure_is_latched_and_stops_the_reader(self) -> None:
        source = CommandSource(["sh", "-c", "sleep 1000 & exit 3"])
        with CancelScope() as scope:
            source.start()
            with pytest.raises(Cancelled):
                source.readinto(memoryview(bytearray(10)), scope)
            source.stop()
            source.close()
            assert isinstance(scope.error, SourceError)
            assert scope.error.message.startswith("sh exited with status 3")

    def test_a_signal_to_us_is_the_reason_though_the_producer_died_of_it_first(self) -> None:
        source = CommandSource(["sh", "-c", "kill -INT $$"])
        with CancelScope() as scope:
            source.start()
            late = threading.Timer(0.1, scope.fail, (Interrupted(signal.SIGINT),))
            late.start()
            with pytest.raises(Cancelled):
                while source.readinto(memoryview(bytearray(10)), scope):
                    pass
                source.finish(scope)
            source.close()
            late.join()
            assert isinstance(scope.error, Interrupted)

    def test_a_child_that_survives_its_obedient_parent_is_killed_after_the_grace(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamtos3.sources.command._has_terminal", lambda: False)
        noted = tmp_path / "pids"
        stubborn = f"trap '' TERM; echo $$ > {noted}; while :; do sleep 0.1; done"
        source = CommandSource(["sh", "-c", f'sh -c "{stubborn}" & sleep 1000'], grace_s=0.3)
        source.start()
        (child,) = pids(noted)
        source.stop()
        source.close()
        assert not is_alive(child)

    def test_close_alone_ends_the_command_and_waits_for_its_end(self, tmp_path: Path) -> None:
        """Its first call once only began the end, and its second waited."""
        noted = tmp_path / "pids"
        source = CommandSource(["sh", "-c", f"echo $$ > {noted}; exec sleep 1000"])
        source.start()
        (command,) = pids(noted)
        source.close()
        assert not is_alive(command)
        source.close()

    def test_stop_does_not_wait_for_a_command_that_takes_its_time(self, tmp_path: Path) -> None:
        noted = tmp_path / "pids"
        stubborn = f"trap '' TERM; echo $$ > {noted}; while :; do sleep 0.1; done"
        source = CommandSource(["sh", "-c", stubborn], grace_s=1.0)
        source.start()
        (command,) = pids(noted)
        source.stop()
        source.stop()
        assert is_alive(command)
        source.close()
        assert not is_alive(command)

    def test_is_closed_without_having_been_started(self) -> None:
        read_fd, write_fd = os.pipe()
        os.close(write_fd)
        source = CommandSource(["echo"], stdin_fd=read_fd)
        source.stop()
        source.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(read_fd)

    def test_refuses_to_run_where_exit_statuses_are_lost(self) -> None:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            with pytest.raises(SourceError, match="ignores SIGCHLD"):
                CommandSource(["echo"]).start()
        finally:
            signal.signal(signal.SIGCHLD, before)


def test_the_program_starts_no_shell_by_itself(store: Store) -> None:
    upload_output(store, command=[sys.executable, "-c", "print('$HOME; *')"])
    assert store.body() == b"$HOME; *\n"
    assert object_exists(store.s3, store.bucket, KEY)
