"""Secrets reach the workers, and are nowhere else: no task, no log, no page of the dashboard."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import distributed
import pytest

from streamtos3.cluster.processes import ClusterOptions
from streamtos3.errors import CredentialsError, UnprovedError
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Connection, Credentials, Retries
from tests.rig.cluster_site import PART, Site
from tests.rig.dask_cluster import DaskCluster
from tests.rig.fault_rig import Bench
from tests.rig.proxy import Fault
from tests.rig.wire import S3Request

pytestmark = pytest.mark.slow  # a cluster takes seconds to start

SECRETS = ("a-very-secret-key", "a-very-secret-token", "k" * 32)
CREDENTIALS = Credentials("AKID", SECRETS[0], SECRETS[1])

cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["x"]))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """Two workers without credentials, and a scheduler with its pages."""
    directory = tmp_path_factory.mktemp("bare")
    with DaskCluster(directory, workers=2, keys=None) as running:
        yield running


def find_in_memory(words: tuple[str, ...], dask_scheduler: Any = None) -> list[str]:
    """In the scheduler: every string or bytes that holds one of the words, wherever it hangs.

    The words themselves travel here reversed, or the question would find itself.
    """
    wanted = [word[::-1] for word in words]
    raw = [word.encode() for word in wanted]
    found = []
    for holder in gc.get_objects():
        for each in gc.get_referents(holder):
            if isinstance(each, str):
                hit = each not in wanted and any(word in each for word in wanted)
            elif isinstance(each, bytes | bytearray):
                hit = each not in raw and any(word in each for word in raw)
            else:
                continue
            if hit:
                found.append(f"{type(holder).__name__}: {each[:60]!r}")
    return found


def pages(scheduler_file: Path) -> str:
    """What the scheduler and the workers tell anybody: identity, events, logs, stories."""
    with distributed.Client(scheduler_file=str(scheduler_file), set_as_default=False) as client:
        told = [client.scheduler_info(), client.get_events(), client.get_scheduler_logs()]
        told += [client.get_worker_logs(), client.get_task_stream(), client.profile()]
        return repr(told)


def shown_of(site: Site) -> tuple[str, list[str]]:
    words = tuple(word[::-1] for word in SECRETS)
    with distributed.Client(
        scheduler_file=str(site.cluster.scheduler_file), set_as_default=False
    ) as client:
        found = client.run_on_scheduler(find_in_memory, words)
    return pages(site.cluster.scheduler_file) + site.cluster.logs, found


def options_of(site: Site) -> dict[str, Any]:
    connection = replace(site.bench.options.connection, credentials=CREDENTIALS)
    return {
        "connection": connection,
        "settings": ObjectSettings(sse_c_key=SECRETS[2].encode()),
        "verify": "none",
    }


def test_temporary_credentials_reach_the_workers_and_nobody_else_sees_them(
    on_fake: Bench, bare: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(on_fake, bare, tmp_path)
    data = site.write(20 * PART)
    seen: list[tuple[str, list[str]]] = []
    look = Fault("put-part", "callback", skip=5, callback=lambda _: seen.append(shown_of(site)))
    on_fake.proxy.faults.append(look)
    how = ClusterOptions(site.how.address, sends_credentials=True)
    with pytest.raises(UnprovedError):  # an ETag with SSE-C is no MD5
        site.put(how=how, **options_of(site))
    assert site.stored == data
    ((while_it_ran, held),) = seen
    after, held_after = shown_of(site)
    for each in SECRETS:
        assert each not in while_it_ran + after
    # While it runs the plug-in has them, to give them to a worker that joins; then nobody has.
    assert {each.partition(":")[0] for each in held} <= {"dict", "Credentials"}
    assert held_after == []


def test_the_search_of_the_scheduler_would_find_a_secret(bare: DaskCluster) -> None:
    """Or the test above could not fail."""

    def keep(word: str, dask_scheduler: Any = None) -> None:
        dask_scheduler.kept = [f"<{word[::-1]}>"]

    with distributed.Client(
        scheduler_file=str(bare.scheduler_file), set_as_default=False
    ) as client:
        client.run_on_scheduler(keep, SECRETS[0][::-1])
        assert client.run_on_scheduler(find_in_memory, (SECRETS[0][::-1],))
        client.run_on_scheduler(keep, "")
        client.submit(len, f"task {SECRETS[0]}").result()


def test_a_worker_that_joins_meanwhile_is_sent_them_too(on_fake: Bench, tmp_path: Path) -> None:
    with DaskCluster(tmp_path, workers=1, keys=None) as cluster:
        site = Site(on_fake, cluster, tmp_path)
        data = site.write(60 * PART)
        (first,) = cluster.workers

        def replace_it() -> None:
            cluster.start_worker()
            cluster.wait_for_workers(2)
            cluster.kill(first)

        on_fake.proxy.faults.append(
            Fault("put-part", "callback", skip=3, callback=lambda _: replace_it())
        )
        how = ClusterOptions(site.how.address, sends_credentials=True)
        site.put(how=how, connection=replace(on_fake.options.connection, credentials=CREDENTIALS))
        assert site.stored == data


class Expired(Fault):
    """Requests with a session token that is not good any more."""

    token = ""

    def strikes(self, asked: S3Request) -> bool:
        return bool(self.token) and asked.headers.get("x-amz-security-token") == self.token


_PROCESS = """
import datetime, json, pathlib, sys
token = pathlib.Path(sys.argv[1]).read_text()
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
print(json.dumps({"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "s",
                  "SessionToken": token, "Expiration": soon.isoformat()}))
"""


def test_credentials_that_expire_in_the_middle_are_renewed_on_the_workers(
    on_fake: Bench, bare: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's chain has new ones; the workers learn of them, and go on."""
    token, config = tmp_path / "token", tmp_path / "config"
    token.write_text("the-first-token")
    (tmp_path / "process.py").write_text(_PROCESS)
    words = f"{sys.executable} {tmp_path / 'process.py'} {token}"
    config.write_text(f"[profile role]\ncredential_process = {words}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("streamtos3.cluster.credentials._LOOK_S", 0.2)
    site = Site(on_fake, bare, tmp_path)
    data = site.write(60 * PART)
    expired = Expired("any", "expired-token")

    def expire() -> None:
        token.write_text("the-second-token")
        expired.token = "the-first-token"

    on_fake.proxy.faults += [
        expired,
        Fault("put-part", "callback", skip=10, callback=lambda _: expire()),
    ]
    how = ClusterOptions(site.how.address, sends_credentials=True)
    connection = replace(on_fake.options.connection, credentials=None, profile="role")
    # By time: four tries, as usual here, are over before the client has even looked.
    retries = Retries(first_wait_s=0.01, retry_for_s=60.0)
    receipt = site.put(how=how, connection=connection, retries=retries)
    assert site.stored == data
    assert receipt.proof.object == "composite-etag"
    sent = [seen for seen in on_fake.proxy.seen if seen.verb == "put-part" and not seen.fault]
    tokens = {seen.headers["x-amz-security-token"] for seen in sent}
    assert tokens == {"the-first-token", "the-second-token"}
    assert any(seen.fault == "expired-token" for seen in on_fake.proxy.seen)
    assert on_fake.open_uploads == []


def test_workers_without_credentials_say_so(
    on_fake: Bench, bare: DaskCluster, tmp_path: Path
) -> None:
    site = Site(on_fake, bare, tmp_path)
    site.write(20 * PART)
    site.refuses(CredentialsError, "(worker ")


def test_permanent_credentials_are_not_sent(
    on_fake: Bench, bare: DaskCluster, tmp_path: Path
) -> None:
    site = Site(on_fake, bare, tmp_path)
    site.write(20 * PART)
    how = ClusterOptions(site.how.address, sends_credentials=True)
    permanent = Connection(endpoint_url=on_fake.proxy.endpoint_url, region="us-east-1")
    site.refuses(CredentialsError, "permanent credentials", how=how, connection=permanent)
