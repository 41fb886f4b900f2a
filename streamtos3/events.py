"""Telling whoever listens: one call at a time, and without consequences for the work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .model import Event

__all__ = ["guarded"]

_log = logging.getLogger("streamtos3")


def guarded(on_event: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """`on_event`, one call at a time; who listens must not change the work's fate."""
    lock = threading.Lock()

    def emit(event: Event) -> None:
        with lock:
            try:
                if on_event is not None:
                    on_event(event)
            except Exception:  # noqa: BLE001 - logged; who listens decides nothing
                _log.exception("the listener failed on %r", event)

    return emit
