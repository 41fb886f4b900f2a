"""The commit: the one request that makes the object appear, and the proof that follows.

A lost answer is not a failure yet, and a success that was answered is not a proof yet
(docs/s3-facts.org, Lost answers): a HEAD, the token in the object's metadata, its size and its
ETag decide. Until they have, the commit is undecided and the upload must not be aborted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from ..errors import (
    ConditionError,
    ExistsError,
    IntegrityError,
    StoreError,
    StreamToS3Error,
    TransientError,
    UndecidedError,
)
from ..integrity.etag import Expected, is_md5, judge_object, part_is_proved
from ..results import StoredPart
from ..runtime.cancel import Cancelled
from ..runtime.retry import Retrier
from ..s3.bodies import PartBody
from ..s3.bucket import Bucket
from ..s3.responses import Answer, ObjectInfo
from .confirm import Committed, Inspection, NotOurs, contradicts
from .fate import Fate

__all__ = ["Commit"]

_BAD_PART_CODES = ("InvalidPart", "InvalidPartOrder")
# What a gateway answers when it has lost the answer of the server behind it.
_GATEWAY_STATUSES = (502, 504, 520, 522, 524)  # the last three are Cloudflare's
# What broke the commit's connection has broken the idle ones too, and each costs a look.
_LAST_LOOKS = 3


class Commit:
    """One commit of one object; `complete` or `put` is called once.

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
        self._url = bucket.url(key)
        self._tries = 0
        self._fate = Fate.NOTHING

    @property
    def fate(self) -> Fate:
        """What may be under the key because of this commit. Only `NOTHING` allows an abort."""
        return self._fate

    @property
    def is_undecided(self) -> bool:
        """Whether a request was sent and it is not known what became of it."""
        return bool(self._fate & Fate.UNDECIDED)

    @property
    def left_behind(self) -> str | None:
        """What this commit leaves in the bucket if the upload fails now; None: surely nothing."""
        if self.is_undecided:
            return f"the request that makes {self._url} was sent, its answer is unknown"
        if Fate.DISPROVED in self._fate:
            return f"{self._url} is there and is not what was read"
        if Fate.MADE in self._fate:
            return f"{self._url} is there but was not proved"
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
            if self._tries:
                found = self._look(expected)
                if isinstance(found, ObjectInfo):
                    return found
            answer = self._send(send, expected)
            # Ceph 16 names no ETag, nor does the sign-in page of a captive portal.
            if answer.etag is not None:
                return answer
            found = self._look(expected)
            if isinstance(found, ObjectInfo):
                return found
            raise TransientError(f"cannot complete {self._url}: the answer names no ETag")

        return self._commit(f"complete the upload of {self._url}", attempt, expected)

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
            if answer.etag is None and self._key.endswith("/"):
                return answer  # perhaps a directory was made of it, which a look tells
            part_is_proved(
                self._url,
                md5.hex(),
                answer.etag,
                etags_are_md5=True,
                etag_is_md5=answer.etag_is_md5,
            )
            return answer

        def attempt() -> Answer | ObjectInfo:
            nonlocal damage_etag
            damage_etag = None
            if self._tries:
                found = self._look(expected)
                if isinstance(found, ObjectInfo):
                    if not contradicts(found, expected):
                        return found
                    damage_etag = found.etag
            return self._send(send, expected)

        return self._commit(f"store {self._url}", attempt, expected)

    def _commit(
        self, action: str, attempt: Callable[[], Answer | ObjectInfo], expected: Expected
    ) -> Committed:
        """Try until it is decided, look once more where it is not, and prove the object."""
        try:
            answer = self._retrier.call(action, attempt).value
        except (StreamToS3Error, Cancelled) as error:
            answer = self._look_before_giving_up(error, expected)
        return self._prove(answer, expected)

    def _send(self, send: Callable[[], Answer], expected: Expected) -> Answer | ObjectInfo:
        """Send the request; once more without its condition if the service supports none.

        Returns the answer, or our object where a refusal turns out to follow from an earlier
        try. Raises TransientError, and what `_raise_refusal` makes of a refusal.
        """
        while True:
            try:
                return self._send_once(send)
            except TransientError:
                raise
            except StoreError as refusal:
                found = self._look(expected)
                if isinstance(found, ObjectInfo):
                    return found
                if not self._lacks_conditions(refusal) or found is NotOurs.FOREIGN:
                    self._raise_refusal(refusal, found)
                self._conditional = False
                self._warn(
                    "this endpoint does not support conditional writes (If-None-Match); "
                    "an object that someone else creates meanwhile would be replaced"
                )

    def _send_once(self, send: Callable[[], Answer]) -> Answer:
        """Send one request and note what its failure tells of its fate."""
        before = self._fate
        self._fate |= Fate.MAY_EXIST
        self._tries += 1
        try:
            self._check()
            return send()
        except Cancelled:  # before the whole request had left
            self._fate = before
            raise
        except TransientError as error:
            if not error.sent:
                self._fate = before
            elif not error.answered or error.http_status in _GATEWAY_STATUSES:
                self._fate |= Fate.MAY_COME
            raise
        except StoreError:  # this try made nothing; an earlier one may have
            self._fate = before
            raise

    def _lacks_conditions(self, refusal: StoreError) -> bool:
        """Whether the refusal says that the service does not support conditional writes."""
        return self._conditional and refusal.http_status == 501

    def _raise_refusal(self, refusal: StoreError, found: NotOurs) -> NoReturn:
        """Raise what a definitive refusal means, after a look that did not find our object.

        - ExistsError: the condition was not met, or is not supported and another writer's object
          is there. An earlier try that is still at work meets the same condition, so it cannot
          be applied any more.
        - TransientError for an unmet condition where nothing can be seen and an earlier try was
          never answered: what the condition sees may be our own object.
        - TransientError (damaged) for parts that the service confirmed and does not hold. Where
          the look could tell, an earlier try cannot be applied any more either.
        - TransientError for NoSuchUpload where an earlier try was never answered: that try took
          the upload and may still be at work.
        - The refusal itself otherwise.
        """
        if isinstance(refusal, ConditionError) or self._lacks_conditions(refusal):
            if found is NotOurs.ABSENT and Fate.MAY_COME in self._fate:
                raise TransientError(refusal.message, code=refusal.code) from refusal
            if found is NotOurs.FOREIGN:
                self._fate &= ~Fate.MAY_COME
            raise ExistsError(
                f"{self._url} was created by someone else meanwhile",
                hint="choose another key, or --overwrite if it may be replaced",
            ) from refusal
        if refusal.code in _BAD_PART_CODES:
            if found is not NotOurs.UNKNOWN:
                self._fate &= ~Fate.MAY_COME
            message = f"the service does not hold the parts it confirmed: {refusal.message}"
            raise TransientError(message, damaged=True) from refusal
        if refusal.code == "NoSuchUpload" and Fate.MAY_COME in self._fate:
            raise TransientError(refusal.message, hint=refusal.hint, code=refusal.code) from refusal
        raise refusal

    def _look_before_giving_up(
        self, error: StreamToS3Error | Cancelled, expected: Expected
    ) -> ObjectInfo:
        """Our object, if it is there after the last try has failed.

        Raises `error` where it is certain that nothing of ours is or will be there, and after a
        signal; UndecidedError otherwise.
        """
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
            f"{error.message}; it is not known whether the object was stored",
            hint=f"look at {self._url} before repeating anything",
            code=getattr(error, "code", None),
            http_status=getattr(error, "http_status", None),
            request_id=getattr(error, "request_id", None),
        ) from error

    def _look(self, expected: Expected) -> ObjectInfo | NotOurs:
        """Look for our object once, and note what that tells of the tries so far.

        Raises TransientError when the look fails.
        """
        found = self._inspection.find(expected)
        if isinstance(found, ObjectInfo):
            self._fate = Fate.MADE
        elif found is not NotOurs.UNKNOWN:
            self._fate &= ~Fate.MAY_EXIST
        return found

    def _prove(self, answer: Answer | ObjectInfo, expected: Expected) -> Committed:
        """Prove the object that `answer` says was made. Raises IntegrityError if it differs."""
        self._fate = Fate.MADE
        if isinstance(answer, Answer) and self._says_all(answer, expected):
            return Committed(
                etag=answer.etag,
                version_id=answer.version_id,
                proof=judge_object(self._url, expected, [answer.etag]),
                tries=self._tries,
                checksums=answer.checksums,
            )
        try:
            info = self._inspection.confirm(answer.version_id, expected)
            proof = self._judge(answer, info, expected)
        except IntegrityError:
            is_there = self._inspection.sees_ours
            self._fate = Fate.MADE | Fate.DISPROVED if is_there else Fate.NOTHING
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

    def _says_all(self, answer: Answer, expected: Expected) -> bool:
        """Whether this answer to `put` leaves nothing that a look could add.

        Its ETag is the MD5 of what was sent, so the service has received and stored just that. A
        look is for ETags that are none, for locks and additional checksums, which may show nowhere
        else, where more than one request was sent, and for a key of which a directory may have been
        made: SeaweedFS answers with the MD5, and drops the bytes.
        """
        return (
            self._tries == 1
            and not self._key.endswith("/")
            and answer.etag_is_md5
            and answer.etag == expected.etag
            and is_md5(answer.etag)
            and not self._bucket.settings.asks_for_lock
            and not expected.checksums
        )

    def _unseen_lock(self) -> str | None:
        return "looking at it is not allowed" if self._bucket.settings.asks_for_lock else None

    def _judge(
        self, answer: Answer | ObjectInfo, info: ObjectInfo | None, expected: Expected
    ) -> str | None:
        """The proof by ETag: the one that a look shows, or else the one in the answer."""
        if not answer.etag_is_md5 or (info is not None and not info.etag_is_md5):
            return None
        proof = judge_object(self._url, expected, [info.etag]) if info else None
        if proof is None:
            return judge_object(self._url, expected, [answer.etag])
        if expected.is_contradicted_by(answer.etag or ""):
            self._warn(f"the answer to the commit named another ETag: {answer.etag}")
        return proof
