"""What a receipt says, in words for people: labels and values, in the order of a case file.

`receipt show` prints them, and the report sets them in tables. Values are text as it came; who
shows them makes them harmless.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from ..results import Receipt
from ..units import format_duration, format_size, plural

__all__ = ["Section", "local", "sections_of", "shell_word", "utc"]

_OFFSET = re.compile(r"([+-])([01]\d):([0-5]\d)")
_PROOFS = {
    "composite-etag": "the service's ETag is the one computed here from the MD5 of every part",
    "md5-etag": "the service's ETag is the MD5 of the bytes that were read",
    "whole-md5-etag": "the service's ETag is the MD5 of all bytes that were read",
    "readback": "the object was read back after it was stored, and is what was read",
}


@dataclass(frozen=True)
class Section:
    """Some facts under one heading, each a label and its value."""

    title: str
    facts: tuple[tuple[str, str], ...]


def utc(moment: datetime) -> str:
    """`2026-11-30 10:00:00.123 UTC`."""
    moment = moment.astimezone(timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def local(moment: datetime, utc_offset: str | None) -> str | None:
    """`2026-11-30 11:00:00 +01:00`, the time on the machine's clock; None where it is unknown."""
    found = _OFFSET.fullmatch(utc_offset or "")
    if found is None:
        return None
    sign = -1 if found[1] == "-" else 1
    offset = sign * timedelta(hours=int(found[2]), minutes=int(found[3]))
    return f"{moment.astimezone(timezone(offset)):%Y-%m-%d %H:%M:%S} {found[0]}"


def shell_word(text: str) -> str:
    """`text` as a word that a shell reads as just this text, and a person as one line."""
    if text.isprintable():
        return shlex.quote(text)
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # of another origin than a file's name
        data = text.encode("utf-8", "surrogatepass")
    return "$'" + "".join(map(_ansi_c, data)) + "'"


def _ansi_c(byte: int) -> str:
    plain = 0x20 <= byte < 0x7F and chr(byte) not in "\\'"
    return chr(byte) if plain else f"\\x{byte:02x}"


def sections_of(receipt: Receipt) -> Iterator[Section]:
    """All that a receipt says but its parts, digests and retries, which are tables of their own."""
    for title, facts in (
        ("Case", _case(receipt)),
        ("Source", _source(receipt)),
        ("Time", _time(receipt)),
        ("Machine", _machine(receipt)),
        ("Object", _object(receipt)),
        ("Proof", _proof(receipt)),
    ):
        found = tuple((label, text) for label, text in facts if text)
        if found:
            yield Section(title, found)


_Facts = Iterator[tuple[str, str | None]]


def _case(receipt: Receipt) -> _Facts:
    for name, text in receipt.case.items():
        yield name.capitalize(), text


def _source(receipt: Receipt) -> _Facts:
    yield "Input", receipt.source
    yield "Command line", _words(receipt.command_line)
    if receipt.command is not None:
        yield "Producer", _words(receipt.command.command)
        run_time = format_duration(receipt.command.run_time_s)
        yield "Producer ended", f"with status {receipt.command.exit_status}, after {run_time}"


def _time(receipt: Receipt) -> _Facts:
    moments = (
        ("Upload set up", receipt.started_at),
        ("First byte read", receipt.first_byte_at),
        ("Object proved", receipt.ended_at),
    )
    for label, moment in moments:
        if moment is not None:
            there = local(moment, receipt.utc_offset)
            yield label, utc(moment) + (f"  ({there} local)" if there else "")
    seconds = (receipt.ended_at - receipt.started_at).total_seconds()
    rate = format_size(receipt.size_bytes / max(seconds, 0.001))
    yield "Duration", f"{format_duration(seconds)}, {rate}/s on average"


def _machine(receipt: Receipt) -> _Facts:
    yield "Host", receipt.host
    yield "User", receipt.user
    yield "System", receipt.platform
    yield "Program", receipt.program
    yield "Libraries", ", ".join(f"{name} {text}" for name, text in receipt.libraries.items())


def _object(receipt: Receipt) -> _Facts:
    yield "Address", f"s3://{receipt.bucket}/{receipt.key}"
    yield "Key template", receipt.key_template
    yield "Version", receipt.version_id
    yield "Service", receipt.endpoint
    yield "Region", receipt.region
    yield "Size", f"{plural(receipt.size_bytes, 'byte')} ({format_size(receipt.size_bytes)})"
    yield "Parts", _parts(receipt)
    yield "Upload id", receipt.upload_id
    yield "Token", receipt.token


def _parts(receipt: Receipt) -> str:
    sizes = sorted({part.size_bytes for part in receipt.parts[:-1]})
    text = plural(len(receipt.parts), "part")
    if sizes:
        text += f" of {format_size(sizes[0])}"
        text += f" to {format_size(sizes[-1])}" if len(sizes) > 1 else ""
    resumed = sum(part.resumed for part in receipt.parts)
    return text + (f", {resumed:,} of them stored by an earlier run" if resumed else "")


def _proof(receipt: Receipt) -> _Facts:
    yield "ETag computed", receipt.etag_expected
    yield "ETag found", receipt.etag_found or "none"
    parts = "the ETag of each is the MD5 that was computed here"
    yield "Parts", parts if receipt.proof.parts else "Content-MD5 only: their ETags are no MD5s"
    yield "Object", _what_proved(receipt.proof.object)


def _what_proved(proof: str | None) -> str:
    if proof is None:
        return "not proved"
    if proof.endswith("-checksum"):
        name = proof.removesuffix("-checksum").upper()
        return f"the service's {name} of the object is the one computed here ({proof})"
    return f"{_PROOFS.get(proof, 'proved')} ({proof})"


def _words(words: tuple[str, ...] | None) -> str | None:
    return " ".join(map(shell_word, words)) if words else None
