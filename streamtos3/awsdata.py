"""botocore's data files, read no slower than need be.

It lists the directories of all its 400 services before it opens one, for each of S3's two files,
and makes ordered dictionaries of 3 MB of JSON, though Python's own have kept their order since
3.7: a tenth of the start-up. What is read stays the same, and where botocore is not built as known
here, nothing is changed at all.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.session import Session

__all__ = ["read_quickly"]


class _AnyService(list[str]):
    """Has every service: of one that is not there, no files are found either."""

    def __contains__(self, name: object) -> bool:
        return True


def read_quickly(session: Session) -> None:
    """Have a new `session` read its data files by the short way."""
    loader: Any = session.get_component("data_loader")
    if hasattr(loader, "list_available_services") and hasattr(loader, "file_loader"):
        loader.list_available_services = lambda type_name: _AnyService()
        loader.file_loader.load_file = _load_file


def _load_file(path: str) -> Any:
    """What the JSON file at `path`, whose name ends are left out, holds; None where it is not."""
    for name_end, open_file in ((".json", open), (".json.gz", gzip.open)):
        try:
            with open_file(path + name_end, "rb") as file:
                return json.loads(file.read().decode())
        except (FileNotFoundError, IsADirectoryError):
            continue
    return None
