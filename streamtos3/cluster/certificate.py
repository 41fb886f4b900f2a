"""TLS between the processes of `--dask local:N`, by a key that is made for the run.

Dask runs whatever a client sends it, so a scheduler that anyone on this machine could reach would
run anyone's code as this user.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone

from ..errors import UsageError

__all__ = ["MemoryFile", "new_certificate"]

_LIFETIME = timedelta(days=365)


def new_certificate() -> tuple[str, str]:
    """A self-signed certificate and its key, as PEM. UsageError where cryptography is missing.

    On an elliptic curve: to find the primes of an RSA key takes up to half a second.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise UsageError(
            "--dask local:N needs the package cryptography",
            hint="pip install 'streamtos3[dask]'",
        ) from error
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "streamtos3")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), secret.decode()


class MemoryFile:
    """A file in memory that holds `text`; `path` is good for this process and its children."""

    def __init__(self, text: str) -> None:
        self._fd = os.memfd_create("streamtos3-tls", os.MFD_CLOEXEC)
        os.write(self._fd, text.encode())
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self, timeout: float) -> None:
        """Forget the text."""
        os.close(self._fd)
