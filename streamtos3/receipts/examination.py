"""A receipt with all that was found out about it without asking the service."""

from __future__ import annotations

from dataclasses import dataclass

from .consistency import Finding, Verdict, examine
from .file import ReceiptFile, open_receipt
from .signatures import SIGNATURE_SUFFIX, Signature, check

__all__ = ["Examination", "examine_file", "worst"]


@dataclass(frozen=True)
class Examination:
    """A receipt, the signature beside it, and the findings on both, the signature's last."""

    file: ReceiptFile
    signature: Signature
    findings: tuple[Finding, ...]


def examine_file(path: str, allowed_signers: str | None = None) -> Examination:
    """Examine the receipt at `path` and the signature `path`.sig.

    UsageError where there is no receipt, or the allowed signers cannot be read.
    """
    file = open_receipt(path)
    signature = check(file.content, path + SIGNATURE_SUFFIX, allowed_signers)
    findings = (_form(file), *examine(file.receipt), signature.finding())
    return Examination(file, signature, findings)


def worst(findings: tuple[Finding, ...]) -> Verdict:
    """The worst of their verdicts."""
    order = list(Verdict)
    return max((each.verdict for each in findings), key=order.index)


def _form(file: ReceiptFile) -> Finding:
    if file.is_canonical:
        text = f"as streamtos3 writes receipts, byte for byte; SHA-256 {file.sha256}"
        return Finding("form", Verdict.OK, text)
    text = "its bytes are not as streamtos3 writes them: edited, or laid out anew"
    return Finding("form", Verdict.FAILED, text)
