"""The check before the first byte: can this object be stored here, as far as can be known?

A wrong bucket must fail at once, even while the producer is silent or will run for hours. What
a 403 hides stays unknown, and the conditional commit decides.
"""

from __future__ import annotations

from ..errors import AbsentError, ExistsError, RefusedError, TransientError
from ..runtime.retry import Retrier
from ..s3.bucket import NO_SIZE, Bucket

__all__ = ["check_destination"]


def check_destination(
    bucket: Bucket, retrier: Retrier, key: str, *, overwrite: bool, check_for_s: float
) -> None:
    """Raise the error that the upload would end with, if that can be known now.

    UnreachableError, CredentialsError, RefusedError (no such bucket, access denied to it), or
    ExistsError. Stops retrying after `check_for_s` seconds of failing.
    """

    def check() -> None:
        try:
            info = bucket.head(key)
        except AbsentError:
            _check_bucket(bucket, key)
            return
        except RefusedError:
            # A HEAD's answer has no body and so no code: ask again in a way that has one.
            if not _exists_by_peeking(bucket, key):
                return
        except TransientError as error:
            if error.code == NO_SIZE:
                raise bucket.not_s3() from error
            raise
        else:
            if info.etag is None:
                raise bucket.not_s3()
        if not overwrite:
            raise ExistsError(
                f"{bucket.url(key)} already exists",
                hint="choose another key, or --overwrite if it may be replaced",
            )

    retrier.call(f"check {bucket.url(key)}", check, check_for_s=check_for_s)


def _check_bucket(bucket: Bucket, key: str) -> None:
    """Raise AbsentError if the bucket is absent too: some servers begin uploads without one."""
    try:
        bucket.head_bucket()
    except AbsentError:
        _exists_by_peeking(bucket, key)
    except RefusedError:
        return  # an upload needs no permission to list the bucket


def _exists_by_peeking(bucket: Bucket, key: str) -> bool:
    """Whether a GET finds the object; False where that stays unknown."""
    try:
        bucket.peek(key)
    except AbsentError as error:
        if error.code == "NoSuchKey":
            return False
        if _has_no_code(error):
            raise bucket.not_s3() from error
        raise
    except RefusedError as error:
        if _has_no_code(error) and error.http_status not in (None, 403):
            raise bucket.not_s3() from error
        if error.code == "AccessDenied":
            return False
        if error.code == "InvalidRange":  # an empty object has no first byte
            return True
        raise
    return True


def _has_no_code(error: RefusedError) -> bool:
    """Whether the answer's body holds none of S3's error codes; a number is the HTTP status."""
    return error.code is None or error.code.isdigit()
