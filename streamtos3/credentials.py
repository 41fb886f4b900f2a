"""The reference's keyfile: `KEY:SECRET`, optionally a third field, the session token.

Everything else about credentials is boto3's own chain and stays in `store`.
"""

from __future__ import annotations

import os
import stat

from .errors import CredentialsError
from .model import Credentials

__all__ = ["read_keyfile"]

_LARGEST_BYTES = 64 * 1024


def read_keyfile(path: str, *, allow_insecure: bool = False) -> Credentials:
    """The credentials in the keyfile at `path`.

    Raises CredentialsError when it cannot be read, is malformed, or can be read by group or
    world while `allow_insecure` is not set. No message ever quotes the file's content.
    """
    try:
        with open(path, "rb") as keyfile:
            mode = os.fstat(keyfile.fileno()).st_mode
            content = keyfile.read(_LARGEST_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CredentialsError(f"cannot read the keyfile {path}: {reason}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH) and not allow_insecure:
        raise CredentialsError(
            f"the keyfile {path} can be read by others (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {path}, or --insecure-keyfile if that is meant",
        )
    fields = content.decode("ascii", "replace").strip().split(":")
    well_formed = len(fields) in (2, 3) and all(map(_can_be_sent, fields))
    if not well_formed or len(content) > _LARGEST_BYTES:
        raise CredentialsError(
            f"the keyfile {path} is malformed",
            hint="it holds one line, KEY:SECRET or KEY:SECRET:SESSION_TOKEN",
        )
    return Credentials(*fields)


def _can_be_sent(field: str) -> bool:
    return bool(field) and all("!" <= character <= "~" for character in field)
