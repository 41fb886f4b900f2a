"""Preloaded by a worker that dies the $DIES_AT-th time that it is to look at a file."""

from __future__ import annotations

import os

from streamtos3.cluster import operation

_looks = 0
_look = operation._look_at_file


async def _look_or_die(*arguments: object) -> object:
    global _looks
    _looks += 1
    if _looks == int(os.environ["DIES_AT"]):
        os._exit(1)
    return await _look(*arguments)  # type: ignore[arg-type]


operation._look_at_file = _look_or_die  # type: ignore[assignment]
