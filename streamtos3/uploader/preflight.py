"""The check before the first byte: may this object be stored here, as far as can be known?

A wrong bucket must fail at once, even while the producer is silent or will run for hours. What
a 403 hides stays unknown, and the conditional commit decides. Reading begins with the same
question: is the object there, and if not, why?
"""

from __future__ import annotations

from ..errors import AbsentError, ExistsError, RefusedError, TransientError
from ..runtime.retry import Retrier
from ..s3.bucket import NO_SIZE, Store

__all__ = ["check_destination"]


def check_destination(
    store: Store, retrier: Retrier, key: str, *, overwrite: bool, check_for_s: float
) -> None:
    """Raise what would make the upload fail, if that can be known now.

    UnreachableError, CredentialsError, RefusedError (no such bucket, access denied to it),
    ExistsError. Gives up after `check_for_s` seconds of failing.
    """

    def check() -> None:
        try:
            info = store.head(key)
        except AbsentError:
            _check_bucket(store, key)
            return
        except RefusedError:
            # A HEAD's answer has no body and so no code: ask again in a way that has one.
            if not _exists_by_peeking(store, key):
                return
        except TransientError as error:
            if error.code == NO_SIZE:
                raise store.not_s3() from error
            raise
        else:
            if info.etag is None:
                raise store.not_s3()
        if not overwrite:
            raise ExistsError(
                f"s3://{store.bucket}/{key} exists already",
                hint="choose another key, or --overwrite if it may be replaced",
            )

    retrier.call(f"check s3://{store.bucket}/{key}", check, check_for_s=check_for_s)


def _check_bucket(store: Store, key: str) -> None:
    """The object is absent; is its bucket there? Some servers begin uploads without one."""
    try:
        store.head_bucket()
    except AbsentError:
        _exists_by_peeking(store, key)
    except RefusedError:
        return  # the right to list a bucket is not needed to store into it


def _exists_by_peeking(store: Store, key: str) -> bool:
    """Whether a GET finds the object; False where that stays unknown."""
    try:
        store.peek(key)
    except AbsentError as error:
        if error.code == "NoSuchKey":
            return False
        if _has_no_code(error):
            raise store.not_s3() from error
        raise
    except RefusedError as error:
        if _has_no_code(error) and error.http_status not in (None, 403):
            raise store.not_s3() from error
        if error.code == "AccessDenied":
            return False
        if error.code == "InvalidRange":  # an empty object has no first byte
            return True
        raise
    return True


def _has_no_code(error: RefusedError) -> bool:
    """Whether the answer's body holds none of S3's error codes; a number is the HTTP status."""
    return error.code is None or error.code.isdigit()
