"""What differs is told, and what proves the object; who has read the bytes does not matter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamtos3.downloader.comparison import Comparison
from streamtos3.errors import IntegrityError
from streamtos3.model.options import READ_BACK_UNASKED_BYTES
from streamtos3.results import Proof, Receipt
from streamtos3.s3.responses import ObjectInfo
from tests.rig.made_receipts import receipt_of

RECEIPT = receipt_of([10, 10, 3])
MD5S = [bytes.fromhex(part.md5) for part in RECEIPT.parts]
SIZES = [10, 10, 3]
WHOLE_MD5 = "0" * 31 + "a"


def of(**changes: Any) -> Comparison:
    info = ObjectInfo(23, RECEIPT.etag_found, None, None, None, etag_is_md5=True)
    return Comparison("s3://b/k", replace(info, **changes))


def proof_by(receipt: Receipt, **changes: Any) -> str | None:
    comparison = of(**changes)
    comparison.with_receipt(receipt)
    return comparison.proof


def test_a_receipt_whose_object_was_proved_proves_it_again() -> None:
    assert proof_by(RECEIPT) == "receipt-etag"
    assert proof_by(replace(RECEIPT, proof=Proof(None, None))) is None


def test_the_md5_of_the_whole_proves_an_etag_that_is_it() -> None:
    receipt = replace(RECEIPT, digests={"md5": WHOLE_MD5}, proof=Proof(None, None))
    assert proof_by(receipt, etag=WHOLE_MD5.upper()) == "whole-md5-etag"
    with pytest.raises(IntegrityError, match="its etag is"):
        proof_by(receipt, etag=WHOLE_MD5.replace("a", "b"))


@pytest.mark.parametrize("spell", [str.upper, str.lower])
def test_capitals_do_not_matter_where_the_etag_is_an_md5(spell: Any) -> None:
    assert proof_by(RECEIPT, etag=spell(RECEIPT.etag_found)) == "receipt-etag"
    opaque = replace(RECEIPT, etag_found="Opaque-etag")
    with pytest.raises(IntegrityError, match="the receipt says Opaque-etag"):
        proof_by(opaque, etag=spell("Opaque-etag"))


@pytest.mark.parametrize(
    "changes", [{"size_bytes": 24}, {"etag": None}, {"etag": "f" * 32}], ids=str
)
def test_what_differs_from_the_receipt_is_told(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="is not what the receipt says"):
        proof_by(RECEIPT, **changes)


def test_another_version_is_told() -> None:
    with pytest.raises(IntegrityError, match="its version id is None"):
        proof_by(replace(RECEIPT, version_id="v1"))


def test_only_a_small_object_that_nothing_proves_is_read_unasked() -> None:
    assert of().is_read_back_unasked
    assert of(size_bytes=READ_BACK_UNASKED_BYTES).is_read_back_unasked
    assert not of(size_bytes=READ_BACK_UNASKED_BYTES + 1).is_read_back_unasked
    proved = of()
    proved.with_receipt(RECEIPT)
    assert not proved.is_read_back_unasked


def test_the_etag_is_that_of_the_parts_however_it_is_spelt() -> None:
    comparison = of(etag=(RECEIPT.etag_found or "").upper())
    comparison.with_etag("it is another one", "file", MD5S, SIZES, lambda numbers: [])
    assert (comparison.proof, comparison.compared) == ("composite-etag", ("etag",))


def test_the_first_part_that_differs_is_named() -> None:
    with pytest.raises(IntegrityError, match="file is another one: part 2, from byte 10 on"):
        of().with_parts("file is another one", [MD5S[0], MD5S[0], MD5S[2]], RECEIPT)


def test_each_name_is_told_once() -> None:
    comparison = of()
    comparison.with_receipt(RECEIPT)
    comparison.note("size", "bytes")
    assert comparison.compared == ("size", "etag", "bytes")
