"""What is at the destination already: the prefix listed once, and not every key asked for.

1,000 keys cost one request. Where the listing cannot tell, because it is not allowed, too long, or
spells a key in its own way, each key is looked at as for a single upload.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from ..errors import AbsentError, RefusedError
from ..runtime.retry import Retrier
from ..s3.bucket import Bucket
from ..s3.responses import ListedObject

__all__ = ["Listing", "list_destination"]

# Keys that every service lists as they are. Of others SeaweedFS says that it encodes them, and does
# not; some services list a backslash as a slash.
_AS_IT_IS = re.compile(r"[\w/.~-]*", re.ASCII)
_PAGE = 1000
_MORE_PAGES = 2


class Listing:
    """What was `found` of our keys; `is_whole` unless there was more than was looked at."""

    def __init__(self, found: dict[str, ListedObject], *, is_whole: bool) -> None:
        self.found = found
        self.is_whole = is_whole

    def find(self, key: str) -> ListedObject | None:
        """The object under `key`; None where there is none or this cannot tell."""
        return self.found.get(key)

    def is_absent(self, key: str) -> bool:
        """Whether there was surely no object under `key`."""
        return self.is_whole and key not in self.found and _AS_IT_IS.fullmatch(key) is not None


def list_destination(
    bucket: Bucket,
    retrier: Retrier,
    prefix: str,
    keys: Collection[str],
    check_for_s: float,
    *,
    only_between: bool = False,
) -> Listing:
    """What is there under `keys`, which all begin with `prefix`.

    Asks for twice as many keys as there are of ours, and a little more; a prefix that holds more
    is not listed to its end. Raises the error that each upload would end with: AbsentError (no such
    bucket), CredentialsError, UnreachableError. What else refuses the listing need not refuse an
    upload, and an empty listing that tells nothing comes back. `only_between`: begin just before
    the first of our keys and end after the last, as there are many more of them.
    """
    after, last = (min(keys)[:-1], max(keys)) if only_between else ("", None)
    most = 2 * len(keys) + _MORE_PAGES * _PAGE

    # The caller's own strings are kept, and those of the answers dropped: 7 MB for 100,000 keys.
    own = {key: key for key in keys}

    def look() -> Listing:
        found = {}
        for number, each in enumerate(bucket.list_objects(prefix, after), start=1):
            if last is not None and each.key > last:  # in the order of their bytes, as keys are
                break
            key = own.get(each.key)
            if key is not None:
                found[key] = replace(each, key=key)
            if number == most:
                return Listing(found, is_whole=False)
        return Listing(found, is_whole=True)

    try:
        return retrier.call(f"list {bucket.url(prefix)}", look, check_for_s=check_for_s).value
    except RefusedError as error:
        if isinstance(error, AbsentError) and error.code == "NoSuchBucket":
            raise
        return Listing({}, is_whole=False)
