"""All talk of the program: lower case, `streamtos3:` first, no full stop, one line each.

Standard output carries only data and receipts. What cannot be said because nobody listens is
dropped: who reads our standard error must not decide what becomes of the upload.
"""

from __future__ import annotations

import re
import sys
import unicodedata

__all__ = ["escaped", "redacted", "say"]

# To the last @ before the path, because people forget to encode one in a password.
_USER_INFO = re.compile(r"(?<=://)[^/\s]+(?=@)")
_BARE_USER_INFO = re.compile(r"^(--?[\w-]+=)?[^/@\s:]+:[^/\s]+(?=@[\w.\[\]:-]+/?$)")


def say(text: str) -> None:
    """One line on standard error, with nothing in it that a terminal obeys or nobody should see."""
    write_line(f"streamtos3: {escaped(_USER_INFO.sub('***', text))}")


def write_line(line: str) -> None:
    """`line` as it is on standard error."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):  # closed, full, or never there
        return


def escaped(text: str) -> str:
    """`text` with everything escaped by which a server could play with a terminal."""
    return "".join(_escape(each) if _is_control(each) else each for each in text)


def _is_control(character: str) -> bool:
    """Controls, formats such as a change of direction, surrogates, and what breaks a line."""
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def redacted(argument: str) -> str:
    """`argument` without the user and password that an URL in it may carry.

    Also without a scheme, USER:PASSWORD@HOST:PORT, as a proxy may be given.
    """
    return _BARE_USER_INFO.sub(r"\1***", _USER_INFO.sub("***", argument))
