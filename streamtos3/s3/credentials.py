"""The keyfile: `KEY:SECRET`, optionally with the session token as a third field.

Everything else about credentials is boto3's own chain, see `clients`.
"""

from __future__ import annotations

from ..errors import CredentialsError
from ..model.options import Credentials
from ..runtime.files import read_private_file

__all__ = ["read_keyfile"]

_KEYFILE_FORM = "it holds one line, KEY:SECRET or KEY:SECRET:SESSION_TOKEN"


def read_keyfile(path: str, *, allow_insecure: bool = False) -> Credentials:
    """The credentials in the keyfile at `path`.

    Raises CredentialsError when it cannot be read, is malformed, or can be read by group or
    world while `allow_insecure` is not set. No message ever quotes the file's content.
    """
    content = read_private_file(path, "keyfile", _KEYFILE_FORM, allow_insecure=allow_insecure)
    fields = content.decode("ascii", "replace").strip().split(":")
    well_formed = len(fields) in (2, 3) and all(map(_can_be_sent, fields))
    if not well_formed:
        raise CredentialsError(
            f"the keyfile {path} is malformed",
            hint=_KEYFILE_FORM,
        )
    return Credentials(*fields)


def _can_be_sent(field: str) -> bool:
    return bool(field) and all("!" <= character <= "~" for character in field)
