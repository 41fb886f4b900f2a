"""What strangers say is shown as what it is, and does nothing."""

from __future__ import annotations

import pytest

from streamtos3.model.printable import escaped, without_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, höflich, 日本, עברית", "plain, höflich, 日本, עברית"),
        ("\x1b[2Jgone\x00", "\\x1b[2Jgone\\x00"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\u202etxt.exe\u2066", "\\u202etxt.exe\\u2066"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_could_play_with_a_reader_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no answer from http://me:secret@proxy:3128/", "no answer from http://***@proxy:3128/"),
        ("s3://bkt/a@b and mail@example.org", "s3://bkt/a@b and mail@example.org"),
    ],
)
def test_an_address_is_shown_without_its_password(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
