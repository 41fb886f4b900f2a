"""The certificates of a Dask cluster, as its owner makes them: an authority, and what it signs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["environment_of", "new_authority"]

_ROLES = ("CLIENT", "SCHEDULER", "WORKER")


def new_authority(directory: Path) -> tuple[Path, Path]:
    """The certificate of a new authority, and a file with a key and a certificate by it."""
    directory.mkdir()
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _signed("the cluster's authority", authority_key, authority_key, is_authority=True)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _signed("a member of the cluster", key, authority_key, is_authority=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    paths = directory / "authority.pem", directory / "member.pem"
    paths[0].write_bytes(authority.public_bytes(pem))
    paths[1].write_bytes(private + certificate.public_bytes(pem))
    return paths


def environment_of(authority: Path, member: Path) -> dict[str, str]:
    """Dask's settings `distributed.comm.tls`, as environment variables."""
    start = "DASK_DISTRIBUTED__COMM__TLS__"
    found = {f"{start}CA_FILE": str(authority)}
    for role in _ROLES:
        found |= {f"{start}{role}__CERT": str(member), f"{start}{role}__KEY": str(member)}
    return found


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    authority_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("the cluster's authority"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
