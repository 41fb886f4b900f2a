"""The commit: the one request that makes the object appear, and the proof that follows.

An answer that is lost is not a failure yet, and a success that is answered is not a proof yet
(docs/s3-facts.org, Lost answers): a HEAD, the token in the object's metadata, its size and its ETag
decide. Until they have, the commit is undecided, and nobody may abort the upload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..errors import (
    ConditionError,
    ExistsError,
    IntegrityError,
    StoreError,
    StreamToS3Error,
    TransientError,
    UndecidedError,
)
from ..integrity.etag import Expected, judge_object, part_is_proved
from ..results import StoredPart
from ..runtime.cancel import Cancelled
from ..runtime.retry import Retrier
from ..s3.bodies import PartBody
from ..s3.bucket import Bucket
from ..s3.responses import Answer, ObjectInfo
from .confirm import Committed, Inspection, NotOurs, contradicts

__all__ = ["Commit"]

_BAD_PART_CODES = ("InvalidPart", "InvalidPartOrder")
# What a gateway says when it has lost the answer of the server behind it.
_GATEWAY_STATUSES = (502, 504, 520, 522, 524)  # the last three are Cloudflare's
# What broke the commit's connection has broken the idle ones too, and each costs a look.
_LAST_LOOKS = 3


class Commit:
    """One commit of one object.

    `token` is None where an earlier run began the upload; size and ETag decide then. With
    `overwrite` False the request is conditional (`If-None-Match: *`). `check` raises Cancelled
    once the upload has failed elsewhere: then nothing is sent any more.
    """

    def __init__(
        self,
        bucket: Bucket,
        retrier: Retrier,
        key: str,
        *,
        token: str | None,
        overwrite: bool,
        check: Callable[[], None],
        warn: Callable[[str], None],
    ) -> None:
        self._bucket = bucket
        self._retrier = retrier
        self._inspection = Inspection(bucket, retrier, key, token, warn)
        self._key = key
        self._conditional = not overwrite
        self._check = check
        self._warn = warn
        self._what = bucket.url(key)
        self._tries = 0
        self._has_failed = False
        self._may_be_seen = False  # a try may have been applied: a look would tell
        self._may_come = False  # a try was never answered: it may be applied even later
        self._is_made = False
        self._is_disproved = False

    @property
    def is_undecided(self) -> bool:
        """Whether a request was sent of which nobody knows what became."""
        return self._may_be_seen or self._may_come

    @property
    def left_behind(self) -> str | None:
        """What this commit leaves in the bucket if the upload fails now; None: surely nothing."""
        if self.is_undecided:
            return f"the request that makes {self._what} was sent, its answer is unknown"
        if self._is_made:
            state = "and is not what was read" if self._is_disproved else "but was not proved"
            return f"{self._what} is there {state}"
        return None

    def complete(
        self, upload_id: str, parts: Sequence[StoredPart], expected: Expected
    ) -> Committed:
        """Complete the multipart upload and prove the object.

        Raises ExistsError, IntegrityError, RefusedError, RetriesUsedUpError, or UndecidedError
        when it cannot be known whether the object was made.
        """

        def send() -> Answer:
            return self._bucket.complete(
                self._key,
                upload_id,
                parts,
                if_none_match=self._conditional,
                checksum=next(iter(expected.checksums), None),
            )

        def attempt() -> Answer | ObjectInfo:
            if self._has_failed:
                found = self._look(expected)
                if isinstance(found, ObjectInfo):
                    return found
            answer = self._sent(send, expected)
            # Ceph 16 names none, nor does a page that asks to sign in.
            if answer.etag is not None:
                return answer
            self._has_failed = True
            found = self._look(expected)
            if isinstance(found, ObjectInfo):
                return found
            raise TransientError(f"cannot complete {self._what}: the answer names no ETag")

        return self._committed(f"complete the upload of {self._what}", attempt, expected)

    def put(
        self,
        new_body: Callable[[], PartBody],
        md5: bytes,
        metadata: Mapping[str, str],
        expected: Expected,
    ) -> Committed:
        """Store the object in one request and prove it. Raises as `complete` does."""
        # Only damage of our own making may be replaced, and only that very damage.
        damage_etag: str | None = None

        def send() -> Answer:
            answer = self._bucket.put_object(
                self._key,
                new_body(),
                md5,
                metadata,
                if_none_match=self._conditional and damage_etag is None,
                if_match=damage_etag if self._conditional else None,
                checksum=next(iter(expected.checksums), None),
            )
            part_is_proved(
                self._what,
                md5.hex(),
                answer.etag,
                etags_are_md5=True,
                etag_is_md5=answer.etag_is_md5,
            )
            return answer

        def attempt() -> Answer | ObjectInfo:
            nonlocal damage_etag
            damage_etag = None
            if self._has_failed:
                found = self._look(expected)
                if isinstance(found, ObjectInfo):
                    if not contradicts(found, expected):
                        return found
                    damage_etag = found.etag
            return self._sent(send, expected)

        return self._committed(f"store {self._what}", attempt, expected)

    def _committed(
        self, what: str, attempt: Callable[[], Answer | ObjectInfo], expected: Expected
    ) -> Committed:
        """Try until it is decided, look once more where it is not, and prove the object."""
        try:
            answer = self._retrier.call(what, attempt).value
        except (StreamToS3Error, Cancelled) as error:
            answer = self._last_look(error, expected)
        return self._proved(answer, expected)

    def _sent(self, send: Callable[[], Answer], expected: Expected) -> Answer | ObjectInfo:
        """One request, and what its failure tells of its fate."""
        before = self._may_be_seen
        self._may_be_seen = True
        self._tries += 1
        try:
            self._check()
            return send()
        except Cancelled:  # before the whole request had left
            self._may_be_seen = before
            raise
        except TransientError as error:
            self._has_failed = True
            if not error.sent:
                self._may_be_seen = before
            elif not error.answered or error.http_status in _GATEWAY_STATUSES:
                self._may_come = True
            raise
        except StoreError as error:
            self._may_be_seen = before
            return self._refused(error, send, expected)

    def _refused(
        self, error: StoreError, send: Callable[[], Answer], expected: Expected
    ) -> Answer | ObjectInfo:
        """After a no: our object if it is there all the same, else what the no means."""
        self._has_failed = True
        found = self._look(expected)
        if isinstance(found, ObjectInfo):
            return found
        no_conditions = error.http_status == 501 and self._conditional
        if isinstance(error, ConditionError) or (no_conditions and found is NotOurs.FOREIGN):
            if found is NotOurs.ABSENT and self._may_come:
                # What the condition sees, though a look does not yet, may well be ours.
                raise TransientError(error.message, code=error.code) from error
            if found is NotOurs.FOREIGN:
                self._may_come = False  # whatever comes later meets the same condition
            raise ExistsError(
                f"{self._what} was created by someone else meanwhile",
                hint="choose another key, or --overwrite if it may be replaced",
            ) from error
        if no_conditions:
            self._conditional = False
            self._warn(
                "this endpoint knows no conditional writes (If-None-Match); "
                "an object created meanwhile by someone else would be replaced"
            )
            return self._sent(send, expected)
        if error.code in _BAD_PART_CODES:
            self._may_come = self._may_come and found is NotOurs.UNKNOWN
            raise TransientError(
                f"the service does not hold the parts it confirmed: {error.message}", damaged=True
            ) from error
        if error.code == "NoSuchUpload" and self._may_come:
            # The try that was never answered took the upload, and may still be at work.
            raise TransientError(error.message, hint=error.hint, code=error.code) from error
        raise error

    def _last_look(self, error: StreamToS3Error | Cancelled, expected: Expected) -> ObjectInfo:
        """Our object, where giving up came too early; else the error that ends the upload."""
        if not self.is_undecided:
            raise error
        found: ObjectInfo | NotOurs = NotOurs.UNKNOWN
        for _ in range(_LAST_LOOKS):
            try:
                found = self._look(expected)
            except StoreError:
                continue
            break
        if isinstance(found, ObjectInfo):
            return found
        if isinstance(error, Cancelled) or not self.is_undecided:
            raise error
        raise UndecidedError(
            f"{error.message}; whether the object was stored is not known",
            hint=f"look at {self._what} before anything is repeated",
            code=getattr(error, "code", None),
            http_status=getattr(error, "http_status", None),
            request_id=getattr(error, "request_id", None),
        ) from error

    def _look(self, expected: Expected) -> ObjectInfo | NotOurs:
        """Our object, if it is there, and what that says of the tries so far."""
        found = self._inspection.find(expected)
        if found is not NotOurs.UNKNOWN:
            self._may_be_seen = False
        if isinstance(found, ObjectInfo):
            self._may_come, self._is_made = False, True
        return found

    def _proved(self, answer: Answer | ObjectInfo, expected: Expected) -> Committed:
        self._is_made, self._may_be_seen, self._may_come = True, False, False
        try:
            info = self._inspection.confirm(answer.version_id, expected)
            proof = self._proof(answer, info, expected)
        except IntegrityError:
            self._is_made = self._inspection.sees_ours
            self._is_disproved = True
            raise
        etag = info.etag if info else None
        version_id = answer.version_id or (info.version_id if info else None)
        return Committed(
            etag=etag or answer.etag,
            version_id=version_id,
            proof=proof,
            tries=self._tries,
            checksums={**answer.checksums, **(info.checksums if info else {})},
            lock_problem=info.lock_problem if info else self._unseen_lock(),
        )

    def _unseen_lock(self) -> str | None:
        settings = self._bucket.settings
        return "nobody may look at it" if settings.lock_mode or settings.legal_hold else None

    def _proof(
        self, answer: Answer | ObjectInfo, info: ObjectInfo | None, expected: Expected
    ) -> str | None:
        """What proves the object: the ETag that it has, or else the one in the answer."""
        if not answer.etag_is_md5 or (info is not None and not info.etag_is_md5):
            return None
        proof = judge_object(self._what, expected, [info.etag]) if info else None
        if proof is None:
            return judge_object(self._what, expected, [answer.etag])
        if expected.is_contradicted_by(answer.etag or ""):
            self._warn(f"the answer to the commit named another ETag: {answer.etag}")
        return proof
