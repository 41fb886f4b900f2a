"""The page: what it holds, and that nothing from outside is ever more than text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from streamtos3.errors import UsageError
from streamtos3.receipts.consistency import Verdict
from streamtos3.receipts.examination import Examination, examine_file, worst
from streamtos3.receipts.file import write_receipt
from streamtos3.receipts.repeat import steps_of
from streamtos3.receipts.report import render_report
from streamtos3.receipts.signatures import Signature, SignatureState
from streamtos3.results import Receipt, RetriedRequest
from tests.rig.made_receipts import BEGAN, receipt_of

NOW = datetime(2026, 12, 1, tzinfo=timezone.utc)
HOSTILE = (
    "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>"
    "\"'&{{7*7}}{% raw %}\u202egpj.exe\x00\x1b[31m\ud800\u2028\n"
)
TAGS = set(
    "html head meta title style body header section article main footer p h1 h2 h3 div span strong"
    " table thead tbody tr th td dl dt dd i a code pre ol li br figure figcaption svg line text"
    " path details summary".split()
)
ATTRIBUTES = set(
    "lang charset http-equiv content name class id scope href viewbox role aria-label x x1 x2 y y1"
    " y2 d fill fill-opacity stroke stroke-width stroke-dasharray text-anchor".split()
)


class Page(HTMLParser):
    """The tags, attributes and text of a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.shown: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(page.decode("utf-8"))
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.shown.append(data)


def examined(receipt: Receipt, directory: Path, name: str = "r.json") -> Examination:
    write_receipt(receipt, str(directory / name))
    return examine_file(str(directory / name))


def page_of(*examinations: Examination) -> Page:
    return Page(render_report(examinations, NOW))


def test_a_case_file_finds_what_it_needs(tmp_path: Path) -> None:
    retry = RetriedRequest(BEGAN, "part 2", 1, 0.5, "no answer from https://s3.example")
    receipt = receipt_of([10] * 12, retries=1, retried=(retry,))
    page = page_of(examined(receipt, tmp_path))
    for said in (
        *("Case 2026-117", "Evidence 4", "standard input", "streamtos3 s3://evidence/sda.img"),
        *("2026-11-30 10:00:00.000 UTC", "2026-11-30 11:00:00 +01:00", "ws17", "120 bytes"),
        *("no answer from https://s3.example", "sha256sum object", receipt.etag_expected),
        *("The receipt is not signed.", receipt.parts[11].md5, "Triangles"),
    ):
        assert said in page.text, said
    assert "".join(receipt.digests.values()) in page.text.replace(" ", "")
    assert "svg" in page.tags


def hostile(receipt: Receipt) -> Receipt:
    """Every text of the receipt but those that are no free text is hostile."""
    kept = ("started_at", "first_byte_at", "ended_at", "etag_expected", "etag_found", "digests")
    changes: dict[str, Any] = {
        name: HOSTILE
        for name, value in vars(receipt).items()
        if (isinstance(value, str) or value is None) and name not in (*kept, "command")
    }
    changes["command_line"] = (HOSTILE, f"--x={HOSTILE}")
    changes["case"] = {HOSTILE: HOSTILE, "case": HOSTILE, "evidence": HOSTILE, "notes": HOSTILE}
    changes["libraries"] = {HOSTILE: HOSTILE}
    changes["retried"] = (RetriedRequest(BEGAN, HOSTILE, 1, 0.5, HOSTILE),)
    changes["digests"] = {HOSTILE: HOSTILE, **receipt.digests}
    changes["parts"] = tuple(replace(each, etag=HOSTILE, md5=HOSTILE) for each in receipt.parts)
    return replace(receipt, retries=1, **changes)


def test_hostile_values_stay_text(tmp_path: Path) -> None:
    whole = examined(hostile(receipt_of([10] * 9)), tmp_path, "r<script>.json")
    signature = Signature(HOSTILE, SignatureState.REFUSED, HOSTILE, HOSTILE, HOSTILE)
    findings = (*whole.findings[:-1], signature.finding())
    signed = replace(whole, signature=signature, findings=findings)
    for page in (page_of(whole), page_of(signed), page_of(whole, signed, whole)):
        assert page.tags <= TAGS
        assert {name for name, _ in page.attributes} <= ATTRIBUTES
        assert {value[:1] for name, value in page.attributes if name == "href"} <= {"#"}
        assert "<script>alert(1)</script>" in page.text
        assert "{{7*7}}" in page.text
        assert "<" not in page.style
        for character in "\u202e\x00\x1b\ud800\u2028":
            assert character not in page.text + page.style
        assert "\\u202egpj.exe" in page.text


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    page = render_report([examined(receipt_of([10, 3]), tmp_path)], NOW).decode()
    assert "default-src 'none'" in page
    for word in ("<script", "http://www", "url(", "@import", "src=", "javascript:"):
        assert word not in page


def test_a_command_is_shown_whole_and_its_words_are_not_broken(tmp_path: Path) -> None:
    """A browser breaks behind a hyphen: `basenc --base16` was `basenc --` and `base16` on paper."""
    example = examined(receipt_of([5, 3]), tmp_path)
    page = render_report([example], NOW).decode("utf-8")
    shown = re.findall(r'<pre class="command">(.*)</pre>', page)
    commands = [step.command for step in steps_of(example)]
    assert [html.unescape(re.sub(r"</?span>", "", each)) for each in shown] == commands
    for line, command in zip(shown, commands, strict=True):
        assert line.count("<span>") == len(command.split(" "))


def test_one_page_for_many_receipts(tmp_path: Path) -> None:
    first = examined(receipt_of([10, 3]), tmp_path, "a.json")
    second = examined(receipt_of([7], case={"evidence": "5"}), tmp_path, "b.json")
    page = page_of(first, second)
    assert "Overview" in page.text
    assert "Object 1 of 2" in page.text and "Object 2 of 2" in page.text
    assert "Evidence 4" in page.text and "Evidence 5" in page.text
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_list_that_is_too_long_for_paper_is_on_the_screen(tmp_path: Path) -> None:
    short, long = receipt_of([1] * 200), receipt_of([1] * 201)
    assert "too long for paper" not in page_of(examined(short, tmp_path)).text
    page = page_of(examined(long, tmp_path))
    assert "201 parts: the list is too long for paper" in page.text
    assert long.parts[200].md5 in page.text


@pytest.mark.parametrize("sizes", [[0], [5], [3, 3]])
def test_a_small_receipt_has_a_page_too(sizes: list[int], tmp_path: Path) -> None:
    page = page_of(examined(receipt_of(sizes), tmp_path))
    assert "there is no picture" in page.text or "svg" in page.tags


def test_a_receipt_that_does_not_stand_has_a_page_that_says_so(tmp_path: Path) -> None:
    broken = examined(replace(receipt_of([10, 3]), parts=()), tmp_path)
    assert worst(broken.findings) is Verdict.FAILED
    assert "This receipt failed these checks: parts, etag" in page_of(broken).text


def test_a_file_that_was_laid_out_anew_is_found(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    examination = examined(receipt_of([10, 3]), tmp_path)
    assert examination.findings[0].verdict is Verdict.OK
    for text in (
        path.read_text() + "\n",
        path.read_text().replace('"bucket": "evidence"', '"bucket": "a",\n  "bucket": "evidence"'),
        json.dumps(json.loads(path.read_text()), indent=4) + "\n",
    ):
        path.write_text(text)
        assert examine_file(str(path)).findings[0].verdict is Verdict.FAILED
    path.write_text(json.dumps(json.loads(path.read_text())) + "\n")  # as --json prints it
    assert examine_file(str(path)).findings[0].verdict is Verdict.OK


def test_without_jinja_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examination = examined(receipt_of([1]), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(UsageError, match="needs the package jinja2") as caught:
        render_report([examination], NOW)
    assert caught.value.hint == "pip install 'streamtos3[report]'"


def test_the_etag_of_parts_of_several_sizes_is_cut_where_they_change(tmp_path: Path) -> None:
    steps = list(steps_of(examined(receipt_of([10, 10, 20, 20, 7]), tmp_path)))
    (command,) = [step.command for step in steps if "basenc" in step.command]
    assert "tail -c +1 object | head -c 20 | split -b 10 " in command
    assert "tail -c +21 object | head -c 47 | split -b 20 " in command


def test_the_names_in_the_commands_are_quoted(tmp_path: Path) -> None:
    receipt = receipt_of([1], key="a b$(reboot)", version_id="-v", bucket="b;ls")
    steps = [step.command for step in steps_of(examined(receipt, tmp_path, "-r e.json"))]
    assert "sha256sum './-r e.json'" in steps
    (fetch,) = [command for command in steps if "get-object" in command]
    assert "--bucket 'b;ls' --key 'a b$(reboot)' --version-id=-v object" in fetch
