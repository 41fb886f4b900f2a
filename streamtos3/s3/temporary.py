"""Temporary credentials: those that botocore's chain has, or AWS gives for permanent ones.

For a machine that must not have our own credentials, and only as long as they are needed.
"""

from __future__ import annotations

import time
from typing import Any

from ..errors import CredentialsError, StoreError
from ..model.options import Connection, Credentials
from .credentials import read_keyfile
from .error_mapping import translate

__all__ = ["TemporaryCredentials"]

_LIFE_S = 12 * 3600
_RENEW_AFTER_S = 11 * 3600.0


class TemporaryCredentials:
    """What `current` gives expires. A role's credentials are renewed by botocore when asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._session: Any = None
        self._chain: Any = None
        self._given: Credentials | None = None
        self._given_at_s = 0.0

    def current(self) -> Credentials:
        """Temporary credentials that are good now. CredentialsError where there are none."""
        found = self._own() or self._from_chain()
        if found.session_token:
            return found
        if self._connection.endpoint_url:
            raise CredentialsError(
                "permanent credentials are not sent to workers",
                hint="give temporary ones, with a session token, or let the workers have their own",
            )
        if self._given is None or time.monotonic() - self._given_at_s > _RENEW_AFTER_S:
            self._given = self._from_sts(found)
            self._given_at_s = time.monotonic()
        return self._given

    def _own(self) -> Credentials | None:
        how = self._connection
        if not how.keyfile:
            return how.credentials
        found = read_keyfile(how.keyfile, allow_insecure=how.insecure_keyfile)
        token = found.session_token or how.session_token
        return Credentials(found.access_key, found.secret_key, token)

    def _from_chain(self) -> Credentials:
        if self._chain is None:
            import botocore.session

            self._session = botocore.session.Session(profile=self._connection.profile)
            try:
                self._chain = self._session.get_credentials()
            except Exception as error:
                raise self._mapped(error, "find credentials") from error
        if self._chain is None:
            raise CredentialsError("no credentials were found that could be sent to workers")
        frozen = self._chain.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    @staticmethod
    def _mapped(error: Exception, what: str) -> Exception:
        """The error of our own tree; nothing here is tried again."""
        mapped = translate(error, what, endpoint="AWS STS", accepted_before=False)
        if isinstance(mapped, StoreError):
            return CredentialsError(mapped.message, hint=mapped.hint)
        return mapped

    def _from_sts(self, permanent: Credentials) -> Credentials:
        """Ask AWS for temporary ones with the same rights."""
        import botocore.session

        session = self._session or botocore.session.Session(profile=self._connection.profile)
        try:
            client: Any = session.create_client(
                "sts",
                region_name=self._connection.region,
                aws_access_key_id=permanent.access_key,
                aws_secret_access_key=permanent.secret_key,
            )
            answer = client.get_session_token(DurationSeconds=_LIFE_S)["Credentials"]
        except Exception as error:
            raise self._mapped(error, "get temporary credentials") from error
        return Credentials(answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])
