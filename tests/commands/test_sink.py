"""`streamtos3 sink` as people run it: pipes, signals, kill -9, and what it says."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from mypy_boto3_s3.client import S3Client

from tests.rig.command import PROGRAM, Outcome, invoke, run
from tests.rig.process import Running, Store, account, wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, open_uploads, payload


@pytest.fixture
def store(seaweed: SeaweedFS, s3: S3Client, bucket: str) -> Store:
    return Store(seaweed, s3, bucket)


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed.endpoint_url) as proxy:
        yield proxy


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b"%d\n" % number for number in range(start, start + count))


def stored(store: Store) -> dict[str, bytes]:
    """All objects below p/, in the order of their keys."""
    found = {}
    pages = store.s3.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix="p/")
    for page in pages:
        for each in page.get("Contents", []):
            body = store.s3.get_object(Bucket=store.bucket, Key=each["Key"])["Body"].read()
            found[each["Key"]] = body
    return found


def content(store: Store) -> bytes:
    return b"".join(stored(store).values())


def sink(
    store: Store, *options: object, proxy: FaultProxy | None = None, **more: object
) -> Running:
    words = ("sink", "-s", "0.1s", *options, f"s3://{store.bucket}/p")
    return store.start(*words, proxy=proxy, **more)


def run_sink(store: Store, seaweed: SeaweedFS, stdin: bytes, *options: object) -> Outcome:
    address = f"s3://{store.bucket}/p"
    return run("sink", *options, address, env=account(seaweed), stdin=stdin)


def spooled(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.spool"))


# What it does


def test_lines_become_objects_with_a_receipt_each(store: Store, seaweed: SeaweedFS) -> None:
    done = run_sink(store, seaweed, lines(25), "--flush-count", 10, "--json")
    assert done.status == 0, done.stderr
    found = stored(store)
    assert list(found.values()) == [lines(10), lines(10, 10), lines(5, 20)]
    receipts = {each["key"]: each for each in map(json.loads, done.stdout.splitlines())}
    assert sorted(receipts) == list(found)
    for key, body in found.items():
        assert receipts[key]["size_bytes"] == len(body)
        assert receipts[key]["proof"] == {"parts": "md5-etag", "object": "md5-etag"}
    assert done.lines[-1] == "streamtos3: stored 25 records, 65 B, as 3 objects"
    head = store.s3.head_object(Bucket=store.bucket, Key=next(iter(found)))
    assert head["ContentType"] == "application/x-ndjson"


def test_the_key_says_when(store: Store, seaweed: SeaweedFS) -> None:
    before = time.strftime("%Y/%m/%d/%H", time.gmtime())
    done = run_sink(store, seaweed, b"x\n", "--name", "clicks", "--suffix", ".log", "-q")
    assert (done.status, done.stderr) == (0, "")
    [key] = stored(store)
    after = time.strftime("%Y/%m/%d/%H", time.gmtime())
    found = re.fullmatch(r"p/(\d{4}/\d\d/\d\d/\d\d)/clicks-\d{8}T\d{6}\.\d{6}Z-\w{32}\.log", key)
    assert found and found[1] in (before, after)


@pytest.mark.parametrize(
    ("options", "media_type"),
    [
        ((), "application/x-ndjson"),
        (("--compress", "gzip"), "application/gzip"),
        (("--compress", "zstd"), "application/zstd"),
        (("--suffix", ".txt"), "text/plain"),
        (("--content-type", "text/x", "--compress", "gzip"), "text/x"),
    ],
)
def test_the_objects_say_what_they_are(
    store: Store, seaweed: SeaweedFS, options: tuple[str, ...], media_type: str
) -> None:
    done = run_sink(store, seaweed, b"x\n", *options)
    assert done.status == 0, done.stderr
    [key] = stored(store)
    assert store.s3.head_object(Bucket=store.bucket, Key=key)["ContentType"] == media_type


def test_nothing_in_makes_nothing(store: Store, seaweed: SeaweedFS) -> None:
    done = run_sink(store, seaweed, b"")
    assert done.status == 0
    assert done.lines == ["streamtos3: stored no records"]
    assert stored(store) == {}


def test_objects_appear_while_the_stream_goes_on(store: Store) -> None:
    with sink(store, "--flush-interval", "0.2s") as program:
        program.write(lines(3))
        wait_until(lambda: stored(store), lambda: "the first object")
        program.write(lines(3, 3))
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert content(store) == lines(6)


def test_a_line_that_is_too_long_is_status_7_after_what_came_before_it(
    store: Store, seaweed: SeaweedFS
) -> None:
    done = run_sink(store, seaweed, b"a\nb\n" + b"c" * 2000 + b"\nd\n", "--max-record", "1000")
    assert done.status == 7
    assert done.said("error") == ["line 3 of standard input is longer than 1000 bytes"]
    assert content(store) == b"a\nb\n"
    assert open_uploads(store.s3, store.bucket) == []


def test_without_a_spool_nothing_is_written_to_the_disk(
    store: Store, seaweed: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert run_sink(store, seaweed, lines(10)).status == 0
    assert list(tmp_path.iterdir()) == []


# What it refuses


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "no destination"),
        (("s3://",), "is not a bucket or prefix in S3"),
        (("file",), "is not a bucket or prefix in S3"),
        (("s3://bucket/p", "more"), "unexpected extra argument"),
        (("--flush-count", "0", "s3://bucket/p"), "--flush-count"),
        (("--flush-size", "0", "s3://bucket/p"), "--flush-size"),
        (("--partition", "weekly", "s3://bucket/p"), "weekly"),
        (("--name", "a/b", "s3://bucket/p"), "--name"),
        (("--compress", "lzma", "s3://bucket/p"), "lzma"),
        (("--digest", "none", "--digest", "md5", "s3://bucket/p"), "--digest none"),
    ],
)
def test_a_command_line_that_means_nothing_is_status_2(words: tuple[str, ...], said: str) -> None:
    done = invoke("sink", *words)
    assert done.status == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_spool_is_for_one_process(store: Store, seaweed: SeaweedFS, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with sink(store, "--spool", spool) as program:
        program.write(lines(1))
        wait_until(lambda: spooled(spool), lambda: "the spool")
        done = run_sink(store, seaweed, b"x\n", "--spool", spool)
        assert done.status == 2
        assert done.said("error") == [f"the spool {spool} is used by another process"]
        program.end_input()
        assert program.wait() == 0
    assert content(store) == lines(1)


def test_a_missing_bucket_is_said_while_the_producer_is_silent(store: Store) -> None:
    with store.start("sink", "s3://no-such-bucket-here/p") as program:
        assert program.wait() == 5
        assert "no-such-bucket-here" in program.stderr


# Signals


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("with_spool", [False, True])
def test_a_signal_commits_what_was_read(
    store: Store, tmp_path: Path, signum: int, with_spool: bool
) -> None:
    options = ("--spool", tmp_path / "spool") if with_spool else ()
    with sink(store, *options, "--json") as program:
        program.write(lines(10) + b"half")
        wait_until(lambda: _has_read(program), lambda: "the reading")
        program.send(signum)
        assert program.wait() == 0, program.stderr
        name = signal.Signals(signum).name
        assert f"{name}: storing what was read; a second signal stores nothing" in program.stderr
        assert "warning: the last record was cut short after 4 bytes" in program.stderr
        assert len(program.read_stdout().splitlines()) == 1
    assert content(store) == lines(10) + b"half"
    assert spooled(tmp_path / "spool") == []


def _has_read(program: Running) -> bool:
    """Whether it waits for more: its pipe is empty, and the check is long over."""
    time.sleep(0.2)
    return _pipe_is_empty(program) and "check" not in program.stderr


def _pipe_is_empty(program: Running) -> bool:
    assert program._process.stdin is not None
    return _is_empty(program._process.stdin.fileno())


def _is_empty(pipe: int) -> bool:
    held = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return struct.unpack("i", held) == (0,)


@pytest.mark.parametrize("with_spool", [False, True])
def test_a_second_signal_stores_nothing_more(
    store: Store, proxy: FaultProxy, tmp_path: Path, with_spool: bool
) -> None:
    """The service answers no part, so that the first signal alone would wait for ever."""
    spool = tmp_path / "spool"
    options = ("--spool", spool) if with_spool else ()
    proxy.faults = [Fault("put-part", "503", times=-1)]
    record = payload(MIB).replace(b"\n", b" ")[:-1] + b"\n"
    with sink(store, "-c", "5MiB", *options, proxy=proxy) as program:
        program.write(record * 12)
        wait_until(lambda: _pipe_is_empty(program), lambda: "the reading")
        program.send(signal.SIGTERM)
        program.wait_until_said("SIGTERM: storing what was read")
        wait_until(lambda: proxy.count("put-part"), lambda: "the parts")
        program.send(signal.SIGTERM)
        assert program.wait() == 128 + signal.SIGTERM
        assert "error: interrupted by SIGTERM" in program.stderr
        left = f"12 records in the spool {spool}, for the next run"
        if not with_spool:
            left = "12 of the 12 records read are not stored"
        assert f"left behind: {left}" in program.stderr
    assert stored(store) == {}
    assert open_uploads(store.s3, store.bucket) == []


# kill -9


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_kill_9_with_a_spool_loses_nothing_that_was_received_and_repeats_nothing(
    store: Store, seaweed: SeaweedFS, tmp_path: Path, seed: int
) -> None:
    _kill_9(store, seaweed, tmp_path / "spool", seed, rounds=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_kill_9_again_and_again(
    store: Store, seaweed: SeaweedFS, tmp_path: Path, seed: int
) -> None:
    _kill_9(store, seaweed, tmp_path / "spool", seed, rounds=10)


def _kill_9(store: Store, seaweed: SeaweedFS, spool: Path, seed: int, rounds: int) -> None:
    """Each round, what it received is a beginning of what was sent: no gap, nothing twice."""
    moment = random.Random(seed)
    options = ("--flush-count", 7, "--flush-interval", "0.1s", "--spool", spool)
    sent: list[list[bytes]] = []
    for number in range(rounds):
        group = [b"round %d record %d\n" % (number, each) for each in range(60)]
        sent.append(group)
        with sink(store, *options) as program:
            until_s = time.monotonic() + moment.uniform(0.3, 1.5)
            try:
                for record in group:
                    program.write(record)
                    if time.monotonic() > until_s:
                        break
                    time.sleep(moment.uniform(0, 0.03))
            except BrokenPipeError:
                pytest.fail(program.stderr)
            received = b"".join(_still_there(spooled(spool)))
            program.send(signal.SIGKILL)
            program.wait()
        # Of what was seen in the spool nothing may be missing from now on.
        now = _received_now(store, spool)
        assert [each for each in group if each in received and each not in now] == []
    assert run_sink(store, seaweed, b"", *options).status == 0
    assert spooled(spool) == []
    found = content(store).splitlines(keepends=True)
    for number, group in enumerate(sent):
        of_round = [each for each in found if each.startswith(b"round %d " % number)]
        assert of_round == group[: len(of_round)]
    assert len(found) == len(set(found))
    assert open_uploads(store.s3, store.bucket) == []


def _still_there(paths: Iterable[Path]) -> Iterator[bytes]:
    """The files' content; a running sink removes those whose records it has stored."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path.read_bytes()


def _received_now(store: Store, spool: Path) -> bytes:
    """What is stored, or still in the spool."""
    held = b"".join(path.read_bytes() for path in spooled(spool))
    return held + content(store)


# The service away


@pytest.mark.slow
def test_the_producer_is_held_back_while_the_service_is_away(
    store: Store, proxy: FaultProxy
) -> None:
    """With 12 MiB of buffers and 30 MiB to come, the pipe has to fill up."""
    record = payload(MIB).replace(b"\n", b" ")[:-1] + b"\n"
    options = ("-c", "5MiB", "--memory", "12MiB", "--flush-size", "100MiB")
    with sink(store, *options, proxy=proxy) as program:
        program.write(lines(1))
        wait_until(lambda: _pipe_is_empty(program), lambda: "the reading")
        proxy.down()
        assert program._process.stdin is not None
        fd = program._process.stdin.fileno()
        os.set_blocking(fd, False)
        left = memoryview(record * 30)
        left = _write_until_full(fd, left)
        assert len(left) > 10 * MIB
        proxy.up()
        deadline_s = time.monotonic() + 60
        while left and time.monotonic() < deadline_s:
            left = _write_until_full(fd, left)
        program.end_input()
        assert program.wait() == 0, program.stderr
    assert content(store) == lines(1) + record * 30


def _write_until_full(fd: int, data: memoryview, quiet_s: float = 0.5) -> memoryview:
    """Write until the pipe has taken nothing for a while; what is left."""
    last_s = time.monotonic()
    while data and time.monotonic() - last_s < quiet_s:
        try:
            data = data[os.write(fd, data[:65536]) :]
            last_s = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return data


def test_a_closed_standard_output_is_status_11_and_says_what_is_not_stored(
    store: Store, seaweed: SeaweedFS
) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with sink(store, "--json", stdout=write_fd) as program:
        os.close(write_fd)
        program.write(lines(3))
        program.end_input()
        assert program.wait() == 11, program.stderr
        assert "cannot print the receipt" in program.stderr
    assert content(store) == lines(3)


@pytest.mark.slow  # the program waits 14 seconds before it leaves what hangs
@pytest.mark.parametrize("later", [1, 2])
def test_a_standard_error_that_nobody_drains_does_not_keep_a_signal_from_working(
    store: Store, seaweed: SeaweedFS, later: int
) -> None:
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write_fd, bytes(4096))
    os.set_blocking(write_fd, True)
    words = [*PROGRAM, "sink", f"s3://{store.bucket}/p"]
    program = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stderr=write_fd,
        env={**os.environ, **account(seaweed)},
    )
    os.close(write_fd)
    assert program.stdin is not None
    try:
        program.stdin.write(lines(3))
        program.stdin.flush()
        pipe = program.stdin.fileno()
        wait_until(lambda: _is_empty(pipe), lambda: "the records to be read")
        program.send_signal(signal.SIGTERM)
        wait_until(lambda: stored(store), lambda: "the object")
        time.sleep(0.2)  # within 50 ms it would be the first one again
        for _ in range(later):  # which may come before or after the outcome is decided
            program.send_signal(signal.SIGTERM)
        assert program.wait(30) in (0, 128 + signal.SIGTERM)
    finally:
        program.kill()
        program.wait()
        with suppress(OSError):
            program.stdin.close()
        os.close(read_fd)
    assert content(store) == lines(3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--spool", "", "s3://bucket/p"), "--spool names no directory"),
        (("--spool-limit", "1G", "s3://bucket/p"), "--spool-limit goes with --spool"),
    ],
)
def test_a_spool_that_was_meant_is_not_dropped_in_silence(
    words: tuple[str, ...], said: str
) -> None:
    done = invoke("sink", *words)
    assert (done.status, done.said("error")) == (2, [said])


@pytest.mark.slow
def test_a_megabyte_of_empty_lines_is_not_a_million_objects_in_memory(
    store: Store, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    """Measured against a stream of as many bytes in long lines."""
    peaks = []
    for data in ((b"x" * 999 + b"\n") * 4000, b"\n" * 4_000_000):
        words = ("sink", "-q", "--flush-count", 10**9, "--memory", "16MiB")
        with store.start(*words, f"s3://{store.bucket}/p") as program:
            program.write(data)
            program.end_input()
            peak_kib = 0
            while program.returncode is None:
                with suppress(OSError, IndexError, ValueError):
                    status = Path(f"/proc/{program.pid}/status").read_text()
                    peak_kib = int(status.split("VmHWM:")[1].split()[0])
                time.sleep(0.005)
            assert program.wait() == 0, program.stderr
        peaks.append(peak_kib)
    assert peaks[1] < peaks[0] + 30_000
