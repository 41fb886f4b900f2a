"""Signals, and whoever no longer listens: what becomes of the upload, and what is said of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from mypy_boto3_s3.client import S3Client

from streamtos3.cli.signals import DefaultSignals
from streamtos3.errors import Interrupted
from tests.rig.process import Store, wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, payload

SIZE = 12 * MIB  # three parts
_MOST_S = 15.0
_WAIT_S = 60.0
_IGNORED = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
_ENTRY_POINT = "from streamtos3.__main__ import main; main()"


@pytest.fixture
def store(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> Store:
    return Store(seaweed, s3, bucket)


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        yield proxy


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_upload_and_leaves_nothing(store: Store, signum: int) -> None:
    with store.put() as program:
        program.write(payload(SIZE))
        wait_until(store.uploads, lambda: "the upload")
        sent_s = program.send(signum)
        name = signal.Signals(signum).name
        store.assert_failed(program, 128 + signum, f"streamtos3: error: interrupted by {name}\n")
        assert time.monotonic() - sent_s < 5


def test_a_signal_that_was_ignored_at_the_start_stays_ignored(store: Store) -> None:
    """As `nohup` sets SIGHUP, and a shell SIGINT for what it starts in the background."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with store.put(prepare=ignore) as program:
        program.write(payload(SIZE))
        wait_until(store.uploads, lambda: "the upload")
        program.send(signal.SIGHUP)
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert store.body() == payload(SIZE)


@pytest.mark.slow
def test_a_signal_at_any_moment_of_the_start_leaves_nothing(store: Store) -> None:
    """Before the watcher is there the default action is all that can be had, and enough."""
    with ExitStack() as stack:
        programs = []
        for step in range(6):
            program = stack.enter_context(store.put("-q"))
            time.sleep(0.1 * step)
            program.send(signal.SIGTERM)
            programs.append(program)
        for program in programs:
            assert program.wait() in (128 + signal.SIGTERM, -signal.SIGTERM)
            assert "Traceback" not in program.stderr
    store.assert_nothing_left()


@pytest.mark.parametrize(
    ("how", "ended"),
    [
        pytest.param(["-m", "streamtos3"], (-signal.SIGINT, b""), id="module"),
        pytest.param(["-c", _ENTRY_POINT], (-signal.SIGINT, b""), id="entry point"),
        pytest.param(["-c", f"{_IGNORED}; {_ENTRY_POINT}"], (7, b""), id="ignored"),
    ],
)
def test_a_signal_while_the_program_loads_ends_it_without_a_traceback(
    tmp_path: Path, how: list[str], ended: tuple[int, bytes]
) -> None:
    (tmp_path / "click.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nos._exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, *how, "--help"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[2]}"},
        capture_output=True,
        timeout=_WAIT_S,
    )
    assert (done.returncode, done.stderr) == ended


def test_a_hanging_check_is_left_at_once(store: Store, proxy: FaultProxy) -> None:
    """Nothing has been sent yet that would have to be undone."""
    proxy.faults = [Fault("any", "stop-answering", times=-1)]
    with store.put(proxy=proxy) as program:
        wait_until(proxy.count, lambda: "the check")
        sent_s = program.send(signal.SIGTERM)
        store.assert_failed(program, 128 + signal.SIGTERM, "interrupted by SIGTERM")
        assert time.monotonic() - sent_s < 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "left_behind"),
    [
        ("create", "may have been begun; the answer with its id never arrived"),
        ("put-part", ""),
        ("complete", "was sent, its answer is unknown; the upload id is "),
        ("abort", "could not be aborted; its parts are billed until it is"),
    ],
)
@pytest.mark.parametrize("forward", [False, True])
def test_a_signal_is_obeyed_in_time_whatever_hangs(
    store: Store, proxy: FaultProxy, verb: str, left_behind: str, forward: bool
) -> None:
    """`forward`: the server has heard the request, and only its answer never comes."""
    data = payload(5 * MIB + 1)  # just enough for a second part to begin: all of it is read
    proxy.faults = [Fault(verb, "stop-answering", times=-1, forward=forward)]
    with store.put(proxy=proxy) as program:
        program.write(data)
        if verb == "complete":
            program.end_input()
        wait_until(lambda: proxy.count("put-part" if verb == "abort" else verb), lambda: verb)
        sent_s = program.send(signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - sent_s < _MOST_S
        assert left_behind in program.stderr
        if verb in ("create", "put-part") or (verb == "abort" and forward):
            store.assert_nothing_left()
        elif forward:
            assert store.uploads() == []
            assert store.body() == data
        else:
            assert not store.exists()
            (upload_id,) = store.uploads()
            assert upload_id in program.stderr


@pytest.mark.slow
def test_a_signal_while_a_part_hangs_still_aborts(store: Store, proxy: FaultProxy) -> None:
    proxy.faults = [Fault("put-part", "stop-reading", times=-1)]
    with store.put(proxy=proxy) as program:
        program.write(payload(SIZE))
        wait_until(lambda: proxy.count("put-part"), lambda: "a part")
        sent_s = program.send(signal.SIGTERM)
        store.assert_failed(program, 128 + signal.SIGTERM, "interrupted by SIGTERM")
        assert time.monotonic() - sent_s < _MOST_S


def test_an_undecided_complete_is_never_aborted_after_a_signal(
    store: Store, proxy: FaultProxy
) -> None:
    """Its answer was lost and the next try is far away: on some servers the object is there."""
    proxy.faults = [Fault("complete", "reset-after", times=-1)]
    with store.put("-s", "30s", proxy=proxy) as program:
        program.write(payload(SIZE))
        program.end_input()
        program.wait_until_said("trying again")
        program.send(signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
        (upload_id,) = store.uploads()
        assert f"its answer is unknown; the upload id is {upload_id}" in program.stderr
        assert proxy.count("abort") == 0


@pytest.mark.slow
def test_a_signal_while_a_complete_is_surely_refused_aborts(
    store: Store, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("complete", "503", times=-1)]
    with store.put("-s", "30s", proxy=proxy) as program:
        program.write(payload(SIZE))
        program.end_input()
        program.wait_until_said("trying again")
        program.send(signal.SIGTERM)
        store.assert_failed(program, 128 + signal.SIGTERM)


@pytest.mark.slow
def test_an_object_that_is_stored_all_the_same_is_a_success(
    store: Store, proxy: FaultProxy
) -> None:
    """The signal came while `complete` was answered: what the service says is the truth."""
    proxy.faults = [Fault("complete", "trickle", delay_s=0.003)]
    with store.put(proxy=proxy) as program:
        program.write(payload(SIZE))
        program.end_input()
        wait_until(lambda: proxy.count("complete"), lambda: "the commit")
        program.send(signal.SIGINT)
        assert program.wait() == 0, program.stderr
        assert "streamtos3: stored 12 MiB" in program.stderr
    assert store.body() == payload(SIZE)
    assert store.uploads() == []


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_names_the_upload(
    store: Store, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("put-part", "stop-answering", times=-1, forward=True)]
    with store.put(proxy=proxy) as program:
        program.write(payload(SIZE))
        wait_until(lambda: store.parts() == 2, lambda: "the parts whose answers never come")
        program.send(signal.SIGINT)
        time.sleep(0.3)
        assert program.returncode is None
        sent_s = program.send(signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - sent_s < 2
        (upload_id,) = store.uploads()
        assert f"left at once on a second signal; upload {upload_id} may be left\n" in (
            program.stderr
        )
        assert not store.exists()


def test_a_second_signal_is_obeyed_though_nobody_drains_standard_error(store: Store) -> None:
    """The pipe is full, so that whoever says a word waits for ever."""
    read_fd, write_fd = _full_pipe()
    with store.put(prepare=lambda: os.dup2(write_fd, 2)) as program:
        program.write(payload(SIZE))
        wait_until(store.uploads, lambda: "the upload")
        program.send(signal.SIGTERM)
        wait_until(lambda: not store.uploads(), lambda: "the abort")
        time.sleep(0.5)
        program.send(signal.SIGTERM)
        assert program.wait(5) == 128 + signal.SIGTERM
    os.close(read_fd)
    os.close(write_fd)
    store.assert_nothing_left()


class TestOnInterruptFinish:
    """`producer | streamtos3 --on-interrupt finish`: Ctrl-C tells the producer to stop."""

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_reads_on_and_stores_all(self, store: Store, signum: int) -> None:
        data = payload(SIZE)
        with store.put("--on-interrupt", "finish") as program:
            program.write(data[: SIZE // 2])
            wait_until(store.uploads, lambda: "the upload")
            program.send(signum)
            program.wait_until_said("reading to the end of the input")
            program.write(data[SIZE // 2 :])
            program.end_input()
            assert program.wait() == 0, program.stderr
            assert program.stderr.count("reading to the end") == 1
        assert store.body() == data

    def test_a_second_one_aborts(self, store: Store) -> None:
        with store.put("--on-interrupt", "finish") as program:
            program.write(payload(SIZE))
            wait_until(store.uploads, lambda: "the upload")
            program.send(signal.SIGINT)
            program.wait_until_said("reading to the end")
            program.send(signal.SIGINT)
            store.assert_failed(program, 130, "error: interrupted by SIGINT")

    @pytest.mark.slow
    def test_a_third_one_leaves_at_once(self, store: Store, proxy: FaultProxy) -> None:
        proxy.faults = [Fault("put-part", "stop-answering", times=-1, forward=True)]
        with store.put("--on-interrupt", "finish", proxy=proxy) as program:
            program.write(payload(SIZE))
            wait_until(lambda: store.parts() == 2, lambda: "the parts whose answers never come")
            program.send(signal.SIGINT)
            program.wait_until_said("reading to the end")
            program.send(signal.SIGINT)
            time.sleep(0.3)
            assert program.returncode is None
            sent_s = program.send(signal.SIGINT)
            assert program.wait() == 130
            assert time.monotonic() - sent_s < 2
            assert store.uploads()[0] in program.stderr

    @pytest.mark.slow
    def test_a_hang_up_aborts_at_once(self, store: Store) -> None:
        with store.put("--on-interrupt", "finish") as program:
            program.write(payload(SIZE))
            wait_until(store.uploads, lambda: "the upload")
            program.send(signal.SIGHUP)
            store.assert_failed(program, 129, "interrupted by SIGHUP")


class TestFifo:
    """A FIFO is silent, and no reason to hang, until somebody opens its other end."""

    @pytest.fixture
    def fifo(self, tmp_path: Path) -> Path:
        path = tmp_path / "fifo"
        os.mkfifo(path)
        return path

    def test_is_read_from_the_first_writer_to_the_last(self, store: Store, fifo: Path) -> None:
        with store.put(fifo) as program:
            time.sleep(0.5)
            assert program.returncode is None, program.stderr
            with fifo.open("wb") as writer:
                writer.write(payload(SIZE))
            assert program.wait() == 0, program.stderr
        assert store.body() == payload(SIZE)

    def test_a_signal_ends_the_wait_for_a_writer(self, store: Store, fifo: Path) -> None:
        with store.put(fifo) as program:
            time.sleep(1.5)
            sent_s = program.send(signal.SIGTERM)
            store.assert_failed(program, 143, "interrupted by SIGTERM")
            assert time.monotonic() - sent_s < 2

    def test_a_wrong_bucket_is_said_before_a_writer_comes(self, store: Store, fifo: Path) -> None:
        with store.start(fifo, f"s3://{store.bucket}-there-is-none/k") as program:
            assert program.wait() == 5, program.stderr


class TestNobodyListens:
    """Who reads our output decides nothing; status 11 says that a report is missing."""

    def assert_stored_unreported(self, store: Store, *options: object, **more: Any) -> None:
        with store.put(*options, **more) as program:
            program.write(b"all of it")
            program.end_input()
            assert program.wait() == 11, program.stderr
            assert "stored and proved" in program.stderr
        assert store.body() == b"all of it"

    def test_a_full_disk_under_the_receipt(self, store: Store, tmp_path: Path) -> None:
        receipt = tmp_path / "receipt.json"

        def fill_disk() -> None:
            # Enough for what is said, which goes to a file here, but not for the receipt.
            resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))

        self.assert_stored_unreported(store, "--receipt", receipt, prepare=fill_disk)
        assert list(tmp_path.iterdir()) == []

    def test_a_directory_that_vanished_under_the_receipt(
        self, store: Store, tmp_path: Path
    ) -> None:
        directory = tmp_path / "gone"
        directory.mkdir()
        with store.put("--receipt", directory / "receipt.json") as program:
            program.write(payload(SIZE))
            wait_until(store.uploads, lambda: "the upload")
            directory.rmdir()
            program.end_input()
            assert program.wait() == 11, program.stderr
        assert store.body() == payload(SIZE)

    def test_a_receipt_into_a_full_device(self, store: Store) -> None:
        with open("/dev/full", "wb") as full:
            self.assert_stored_unreported(store, "--json", stdout=full.fileno())

    def test_a_receipt_into_a_pipe_that_nobody_reads(self, store: Store) -> None:
        read_fd, write_fd = os.pipe()
        os.close(read_fd)
        self.assert_stored_unreported(store, "--json", stdout=write_fd)
        os.close(write_fd)

    @pytest.mark.slow
    def test_a_receipt_into_a_closed_standard_output(self, store: Store) -> None:
        self.assert_stored_unreported(store, "--json", prepare=lambda: os.close(1))

    def test_standard_output_is_not_needed_for_nothing(self, store: Store) -> None:
        with store.put(prepare=lambda: os.close(1)) as program:
            program.write(b"all of it")
            program.end_input()
            assert program.wait() == 0, program.stderr

    @pytest.mark.parametrize("how", ["closed", "broken", "full"])
    def test_standard_error_is_not_needed(self, store: Store, tmp_path: Path, how: str) -> None:
        receipt = tmp_path / "receipt.json"
        read_fd, write_fd = os.pipe()
        os.close(read_fd)
        full = os.open("/dev/full", os.O_WRONLY)

        def prepare() -> None:
            if how == "closed":
                os.close(2)
            else:
                os.dup2(write_fd if how == "broken" else full, 2)

        options = ["--progress", "--receipt", receipt, "--no-verify-ssl"]
        with store.put(*options, prepare=prepare) as program:
            program.write(payload(SIZE))
            program.end_input()
            assert program.wait() == 0
        os.close(write_fd)
        os.close(full)
        assert store.body() == payload(SIZE)
        assert json.loads(receipt.read_text())["size_bytes"] == SIZE

    def test_a_terminal_that_goes_away_is_not_needed(self, store: Store) -> None:
        """With SIGHUP ignored: else it would be the reason to stop."""
        ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
        with store.put(on_terminal=True, prepare=ignore) as program:
            program.write(payload(SIZE))
            wait_until(store.uploads, lambda: "the upload")
            program.hang_up()
            program.end_input()
            assert program.wait() == 0
        assert store.body() == payload(SIZE)

    def test_a_signal_while_the_report_is_stuck_does_not_deny_the_object(
        self, store: Store
    ) -> None:
        read_fd, write_fd = _full_pipe()
        with store.put("--json", stdout=write_fd) as program:
            program.write(b"all of it")
            program.end_input()
            wait_until(store.exists, lambda: "the object")
            time.sleep(0.5)
            program.send(signal.SIGINT)
            time.sleep(0.3)
            assert program.returncode is None
            program.send(signal.SIGINT)
            assert program.wait(5) == 11
            url = f"s3://{store.bucket}/{store.key}"
            assert f"before all was reported; {url} is stored and proved" in program.stderr
        os.close(read_fd)
        os.close(write_fd)
        assert store.body() == b"all of it"

    @pytest.mark.slow
    def test_a_late_signal_does_not_change_a_success(self, store: Store) -> None:
        read_fd, write_fd = _full_pipe()
        with store.put("--json", stdout=write_fd) as program:
            program.write(b"all of it")
            program.end_input()
            wait_until(store.exists, lambda: "the object")
            time.sleep(0.5)
            program.send(signal.SIGTERM)
            os.set_blocking(read_fd, True)
            os.close(write_fd)
            with open(read_fd, "rb") as reader:
                receipt = json.loads(reader.read().lstrip(b"x"))
            assert program.wait() == 0, program.stderr
        assert receipt["size_bytes"] == len(b"all of it")


def test_outside_of_the_work_a_signal_is_raised_until_the_outcome_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    signals = DefaultSignals()
    with pytest.raises(Interrupted):
        signals.on_signal(signal.SIGTERM, None)
    signals.decide(0)
    signals.on_signal(signal.SIGTERM, None)
    assert exits == [], "a success that is being said stays one"
    signals.on_signal(signal.SIGTERM, None)
    assert exits == [0], "but a second signal ends the saying"


def test_an_interruption_that_is_swallowed_prints_no_traceback() -> None:
    """As in the callback of a weak reference, which importlib has for the lock of each module."""
    script = """
import os, signal, weakref
from streamtos3.cli.signals import default_signals, on_signals
class Module: pass
default_signals.install()
module = Module()
kept = weakref.ref(module, lambda _: os.kill(os.getpid(), signal.SIGTERM))
del module
try:
    with on_signals(print):
        print("begun")
except BaseException as error:
    print(error)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == ("interrupted by SIGTERM\n", "")


def test_after_an_interruption_the_next_signal_is_the_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    signals = DefaultSignals()
    signals.decide(130)
    signals.on_signal(signal.SIGINT, None)
    assert exits == [130]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--min-size", "10", "ended after 9 bytes; at least 10 were expected"),
        ("--expect-size", "10", "ended after 9 bytes; 10 were expected"),
        ("--expect-size", "8", "longer than the 8 bytes expected"),
        ("--expect-sha256", "0" * 64, f"SHA-256 is {hashlib.sha256(b'all of it').hexdigest()}"),
    ],
)
def test_an_input_that_is_not_what_was_announced_stores_nothing(
    store: Store, option: str, value: str, said: str
) -> None:
    with store.put(option, value) as program:
        program.write(b"all of it")
        program.end_input()
        store.assert_failed(program, 7, said)


def test_a_long_input_that_is_not_what_was_announced_is_aborted(store: Store) -> None:
    with store.put("--expect-size", str(SIZE + 1)) as program:
        program.write(payload(SIZE))
        program.end_input()
        store.assert_failed(program, 7, f"{SIZE + 1} were expected")


def test_an_input_that_is_what_was_announced_is_stored(store: Store) -> None:
    sha256 = hashlib.sha256(payload(SIZE)).hexdigest()
    options = ["--min-size", "12MiB", "--expect-size", "12MiB", "--expect-sha256", sha256.upper()]
    with store.put(*options) as program:
        program.write(payload(SIZE))
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert store.body() == payload(SIZE)


def _full_pipe() -> tuple[int, int]:
    """A pipe full of `x`, into which nothing more goes until somebody reads."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    capacity_bytes = fcntl.fcntl(write_fd, fcntl.F_GETPIPE_SZ)
    assert os.write(write_fd, b"x" * capacity_bytes) == capacity_bytes
    os.set_blocking(write_fd, True)
    return read_fd, write_fd
