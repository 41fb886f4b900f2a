"""`Comparison`: what a stored object was compared with, and what proves it.

The rules are the same whether one process verifies, or the workers of a cluster do: this knows
ETags, MD5s and receipts, and nothing of who has read the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..errors import IntegrityError, UnprovedReadError
from ..integrity.digests import composite_etag
from ..integrity.etag import is_md5, parts_in
from ..model.options import READ_BACK_UNASKED_BYTES
from ..results import ReadReport, Receipt
from ..s3.responses import ObjectInfo
from .part_layout import ask_exact_layout

__all__ = ["Comparison"]

_Ask = Callable[[Sequence[int]], Sequence[tuple[int, int] | None]]


class Comparison:
    """Of the object `info` at `url`; every method raises IntegrityError where something differs.

    `compared` names what was found to be equal, in that order, each once; `proof` is None as long
    as nothing proves the object.
    """

    def __init__(self, url: str, info: ObjectInfo) -> None:
        self.proof: str | None = None
        self._url = url
        self._info = info
        self._compared: list[str] = []

    @property
    def compared(self) -> tuple[str, ...]:
        """Each name once."""
        return tuple(dict.fromkeys(self._compared))

    def note(self, *names: str) -> None:
        """These were compared elsewhere, and are equal."""
        self._compared += names

    @property
    def is_read_back_unasked(self) -> bool:
        """Whether the object should be read although nobody asked: a small one, yet unproved."""
        return self.proof is None and self._info.size_bytes <= READ_BACK_UNASKED_BYTES

    def with_receipt(self, receipt: Receipt) -> None:
        """Compare HEAD with the receipt. The ETag of an object that was proved then proves it.

        So does one that is the MD5 of the whole, where the receipt has that.
        """
        info = self._info
        etag = receipt.etag_found or receipt.etag_expected
        is_whole_md5 = info.etag is not None and info.etag.lower() == receipt.digests.get("md5")
        self._compare("size", info.size_bytes, receipt.size_bytes)
        self._compare("etag", info.etag, info.etag if is_whole_md5 else _spelt(etag, info.etag))
        if receipt.version_id is not None:
            self._compare("version id", info.version_id, receipt.version_id)
        if is_whole_md5:
            self.proof = "whole-md5-etag"
        elif receipt.proof.object is not None:
            self.proof = "receipt-etag"

    def _compare(self, name: str, found: object, said: object) -> None:
        if found != said:
            raise IntegrityError(
                f"{self._url} is not what the receipt says: "
                f"its {name} is {found}, the receipt says {said}"
            )
        self._compared.append(name)

    def with_length(self, name: str, size_bytes: int | None) -> None:
        """Compare the size with that of `name`; None where it is not known yet."""
        if size_bytes is None:
            return
        if size_bytes != self._info.size_bytes:
            raise IntegrityError(
                f"{self._url} has {self._info.size_bytes} bytes, {name} has {size_bytes}"
            )

    def with_parts(self, what: str, md5s: Sequence[bytes], receipt: Receipt) -> None:
        """Compare the MD5s of parts with those of the receipt; `what` begins the message."""
        for md5, part in zip(md5s, receipt.parts, strict=True):
            if md5.hex() != part.md5:
                raise IntegrityError(
                    f"{what}: part {part.number}, from byte {part.offset_bytes} on, "
                    f"has the MD5 {md5.hex()} instead of {part.md5}"
                )
        self._compared.append("part MD5s")

    def with_etag(
        self, what: str, name: str, md5s: Sequence[bytes], sizes: Sequence[int], ask: _Ask
    ) -> None:
        """Compare the ETag with that of parts of these sizes, which are those of `name`.

        Another ETag means nothing where the service says that the object has other parts.
        """
        plain = is_md5(self._info.etag)
        found = md5s[0].hex() if plain else composite_etag(md5s)
        if found == (self._info.etag or "").lower():
            self._compared.append("etag")
            self.proof = "md5-etag" if plain else "composite-etag"
        elif ask_exact_layout(self._info, ask) in (None, tuple(sizes)):
            raise IntegrityError(f"{what}: its ETag is {self._info.etag}, that of {name} {found}")

    def unproved_error(self, report: ReadReport, *, readback: bool) -> UnprovedReadError:
        """Nothing differs, and nothing proves the object; `readback`: its bytes were read."""
        done = "there is nothing to compare it with"
        if report.compared:
            done = f"only its {' and '.join(report.compared)} could be compared"
        hint = "--readback reads the object and compares the bytes"
        if readback:
            hint = "--receipt FILE, with the receipt of its upload, would prove it"
        return UnprovedReadError(
            f"nothing proves that {self._url} is what was stored: "
            f"its ETag is {report.etag}; {done}",
            hint=hint,
            report=report,
        )


def _spelt(etag: str | None, found: str | None) -> str | None:
    """A receipt's ETag, spelt as the one that was `found` where capitals do not matter."""
    is_hex = is_md5(etag) or parts_in(etag) is not None
    if etag is not None and found is not None and is_hex and etag.lower() == found.lower():
        return found
    return etag
