"""How long each request waits for its answer, and over which connection it goes."""

from __future__ import annotations

import pytest

from streamtos3.s3 import clients

pytestmark = pytest.mark.timeout(60)

SHORT_S = 0.3


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
