"""`publish` of files of one request: how many requests there are, and what a fault does to each.

Every case ends with the pair: what is stored is what was read, or there is no object; and no
upload is left open.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from streamtos3.integrity.md5 import Md5Method, md5s
from streamtos3.runtime import buffers, md5_group
from streamtos3.runtime.buffers import Buffer
from streamtos3.s3.responses import TOKEN_KEY
from streamtos3.uploader import object_upload
from tests.rig.command import Outcome, anonymous, invoke
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import payload
from tests.servers.publish.test_publication import Site, document, proxy, site

__all__ = ["proxy", "site"]  # fixtures

FILES = {name: name.encode() * 100 for name in ("a", "b", "d/c")}
QUICK = ("-s", "0.01", "-r", "3")


def assert_stored(site: Site, outcome: Outcome) -> None:
    assert outcome.status == 0, outcome.stderr
    assert document(outcome)["complete"] is True
    assert site.stored("r/") == FILES
    assert site.uploads() == []


# One request a file


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3(buckets=("demo",)) as fake:
        yield fake


class OnFake:
    """A directory, the fake, and the program between them."""

    def __init__(self, fake: FakeS3, directory: Path, files: dict[str, bytes]) -> None:
        self.fake = fake
        self.directory = directory
        for name, data in files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(data)

    def publish(self, *options: object) -> Outcome:
        self.fake.requests.clear()
        words = ("publish", *QUICK, *options, self.directory, "s3://demo/r/")
        return invoke(*words, env=anonymous(self.fake.endpoint_url))

    @property
    def verbs(self) -> list[str]:
        return [asked.verb for asked in self.fake.requests]

    @property
    def stored(self) -> dict[str, bytes]:
        return {key: stored.body for (_, key), stored in self.fake.objects.items()}


def test_a_file_is_one_request_and_the_bucket_is_looked_at_once(
    fake: FakeS3, tmp_path: Path
) -> None:
    run = OnFake(fake, tmp_path, FILES)
    outcome = run.publish()
    assert outcome.status == 0, outcome.stderr
    assert run.verbs == ["list-objects", *["put-object"] * 3]
    assert all(asked.headers.get("if-none-match") == "*" for asked in fake.requests[1:])
    assert [each["proof"] for each in document(outcome)["entries"]] == ["md5-etag"] * 3


def test_the_first_files_may_be_stuck_and_the_others_go_on(site: Site, proxy: FaultProxy) -> None:
    def until_another_is_sent(proxy: FaultProxy) -> None:
        give_up_at_s = time.monotonic() + 20
        while not any((seen.verb, seen.key) == ("put-object", "r/d/c") for seen in proxy.seen):
            assert time.monotonic() < give_up_at_s
            time.sleep(0.01)

    stuck = partial(Fault, "put-object", "callback", callback=until_another_is_sent)
    proxy.faults += [stuck(key="r/a"), stuck(key="r/b")]
    site.add(FILES)
    assert_stored(site, site.publish("r/", **site.through(proxy)))
    assert [each.struck for each in proxy.faults] == [1, 1]


def test_md5s_of_larger_files_are_computed_together(
    fake: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def counted(buffers: Sequence[memoryview]) -> list[bytes]:
        sizes.append(len(buffers))
        return md5s(buffers)

    monkeypatch.setattr(md5_group, "md5_method", lambda: Md5Method("plain", 8))
    monkeypatch.setattr(md5_group, "md5s", counted)
    monkeypatch.setattr(object_upload, "_WORTH_GROUPING_BYTES", 1000)
    files = {f"{number:02}": payload(990 + number) for number in range(40)}
    run = OnFake(fake, tmp_path, files)
    outcome = run.publish()
    assert outcome.status == 0, outcome.stderr
    assert run.stored == {f"r/{name}": data for name, data in files.items()}
    assert sum(sizes) == 30  # those of 1,000 bytes and more
    assert {each["proof"] for each in document(outcome)["entries"]} == {"md5-etag"}


def test_memory_is_used_again_and_a_shorter_file_stays_short(
    fake: FakeS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Counted(Buffer):
        def __init__(self, size_bytes: int) -> None:
            made.append(size_bytes)
            super().__init__(size_bytes)

    monkeypatch.setattr(buffers, "Buffer", Counted)
    files = {f"{number:02}": payload(2000 - 100 * number) for number in range(20)}
    run = OnFake(fake, tmp_path, files)
    assert run.publish("--files", "2").status == 0
    assert run.stored == {f"r/{name}": data for name, data in files.items()}
    assert len(made) <= 2


def test_a_second_run_asks_for_the_listing_and_one_version(fake: FakeS3, tmp_path: Path) -> None:
    run = OnFake(fake, tmp_path, FILES)
    assert run.publish().status == 0
    outcome = run.publish("--resume", "--files", "1")
    assert outcome.status == 0, outcome.stderr
    assert run.verbs == ["list-objects", "head"]
    found = document(outcome)
    assert (found["already_there"], found["complete"]) == (3, True)
    assert [each["proof"] for each in found["entries"]] == ["md5-etag"] * 3


def test_in_a_bucket_with_versions_each_is_asked_for(fake: FakeS3, tmp_path: Path) -> None:
    fake.quirks = dataclasses.replace(fake.quirks, versioned=True)
    run = OnFake(fake, tmp_path, FILES)
    first = document(run.publish())
    again = document(run.publish("--resume"))
    assert run.verbs == ["list-objects", *["head"] * 4]
    versions = [each["version_id"] for each in first["entries"]]
    assert None not in versions
    assert [each["version_id"] for each in again["entries"]] == versions


def test_a_long_listing_is_read_page_by_page(fake: FakeS3, tmp_path: Path) -> None:
    fake.quirks = dataclasses.replace(fake.quirks, page_size=2)
    run = OnFake(fake, tmp_path, {f"{number}": b"x%d" % number for number in range(7)})
    assert run.publish().status == 0
    assert run.publish("--resume").status == 0
    assert run.verbs == [*["list-objects"] * 4, "head"]


def test_what_is_there_and_differs_is_not_replaced(fake: FakeS3, tmp_path: Path) -> None:
    run = OnFake(fake, tmp_path, FILES)
    assert run.publish().status == 0
    (tmp_path / "b").write_bytes(b"B" * 100)  # of the same size
    outcome = run.publish("--resume")
    assert outcome.status == 6
    assert run.stored["r/b"] == FILES["b"]
    assert run.publish("--resume", "--overwrite").status == 0
    assert run.stored["r/b"] == b"B" * 100


@pytest.mark.parametrize("etag", ["opaque", "uuid"])
def test_where_etags_are_no_md5s_each_object_is_looked_at(
    etag: str, fake: FakeS3, tmp_path: Path
) -> None:
    fake.quirks = Quirks(etag=etag)  # type: ignore[arg-type]
    run = OnFake(fake, tmp_path, FILES)
    outcome = run.publish("--verify", "readback")
    assert outcome.status == 0, outcome.stderr
    assert run.verbs.count("head") >= 3
    assert [each["proof"] for each in document(outcome)["entries"]] == ["readback"] * 3
    outcome = run.publish("--resume")
    assert (outcome.status, document(outcome)["already_there"]) == (0, 3), outcome.stderr


@pytest.mark.parametrize("if_none_match", ["ignored", "refused"])
def test_nothing_is_replaced_where_the_service_knows_no_conditions(
    if_none_match: str, fake: FakeS3, tmp_path: Path
) -> None:
    fake.quirks = Quirks(if_none_match=if_none_match)  # type: ignore[arg-type]
    run = OnFake(fake, tmp_path, FILES)
    assert run.publish().status == 0
    (tmp_path / "b").write_bytes(b"other")
    for options in ((), ("--resume",)):
        assert run.publish(*options).status == 6
        assert run.stored == {f"r/{name}": data for name, data in FILES.items()}


@pytest.mark.parametrize("name", ["plus+", "per%41cent", "back\\slash", "é", "a b"])
def test_a_name_that_listings_may_spell_differently_is_looked_for(
    name: str, fake: FakeS3, tmp_path: Path
) -> None:
    fake.quirks = Quirks(if_none_match="ignored", misspells_listed=True)
    run = OnFake(fake, tmp_path, {name: b"x"})
    assert run.publish().status == 0
    (tmp_path / name).write_bytes(b"other")
    assert run.publish().status == 6
    assert run.publish("--resume").status == 6
    assert run.stored == {f"r/{name}": b"x"}


@pytest.mark.parametrize(
    "action", ["access-denied", "empty-200", "html-200", "precondition-failed"]
)
def test_where_the_prefix_cannot_be_listed_each_key_is_looked_at(
    action: str, site: Site, proxy: FaultProxy
) -> None:
    site.add(FILES)
    proxy.faults.append(Fault("list-objects", action, times=-1))
    assert_stored(site, site.publish("r/", **site.through(proxy)))
    assert proxy.count("head") == 3
    (site.directory / "b").write_bytes(b"other")
    outcome = site.publish("r/", "--resume", **site.through(proxy))
    assert outcome.status == 6
    assert site.stored("r/") == FILES


@pytest.mark.parametrize("action", ["500", "503", "reset-before", "lost-answer"])
def test_the_listing_is_tried_again(action: str, site: Site, proxy: FaultProxy) -> None:
    site.add(FILES)
    proxy.faults.append(Fault("list-objects", action))
    assert_stored(site, site.publish("r/", **site.through(proxy)))


def test_a_bucket_that_is_not_there_is_status_5_before_the_first_byte(
    fake: FakeS3, tmp_path: Path
) -> None:
    run = OnFake(fake, tmp_path, FILES)
    fake.buckets.clear()
    outcome = run.publish()
    assert (outcome.status, run.verbs) == (5, ["list-objects"])
    assert "NoSuchBucket" in outcome.stderr


# Faults


@pytest.mark.parametrize(
    "action",
    [
        *("500", "503", "bad-digest", "incomplete-body", "request-timeout", "internal-after"),
        *("reset-before", "reset-middle", "reset-after", "lost-answer", "cut-answer"),
        *("wrong-etag", "foreign-etag", "no-etag", "empty-200", "html-200", "conflict"),
        *("flip-request", "flip-request-no-md5"),
    ],
)
def test_one_put_survives(action: str, site: Site, proxy: FaultProxy) -> None:
    site.add(FILES)
    proxy.faults.append(Fault("put-object", action, key="b"))
    assert_stored(site, site.publish("r/", **site.through(proxy)))
    assert proxy.count("put-object") in (3, 4)


def test_a_412_that_is_our_own_success_is_a_success(site: Site, proxy: FaultProxy) -> None:
    """The answer is lost, the look that follows it fails, and the retry meets our own object."""
    site.add(FILES)
    proxy.faults += [Fault("put-object", "lost-answer", key="b"), Fault("head", "500", key="b")]
    assert_stored(site, site.publish("r/", **site.through(proxy)))


def test_a_412_that_is_anothers_object_is_status_6(site: Site, proxy: FaultProxy) -> None:
    """It came after the prefix was listed."""
    site.add(FILES)

    def foreign(_: FaultProxy) -> None:
        metadata = {TOKEN_KEY: "another"}
        site.s3.put_object(Bucket=site.bucket, Key="r/b", Body=b"theirs", Metadata=metadata)

    proxy.faults.append(Fault("put-object", "callback", key="b", callback=foreign))
    outcome = site.publish("r/", "--files", "1", **site.through(proxy))
    assert outcome.status == 6
    assert site.stored("r/") == {"a": FILES["a"], "b": b"theirs"}
    assert site.uploads() == []
    assert document(outcome)["complete"] is False


@pytest.mark.parametrize(
    "action, status",
    [
        *[("500", 8), ("503", 8), ("bad-digest", 9), ("reset-middle", 8), ("access-denied", 5)],
        *[("incomplete-body", 9), ("flip-request", 9)],
    ],
)
def test_a_put_that_always_fails_leaves_no_object(
    action: str, status: int, site: Site, proxy: FaultProxy
) -> None:
    site.add(FILES)
    proxy.faults.append(Fault("put-object", action, key="b", times=-1))
    outcome = site.publish("r/", "--files", "1", **site.through(proxy))
    assert outcome.status == status, outcome.stderr
    assert site.stored("r/") == {"a": FILES["a"]}
    assert site.uploads() == []
    found = document(outcome)
    assert ([each["path"] for each in found["entries"]], found["complete"]) == (["a"], False)


def test_a_service_that_keeps_storing_other_bytes_is_status_9_and_named(
    site: Site, proxy: FaultProxy
) -> None:
    site.add(FILES)
    proxy.faults.append(Fault("put-object", "flip-request-no-md5", key="b", times=-1))
    outcome = site.publish("r/", "--files", "1", **site.through(proxy))
    assert outcome.status == 9
    assert "r/b is there and is not what was read" in outcome.stderr
    assert [each["path"] for each in document(outcome)["entries"]] == ["a"]


def test_a_put_that_is_never_answered_is_undecided(site: Site, proxy: FaultProxy) -> None:
    site.add(FILES)
    proxy.faults += [
        Fault("put-object", "lost-answer", key="b", times=-1),
        Fault("head", "500", key="b", times=-1),
    ]
    outcome = site.publish("r/", "--files", "1", **site.through(proxy))
    assert outcome.status == 8
    assert "r/b was sent, its answer is unknown" in outcome.stderr
    assert site.stored("r/")["b"] == FILES["b"]
    assert site.uploads() == []
