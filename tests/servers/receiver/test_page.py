"""The page over HTTP, and in a browser where one is installed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from streamtos3.receiver.session import COOKIE
from tests.rig.browser import CHROMIUM, browser
from tests.rig.process import wait_until
from tests.rig.receiver_rig import Listening, event, listening

TOKEN = "0123456789abcdef"
FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def guarded() -> Iterator[Listening]:
    with listening(token=TOKEN) as served:
        yield served


def get(served: Listening, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    answer = served.request("GET", "/", **(headers or {}))
    return answer.status, answer.body.decode()


def log_in(served: Listening, token: str) -> tuple[int, dict[str, str]]:
    answer = served.request("POST", "/login", f"token={token}", **FORM)
    return answer.status, answer.headers


def test_without_a_token_everybody_sees_the_state() -> None:
    with listening() as served:
        status, page = get(served)
    assert (status, "taking events" in page, "Log out" in page) == (200, True, False)


def test_with_a_token_the_page_asks_for_it(guarded: Listening) -> None:
    status, page = get(guarded)
    assert (status, "type=password" in page, "Taken" in page) == (401, True, False)
    assert get(guarded, {"authorization": f"Bearer {TOKEN}"})[0] == 200
    assert get(guarded, {"authorization": f"Basic {TOKEN}"})[0] == 401
    assert get(guarded, {"cookie": f"{COOKIE}={TOKEN}"})[0] == 401


def test_logging_in_and_out(guarded: Listening) -> None:
    status, headers = log_in(guarded, TOKEN)
    assert (status, headers["location"]) == (303, "/")
    cookie = {"cookie": headers["set-cookie"].partition(";")[0]}
    status, page = get(guarded, cookie)
    assert (status, "Taken" in page, "Log out" in page) == (200, True, True)
    answer = guarded.request("POST", "/logout", **cookie)
    assert (answer.status, "Max-Age=0" in answer.headers["set-cookie"]) == (303, True)


def test_a_wrong_token_is_counted_and_asks_again(guarded: Listening) -> None:
    status, headers = log_in(guarded, "wrong")
    assert (status, "set-cookie" in headers) == (401, False)
    metrics = guarded.request("GET", "/metrics", authorization=f"Bearer {TOKEN}").body
    assert b'reason="unauthorized"} 1' in metrics


def test_a_form_that_is_no_form(guarded: Listening) -> None:
    assert guarded.request("POST", "/login", b"token=" + b"x" * 5000, **FORM).status == 413
    assert guarded.request("POST", "/login", b"\xff\xfe&&==", **FORM).status == 401


def test_events_go_to_the_same_place_and_a_cookie_lets_nobody_send(guarded: Listening) -> None:
    _, headers = log_in(guarded, TOKEN)
    assert guarded.post(event(1), cookie=headers["set-cookie"].partition(";")[0]).status == 401
    assert guarded.post(event(1), authorization=f"Bearer {TOKEN}").status == 202
    assert guarded.store.ids == ["1"]


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_browser_shows_it_and_refuses_nothing(token: str | None, tmp_path: Path) -> None:
    with listening(token=token) as served:
        done = subprocess.run(
            [
                *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"),
                *("--enable-logging=stderr", f"--user-data-dir={tmp_path}"),
                *("--window-size=1000,900", f"--screenshot={tmp_path / 'page.png'}"),
                *("--virtual-time-budget=1000", "--dump-dom", served.url),
            ],
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert ("taking events" if token is None else "Show the state") in done.stdout
    # What the policy refuses, the style among it, is said on the console.
    assert "Content Security Policy" not in done.stderr


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_somebody_logs_in_and_out_in_a_browser(guarded: Listening, tmp_path: Path) -> None:
    with browser(tmp_path) as seen:

        def shows(text: str) -> None:
            here = f"document.body.innerText.includes({text!r})"
            wait_until(lambda: seen.evaluate(here), lambda: f"{text!r} on the page")

        def type_token(token: str) -> None:
            field = "document.querySelector('input[name=token]')"
            seen.evaluate(f"{field}.value = {token!r}; {field}.form.requestSubmit()")

        seen.go(guarded.url)
        shows("Token")
        type_token("wrong")
        shows("This is not the token.")
        type_token(TOKEN)
        shows("taking events")
        (cookie,) = seen.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        assert seen.evaluate("document.cookie") == ""  # no script could read it
        assert seen.evaluate("getComputedStyle(document.querySelector('dl')).display") == "grid"
        seen.evaluate("document.querySelector('form').requestSubmit()")
        shows("Token")
        assert seen.cookies() == []
