"""The report for a case file: one page of HTML that needs no script, no network and no other file.

The template decides how it looks, this module what stands in it. Every value is made harmless on
its way: controls and changes of direction are written out, and Jinja2 escapes the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

from .._version import __version__
from ..errors import UsageError
from ..model.printable import escaped
from ..results import Receipt, RetriedRequest, StoredPart
from ..units import format_duration, format_size, plural
from .chart import Chart, chart_of
from .consistency import Finding, Verdict
from .examination import Examination, worst
from .facts import Section, local, sections_of, utc
from .repeat import Step, spelled, steps_of
from .signatures import SignatureState
from .throughput import Throughput, throughput_of

__all__ = ["render_report"]

_TEMPLATE = "report.html.jinja"
_CODES = (
    "Command line",
    "Producer",
    "Version",
    "Upload id",
    "Token",
    "ETag computed",
    "ETag found",
)
_LONGEST_FOOTER = 70
_MOST_PRINTED = 200
"""Rows of a table that are printed; a longer one is on the screen alone."""


@dataclass(frozen=True)
class _Item:
    """What the template shows of one receipt."""

    number: int
    title: str
    verdict: Verdict
    verdict_text: str
    name: str
    examination: Examination
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]
    throughput: Throughput | None
    chart: Chart | None
    steps: tuple[Step, ...]

    @property
    def receipt(self) -> Receipt:
        return self.examination.file.receipt

    @property
    def parts(self) -> tuple[StoredPart, ...]:
        return self.receipt.parts

    @property
    def retried(self) -> tuple[RetriedRequest, ...]:
        return self.receipt.retried


def render_report(examinations: Sequence[Examination], made_at: datetime) -> bytes:
    """The page, in UTF-8. UsageError where Jinja2 is not installed."""
    try:
        import jinja2
    except ImportError as error:
        hint = "pip install 'streamtos3[report]'"
        raise UsageError("the report needs the package jinja2", hint=hint) from error

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        css=_css_string, utc=utc, local=local, plural=plural, size=format_size,
        duration=format_duration, groups=_groups, spelled=spelled, clock=_clock,
    )  # fmt: skip
    text = files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    items = [_item(number, each) for number, each in enumerate(examinations, 1)]
    page = environment.from_string(text).render(
        items=items,
        heading=_heading(items),
        footer=_footer(items),
        made_at=made_at,
        version=__version__,
        most_printed=_MOST_PRINTED,
        codes=_CODES,
    )
    return page.encode("utf-8")


def _harmless(value: object) -> object:
    """What the template prints. What is marked as markup is a str of another class."""
    return escaped(value) if type(value) is str else value


def _item(number: int, examination: Examination) -> _Item:
    receipt = examination.file.receipt
    throughput = throughput_of(receipt)
    evidence = receipt.case.get("evidence")
    return _Item(
        number=number,
        title=f"Evidence {evidence}" if evidence else f"s3://{receipt.bucket}/{receipt.key}",
        verdict=worst(examination.findings),
        verdict_text=_verdict_text(examination),
        name=os.path.basename(examination.file.path),
        examination=examination,
        sections=tuple(sections_of(receipt)),
        findings=examination.findings,
        throughput=throughput,
        chart=chart_of(throughput) if throughput else None,
        steps=tuple(steps_of(examination)),
    )


def _verdict_text(examination: Examination) -> str:
    """The one sentence that a reader takes away."""
    failed = [each.subject for each in examination.findings if each.verdict is Verdict.FAILED]
    if failed:
        return f"This receipt failed these checks: {', '.join(failed)}."
    proof = examination.file.receipt.proof.object
    stored = (
        "What was stored was proved to be what was read."
        if proof
        else "Nothing proved that what was stored is what was read."
    )
    signature = examination.signature
    signed = {
        SignatureState.ALLOWED: f"The receipt is signed by {signature.signer}.",
        SignatureState.GOOD: "The receipt is signed; whose key that is was not checked.",
        SignatureState.MISSING: "The receipt is not signed.",
    }.get(signature.state, "The signature of the receipt was not checked.")
    return f"{stored} {signed}"


def _heading(items: Sequence[_Item]) -> str:
    cases = {item.receipt.case.get("case") for item in items}
    known = sorted(case for case in cases if case)
    if known:
        return f"Case {', '.join(known)}"
    return items[0].title if len(items) == 1 else plural(len(items), "object")


def _footer(items: Sequence[_Item]) -> str:
    """What stands at the foot of every printed page."""
    text, title = _heading(items), items[0].title
    if len(items) == 1 and title != text:
        text = f"{text}, {title}"
    return text if len(text) <= _LONGEST_FOOTER else f"{text[:_LONGEST_FOOTER]}…"


def _css_string(text: str) -> str:
    """`text` as a string of CSS: what is no plain letter or digit as its number."""
    from markupsafe import Markup

    safe = re.sub(r"[^A-Za-z0-9]", lambda found: f"\\{ord(found[0]):06x}", escaped(text))
    return Markup(f'"{safe}"')


def _groups(text: str) -> list[str]:
    """A digest in groups of eight, for eyes that compare."""
    return [text[index : index + 8] for index in range(0, len(text), 8)]


def _clock(moment: datetime | None) -> str:
    return utc(moment).removesuffix(" UTC") if moment else "not known"
