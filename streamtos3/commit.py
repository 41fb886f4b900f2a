"""The commit: the one request that makes the object appear, and the proof that follows.

An answer that is lost is not a failure yet, and a success that is answered is not a proof yet
(docs/s3-facts.org, Lost answers): a HEAD, the token in the object's metadata, its size and its
ETag decide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .body import PartBody
from .errors import (
    AbsentError,
    ConditionError,
    ExistsError,
    IntegrityError,
    RefusedError,
    RetriesUsedUpError,
    StoreError,
    TransientError,
    UndecidedError,
)
from .latch import Stopped
from .model import StoredPart
from .retry import Retrier
from .store import Answer, ObjectInfo, Store
from .verify import Expected, judge_object, part_is_proved

__all__ = ["Commit", "Committed"]

_BAD_PART_CODES = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall")


@dataclass(frozen=True)
class Committed:
    """The object is stored. `proof` is None where nothing proves it; `tries` of the request."""

    etag: str | None
    version_id: str | None
    proof: str | None
    tries: int


class Commit:
    """One commit of one object.

    `token` is None where an earlier run began the upload; size and ETag decide then. With
    `overwrite` False the request is conditional (`If-None-Match: *`). `sent`: a request that
    may have made the object is on its way, or was.
    """

    def __init__(
        self,
        store: Store,
        retrier: Retrier,
        key: str,
        *,
        token: str | None,
        overwrite: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._store = store
        self._retrier = retrier
        self._key = key
        self._token = token
        self._overwrite = overwrite
        self._conditional = not overwrite
        self._warn = warn
        self._what = f"s3://{store.bucket}/{key}"
        self._failed: StoreError | None = None
        self._looked = False
        self.sent = False

    def complete(
        self, upload_id: str, parts: Sequence[StoredPart], expected: Expected
    ) -> Committed:
        """Complete the multipart upload and prove the object.

        Raises ExistsError, IntegrityError, RefusedError, RetriesUsedUpError, or UndecidedError
        when it cannot be known whether the object was made.
        """

        def attempt() -> Answer | ObjectInfo:
            self.sent = True
            try:
                return self._store.complete(
                    self._key, upload_id, parts, if_none_match=self._conditional
                )
            except (TransientError, RefusedError) as error:
                return self._resolve(error, expected)

        answer, tries = self._settled(f"complete the upload of {self._what}", attempt)
        return self._proved(answer, expected, tries)

    def put(
        self,
        new_body: Callable[[], PartBody],
        md5: bytes,
        metadata: Mapping[str, str],
        expected: Expected,
    ) -> Committed:
        """Store the object in one request and prove it. Raises as `complete` does."""

        def attempt() -> Answer | ObjectInfo:
            replaced: str | None = None
            if self._failed is not None:  # an earlier try may have been applied all the same
                ours = self._look_for_ours(expected)
                if ours is not None and not expected.is_contradicted_by(ours.etag or ""):
                    return ours
                # Only damage of our own making may be replaced, and only that very damage.
                replaced = ours.etag if ours is not None else None
            sent_before, self.sent = self.sent, True
            try:
                answer = self._store.put_object(
                    self._key,
                    new_body(),
                    md5,
                    metadata,
                    if_none_match=self._conditional and replaced is None,
                    if_match=replaced if self._conditional else None,
                )
                part_is_proved(self._what, md5.hex(), answer, etags_are_md5=True)
            except Stopped:  # while the body was being sent: nothing can come of half a body
                self.sent = sent_before
                raise
            except TransientError as error:
                self._failed, self._looked = error, False
                raise
            except RefusedError as error:
                return self._resolve(error, expected)
            return answer

        answer, tries = self._settled(f"store {self._what}", attempt)
        return self._proved(answer, expected, tries)

    def _settled(
        self, what: str, attempt: Callable[[], Answer | ObjectInfo]
    ) -> tuple[Answer | ObjectInfo, int]:
        """Try until it is decided; turn giving up without an answer into UndecidedError."""
        try:
            outcome = self._retrier.call(what, attempt)
        except RetriesUsedUpError as error:
            if self.is_decided:
                raise
            raise UndecidedError(
                f"{error.message}; whether the object was stored is not known",
                hint=f"look at {self._what} before anything is repeated",
                code=error.code,
                http_status=error.http_status,
                request_id=error.request_id,
            ) from error
        return outcome.value, outcome.tries

    @property
    def is_decided(self) -> bool:
        """Whether the last try was surely not applied: it was answered, and nothing is there."""
        failed = self._failed
        answered = not isinstance(failed, TransientError) or failed.answered
        return answered and self._looked

    def _resolve(self, error: StoreError, expected: Expected) -> ObjectInfo:
        """After a failed try: our object if it is there all the same, else the error to raise."""
        repeated = self._failed is not None
        self._failed, self._looked = error, False
        ours = self._look_for_ours(expected)
        if ours is not None:
            return ours
        if isinstance(error, TransientError):
            raise error
        if not self._looked and repeated:
            raise UndecidedError(
                f"{error.message}, after a try whose answer was lost; "
                "whether the object was stored is not known",
                hint=f"look at {self._what} before anything is repeated",
            ) from error
        if isinstance(error, ConditionError):
            raise ExistsError(
                f"{self._what} was created by someone else meanwhile",
                hint="choose another key, or --overwrite if it may be replaced",
            ) from error
        if error.code in _BAD_PART_CODES:
            raise IntegrityError(
                f"the service no longer holds the parts it confirmed: {error.message}"
            ) from error
        if error.http_status == 501 and self._conditional:
            self._conditional = False
            self._warn(
                "this endpoint knows no conditional writes (If-None-Match); "
                "an object created meanwhile by someone else would be replaced"
            )
            raise TransientError(error.message, code=error.code) from error
        raise error

    def _look_for_ours(self, expected: Expected) -> ObjectInfo | None:
        """Our object, if it is there. None also where we may not look (`_looked` stays False)."""
        try:
            info = self._store.head(self._key)
        except AbsentError:
            self._looked = True
            return None
        except RefusedError:
            return None
        self._looked = True
        return info if self._is_ours(info, expected) else None

    def _is_ours(self, info: ObjectInfo, expected: Expected) -> bool:
        if info.token is not None and self._token is not None:
            return info.token == self._token
        return info.size_bytes == expected.size_bytes and info.etag == expected.etag

    def _proved(self, answer: Answer | ObjectInfo, expected: Expected, tries: int) -> Committed:
        info = answer if isinstance(answer, ObjectInfo) else self._look_at(answer)
        version_id = answer.version_id
        if info is not None:
            version_id = version_id or info.version_id
            self._check_is_ours(info, expected)
        etags = [answer.etag, info.etag if info else None]
        opaque = not answer.etag_is_md5 or (info is not None and not info.etag_is_md5)
        proof = None if opaque else judge_object(self._what, expected, etags)
        return Committed(etags[1] or etags[0], version_id, proof, tries)

    def _look_at(self, answer: Answer) -> ObjectInfo | None:
        """What HEAD says of the object that was just stored; None where we may not look."""

        def look() -> ObjectInfo:
            try:
                return self._store.head(self._key, answer.version_id)
            except AbsentError as error:
                raise TransientError(
                    f"{self._what} is not there after it was stored: {error.message}",
                    damaged=True,
                ) from error

        try:
            return self._retrier.call(f"look at {self._what}", look).value
        except (RefusedError, RetriesUsedUpError) as error:
            self._warn(f"the stored object could not be looked at: {error.message}")
        except Stopped:  # a signal, after the service has answered: the answer has to do
            pass
        return None

    def _check_is_ours(self, info: ObjectInfo, expected: Expected) -> None:
        foreign = None not in (info.token, self._token) and info.token != self._token
        if foreign:
            raise IntegrityError(
                f"{self._what} was replaced by another writer right after it was stored",
                hint="turn on the bucket's versioning, and let only one program write this key",
            )
        if info.size_bytes != expected.size_bytes:
            raise IntegrityError(
                f"{self._what} has {info.size_bytes} bytes, but {expected.size_bytes} were read"
            )
