"""Who may look: the bearer token itself, or a cookie that a browser got for it.

The cookie is not the token: it ends by itself, and with the process.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

__all__ = ["COOKIE", "Sessions"]

COOKIE = "streamtos3-session"
_LASTS_S = 12 * 3600


class Sessions:
    """Makes and checks cookies for those who know `token`; without a token everybody may look."""

    def __init__(
        self, token: str | None, *, secure: bool, now: Callable[[], float] = time.time
    ) -> None:
        self._token = None if token is None else token.encode()
        self._secure = secure
        self._now = now
        self._secret = secrets.token_bytes(32)

    @property
    def needed(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    def knows(self, given: str) -> bool:
        """Whether `given` is the token; compared in constant time."""
        if self._token is None:
            return True
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def is_open(self, cookie: str | None) -> bool:
        """Whether the value of a cookie is one of ours, and has not ended."""
        if self._token is None:
            return True
        until, _, _ = (cookie or "").partition(".")
        if not (until.isascii() and until.isdecimal() and len(until) < 20):
            return False
        is_ours = hmac.compare_digest((cookie or "").encode("utf-8", "replace"), self._made(until))
        return is_ours and int(until) > self._now()

    def begin(self) -> str:
        """The Set-Cookie header that lets a browser look for twelve hours."""
        value = self._made(str(int(self._now()) + _LASTS_S)).decode()
        return self._header(value, _LASTS_S)

    def end(self) -> str:
        """The Set-Cookie header that makes a browser forget it."""
        return self._header("", 0)

    def _header(self, value: str, lasts_s: int) -> str:
        secure = "; Secure" if self._secure else ""
        return f"{COOKIE}={value}; Max-Age={lasts_s}; Path=/; HttpOnly; SameSite=Strict{secure}"

    def _made(self, until: str) -> bytes:
        mark = hmac.new(self._secret, until.encode(), hashlib.sha256).hexdigest()
        return f"{until}.{mark}".encode()
