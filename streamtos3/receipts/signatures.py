"""Signatures of receipts, made and checked by OpenSSH's own `ssh-keygen -Y`.

Whoever has to check one needs that program alone (ssh-keygen(1), PROTOCOL.sshsig). It is never let
near a terminal: a key that asks for a passphrase, with nobody to ask in the agent, is an error.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from ..errors import ReportError, UsageError, os_reason
from .consistency import Finding, Verdict

__all__ = ["NAMESPACE", "SIGNATURE_SUFFIX", "Signature", "SignatureState", "Signer", "check"]

NAMESPACE = "streamtos3-receipt"
"""What a signature is for, so that one made for another purpose never passes for a receipt's."""

SIGNATURE_SUFFIX = ".sig"

_PROGRAM = "ssh-keygen"
_TRIAL = b"streamtos3 tries whether this key can sign a receipt\n"
_LONGEST_S = 60.0  # a key on a token waits for a touch
_LARGEST_KEY_BYTES = 1 << 20
_ARMOR = b"-----BEGIN SSH SIGNATURE-----"
_KEY = re.compile(r"^Good \".*\" signature (?:for .* )?with (\S+ key \S+)$", re.MULTILINE)


class Signer:
    """Signs with the key in the file `key_path`.

    That is a private key, or a public one whose private half is beside it or in the agent.
    """

    def __init__(self, key_path: str) -> None:
        self._key_path = key_path

    def check(self) -> None:
        """Sign a fixed text. UsageError where that fails: before the first byte it costs nothing.

        Takes up to a minute where the key is on a token that must be touched.
        """
        try:
            self.sign(_TRIAL)
        except ReportError as error:
            raise UsageError(error.message, hint=error.hint) from error

    def sign(self, content: bytes) -> bytes:
        """The signature of `content`, in OpenSSH's armored form. ReportError if there is none."""
        words = ["-Y", "sign", "-n", NAMESPACE, "-f", self._key_path]
        try:
            if os.stat(self._key_path).st_size > _LARGEST_KEY_BYTES:  # a disk would be read whole
                raise self._error("it is not an OpenSSH key")
            done = _ssh_keygen(words, content)
        except FileNotFoundError as error:
            raise self._error(f"there is no {error.filename}", _hint_for(error.filename)) from error
        except OSError as error:
            raise self._error(os_reason(error)) from error
        except subprocess.TimeoutExpired as error:
            raise self._error(f"no signature within {_LONGEST_S:.0f} s") from error
        if done.returncode or not done.stdout.startswith(_ARMOR):
            raise self._error(*self._reason(done.stderr.decode(errors="replace")))
        return done.stdout

    def _error(self, reason: str, hint: str | None = None) -> ReportError:
        return ReportError(f"cannot sign with {self._key_path}: {reason}", hint=hint)

    def _reason(self, said: str) -> tuple[str, str | None]:
        """What `ssh-keygen` has against the key, and what to do about it."""
        add = f"ssh-add {self._key_path.removesuffix('.pub')}"
        if "passphrase" in said:
            return "it has a passphrase, and the agent does not hold the key", add
        if "UNPROTECTED PRIVATE KEY" in said:
            return "it can be read by others", f"chmod 600 {self._key_path}"
        if "No private key found" in said or "Couldn't find key in agent" in said:
            return "its private half is neither beside it nor in the agent", add
        if "Couldn't load public key" in said:
            return "it is not an OpenSSH key", "ssh-keygen -t ed25519 -f FILE makes one"
        return _last_line(said), None


class SignatureState(Enum):
    """What became of the check of a signature."""

    ALLOWED = "good, and by an allowed signer"
    GOOD = "good, but nobody has said whose key it is"
    REFUSED = "good, but not by an allowed signer"
    BAD = "not of these bytes"
    MISSING = "not there"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Signature:
    """The signature beside a receipt: its state, key (`ED25519 key SHA256:…`) and signer.

    `detail` is what `ssh-keygen` said against it, or why it could not be asked.
    """

    path: str
    state: SignatureState
    key: str | None = None
    signer: str | None = None
    detail: str = ""

    def finding(self) -> Finding:
        """The signature as one line of a report."""
        verdict, text = self._judged()
        return Finding("signature", verdict, text)

    def _judged(self) -> tuple[Verdict, str]:
        if self.state is SignatureState.ALLOWED:
            return Verdict.OK, f"good: {self.signer} signed exactly these bytes, with {self.key}"
        if self.state is SignatureState.GOOD:
            text = f"good, with {self.key}; whose key that is, --allowed-signers can say"
            return Verdict.UNPROVED, text
        if self.state is SignatureState.REFUSED:
            text = f"good, but {self.key} is not an allowed signer's: {self.detail}"
            return Verdict.FAILED, text
        if self.state is SignatureState.BAD:
            text = f"{self.path} is no signature of these bytes: {self.detail}"
            return Verdict.FAILED, text
        if self.state is SignatureState.MISSING:
            text = f"there is no {self.path}: nothing shows who wrote the receipt"
            return Verdict.UNPROVED, text
        return Verdict.UNPROVED, f"not checked: {self.detail}"


def check(content: bytes, path: str, allowed_signers: str | None = None) -> Signature:
    """Check the signature in the file `path` of the bytes `content`.

    `allowed_signers`: a file as ssh-keygen(1) describes it under ALLOWED SIGNERS. UsageError where
    it cannot be read.
    """
    if allowed_signers is not None:
        _check_readable(allowed_signers)
    if not os.path.exists(path):
        return Signature(path, SignatureState.MISSING)
    try:
        return _check(content, path, allowed_signers)
    except FileNotFoundError:
        return Signature(path, SignatureState.UNCHECKED, detail=f"{_PROGRAM} is not installed")
    except (OSError, subprocess.TimeoutExpired) as error:
        detail = f"{_PROGRAM}: {os_reason(error)}"
        return Signature(path, SignatureState.UNCHECKED, detail=detail)


def _check(content: bytes, path: str, allowed_signers: str | None) -> Signature:
    about = ["-n", NAMESPACE, "-s", path]
    done = _ssh_keygen(["-Y", "check-novalidate", *about], content)
    found = _KEY.search(done.stdout.decode(errors="replace"))
    if done.returncode or found is None:
        detail = _last_line(done.stderr.decode(errors="replace"), "Could not verify signature.")
        return Signature(path, SignatureState.BAD, detail=detail)
    key = found[1]
    if allowed_signers is None:
        return Signature(path, SignatureState.GOOD, key)
    allowed = ["-f", allowed_signers]
    named = _ssh_keygen(["-Y", "find-principals", "-s", path, *allowed], content)
    said = named.stderr.decode(errors="replace")
    for signer in named.stdout.decode(errors="replace").splitlines():
        done = _ssh_keygen(["-Y", "verify", "-I", signer, *about, *allowed], content)
        if done.returncode == 0:
            return Signature(path, SignatureState.ALLOWED, key, signer)
        said = done.stderr.decode(errors="replace")
    return Signature(path, SignatureState.REFUSED, key, detail=_last_line(said))


def _check_readable(path: str) -> None:
    try:
        with open(path, "rb"):
            return
    except OSError as error:
        raise UsageError(f"cannot read the allowed signers {path}: {os_reason(error)}") from error


def _ssh_keygen(words: Sequence[str], content: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run `ssh-keygen` without a terminal and without anything that could ask in its place."""
    program = shutil.which(_PROGRAM)
    if program is None:
        raise FileNotFoundError(None, f"{_PROGRAM} is not installed", _PROGRAM)
    asking = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_ASKPASS")
    environment = {name: value for name, value in os.environ.items() if name not in asking}
    return subprocess.run(
        [program, *words],
        input=content,
        capture_output=True,
        env={**environment, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
        start_new_session=True,  # without a terminal, and Ctrl-C is ours
        timeout=_LONGEST_S,
    )


def _hint_for(missing: object) -> str | None:
    return "install openssh-client, which has it" if missing == _PROGRAM else None


def _last_line(said: str, but: str = "") -> str:
    """The last line of what `ssh-keygen` said, and the reason is there; `but` is none."""
    lines = [line.strip() for line in said.splitlines() if line.strip() not in ("", but)]
    text = lines[-1] if lines else "ssh-keygen does not say why"
    return f"{text[:1].lower()}{text[1:]}".rstrip(".")
