"""How long each request waits for its answer, and over which connection it goes."""

from __future__ import annotations

import pytest

from streamtos3.s3 import clients
from tests.rig.fault_rig import Bench
from tests.rig.faults import Fault

pytestmark = pytest.mark.timeout(60)

SHORT_S = 0.3
LONG_S = 1.0


@pytest.fixture(params=["shared", "apart"], autouse=True)
def botocore(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A botocore that knows time-outs of single requests, or one that does not yet."""
    if request.param == "apart":
        monkeypatch.setattr(clients, "_FIRST_WITH_REQUEST_TIMEOUTS", (99, 0))
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are short, but that of `complete`."""
    for profile in clients.TIMEOUTS_S:
        answer_s = 30.0 if profile == "commit" else SHORT_S
        monkeypatch.setitem(clients.TIMEOUTS_S, profile, (5.0, answer_s))


def test_complete_is_waited_for_longer_than_a_part(on_fake: Bench) -> None:
    on_fake.stores(Fault("complete", "slow", delay_s=LONG_S))
    assert on_fake.proxy.count("complete") == 1


def test_a_part_is_not_waited_for_as_long_as_complete(on_fake: Bench) -> None:
    on_fake.stores(Fault("put-part", "slow", part=2, delay_s=LONG_S))
    assert on_fake.proxy.count("put-part", 2) == 2


def test_the_look_after_the_commit_is_not_waited_for_long(
    on_fake: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(clients.TIMEOUTS_S, "body", (5.0, 30.0))
    on_fake.stores(Fault("head", "slow", skip=1, delay_s=LONG_S))
    assert on_fake.proxy.count("head") == 3  # before the first byte, the slow one, and another


def test_a_look_that_failed_is_repeated_on_another_connection(
    on_fake: Bench, botocore: str
) -> None:
    on_fake.stores(Fault("head", "500", skip=1))
    first, *_, slow, again = [port for verb, port in _ports(on_fake) if verb == "head"]
    assert (again == first, slow == again) == (True, botocore == "apart")


def test_the_end_of_an_upload_opens_no_connection(on_fake: Bench, botocore: str) -> None:
    """What it cost was waited for: a handshake, and the making of a client."""
    on_fake.stores()
    sent = _ports(on_fake)
    before = {port for _, port in sent[:-2]}
    assert [verb for verb, _ in sent[-2:]] == ["complete", "head"]
    if botocore == "shared":
        assert {port for _, port in sent[-2:]} <= before
    if botocore == "shared":
        assert sent[-1] == ("head", sent[-2][1])


def _ports(bench: Bench) -> list[tuple[str, int]]:
    """What the proxy was asked, and over which connection."""
    return [(each.verb, each.client_port) for each in bench.proxy.seen]
