"""The page that a browser shows of a sink: what it took, stored and holds (pure).

No script and nothing from elsewhere; the policy that goes with it allows neither. Everything that
came from outside is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Literal, TypeAlias

from ..results import SinkFigures
from ..units import format_duration, format_size
from .activity import STEP_S, STEPS, Activity

__all__ = ["PAGE_HEADERS", "SinkState", "login_page", "status_page"]

SinkState: TypeAlias = Literal["ok", "full", "ending"]
"""Whether events are taken, refused until there is room, or refused for good."""

_SAID: dict[SinkState, str] = {
    "ok": "taking events",
    "full": "<strong class=bad>full: events are refused until there is room</strong>",
    "ending": "<strong class=bad>ending: nothing more is taken</strong>",
}

_REFRESH_S = 5
_WIDTH, _HEIGHT = 600, 120
_STYLE = """
:root { color-scheme: light dark; --line: #2a6fb0; --faint: #8884; --bad: #b3261e; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.25rem; } h2 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem;
     margin: 0; }
dt { font-size: .8rem; opacity: .75; }
dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
dd small { display: block; font-size: .8rem; opacity: .75; }
table { border-collapse: collapse; width: 100%; font-size: .85rem; }
td, th { text-align: left; padding: .25rem .6rem .25rem 0; border-top: 1px solid var(--faint);
         vertical-align: top; }
td { white-space: nowrap; } td:first-child { white-space: normal; overflow-wrap: anywhere; }
svg { width: 100%; height: auto; border: 1px solid var(--faint); }
polyline { fill: none; stroke: var(--line); stroke-width: 2; }
text { font-size: 11px; fill: currentColor; }
.bad { color: var(--bad); } footer { margin-top: 2rem; font-size: .8rem; opacity: .75; }
input, button { font: inherit; padding: .35rem .6rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""What each page is sent with: no script runs, and nothing is loaded."""


def status_page(
    figures: SinkFigures, activity: Activity, now: datetime, *, state: SinkState, can_leave: bool
) -> str:
    """The state as it is `now`. `can_leave`: whether who looks has logged in."""
    waiting = figures.received_records - figures.stored_records
    age = "none waits" if figures.oldest_age_s is None else format_duration(figures.oldest_age_s)
    terms = [
        ("Taken", f"{figures.received_records:,}", format_size(figures.received_bytes)),
        ("Stored", f"{figures.stored_records:,}", format_size(figures.stored_bytes)),
        ("Objects", f"{figures.stored_objects:,}", "stored and proved"),
        ("Waiting", f"{waiting:,}", f"{format_size(figures.spool_bytes)} in the spool"),
        ("Oldest record", age, "not in S3 yet"),
        ("Retries", f"{figures.retries:,}", "requests to S3"),
    ]
    listed = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd>"
        for name, value, more in terms
    )
    listed = listed.replace("<dt>", "<div><dt>").replace("</dd>", "</dd></div>")
    leave = "<form method=post action=/logout><button>Log out</button></form>" if can_leave else ""
    return _page(
        f"<h1>streamtos3 sink</h1><p>{_SAID[state]}</p><dl>{listed}</dl>"
        f"<h2>Records a second, the last ten minutes</h2>{_picture(activity.rates)}"
        f"<h2>Last error</h2>{_error(activity)}"
        f"<h2>Last objects</h2>{_objects(activity)}"
        f"<footer>{now:%Y-%m-%d %H:%M:%S} UTC, anew every {_REFRESH_S} s{leave}</footer>",
        refresh=True,
    )


def login_page(message: str | None = None) -> str:
    """The form that asks for the token."""
    said = f"<p class=bad role=alert>{escape(message)}</p>" if message else ""
    return _page(
        f"<h1>streamtos3 sink</h1>{said}<form method=post action=/login>"
        "<label>Token <input type=password name=token autocomplete=current-password required "
        "autofocus></label> <button>Show the state</button></form>",
        refresh=False,
    )


def _page(body: str, *, refresh: bool) -> str:
    again = f'<meta http-equiv="refresh" content="{_REFRESH_S}">' if refresh else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">{again}'
        f"<title>streamtos3 sink</title><style>{_STYLE}</style></head>"
        f"<body>{body}</body></html>\n"
    )


def _picture(rates: Sequence[float]) -> str:
    """A line from the oldest rate to the newest, which is at the right."""
    if not rates:
        return f"<p>The first figure comes after {STEP_S:g} s.</p>"
    top = max(*rates, 1.0) if len(rates) > 1 else max(rates[0], 1.0)
    step = _WIDTH / (STEPS - 1)
    start = _WIDTH - step * (len(rates) - 1)
    points = " ".join(
        f"{start + step * at:.1f},{_HEIGHT - (_HEIGHT - 16) * rate / top:.1f}"
        for at, rate in enumerate(rates)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="at most {top:,.1f} records a second, now {rates[-1]:,.1f}">'
        f'<polyline points="{points}"/>'
        f'<text x="4" y="12">{top:,.1f}</text>'
        f'<text x="{_WIDTH - 4}" y="12" text-anchor="end">now {rates[-1]:,.1f}</text></svg>'
    )


def _error(activity: Activity) -> str:
    if activity.last_error is None:
        return "<p>none</p>"
    message, at = activity.last_error
    return f"<p><time>{at:%Y-%m-%d %H:%M:%S}</time> <span class=bad>{escape(message)}</span></p>"


def _objects(activity: Activity) -> str:
    objects = activity.objects
    if not objects:
        return "<p>none yet</p>"
    rows = "".join(
        f"<tr><td>{escape(each.url)}<td>{escape(format_size(each.size_bytes))}"
        f"<td>{escape(each.proof)}<td>{each.at:%H:%M:%S}"
        for each in objects
    )
    return f"<table><tr><th>Object<th>Size<th>Proved by<th>Stored{rows}</table>"
