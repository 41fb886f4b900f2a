"""Text from outside, made harmless to show: on a terminal, in a receipt, in a report (pure)."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["escaped", "without_passwords"]

_IN_ADDRESS = re.compile(r"(?<=://)[^/\s]+(?=@)")


def escaped(text: str) -> str:
    """`text` with everything escaped that could control a terminal or mislead a reader."""
    return "".join(_escape(each) if _is_control(each) else each for each in text)


def without_passwords(text: str) -> str:
    """`text` without the user and password that an address in it may carry."""
    return _IN_ADDRESS.sub("***", text)


def _is_control(character: str) -> bool:
    """Whether it is a control, a format such as a change of direction, or breaks a line."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
