"""`publish` as a process: signals, death, memory, modes of files, and nobody who listens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.rig.command import anonymous
from tests.rig.peak import peak_bytes
from tests.rig.process import PROGRAM, Running, Store, account, wait_until
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, object_exists, open_uploads, payload, without_roots_override
from tests.rig.terminal import Terminal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZE = 12 * MIB  # three parts
_MOST_S = 15.0


class Site(Store):
    """A directory with one file that is stored at once, and two that take their time."""

    def __init__(self, seaweed: SeaweedFS, s3: S3Client, bucket: str, directory: Path) -> None:
        super().__init__(seaweed, s3, bucket)
        self.directory = directory
        directory.mkdir()
        (directory / "a").write_bytes(b"A")
        for name in ("big1", "big2"):
            (directory / name).write_bytes(payload(SIZE))

    def publish(self, *options: object, **more: Any) -> Running:
        words = ("publish", "-c", "5MiB", *options, self.directory, f"s3://{self.bucket}/r/")
        return self.start(*words, stdin=subprocess.DEVNULL, **more)

    def has_first_parts(self) -> bool:
        """Whether each open upload has stored its first part."""
        listed = [
            self.s3.list_parts(Bucket=self.bucket, Key=key, UploadId=upload_id).get("Parts", [])
            for key, upload_id in open_uploads(self.s3, self.bucket)
        ]
        return all(1 in [each["PartNumber"] for each in parts] for parts in listed)

    def keys(self) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return [each["Key"] for each in listed]


@pytest.fixture
def site(seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path) -> Site:
    return Site(seaweed, s3, bucket, tmp_path / "results")


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Iterator[FaultProxy]:
    """The second parts of all files never get an answer."""
    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults.append(Fault("put-part", "stop-answering", part=2, times=-1))
        yield proxy


def both_under_way(site: Site, proxy: FaultProxy) -> None:
    wait_until(
        lambda: (
            len(site.uploads()) == 2
            and proxy.count("put-part", 2) == 2
            and site.has_first_parts()
            and object_exists(site.s3, site.bucket, "r/a")
        ),
        lambda: f"two uploads, {site.uploads()}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_uploads_and_the_specification_says_what_is_there(
    site: Site, proxy: FaultProxy, signum: int
) -> None:
    with site.publish("--manifest", "m", proxy=proxy) as program:
        both_under_way(site, proxy)
        sent_s = program.send(signum)
        assert program.wait() == 128 + signum
        assert time.monotonic() - sent_s < _MOST_S
        found = json.loads(program.read_stdout())
        assert f"error: interrupted by {signal.Signals(signum).name}\n" in program.stderr
        assert f"left behind: 1 object at s3://{site.bucket}/r/" in program.stderr
    assert ([each["path"] for each in found["entries"]], found["complete"]) == (["a"], False)
    assert (site.keys(), site.uploads()) == (["r/a"], [])


@pytest.mark.slow
def test_a_signal_with_resume_keeps_all_uploads_and_names_them(
    site: Site, proxy: FaultProxy
) -> None:
    with site.publish("--resume", proxy=proxy) as program:
        both_under_way(site, proxy)
        program.send(signal.SIGTERM)
        assert program.wait() == 143
        (told,) = [line for line in program.stderr.splitlines() if "left behind" in line]
    assert len(site.uploads()) == 2
    assert [each for each in site.uploads() if each not in told] == []


@pytest.mark.slow
def test_after_a_signal_a_put_without_an_answer_is_named(
    seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """The thread that sent it hangs in it, and cannot say so."""
    site = Site(seaweed, s3, bucket, tmp_path / "results")
    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults.append(
            Fault("put-object", "stop-answering", key="r/a", forward=True, times=-1)
        )
        for name in ("big1", "big2"):
            (site.directory / name).unlink()
        with site.publish(proxy=proxy) as program:
            wait_until(lambda: object_exists(s3, bucket, "r/a"), lambda: f"r/a, {site.keys()}")
            program.send(signal.SIGTERM)
            assert program.wait() == 143
            found = json.loads(program.read_stdout())
            assert f"s3://{bucket}/r/a was sent, its answer is unknown" in program.stderr
    assert (found["entries"], found["complete"]) == ([], False)
    assert (site.keys(), site.uploads()) == (["r/a"], [])


@pytest.mark.slow
def test_a_killed_publication_of_small_files_is_taken_up_again(
    site: Site, proxy: FaultProxy
) -> None:
    proxy.faults.clear()
    for number in range(40):
        (site.directory / f"s{number:02}").write_bytes(b"%d" % number)
    proxy.faults.append(Fault("put-object", "stop-answering", key="r/s20", times=-1))
    with site.publish("--files", "1", proxy=proxy) as program:
        wait_until(
            lambda: object_exists(site.s3, site.bucket, "r/s19"), lambda: f"r/s19, {site.keys()}"
        )
        program.send(signal.SIGKILL)
        program.wait()
    proxy.faults.clear()
    with site.publish("--resume", proxy=proxy) as program:
        assert program.wait() == 0, program.stderr
        found = json.loads(program.read_stdout())
    assert (found["complete"], found["objects"]) == (True, 43)
    assert found["already_there"] >= 20
    assert (len(site.keys()), site.uploads()) == (43, [])


@pytest.mark.slow
def test_a_second_signal_leaves_at_once_and_names_the_uploads(
    site: Site, proxy: FaultProxy
) -> None:
    with site.publish(proxy=proxy) as program:
        both_under_way(site, proxy)
        proxy.faults.append(Fault("abort", "stop-answering", times=-1))
        program.send(signal.SIGINT)
        wait_until(lambda: proxy.count("abort") == 2, lambda: "two aborts")
        program.send(signal.SIGINT)
        assert program.wait(5) == 130
        assert "left at once on a second signal" in program.stderr
        for upload_id in site.uploads():
            assert upload_id in program.stderr


def test_after_kill_9_the_rest_is_published_and_nothing_is_sent_twice(
    site: Site, proxy: FaultProxy
) -> None:
    with site.publish("--resume", "--manifest", "m", proxy=proxy) as program:
        both_under_way(site, proxy)
        program.send(signal.SIGKILL)
        program.wait()
    assert len(site.uploads()) == 2
    assert not object_exists(site.s3, site.bucket, "m")
    proxy.faults.clear()
    proxy.release()
    proxy.seen.clear()
    with site.publish("--resume", "--manifest", "m", proxy=proxy) as program:
        assert program.wait() == 0, program.stderr
        found = json.loads(program.read_stdout())
    assert {each["path"]: each["already_there"] for each in found["entries"]} == {
        "a": True,
        "big1": False,
        "big2": False,
    }
    assert (site.keys(), site.uploads()) == (["m", "r/a", "r/big1", "r/big2"], [])
    assert proxy.count("put-part", 1) == 0
    for name in ("big1", "big2"):
        body = site.s3.get_object(Bucket=site.bucket, Key=f"r/{name}")["Body"].read()
        assert body == payload(SIZE)


@pytest.mark.parametrize("archive", [(), ("--archive",)])
def test_what_may_not_be_read_is_named_and_the_rest_is_published(
    site: Site, archive: tuple[str, ...]
) -> None:
    (site.directory / "secret").write_bytes(b"S")
    (site.directory / "secret").chmod(0)
    (site.directory / "closed").mkdir()
    (site.directory / "closed" / "inside").write_bytes(b"I")
    (site.directory / "closed").chmod(0)
    with site.publish(*archive, prepare=without_roots_override) as program:
        assert program.wait() == 7, program.stderr
        found = json.loads(program.read_stdout())
        said = program.stderr
    (site.directory / "closed").chmod(0o700)
    assert [each["path"] for each in found["not_published"]] == ["closed", "secret"]
    assert "warning: not published: cannot read closed: permission denied\n" in said
    assert f"not published: cannot read {site.directory}/secret: permission denied\n" in said
    assert site.keys() == (["r/results.tar"] if archive else ["r/a", "r/big1", "r/big2"])


@pytest.mark.slow
def test_one_bar_shows_how_far_all_files_are_together(site: Site, seaweed: SeaweedFS) -> None:
    words = [*PROGRAM, "publish", "-c", "5MiB", str(site.directory), f"s3://{site.bucket}/r/"]
    with Terminal() as terminal, terminal.start(words, account(seaweed)) as process:
        painted = terminal.wait_for("published 3 objects, 24 MiB")
        process.communicate(timeout=60)
    assert painted.count(" 0.00/24.0M") == 1, painted  # of one file it would be 12.0M


def test_nobody_reads_the_specification(site: Site) -> None:
    with site.publish(prepare=lambda: os.close(1)) as program:
        assert program.wait() == 11
        assert "error: cannot print the specification: standard output" in program.stderr
    assert site.keys() == ["r/a", "r/big1", "r/big2"]


@pytest.mark.slow
def test_memory_is_bounded_for_all_files_together(site: Site, seaweed: SeaweedFS) -> None:
    """Four files at a time, each of which could fill much more than the whole may have."""
    for number in range(4):
        with (site.directory / f"large{number}").open("wb") as file:
            file.truncate(64 * MIB)

    def peak(*words: object) -> int:
        return peak_bytes([*PROGRAM, "publish", *words], {**os.environ, **account(seaweed)})

    empty = site.directory / "empty"
    empty.mkdir()
    (empty / "f").write_bytes(b"x")
    where = f"s3://{site.bucket}/"
    with_little = peak(empty, where + "e/")
    with_much = peak("--memory", "40MiB", "-c", "5MiB", site.directory, where + "m/")
    assert len(site.keys()) == 9
    assert with_much - with_little < 40 * MIB + 12 * MIB


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("files", [20_000])
def test_memory_hardly_grows_with_the_files(tmp_path: Path, files: int) -> None:
    """The first run stores them, the second finds them in the listing.

    docs/performance.org has the peaks of 100,000 files, which take ten minutes.
    """
    for number in range(files):
        folder = tmp_path / "in" / f"{number // 1000:03}"
        if not number % 1000:
            folder.mkdir(parents=True)
        (folder / f"{number:06}.dat").write_bytes(b"%d" % number)
    with subprocess.Popen(
        [sys.executable, "-m", "bench.endpoint"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        env = {**os.environ, **anonymous(url)}
        for already_there, options in ((0, ()), (files, ("--resume",))):
            words = ("publish", *options, str(tmp_path / "in"), "s3://bench/p/")
            with (tmp_path / "out.json").open("wb") as out:
                peak = peak_bytes([*PROGRAM, *words], env, out)
            found = json.loads((tmp_path / "out.json").read_bytes())
            assert (found["objects"], found["already_there"]) == (files, already_there)
            assert peak < 90 * MIB
        server.terminate()
