"""`--dask` as a user types it: processes of this machine, signals, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.commands.test_disk import bare, can_trace, traced, written
from tests.rig.command import anonymous, invoke, run
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fake_s3 import FakeS3
from tests.rig.process import Running, members, wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, payload

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

SIZE = 43 * MIB


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(buckets=["bucket"]) as fake:
        yield fake


@pytest.fixture
def proxy(fake: FakeS3) -> Iterator[FaultProxy]:
    with FaultProxy(fake.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(payload(SIZE))
    return path


def put(image: Path, *more: object) -> tuple[object, ...]:
    return ("put", "--dask", "local:2", "-c", "5MiB", image, "s3://bucket/k", *more)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("put /nowhere s3://bucket/k", 7),
        ("put - s3://bucket/k", 2),
        ("publish /nowhere s3://bucket/k/", 7),
        ("get s3://bucket/k OUT", 5),
        ("verify s3://bucket/k", 5),
    ],
)
def test_a_command_that_fails_at_once_leaves_no_process(
    line: str, status: int, fake: FakeS3, tmp_path: Path
) -> None:
    words = (*line.replace("OUT", str(tmp_path / "out")).split(), "--dask", "local:2")
    with Running(*words, env=anonymous(fake.endpoint_url)) as program:
        assert program.wait() == status
        wait_until(lambda: members(program.pid) == [], lambda: "the processes to end")


def test_a_file_goes_by_two_processes_and_comes_back(
    fake: FakeS3, image: Path, tmp_path: Path
) -> None:
    env = anonymous(fake.endpoint_url)
    done = run(*put(image, "--json", "--cross-check", "10%", "--progress"), env=env)
    assert done.status == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert fake.objects["bucket", "k"].body == payload(SIZE)
    assert len({part["worker"] for part in receipt["parts"]}) == 2
    assert receipt["digests"] == {}
    (tmp_path / "receipt").write_text(done.stdout)
    out = tmp_path / "out"
    words = ("--dask", "local:2", "s3://bucket/k", out, "--receipt", tmp_path / "receipt")
    back = run("get", *words, env=env)
    assert back.status == 0, back.stderr
    assert out.read_bytes() == payload(SIZE)
    same = run("verify", "--dask", "local:2", "s3://bucket/k", image, env=env)
    assert same.status == 0, same.stderr
    assert sorted(os.listdir(tmp_path)) == ["image", "out", "receipt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dask", "local:2", "-", "s3://b/k"], "--dask needs a file"),
        (["--dask", "http://h:1", "FILE", "s3://bucket/k"], "not the address of a scheduler"),
        (["--dask", "local:2", "--tee", "FILE", "s3://bucket/k"], "--tee needs a stream"),
        (["--cross-check", "1%", "FILE", "s3://bucket/k"], "go with --dask"),
        (["--cross-check", "101%", "FILE", "s3://bucket/k"], "is not a percentage"),
        (["--dask-credentials", "FILE", "s3://bucket/k"], "go with --dask"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(
    words: list[str], said: str, fake: FakeS3, image: Path
) -> None:
    given = [str(image) if word == "FILE" else word for word in words]
    done = invoke("put", *given, env=anonymous(fake.endpoint_url))
    assert done.status == 2
    assert said in done.stderr
    assert fake.objects == {}


def struck(proxy: FaultProxy, act: Callable[[], object]) -> None:
    """Do something just when the fourth part comes."""
    fault = Fault("put-part", "callback", skip=3, callback=lambda _: act())
    proxy.faults.append(fault)


@pytest.mark.parametrize("whom", ["program", "group"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_its_processes_and_leaves_nothing(
    fake: FakeS3, proxy: FaultProxy, image: Path, signum: signal.Signals, whom: str
) -> None:
    """Ctrl-C on a terminal reaches every process of the group."""
    send = os.kill if whom == "program" else os.killpg
    program: Running
    struck(proxy, lambda: send(program.pid, signum))
    with Running(*put(image), env=anonymous(proxy.endpoint_url)) as program:
        assert program.wait() == 128 + signum, program.stderr
        assert "Traceback" not in program.stderr
        assert f"interrupted by {signum.name}" in program.stderr
        wait_until(lambda: members(program.pid) == [], lambda: "the workers to end")
    assert (fake.objects, fake.uploads) == ({}, {})


def in_memory(program: Running) -> set[str]:
    """The directories in memory that the program has open: its own."""
    fds = Path(f"/proc/{program.pid}/fd")
    links = {os.readlink(each) for each in fds.iterdir() if each.is_symlink()}
    return {link for link in links if re.fullmatch("/dev/shm/streamtos3-[^/]*", link)}


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no file system in memory")
@pytest.mark.parametrize("whom", ["program", "group"])
def test_what_kill_9_leaves_in_memory_is_removed(
    fake: FakeS3, proxy: FaultProxy, image: Path, whom: str
) -> None:
    """By the program's own processes, or, where they were killed too, by the next run."""
    program: Running
    mine: set[str] = set()

    def strike() -> None:
        mine.update(in_memory(program))
        (os.kill if whom == "program" else os.killpg)(program.pid, signal.SIGKILL)

    struck(proxy, strike)
    with Running(*put(image), env=anonymous(proxy.endpoint_url)) as program:
        program.wait()
        wait_until(lambda: members(program.pid) == [], lambda: "the workers to end")
    assert len(mine) == 1
    if whom == "group":
        assert run(*put(image), env=anonymous(fake.endpoint_url)).status == 0
    assert not os.path.exists(mine.pop())


def test_a_process_that_is_killed_is_replaced(fake: FakeS3, proxy: FaultProxy, image: Path) -> None:
    program: Running

    def kill_a_worker() -> None:
        starter, *workers = sorted(set(members(program.pid)) - {program.pid})
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)

    struck(proxy, kill_a_worker)
    with Running(*put(image, "--json"), env=anonymous(proxy.endpoint_url)) as program:
        assert program.wait() == 0, program.stderr
    assert fake.objects["bucket", "k"].body == payload(SIZE)
    assert fake.uploads == {}


def test_after_kill_9_resume_goes_on(fake: FakeS3, proxy: FaultProxy, image: Path) -> None:
    program: Running
    struck(proxy, lambda: os.kill(program.pid, signal.SIGKILL))
    with Running(*put(image), env=anonymous(proxy.endpoint_url)) as program:
        program.wait()
        wait_until(lambda: members(program.pid) == [], lambda: "the workers to end")
    assert len(fake.uploads) == 1
    done = run(*put(image, "--resume", "--json"), env=anonymous(fake.endpoint_url))
    assert done.status == 0, done.stderr
    assert fake.objects["bucket", "k"].body == payload(SIZE)
    assert fake.uploads == {}
    assert any(part["resumed"] for part in json.loads(done.stdout)["parts"])


@pytest.mark.parametrize("where", ["local", "cluster"])
def test_after_kill_9_resume_finishes_a_directory_with_nothing_twice(
    fake: FakeS3, proxy: FaultProxy, tmp_path: Path, where: str
) -> None:
    """What the killed run, or its workers after it, have stored is not sent again."""
    (tmp_path / "results").mkdir()
    files = {f"{number:03}": payload(2000 + number) for number in range(120)}
    for name, data in files.items():
        (tmp_path / "results" / name).write_bytes(data)
    with ExitStack() as stack:
        address = "local:2"
        if where == "cluster":
            address = stack.enter_context(DaskCluster(tmp_path, workers=2)).address
        words = ("publish", "--dask", address, tmp_path / "results", "s3://bucket/r/")
        program: Running
        kill = Fault(
            *("put-object", "callback"),
            skip=30,
            callback=lambda _: os.kill(program.pid, signal.SIGKILL),
        )
        proxy.faults.append(kill)
        with Running(*words, env=anonymous(proxy.endpoint_url)) as program:
            program.wait()
            wait_until(lambda: members(program.pid) == [], lambda: "the processes to end")
        settle(proxy)
        before = set(fake.objects)
        assert len(before) > 0
        done = run(*words, "--resume", env=anonymous(proxy.endpoint_url))
    assert done.status == 0, done.stderr
    assert {key: stored.body for (_, key), stored in fake.objects.items()} == {
        f"r/{name}": data for name, data in files.items()
    }
    assert fake.uploads == {}
    answered = [each.key for each in proxy.seen if each.verb == "put-object" and each.status == 200]
    assert len(answered) == len(set(answered))
    specification = json.loads(done.stdout)
    assert specification["complete"] is True
    assert specification["already_there"] >= len(before)


def settle(proxy: FaultProxy) -> None:
    """Wait until no request has come for a second: the workers have ended their tasks."""
    counts = [-1, proxy.count()]
    while counts[-1] != counts[-2]:
        time.sleep(1.0)
        counts.append(proxy.count())


def test_a_keyfile_that_is_a_pipe_reaches_the_processes(fake: FakeS3, image: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"key:secret\n")
    os.close(write_fd)
    env = {"AWS_ENDPOINT_URL": fake.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}
    words = put(image, "-k", f"/dev/fd/{read_fd}", "--insecure-keyfile")
    done = subprocess.run(
        [sys.executable, "-m", "streamtos3", *map(str, words)],
        env={**os.environ, **env},
        pass_fds=[read_fd],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    os.close(read_fd)
    assert done.returncode == 0, done.stderr
    assert fake.objects["bucket", "k"].body == payload(SIZE)


@pytest.mark.skipif(not can_trace(), reason="strace is missing or may not trace")
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no file system in memory")
def test_nothing_is_written_to_the_disk(fake: FakeS3, image: Path, tmp_path: Path) -> None:
    """By no process: what Dask writes is in memory, and gone afterwards."""
    env = bare(fake)
    # In a fresh checkout, byte code of the modules that are imported before `main`.
    subprocess.run([sys.executable, "-m", "streamtos3", "--version"], env=env, capture_output=True)
    done = subprocess.run(
        traced(tmp_path / "log", *put(image)),
        env=env,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    all_changed = written(tmp_path / "log")
    changed = [each for each in all_changed if "/dev/shm/" not in each]
    # The system's own, for the time in the ids that Dask makes.
    changed = [each for each in changed if each != "/var/lib/libuuid/clock.txt"]
    # Inside a directory that is open already, and below /dev/shm: removed by descriptor.
    changed = [each for each in changed if not each.startswith("unlinkat(")]
    assert changed == []
    assert sorted(os.listdir(tmp_path)) == ["image", "log"]
    # Its own: other tests have theirs at the same time.
    mine = set(re.findall(r"/dev/shm/streamtos3-\w+", "\n".join(all_changed)))
    assert mine
    assert [each for each in mine if os.path.exists(each)] == []
