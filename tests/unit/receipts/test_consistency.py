"""What does not hold together in a receipt is found, and what an honest one has is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from streamtos3.receipts.consistency import Verdict, examine
from streamtos3.results import Proof, Receipt, RetriedRequest
from tests.rig.made_receipts import BEGAN, receipt_of

HONEST = receipt_of([10, 10, 3])
RETRY = RetriedRequest(BEGAN, "part 1", 1, 0.5, "no answer")


def verdicts(receipt: Receipt) -> dict[str, Verdict]:
    return {each.subject: each.verdict for each in examine(receipt)}


def text(receipt: Receipt, subject: str) -> str:
    return next(each.text for each in examine(receipt) if each.subject == subject)


@pytest.mark.parametrize("sizes", [[0], [7], [10, 3], [10, 10, 20, 20, 1]])
def test_an_honest_receipt_stands(sizes: list[int]) -> None:
    assert set(verdicts(receipt_of(sizes)).values()) == {Verdict.OK}


def test_each_finding_says_what_was_found() -> None:
    assert text(HONEST, "parts") == "3 parts without a gap, together 23 bytes, as the whole"
    assert text(HONEST, "etag").endswith("-3 follows from the MD5s of the parts, and the service"
                                         " answered with it")  # fmt: skip
    assert text(HONEST, "retries") == "no request had to be sent again"
    assert "composite-etag proved" in text(HONEST, "proof")


def with_part(index: int, **changes: Any) -> Callable[[Receipt], Receipt]:
    def bend(receipt: Receipt) -> Receipt:
        parts = list(receipt.parts)
        parts[index] = replace(parts[index], **changes)
        return replace(receipt, parts=tuple(parts))

    return bend


@pytest.mark.parametrize(
    ("bend", "subject", "said"),
    [
        (with_part(1, number=3), "parts", "part 2 does not begin where"),
        (with_part(1, offset_bytes=11), "parts", "part 2 does not begin where"),
        (with_part(2, size_bytes=4), "parts", "its parts have 24 bytes, the whole 23"),
        (with_part(2, size_bytes=-3), "parts", "part 3 has no size"),
        (with_part(0, md5="x" * 32), "parts", "part 1 has no size or no MD5"),
        (with_part(0, etag="0" * 32), "parts", "part 1 is said to be proved by its ETag"),
        (with_part(0, md5="0" * 32, etag="0" * 32), "etag", "the MD5s of the parts give the ETag"),
        (lambda made: replace(made, parts=made.parts[:2]), "parts", "have 20 bytes, the whole 23"),
        (lambda made: replace(made, parts=()), "etag", "it has no parts"),
        (lambda made: replace(made, etag_found="0" * 32 + "-3"), "etag", "said to prove"),
        (lambda made: replace(made, etag_expected="0" * 32), "etag", "it says 0000"),
        (lambda made: replace(made, digests={"sha256": "zz"}), "digests", "is not a sha256 digest"),
        (lambda made: replace(made, digests={"crc": "0" * 32}), "digests", "is not a crc digest"),
        (lambda made: replace(made, retried=(RETRY,)), "retries", "lists 1 retries and counts 0"),
    ],
)
def test_what_was_changed_is_found(
    bend: Callable[[Receipt], Receipt], subject: str, said: str
) -> None:
    changed = bend(HONEST)
    assert verdicts(changed)[subject] is Verdict.FAILED
    assert said in text(changed, subject)


def test_the_md5_of_a_single_part_is_that_of_the_whole() -> None:
    single = receipt_of([5])
    md5 = single.parts[0].md5
    assert verdicts(replace(single, digests={"md5": md5}))["digests"] is Verdict.OK
    assert verdicts(replace(single, digests={"md5": "0" * 32}))["digests"] is Verdict.FAILED


@pytest.mark.parametrize(
    "bend",
    [
        lambda made: replace(made, started_at=made.ended_at + timedelta(seconds=1)),
        lambda made: replace(made, first_byte_at=made.ended_at + timedelta(seconds=1)),
        with_part(1, stored_at=BEGAN - timedelta(hours=1)),
        lambda made: replace(
            made, retries=1, retried=(replace(RETRY, at=made.ended_at + timedelta(hours=1)),)
        ),
    ],
)
def test_a_clock_that_was_set_meanwhile_is_odd_and_no_forgery(
    bend: Callable[[Receipt], Receipt],
) -> None:
    assert verdicts(bend(HONEST))["times"] is Verdict.UNPROVED


def test_a_part_of_an_earlier_run_may_be_older_than_this_one() -> None:
    resumed = with_part(0, resumed=True, tries=0, stored_at=BEGAN - timedelta(days=1))(HONEST)
    assert verdicts(resumed)["times"] is Verdict.OK


def test_the_retries_of_an_earlier_version_are_counted_and_not_listed() -> None:
    assert text(replace(HONEST, retries=2), "retries").endswith(
        "had to be sent again, 0 are listed"
    )
    listed = replace(HONEST, retries=1, retried=(RETRY,))
    assert text(listed, "retries") == "1 request had to be sent again, each is listed"


def test_an_object_that_nothing_proved_is_said() -> None:
    unproved = replace(HONEST, proof=Proof("md5-etag", None))
    assert verdicts(unproved)["proof"] is Verdict.UNPROVED


def test_an_etag_that_is_no_proof_may_be_anything() -> None:
    foreign = replace(HONEST, etag_found="abc-1", proof=Proof(None, "crc32-checksum"))
    assert verdicts(foreign)["etag"] is Verdict.OK
    assert text(foreign, "etag").endswith("follows from the MD5s of the parts")
