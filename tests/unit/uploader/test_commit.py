"""The commit's states: every transition and every outcome, against a scripted bucket.

A row is the answers in the order in which they must be asked for. An answer that is not asked
for, or a request that the script does not know, is a failure: the order of requests is part of
what is tested.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from streamtos3.errors import (
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
from streamtos3.integrity.etag import Expected
from streamtos3.model.object_settings import ObjectSettings
from streamtos3.model.options import Retries
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.runtime.retry import Retrier
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.responses import Answer, ObjectInfo
from streamtos3.uploader.commit import Commit
from streamtos3.uploader.confirm import Committed
from streamtos3.uploader.fate import Fate

NOTHING, MAY_EXIST, MAY_COME, MADE, DISPROVED = (
    Fate.NOTHING,
    Fate.MAY_EXIST,
    Fate.MAY_COME,
    Fate.MADE,
    Fate.DISPROVED,
)
MD5 = "0123456789abcdef" * 2
OTHER_MD5 = "fedcba9876543210" * 2
SIZE_BYTES = 10
COMPOSITE = f"{MD5}-2"


def info(token: str | None, etag: str | None, size_bytes: int = SIZE_BYTES) -> ObjectInfo:
    return ObjectInfo(size_bytes, etag, None, token, None, etag_is_md5=True)


# The answers to the commit: what the service says, or the error that the bucket makes of it.
SENDS: dict[str, Answer | StoreError] = {
    "ok": Answer("expected"),
    "no-etag": Answer(None),
    "other-etag": Answer("other"),
    "kms": Answer("expected", etag_is_md5=False),
    "unsent": TransientError("no connection", sent=False, answered=False),
    "lost": TransientError("no answer", answered=False),
    "500": TransientError("internal error", code="InternalError", http_status=500),
    **{
        str(status): TransientError("gateway", http_status=status)
        for status in (502, 504, 520, 522, 524)
    },
    "412": ConditionError("not met", code="PreconditionFailed", http_status=412),
    "501": RefusedError("not implemented", code="NotImplemented", http_status=501),
    "bad-part": RefusedError("bad part", code="InvalidPart", http_status=400),
    "bad-order": RefusedError("bad order", code="InvalidPartOrder", http_status=400),
    "no-upload": AbsentError("no upload", code="NoSuchUpload", http_status=404),
    "denied": RefusedError("denied", code="AccessDenied", http_status=403),
}
# The answers to HEAD, marked by a question mark.
LOOKS: dict[str, ObjectInfo | StoreError] = {
    "?ours": info("token", "expected"),
    "?damaged": info("token", "other"),
    "?shorter": info("token", "expected", 9),
    "?others": info("another", "other"),
    "?bare": info(None, "expected"),
    "?bare-other": info(None, "other"),
    "?absent": AbsentError("absent", code="NoSuchKey", http_status=404),
    "?hidden": RefusedError("denied", code="AccessDenied", http_status=403),
    "?broken": TransientError("no answer", answered=False),
}


@dataclass
class ScriptedBucket:
    """Answers in the script's order; `conditions` are those of the requests that were sent."""

    script: list[str]
    etag: str
    conditions: list[Any] = field(default_factory=list)
    name: str = "bucket"
    settings: ObjectSettings = field(default_factory=ObjectSettings)

    def url(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def complete(self, *_: object, if_none_match: bool, checksum: str | None) -> Answer:
        return self._send("none-match" if if_none_match else None)

    def put_object(
        self, *_: object, if_none_match: bool, if_match: str | None, checksum: str | None
    ) -> Answer:
        return self._send("none-match" if if_none_match else if_match)

    def head(self, *_: object, at_once: bool = False) -> ObjectInfo:
        found = LOOKS[self.script.pop(0)]
        if isinstance(found, StoreError):
            raise found
        return ObjectInfo(**{**vars(found), "etag": self._filled(found.etag)})

    head_explained = head

    def peek(self, *_: object) -> None:
        """The GET after a HEAD that was refused has nothing to add."""

    def _send(self, condition: str | None) -> Answer:
        answer = SENDS[self.script.pop(0)]
        self.conditions.append(condition)
        if isinstance(answer, StoreError):
            raise answer
        return Answer(self._filled(answer.etag), etag_is_md5=answer.etag_is_md5)

    def _filled(self, etag: str | None) -> str | None:
        other = self.etag.replace(MD5, OTHER_MD5)
        return {"expected": self.etag, "other": other}.get(etag or "")


@dataclass
class Run:
    """One commit, and what came of it: a proof, or the class of the error."""

    verb: str
    script: str
    tries: int = 2
    overwrite: bool = False
    token: str | None = "token"
    cancelled_at: int | None = None
    looks: bool = True  # at an object of one request, too: a lock shows nowhere else

    def __post_init__(self) -> None:
        self.warnings: list[str] = []
        etag = COMPOSITE if self.verb == "complete" else MD5
        settings = ObjectSettings(legal_hold=self.looks)
        self.bucket = ScriptedBucket(self.script.split(), etag, settings=settings)
        self.expected = Expected(size_bytes=SIZE_BYTES, etag=etag, etags_are_md5=True)

    def __call__(self) -> str | None | type[BaseException]:
        with CancelScope() as scope:
            retrier = Retrier(
                Retries(tries=self.tries), scope, lambda *_: None, sleep=lambda _: None
            )
            self.commit = Commit(
                cast("Bucket", self.bucket),
                retrier,
                "key",
                token=self.token,
                overwrite=self.overwrite,
                check=self._check,
                warn=self.warnings.append,
            )
            try:
                return self._send().proof
            except (StoreError, IntegrityError, Cancelled) as error:
                self.error = error
                return type(error)

    def _send(self) -> Committed:
        if self.verb == "complete":
            return self.commit.complete("upload", [], self.expected)
        return self.commit.put(lambda: cast("Any", None), bytes.fromhex(MD5), {}, self.expected)

    def _check(self) -> None:
        if len(self.bucket.conditions) == self.cancelled_at:
            raise Cancelled


def check(run: Run, outcome: object, fate: Fate) -> None:
    assert run() == outcome
    assert run.bucket.script == []
    assert run.commit.fate == fate


# What both ways to commit have in common: the script, the tries allowed, the outcome, the state.
PROVED = "proved"
BOTH = [
    # success
    ("ok ?ours", 2, PROVED, MADE),
    ("ok ?hidden", 2, PROVED, MADE),
    ("ok ?absent ?ours", 2, PROVED, MADE),
    ("ok ?broken ?ours", 2, PROVED, MADE),
    ("kms ?ours", 2, None, MADE),
    # success is claimed, and a look disagrees
    ("ok ?damaged ?damaged", 2, IntegrityError, MADE | DISPROVED),
    ("ok ?shorter ?shorter", 2, IntegrityError, MADE | DISPROVED),
    ("ok ?damaged ?ours", 2, PROVED, MADE),
    ("ok ?others ?others", 2, IntegrityError, NOTHING),
    ("ok ?absent ?absent", 2, IntegrityError, NOTHING),
    # it never left
    ("unsent", 1, RetriesUsedUpError, NOTHING),
    ("unsent ?absent ok ?ours", 2, PROVED, MADE),
    ("lost ?absent unsent ?absent", 2, UndecidedError, MAY_COME),
    ("500 ?hidden unsent ?hidden", 2, UndecidedError, MAY_EXIST),
    # it was answered, with an error that may pass
    ("500 ?absent", 1, RetriesUsedUpError, NOTHING),
    ("500 ?others", 1, RetriesUsedUpError, NOTHING),
    ("500 ?hidden", 1, UndecidedError, MAY_EXIST),
    ("500 ?ours ?ours", 1, PROVED, MADE),
    ("500 ?absent ok ?ours", 2, PROVED, MADE),
    # it was never answered
    ("lost ?ours ?ours", 2, PROVED, MADE),
    ("lost ?ours ?ours", 1, PROVED, MADE),
    ("lost ?absent ok ?ours", 2, PROVED, MADE),
    ("lost ?absent", 1, UndecidedError, MAY_COME),
    ("lost ?others", 1, UndecidedError, MAY_COME),
    ("lost ?hidden", 1, UndecidedError, MAY_EXIST | MAY_COME),
    ("lost ?absent lost ?ours ?ours", 2, PROVED, MADE),
    ("lost ?absent 500 ?absent", 2, UndecidedError, MAY_COME),
    ("lost ?hidden 500 ?absent", 2, UndecidedError, MAY_COME),
    # a gateway's answer is none
    *((f"{status} ?absent", 1, UndecidedError, MAY_COME) for status in (502, 504, 520, 522, 524)),
    # looks that fail: three of them before giving up
    ("lost ?broken ?ours ?ours", 1, PROVED, MADE),
    ("lost ?broken ?broken ?ours ?ours", 1, PROVED, MADE),
    ("lost ?broken ?broken ?broken", 1, UndecidedError, MAY_EXIST | MAY_COME),
    ("lost ?broken ?ours ?ours", 3, PROVED, MADE),
    # the condition is not met
    ("412 ?others", 2, ExistsError, NOTHING),
    ("412 ?absent", 2, ExistsError, NOTHING),
    ("412 ?hidden", 2, ExistsError, NOTHING),
    ("412 ?ours ?ours", 2, PROVED, MADE),
    ("412 ?broken ?ours ?ours", 2, PROVED, MADE),
    ("lost ?absent 412 ?absent ?absent", 2, UndecidedError, MAY_COME),
    ("lost ?absent 412 ?absent ?ours ?ours", 2, PROVED, MADE),
    ("lost ?absent 412 ?absent ?absent ok ?ours", 3, PROVED, MADE),
    ("lost ?absent 412 ?others", 2, ExistsError, NOTHING),
    ("lost ?hidden 412 ?hidden ?hidden", 2, UndecidedError, MAY_EXIST | MAY_COME),
    ("500 ?absent 412 ?absent", 2, ExistsError, NOTHING),
    # conditions are not supported
    ("501 ?others", 2, ExistsError, NOTHING),
    ("501 ?ours ?ours", 2, PROVED, MADE),
    ("501 ?absent ok ?ours", 1, PROVED, MADE),
    ("501 ?hidden ok ?ours", 1, PROVED, MADE),
    ("501 ?absent 501 ?absent", 1, RefusedError, NOTHING),
    ("501 ?absent lost ?absent", 1, UndecidedError, MAY_COME),
    # another refusal
    ("denied ?absent", 2, RefusedError, NOTHING),
    ("denied ?ours ?ours", 2, PROVED, MADE),
    ("lost ?absent denied ?absent ?absent", 2, UndecidedError, MAY_COME),
    ("lost ?hidden denied ?hidden ?ours ?ours", 2, PROVED, MADE),
]


@pytest.mark.parametrize("verb", ["complete", "put"])
@pytest.mark.parametrize(("script", "tries", "outcome", "fate"), BOTH)
def test_both_ways_to_commit(
    verb: str, script: str, tries: int, outcome: object, fate: Fate
) -> None:
    if outcome == PROVED:
        outcome = "composite-etag" if verb == "complete" else "md5-etag"
    check(Run(verb, script, tries), outcome, fate)


@pytest.mark.parametrize(
    ("script", "tries", "outcome", "fate"),
    [
        ("ok", 1, "md5-etag", MADE),
        ("unsent ?absent ok ?ours", 2, "md5-etag", MADE),
        ("lost ?absent ok ?ours", 2, "md5-etag", MADE),
        ("lost ?ours ?ours", 2, "md5-etag", MADE),
        ("lost ?absent 412 ?ours ?ours", 2, "md5-etag", MADE),
        ("lost ?absent 412 ?others", 2, ExistsError, NOTHING),
        ("412 ?others", 2, ExistsError, NOTHING),
        ("501 ?absent ok ?ours", 1, "md5-etag", MADE),
        ("kms ?ours", 2, None, MADE),
        ("other-etag ?absent ok ?ours", 2, "md5-etag", MADE),
        ("no-etag ?absent ok ?ours", 2, "md5-etag", MADE),
    ],
)
def test_an_answer_to_put_that_says_all_is_not_followed_by_a_look(
    script: str, tries: int, outcome: object, fate: Fate
) -> None:
    """Only the first answer, and only one whose ETag is the MD5."""
    check(Run("put", script, tries, looks=False), outcome, fate)


def test_a_checksum_that_was_asked_for_is_looked_for() -> None:
    run = Run("put", "ok ?ours", looks=False)
    run.expected = replace(run.expected, checksums=("AAAAAA==",))
    check(run, "md5-etag", MADE)


@pytest.mark.parametrize(
    ("script", "tries", "outcome", "fate"),
    [
        ("bad-part ?absent", 1, IntegrityError, NOTHING),
        ("bad-order ?absent", 1, IntegrityError, NOTHING),
        ("bad-part ?absent ?absent ok ?ours", 2, "composite-etag", MADE),
        ("bad-part ?ours ?ours", 2, "composite-etag", MADE),
        ("lost ?absent bad-part ?absent", 2, IntegrityError, NOTHING),
        ("lost ?absent bad-part ?others", 2, IntegrityError, NOTHING),
        ("lost ?hidden bad-part ?hidden ?hidden", 2, UndecidedError, MAY_EXIST | MAY_COME),
        ("no-upload ?absent", 2, AbsentError, NOTHING),
        ("no-upload ?ours ?ours", 2, "composite-etag", MADE),
        ("500 ?absent no-upload ?absent", 2, AbsentError, NOTHING),
        ("lost ?absent no-upload ?absent ?absent", 2, UndecidedError, MAY_COME),
        ("lost ?absent no-upload ?absent ?ours ?ours", 2, "composite-etag", MADE),
        ("lost ?absent no-upload ?absent ?absent ok ?ours", 3, "composite-etag", MADE),
        ("no-etag ?ours ?ours", 1, "composite-etag", MADE),
        ("no-etag ?absent", 1, RetriesUsedUpError, NOTHING),
        ("no-etag ?hidden ?hidden", 1, UndecidedError, MAY_EXIST),
        ("no-etag ?absent ?absent ok ?ours", 2, "composite-etag", MADE),
        ("other-etag ?ours", 1, "composite-etag", MADE),
        ("other-etag ?hidden", 1, IntegrityError, MADE | DISPROVED),
    ],
)
def test_complete(script: str, tries: int, outcome: object, fate: Fate) -> None:
    check(Run("complete", script, tries), outcome, fate)


@pytest.mark.parametrize(
    ("script", "tries", "outcome", "fate", "conditions"),
    [
        ("other-etag ?damaged ok ?ours", 2, "md5-etag", MADE, ["none-match", OTHER_MD5]),
        ("other-etag ?absent ok ?ours", 2, "md5-etag", MADE, ["none-match", "none-match"]),
        ("other-etag ?ours ?ours", 2, "md5-etag", MADE, ["none-match"]),
        ("other-etag ?damaged ?damaged", 1, IntegrityError, MADE | DISPROVED, ["none-match"]),
        ("other-etag ?damaged unsent", 2, RetriesUsedUpError, MADE, ["none-match", OTHER_MD5]),
        (
            "other-etag ?damaged 500 ?hidden",
            *(2, UndecidedError, MADE | MAY_EXIST, ["none-match", OTHER_MD5]),
        ),
        (
            "other-etag ?damaged lost ?hidden",
            *(2, UndecidedError, MADE | MAY_EXIST | MAY_COME, ["none-match", OTHER_MD5]),
        ),
        (
            "other-etag ?damaged lost ?absent",
            *(2, UndecidedError, MADE | MAY_COME, ["none-match", OTHER_MD5]),
        ),
        ("other-etag ?damaged lost ?ours ?ours", 2, "md5-etag", MADE, ["none-match", OTHER_MD5]),
        (
            "other-etag ?damaged other-etag ?absent ok ?ours",
            *(3, "md5-etag", MADE, ["none-match", OTHER_MD5, "none-match"]),
        ),
    ],
)
def test_put_replaces_only_damage_of_its_own_making(
    script: str, tries: int, outcome: object, fate: Fate, conditions: list[str]
) -> None:
    run = Run("put", script, tries)
    check(run, outcome, fate)
    assert run.bucket.conditions == conditions


@pytest.mark.parametrize("verb", ["complete", "put"])
@pytest.mark.parametrize(
    ("script", "cancelled_at", "outcome", "fate"),
    [
        ("", 0, Cancelled, NOTHING),
        ("500 ?absent", 1, Cancelled, NOTHING),
        ("500 ?hidden ?absent", 1, Cancelled, NOTHING),
        ("500 ?hidden ?hidden", 1, Cancelled, MAY_EXIST),
        ("lost ?absent ?absent", 1, Cancelled, MAY_COME),
        ("lost ?absent ?ours ?ours", 1, PROVED, MADE),
    ],
)
def test_a_signal_ends_it_and_sends_nothing_more(
    verb: str, script: str, cancelled_at: int, outcome: object, fate: Fate
) -> None:
    if outcome == PROVED:
        outcome = "composite-etag" if verb == "complete" else "md5-etag"
    check(Run(verb, script, cancelled_at=cancelled_at), outcome, fate)


@pytest.mark.parametrize(
    ("script", "tries", "outcome", "fate"),
    [
        ("lost ?bare ?bare", 1, "composite-etag", MADE),
        ("lost ?bare-other", 1, UndecidedError, MAY_COME),
        ("lost ?others", 1, UndecidedError, MAY_COME),
        ("412 ?bare ?bare", 1, "composite-etag", MADE),
        ("412 ?bare-other", 1, ExistsError, NOTHING),
    ],
)
@pytest.mark.parametrize("token", ["token", None])
def test_size_and_etag_decide_where_there_is_no_token(
    script: str, tries: int, outcome: object, fate: Fate, token: str | None
) -> None:
    check(Run("complete", script, tries, token=token), outcome, fate)


@pytest.mark.parametrize(
    ("script", "conditions", "warnings"),
    [
        ("ok ?ours", ["none-match"], 0),
        ("501 ?absent ok ?ours", ["none-match", None], 1),
        ("501 ?absent 500 ?absent ok ?ours", ["none-match", None, None], 1),
    ],
)
@pytest.mark.parametrize("verb", ["complete", "put"])
def test_the_condition_is_dropped_once_and_a_warning_says_so(
    verb: str, script: str, conditions: list[str | None], warnings: int
) -> None:
    run = Run(verb, script)
    run()
    assert (run.bucket.script, run.bucket.conditions) == ([], conditions)
    assert len(run.warnings) == warnings


@pytest.mark.parametrize("verb", ["complete", "put"])
def test_overwriting_sends_no_condition_and_a_501_is_a_refusal(verb: str) -> None:
    run = Run(verb, "501 ?absent", overwrite=True)
    check(run, RefusedError, NOTHING)
    assert (run.bucket.conditions, run.warnings) == ([None], [])


def test_another_etag_in_the_answer_is_warned_of_where_a_look_proves_the_object() -> None:
    run = Run("complete", "other-etag ?ours")
    check(run, "composite-etag", MADE)
    assert run.warnings == [f"the answer to the commit named another ETag: {OTHER_MD5}-2"]


UNKNOWN = "the request that makes s3://bucket/key was sent, its answer is unknown"


@pytest.mark.parametrize(
    ("verb", "script", "tries", "left_behind"),
    [
        ("complete", "500 ?absent", 1, None),
        ("complete", "ok ?others", 1, None),
        ("complete", "500 ?hidden", 1, UNKNOWN),
        ("complete", "lost ?absent", 1, UNKNOWN),
        ("complete", "lost ?hidden", 1, UNKNOWN),
        ("put", "other-etag ?damaged lost ?hidden", 2, UNKNOWN),
        ("put", "other-etag ?damaged unsent", 2, "s3://bucket/key is there but was not proved"),
        ("complete", "ok ?damaged", 1, "s3://bucket/key is there and is not what was read"),
    ],
)
def test_what_is_left_behind_follows_from_the_state(
    verb: str, script: str, tries: int, left_behind: str | None
) -> None:
    run = Run(verb, script, tries)
    run()
    assert run.commit.left_behind == left_behind
    assert run.commit.is_undecided == (left_behind == UNKNOWN)


@pytest.mark.parametrize(("script", "tries"), [("ok ?ours", 1), ("501 ?absent ok ?ours", 2)])
def test_every_request_is_counted(script: str, tries: int) -> None:
    run = Run("complete", script)
    with CancelScope():
        run()
    assert len(run.bucket.conditions) == tries


def test_an_undecided_error_keeps_what_the_service_said() -> None:
    run = Run("complete", "502 ?absent", 1)
    run()
    assert isinstance(run.error, UndecidedError)
    assert run.error.http_status == 502
    assert run.error.message == (
        "gateway; gave up after 1 try in 0.0 s; it is not known whether the object was stored"
    )
    assert run.error.hint == "look at s3://bucket/key before repeating anything"
