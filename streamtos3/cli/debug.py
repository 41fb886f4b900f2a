"""`--debug`: botocore's own log on standard error, without the secrets that it would show."""

from __future__ import annotations

import logging
import re

from .talk import escaped, write_line

__all__ = ["start_debug_log"]

_SECRET_PATTERNS = (
    # Header and field names of every way in which a token or key is shown: request headers,
    # answers of the token services, and the parameters that go there.
    re.compile(
        r"(?i)((?:x-amz-security-token|authorization|proxy-authorization|x-amz-sso_bearer_token"
        r"|x-aws-ec2-metadata-token|customer-key|ssecustomerkey|secretaccesskey"
        r"|secret_access_key|aws_secret_access_key|sessiontoken|session_token|accesstoken"
        r"|refreshtoken|clientsecret|idtoken|assertion|webidentitytoken|\"token\"|<token)"
        r"['\"]?(?:\s*[:=>,]\s*|\s+)b?['\"]?)([^'\"<>\s,}]+(?: [^'\"<>,}]*)?)"
    ),
    re.compile(r"(?<=://)()([^/@\s]+)(?=@)"),
    re.compile(r"(?i)(signature=)([0-9a-f]+)"),
)


class _Redacting(logging.Handler):
    """Writes records to standard error, secrets replaced by `***`."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        for pattern in _SECRET_PATTERNS:
            text = pattern.sub(r"\1***", text)
        for line in text.splitlines():
            write_line(escaped(line))


def start_debug_log() -> None:
    """Log everything that this program, botocore and urllib3 have to say."""
    handler = _Redacting()
    handler.setFormatter(logging.Formatter("%(asctime)s %(threadName)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
