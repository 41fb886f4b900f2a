"""Preloaded by a worker to which the files below $SITE are those below $ELSEWHERE."""

from __future__ import annotations

import os

from streamtos3.cluster import shared_file

_init = shared_file.SharedFile.__init__


def _open_elsewhere(self: shared_file.SharedFile, path: str) -> None:
    _init(self, path.replace(os.environ["SITE"], os.environ["ELSEWHERE"]))


shared_file.SharedFile.__init__ = _open_elsewhere  # type: ignore[method-assign]
