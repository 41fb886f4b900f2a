"""How a third party repeats the checks of a receipt, with tools that everybody has.

Commands for bash and GNU coreutils, each with what it must print. The object's bytes are in a file
that is called `object` there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from ..results import Receipt, StoredPart
from .examination import Examination
from .facts import shell_word
from .signatures import NAMESPACE, SIGNATURE_SUFFIX, SignatureState

__all__ = ["Step", "spelled", "steps_of"]

_TOOLS = {
    "sha256": "sha256sum",
    "md5": "md5sum",
    "sha1": "sha1sum",
    "sha512": "sha512sum",
    "blake2b": "b2sum",
}
_PART_MD5S = "--filter='md5sum | cut -c1-32'"


@dataclass(frozen=True)
class Step:
    """What is checked, the command, and what it must print; None where the text says it."""

    text: str
    command: str
    prints: str | None = None


def steps_of(examination: Examination) -> Iterator[Step]:
    """The steps, in order: the receipt, its signature, the object, its bytes, its ETag."""
    base = os.path.basename(examination.file.path)
    name = shell_word(f"./{base}" if base.startswith("-") else base)
    receipt = examination.file.receipt
    yield Step("The receipt is the one of this report.", f"sha256sum {name}",
               examination.file.sha256)  # fmt: skip
    if examination.signature.state is not SignatureState.MISSING:
        yield from _signature(examination, name)
    yield _fetch(receipt)
    yield Step("It has as many bytes.", "stat -c %s object", str(receipt.size_bytes))
    for digest, value in receipt.digests.items():
        if digest in _TOOLS:
            text = f"Its {spelled(digest)} is the one of the bytes that were read."
            yield Step(text, f"{_TOOLS[digest]} object", value)
    if receipt.parts:
        yield _etag(receipt)
        yield _part(receipt.parts[-1])


def _signature(examination: Examination, name: str) -> Iterator[Step]:
    signature = f"-s {name}{SIGNATURE_SUFFIX} < {name}"
    yield Step(
        "The signature is of exactly these bytes; the key is named.",
        f"ssh-keygen -Y check-novalidate -n {NAMESPACE} {signature}",
        f"Good … signature with {examination.signature.key}" if examination.signature.key else None,
    )
    who = shell_word(examination.signature.signer or "SIGNER")
    yield Step(
        "The key is one that you trust: its public half, and a name for its holder, stand in your "
        "own file of allowed signers (ssh-keygen(1)).",
        f"ssh-keygen -Y verify -f allowed_signers -I {who} -n {NAMESPACE} {signature}",
    )


def _fetch(receipt: Receipt) -> Step:
    options = {"--endpoint-url": receipt.endpoint, "--bucket": receipt.bucket, "--key": receipt.key}
    if receipt.version_id is not None:
        options["--version-id"] = receipt.version_id
    words = ["aws", "s3api", "get-object"]
    for name, value in options.items():
        words += [f"{name}={value}"] if value.startswith("-") else [name, value]
    return Step(
        "The object comes from the service, by this or any other S3 client.",
        " ".join(map(shell_word, [*words, "object"])),
    )


def spelled(digest: str) -> str:
    """The name of a digest as people write it: `SHA-256`."""
    return {"blake2b": "BLAKE2b"}.get(digest, digest.upper().replace("SHA", "SHA-"))


def _etag(receipt: Receipt) -> Step:
    """The ETag by coreutils: S3's composite is the MD5 of the parts' binary MD5s."""
    etag, dash, count = receipt.etag_expected.partition("-")
    if not dash:
        return Step(
            "Its MD5 is the ETag, as the object went as one request.", "md5sum object", etag
        )
    runs = _runs(receipt.parts)
    if len(runs) == 1:
        md5s = f"split -b {runs[0][1]} {_PART_MD5S} object"
    else:
        pieces = (
            f"tail -c +{offset + 1} object | head -c {total} | split -b {size} {_PART_MD5S}"
            for offset, size, total in runs
        )
        md5s = "{ " + "; ".join(pieces) + "; }"
    return Step(
        f"The MD5 of the MD5s of its parts is the ETag, with -{count} behind it.",
        f"{md5s} | tr a-f A-F | tr -d '\\n' | basenc --base16 -d | md5sum",
        etag,
    )


def _runs(parts: tuple[StoredPart, ...]) -> list[tuple[int, int, int]]:
    """Parts of one size after one another, as (offset, size of a part, bytes of all of them).

    A last part that is shorter than those before it belongs to them.
    """
    last = parts[-1]
    sizes = [part.size_bytes for part in parts]
    if len(sizes) > 1 and last.size_bytes <= sizes[-2]:
        sizes[-1] = sizes[-2]
    runs = []
    for size, group in groupby(zip(sizes, parts, strict=True), key=lambda each: each[0]):
        members = [part for _, part in group]
        total = sum(part.size_bytes for part in members)
        runs.append((members[0].offset_bytes, size, total))
    return runs


def _part(part: StoredPart) -> Step:
    return Step(
        f"Any one part alone, here number {part.number}, by its offset and size from the list of "
        "parts.",
        f"tail -c +{part.offset_bytes + 1} object | head -c {part.size_bytes} | md5sum",
        part.md5,
    )
