"""A certificate for 127.0.0.1 and the authority that signed it, made by the openssl program.

Two certificates and not one that signed itself: some TLS libraries refuse an authority's
certificate as a server's.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["make_certificate"]

_EXTENSIONS = "subjectAltName=IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n"
_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc".split()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """The file to trust, and the file with the server's certificate and key."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "extensions").write_text(_EXTENSIONS)
    authority = ["-x509", "-subj", "/CN=bench authority", "-days", "2"]
    openssl("req", *authority, *_KEY, "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-subj", "/CN=127.0.0.1", *_KEY, "-keyout", "key.pem", "-out", "request.pem")
    signing = "-CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -days 2".split()
    openssl("x509", "-req", "-in", "request.pem", *signing, "-out", "certificate.pem")
    server = folder / "server.pem"
    server.write_text((folder / "certificate.pem").read_text() + (folder / "key.pem").read_text())
    return folder / "ca.pem", server
