"""The reference's keyfile: `KEY:SECRET`, optionally a third field, the session token.

And how any file is read that holds a secret: only its owner may be able to. Everything else
about credentials is boto3's own chain and stays in `store`.
"""

from __future__ import annotations

import os
import stat

from .errors import CredentialsError
from .model import Credentials

__all__ = ["read_keyfile", "read_private_file"]

_LARGEST_BYTES = 64 * 1024
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


def read_private_file(path: str, what: str, form: str, *, allow_insecure: bool = False) -> bytes:
    """The content of the file at `path`, which errors call `what`; `form` is what it should be.

    CredentialsError when it cannot be read, is absurdly long, or can be read by group or world
    while `allow_insecure` is not set.
    """
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CredentialsError(f"cannot read the {what} {path}: {reason}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH) and not allow_insecure:
        raise CredentialsError(
            f"the {what} {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}, or --insecure-keyfile if that is meant",
        )
    if len(content) > _LARGEST_BYTES:
        raise CredentialsError(f"the {what} {path} is malformed", hint=form)
    return content


def _can_be_sent(field: str) -> bool:
    return bool(field) and all("!" <= character <= "~" for character in field)
