"""The page of a sink: what it shows, that what came from outside stays text, and who may look."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from streamtos3.receiver.activity import Activity
from streamtos3.receiver.session import COOKIE, Sessions
from streamtos3.receiver.status_page import PAGE_HEADERS, SinkState, login_page, status_page
from streamtos3.results import SinkFigures

NOW = datetime(2026, 11, 30, 12, 0, 0, tzinfo=timezone.utc)
HOSTILE = "<script>alert(1)</script>&\"'><img src=x onerror=alert(2)>"


def shown(
    figures: SinkFigures | None = None,
    activity: Activity | None = None,
    *,
    state: SinkState = "ok",
) -> str:
    return status_page(
        figures or SinkFigures(), activity or Activity(), NOW, state=state, can_leave=True
    )


def test_it_shows_what_was_taken_stored_and_waits() -> None:
    figures = SinkFigures(
        received_records=12_345,
        stored_records=12_000,
        stored_objects=12,
        spool_bytes=4096,
        oldest_age_s=90,
        retries=3,
    )
    text = re.sub(r"<[^>]+>", " ", shown(figures))
    for each in ("12,345", "12,000", "345", "4 KiB in the spool", "1 min 30 s", "taking events"):
        assert each in text
    assert "ending" not in text
    assert "ending: nothing more is taken" in shown(state="ending")
    assert "full: events are refused" in shown(state="full")


def test_what_came_from_outside_stays_text() -> None:
    activity = Activity()
    activity.failed(HOSTILE)
    activity.stored(f"s3://b/{HOSTILE}", 1, HOSTILE)
    for page in (shown(activity=activity), login_page(HOSTILE)):
        assert "<script" not in page
        assert "<img" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_nothing_is_loaded_and_nothing_runs() -> None:
    policy = PAGE_HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    for page in (shown(), login_page()):
        assert not re.search(r"""\s(src|href|on\w+|style)\s*=""", page)
        assert "url(" not in page


def test_the_rate_is_that_of_the_last_ten_minutes() -> None:
    at_s = 0.0
    activity = Activity(clock=lambda: at_s)
    for number in range(100):
        activity.sample(SinkFigures(received_records=number * 50))
        at_s += 10
    assert activity.rates == [5.0] * 60
    page = shown(activity=activity)
    points = re.search(r'points="([^"]+)"', page)
    assert points is not None
    xs = [float(each.split(",")[0]) for each in points[1].split()]
    assert (len(xs), xs[0], xs[-1]) == (60, 0.0, 600.0)
    assert "now 5.0" in page


def test_before_the_first_sample_there_is_no_picture() -> None:
    assert "<svg" not in shown()


def test_the_last_ten_objects_newest_first_and_the_last_error() -> None:
    activity = Activity(now=lambda: NOW)
    for number in range(12):
        activity.stored(f"s3://b/{number}", number, "md5-etag")
        activity.failed(f"failure {number}")
    assert [each.url for each in activity.objects] == [f"s3://b/{n}" for n in range(11, 1, -1)]
    assert activity.last_error == ("failure 11", NOW)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sessions(clock: Clock, *, secure: bool = False) -> Sessions:
    return Sessions("token", secure=secure, now=lambda: clock.now)


def value_of(header: str) -> str:
    return header.partition(";")[0].removeprefix(f"{COOKIE}=")


def test_a_cookie_is_no_token_and_ends(clock: Clock) -> None:
    ours = sessions(clock)
    header = ours.begin()
    assert "HttpOnly" in header and "SameSite=Strict" in header
    assert "token" not in header.replace(COOKIE, "")
    assert ours.is_open(value_of(header))
    clock.now += timedelta(hours=12).total_seconds()
    assert not ours.is_open(value_of(header))


def test_a_cookie_is_sent_over_tls_alone_where_there_is_tls(clock: Clock) -> None:
    assert sessions(clock, secure=True).begin().endswith("; Secure")
    assert "Secure" not in sessions(clock).begin()
    assert "Max-Age=0" in sessions(clock).end()


@pytest.mark.parametrize(
    "value", [None, "", ".", "x", "9999999999.", "9999999999.00", "²²²².a", "é"]
)
def test_no_other_cookie_counts(clock: Clock, value: str | None) -> None:
    assert not sessions(clock).is_open(value)


def test_a_cookie_that_was_changed_or_is_of_another_process_does_not_count(clock: Clock) -> None:
    ours, others = sessions(clock), sessions(clock)
    until, _, mark = value_of(ours.begin()).partition(".")
    assert not ours.is_open(f"{int(until) + 1}.{mark}")
    assert not others.is_open(f"{until}.{mark}")


def test_the_token_is_compared_whole(clock: Clock) -> None:
    ours = sessions(clock)
    assert ours.knows("token")
    assert [each for each in ("", "toke", "tokens", "TOKEN", "tökén") if ours.knows(each)] == []
    assert Sessions(None, secure=False).knows("")
    assert Sessions(None, secure=False).is_open(None)
