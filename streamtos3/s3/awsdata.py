"""botocore's data files, read no slower than need be.

It lists the directories of all its 400 services before it opens one, for each of S3's two files,
and makes ordered dictionaries of 3 MB of JSON, though Python's own have kept their order since
3.7: a tenth of the start-up. What is found and read stays the same, and what the short way does
not find, botocore's own is asked for.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.session import Session

__all__ = ["read_quickly"]


class _Services(list[str]):
    """The services with files of one type; each is looked for when it is asked about."""

    def __init__(self, loader: Any, type_name: str) -> None:
        super().__init__()
        self._loader = loader
        self._type_name = type_name

    def __contains__(self, name: object) -> bool:
        from botocore.exceptions import DataNotFoundError

        try:
            return bool(self._loader.list_api_versions(name, self._type_name))
        except DataNotFoundError:
            return False


def read_quickly(session: Session) -> None:
    """Have a new `session` read its data files by the short way, if it is built as known here."""
    loader: Any = session.get_component("data_loader")
    files: Any = getattr(loader, "file_loader", None)
    own_load_file = getattr(files, "load_file", None)
    if own_load_file is None or not hasattr(loader, "list_api_versions"):
        return

    def load_file(path: str) -> Any:
        found = _load_file(path)
        return own_load_file(path) if found is None else found

    loader.list_available_services = lambda type_name: _Services(loader, type_name)
    files.load_file = load_file


def _load_file(path: str) -> Any:
    """What the JSON file at `path`, whose name ends are left out, holds; None where it is not."""
    for name_end, open_file in ((".json", open), (".json.gz", gzip.open)):
        try:
            with open_file(path + name_end, "rb") as file:
                return json.loads(file.read().decode())
        except OSError:
            continue
    return None
