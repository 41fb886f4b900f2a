"""Whose object is there, does it agree, and which proof counts: without a server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import cast

import pytest

from streamtos3 import Options
from streamtos3.errors import (
    AbsentError,
    IntegrityError,
    RefusedError,
    StoreError,
    TransientError,
    UnprovedError,
)
from streamtos3.integrity.etag import Expected
from streamtos3.model.options import Retries, Verify
from streamtos3.results import Proof, Receipt
from streamtos3.runtime.cancel import Cancelled, CancelScope
from streamtos3.runtime.retry import Retrier
from streamtos3.s3.bucket import Bucket
from streamtos3.s3.responses import ObjectInfo
from streamtos3.uploader.confirm import (
    Committed,
    Inspection,
    NotOurs,
    choose_proof,
    contradicts,
    require_proof,
)

URL = "s3://bucket/key"
SIZE_BYTES = 10
MD5, OTHER_MD5 = "1" * 32, "2" * 32
EXPECTED = Expected(size_bytes=SIZE_BYTES, etag=f"{MD5}-2", etags_are_md5=True)
INFO = ObjectInfo(SIZE_BYTES, f"{MD5}-2", None, "token", None, etag_is_md5=True)
ABSENT = AbsentError("absent", code="NoSuchKey")
DENIED = RefusedError("denied", code="AccessDenied")
BROKEN = TransientError("no answer", answered=False)
NO_TOKEN = replace(INFO, token=None)
FOREIGN = replace(INFO, token="another")
OTHER_ETAG = f"{OTHER_MD5}-2"


class Looks:
    """A bucket that answers each look in turn; `at_once` are those right after the write."""

    def __init__(self, *answers: ObjectInfo | StoreError | Cancelled) -> None:
        self.answers = list(answers)
        self.at_once: list[bool] = []

    def url(self, key: str) -> str:
        return f"s3://bucket/{key}"

    def head(self, *_: object, at_once: bool = False) -> ObjectInfo:
        self.at_once.append(at_once)
        answer = self.answers.pop(0)
        if isinstance(answer, ObjectInfo):
            return answer
        raise answer

    head_explained = head

    def peek(self, *_: object) -> None:
        """The GET after a HEAD that was refused has nothing to add."""


class Inspecting:
    """An inspection of scripted looks, with its warnings."""

    def __init__(self, looks: Looks, token: str | None = "token", tries: int = 3) -> None:
        self.warnings: list[str] = []
        with CancelScope() as scope:
            retrier = Retrier(Retries(tries=tries), scope, lambda *_: None, sleep=lambda _: None)
        self.inspection = Inspection(
            cast("Bucket", looks), retrier, "key", token, self.warnings.append
        )


# One look


@pytest.mark.parametrize(
    ("token", "answer", "expected"),
    [
        ("token", INFO, INFO),
        ("token", FOREIGN, NotOurs.FOREIGN),
        # The token decides, even where size or ETag say something else: `confirm` looks at those.
        ("token", replace(INFO, size_bytes=9), replace(INFO, size_bytes=9)),
        ("token", replace(INFO, etag=OTHER_ETAG), replace(INFO, etag=OTHER_ETAG)),
        # Without a token on either side, size and ETag do.
        ("token", NO_TOKEN, NO_TOKEN),
        (None, INFO, INFO),
        (None, FOREIGN, FOREIGN),
        (None, replace(INFO, size_bytes=9), NotOurs.FOREIGN),
        (None, replace(INFO, etag=OTHER_ETAG), NotOurs.FOREIGN),
        (None, replace(INFO, etag="opaque"), NotOurs.UNKNOWN),
        (None, replace(INFO, etag=None), NotOurs.UNKNOWN),
        (None, replace(INFO, etag=OTHER_ETAG, etag_is_md5=False), NotOurs.UNKNOWN),
        ("token", ABSENT, NotOurs.ABSENT),
        ("token", DENIED, NotOurs.UNKNOWN),
    ],
)
def test_whose_object_it_is(
    token: str | None, answer: ObjectInfo | StoreError, expected: ObjectInfo | NotOurs
) -> None:
    assert Inspecting(Looks(answer), token).inspection.find(EXPECTED) == expected


def test_a_look_that_fails_is_not_an_answer() -> None:
    looks = Looks(BROKEN)
    with pytest.raises(TransientError):
        Inspecting(looks).inspection.find(EXPECTED)
    assert looks.at_once == [False]


# After a success


@pytest.mark.parametrize(
    "answers",
    [
        [INFO],
        [NO_TOKEN],
        [ABSENT, INFO],
        [BROKEN, INFO],
        [replace(INFO, etag=OTHER_ETAG), replace(INFO, size_bytes=9), INFO],
        [replace(INFO, etag="opaque")],
    ],
)
def test_an_object_that_agrees_is_confirmed_at_one_of_the_looks(
    answers: list[ObjectInfo | StoreError | Cancelled],
) -> None:
    looks = Looks(*answers)
    inspecting = Inspecting(looks)
    assert inspecting.inspection.confirm(None, EXPECTED) == answers[-1]
    assert (looks.answers, inspecting.warnings) == ([], [])
    assert inspecting.inspection.sees_ours
    # Only the first look may use the connection of the write: what fails may have been that.
    assert looks.at_once == [True, False, False][: len(answers)]


@pytest.mark.parametrize(
    ("answer", "sees_ours", "message"),
    [
        (ABSENT, False, f"{URL} is not there after it was stored: absent"),
        (FOREIGN, False, f"{URL} was replaced by another writer right after it was stored"),
        (
            replace(INFO, size_bytes=9),
            True,
            f"{URL} is not what was read: it has 9 bytes, but 10 were read",
        ),
        (
            replace(INFO, etag=OTHER_ETAG),
            True,
            f"{URL} is not what was read: its ETag is {OTHER_ETAG}, the one computed here {MD5}-2",
        ),
    ],
)
def test_an_object_that_disagrees_at_every_look_is_an_integrity_error(
    answer: ObjectInfo | StoreError, sees_ours: bool, message: str
) -> None:
    inspection = Inspecting(Looks(answer, answer, answer)).inspection
    with pytest.raises(IntegrityError) as caught:
        inspection.confirm(None, EXPECTED)
    assert caught.value.message.startswith(message)
    assert inspection.sees_ours == sees_ours


def test_a_signal_between_two_looks_leaves_what_the_first_has_seen() -> None:
    def interrupted(_: float) -> None:
        raise Cancelled

    with CancelScope() as scope:
        retrier = Retrier(Retries(tries=3), scope, lambda *_: None, sleep=interrupted)
        looks = cast("Bucket", Looks(replace(INFO, size_bytes=9)))
        inspection = Inspection(looks, retrier, "key", "token", lambda _: None)
        with pytest.raises(IntegrityError, match="it has 9 bytes"):
            inspection.confirm(None, EXPECTED)


@pytest.mark.parametrize("end", [DENIED, BROKEN, Cancelled()])
def test_a_look_that_disagreed_counts_only_if_it_was_the_last(
    end: StoreError | Cancelled,
) -> None:
    """A later look that fails leaves the answer to the commit to decide."""
    wrong = replace(INFO, size_bytes=9)
    assert Inspecting(Looks(wrong, end), tries=2).inspection.confirm(None, EXPECTED) is None


@pytest.mark.parametrize(
    ("answers", "warnings"),
    [
        ([DENIED], ["the stored object could not be inspected: denied"]),
        ([Cancelled()], []),
    ],
)
def test_where_looking_is_not_possible_a_warning_says_so(
    answers: list[ObjectInfo | StoreError | Cancelled], warnings: list[str]
) -> None:
    inspecting = Inspecting(Looks(*answers))
    assert inspecting.inspection.confirm(None, EXPECTED) is None
    assert inspecting.warnings == warnings
    assert inspecting.inspection.sees_ours  # the answer said so


@pytest.mark.parametrize(
    ("etag", "etag_is_md5", "expected"),
    [
        (f"{MD5}-2", True, False),
        (OTHER_ETAG, True, True),
        (OTHER_ETAG, False, False),
        (f"{OTHER_MD5}-3", True, False),
        (OTHER_MD5, True, False),
        ("opaque", True, False),
        (None, True, False),
    ],
)
def test_only_an_etag_of_the_expected_form_contradicts(
    etag: str | None, etag_is_md5: bool, expected: bool
) -> None:
    assert contradicts(replace(INFO, etag=etag, etag_is_md5=etag_is_md5), EXPECTED) == expected


# The proof


@pytest.mark.parametrize(
    ("verify", "by_etag", "found", "expected"),
    [
        ("auto", "md5-etag", "crc", "md5-etag"),
        ("auto", None, "crc", "crc32-checksum"),
        ("auto", None, None, None),
        ("etag", "md5-etag", "crc", "md5-etag"),
        ("etag", None, "crc", None),
        ("checksum", "md5-etag", "crc", "crc32-checksum"),
        ("checksum", "md5-etag", None, None),
        ("none", "md5-etag", "crc", None),
        ("readback", "md5-etag", "crc", None),
        ("none", "md5-etag", "other", None),
        ("readback", "md5-etag", "other", None),
    ],
)
def test_which_proof_counts(
    verify: Verify, by_etag: str | None, found: str | None, expected: str | None
) -> None:
    options = Options(verify=verify, checksum="crc32")
    committed = Committed("etag", None, by_etag, 1, {"ChecksumCRC32": found} if found else {})
    wanted = Expected(size_bytes=1, etag=MD5, etags_are_md5=True, checksums=("crc",))
    assert choose_proof(URL, options, committed, wanted) == expected


@pytest.mark.parametrize("verify", ["auto", "etag", "checksum"])
def test_a_checksum_that_differs_disproves_whatever_the_etag_says(verify: Verify) -> None:
    options = Options(verify=verify, checksum="crc32")
    committed = Committed("etag", None, "md5-etag", 1, {"ChecksumCRC32": "other"})
    wanted = Expected(size_bytes=1, etag=MD5, etags_are_md5=True, checksums=("crc",))
    with pytest.raises(IntegrityError, match="its CRC32 is other") as caught:
        choose_proof(URL, options, committed, wanted)
    assert caught.value.left_behind == f"{URL} is there and is not what was read"


def receipt(proof: str | None) -> Receipt:
    now = datetime.now(timezone.utc)
    return Receipt(
        bucket="bucket",
        key="key",
        endpoint="https://s3",
        region=None,
        version_id=None,
        size_bytes=0,
        etag_expected=MD5,
        etag_found="opaque",
        parts=(),
        part_plan="6/10000",
        digests={},
        proof=Proof(None, proof),
        retries=0,
        upload_id=None,
        token="token",
        started_at=now,
        first_byte_at=None,
        ended_at=now,
        host="host",
        user="user",
        command_line=None,
        program="streamtos3",
        libraries={},
    )


@pytest.mark.parametrize(
    ("verify", "proof"),
    [("auto", "md5-etag"), ("checksum", "crc32-checksum"), ("readback", None)],
)
def test_a_proof_suffices_and_reading_back_comes_later(verify: Verify, proof: str | None) -> None:
    require_proof(receipt(proof), Options(verify=verify), None)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (
            Options(),
            "nothing that this endpoint answers proves it (ETag opaque)",
            "--checksum crc32 may prove it here, and --verify readback does",
        ),
        (
            Options(checksum="crc32"),
            "nothing that this endpoint answers proves it (ETag opaque)",
            "--verify readback proves it by reading it back",
        ),
        (Options(verify="none"), "no proof was asked for", None),
    ],
)
def test_an_object_without_a_proof_is_reported_with_its_receipt(
    options: Options, message: str, hint: str | None
) -> None:
    with pytest.raises(UnprovedError) as caught:
        require_proof(receipt(None), options, None)
    error = caught.value
    assert message in error.message
    assert (error.hint, error.left_behind) == (hint, f"{URL}, unproved")
    assert error.receipt == replace(
        receipt(None), started_at=error.receipt.started_at, ended_at=error.receipt.ended_at
    )


@pytest.mark.parametrize("proof", ["md5-etag", None])
def test_a_lock_that_is_not_in_effect_is_an_error_even_of_a_proved_object(
    proof: str | None,
) -> None:
    with pytest.raises(IntegrityError, match="cannot be confirmed: no retention") as caught:
        require_proof(receipt(proof), Options(), "no retention")
    assert caught.value.left_behind == f"{URL} is there"
