"""A receipt in words: what it says, and nothing it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamtos3.receipts.facts import local, sections_of, shell_word, utc
from streamtos3.results import CommandReport, Proof
from tests.rig.made_receipts import BEGAN, receipt_of

RECEIPT = receipt_of([10, 10, 3])


def facts(receipt: object = RECEIPT) -> dict[str, dict[str, str]]:
    assert isinstance(receipt, type(RECEIPT))
    return {section.title: dict(section.facts) for section in sections_of(receipt)}


def test_what_a_case_file_wants_is_there() -> None:
    found = facts(replace(RECEIPT, command=CommandReport(("dd", "if=/dev/sda"), 0, 12.5)))
    assert found["Case"] == {"Case": "2026-117", "Evidence": "4"}
    assert found["Source"] == {
        "Input": "standard input",
        "Command line": "streamtos3 s3://evidence/sda.img",
        "Producer": "dd if=/dev/sda",
        "Producer ended": "with status 0, after 12 s",
    }
    assert found["Time"]["First byte read"] == (
        "2026-11-30 10:00:00.000 UTC  (2026-11-30 11:00:00 +01:00 local)"
    )
    assert found["Machine"]["Host"] == "ws17"
    assert found["Object"]["Size"] == "23 bytes (23 B)"
    assert found["Object"]["Parts"] == "3 parts of 10 B"
    assert "MD5 of every part (composite-etag)" in found["Proof"]["Object"]


def test_what_is_unknown_is_left_out() -> None:
    old = replace(RECEIPT, source=None, command_line=None, utc_offset=None, case={})
    found = facts(old)
    assert "Case" not in found and "Source" not in found
    assert found["Time"]["First byte read"] == "2026-11-30 10:00:00.000 UTC"


@pytest.mark.parametrize(
    ("proof", "said"),
    [
        (None, "not proved"),
        ("crc32-checksum", "the service's CRC32 of the object is the one computed here"),
        ("readback", "the object was read back"),
        ("by a miracle", "proved (by a miracle)"),
    ],
)
def test_what_proved_the_object_is_a_sentence(proof: str | None, said: str) -> None:
    shown = facts(replace(RECEIPT, proof=Proof(None, proof)))["Proof"]
    assert said in shown["Object"]
    assert "no MD5s" in shown["Parts"]


@pytest.mark.parametrize("offset", [None, "", "+25:00", "+01:00\n", "<b>", "CET"])
def test_an_offset_that_is_none_gives_no_local_time(offset: str | None) -> None:
    assert local(BEGAN, offset) is None


def test_local_time_is_that_of_the_machine() -> None:
    assert local(BEGAN, "-09:30") == "2026-11-30 00:30:00 -09:30"
    assert utc(BEGAN) == "2026-11-30 10:00:00.000 UTC"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("plain", "plain"),
        ("two words", "'two words'"),
        ("it's", "'it'\"'\"'s'"),
        ("a\nb", "$'a\\x0ab'"),
        ("\u202e'x\\", "$'\\xe2\\x80\\xae\\x27x\\x5c'"),
        ("\udcff", "$'\\xff'"),
        ("", "''"),
    ],
)
def test_a_word_of_a_command_is_one_word_and_one_line(text: str, word: str) -> None:
    assert shell_word(text) == word
