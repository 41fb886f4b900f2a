"""The documents say what the program does: made from it where possible, compared elsewhere."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import streamtos3
from streamtos3 import errors
from streamtos3.cli import program
from streamtos3.cli.failures import error_json
from streamtos3.model.parts import plan_parts
from streamtos3.publish.manifest import Entry, Specification
from streamtos3.results import (
    CommandReport,
    Proof,
    ReadReport,
    Receipt,
    RetriedRequest,
    StoredPart,
)
from streamtos3.units import MIB, format_size
from streamtos3.uploader.examination import Finding
from tests.project import servers_table
from tests.project.commands_page import COMMANDS, commands, page
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import payload

ROOT = Path(__file__).parents[2]
README = ROOT / "README.org"
DESIGN = ROOT / "docs" / "design.org"

HELP_WIDTH = 100
ALL = [
    README,
    *(ROOT / f"{name}.org" for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").glob("*.org")),
]
documents = pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)


def help_of(words: tuple[str, ...]) -> str:
    """What `streamtos3 WORDS --help` prints."""
    result = CliRunner().invoke(
        program, [*words, "--help"], prog_name="streamtos3", terminal_width=HELP_WIDTH
    )
    assert result.exit_code == 0, result.output
    return "".join(f"{line.rstrip()}\n" for line in result.output.splitlines())


def doc(name: str) -> str:
    """The text of the page `name` in docs/."""
    return (ROOT / "docs" / f"{name}.org").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def readme() -> str:
    return README.read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """What stands below the heading `* title`, subsections included."""
    found = re.search(rf"^\* {re.escape(title)}\n(.*?)(?=^\* |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of all org tables in `text`, heads included, without the marks of code."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("=") for cell in line.strip("| ").split(" | ")] for line in lines]


def first_block(text: str, begin: str) -> str:
    """The content of the first org block of `text` that begins with the line `begin`."""
    block, end, _ = text.partition(f"#+{begin}\n")[2].partition("#+end_")
    assert end, f"there is no block {begin!r}"
    return block


def terms(text: str) -> list[str]:
    """What the description lists in `text` describe, without the marks of code."""
    found = re.findall(r"^- (.+?) :: ", text, re.MULTILINE)
    return [name.strip("= ") for each in found for name in each.split(",")]


def test_the_page_of_commands_is_what_the_program_says() -> None:
    """If this fails, run `make docs`."""
    assert page() == COMMANDS.read_text(encoding="utf-8")


def test_every_option_of_every_command_says_what_it_is_for() -> None:
    described = COMMANDS.read_text(encoding="utf-8")
    seen = 0
    for words, command in commands():
        if isinstance(command, click.Group):
            continue
        shown = help_of(words)
        for option in command.params:
            if isinstance(option, click.Option):
                seen += 1
                assert option.help, f"{words}: {option.name} has no help"
                for name in (*option.opts, *option.secondary_opts):
                    pattern = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
                    assert re.search(pattern, shown), name
                    assert re.search(pattern, described), name
    assert seen >= 20


def test_an_option_that_a_command_lacks_is_not_promised_by_its_groups() -> None:
    """`sink` has no --progress, so its group is said to be taken without it."""
    said = section(COMMANDS.read_text(encoding="utf-8"), "Commands")
    of_sink = said.partition("** =streamtos3 sink=")[2].partition("\n** ")[0]
    assert "(without =--tee=, =--progress=)" in " ".join(of_sink.partition("[Output]")[2].split())


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_the_readme_shows_every_command(readme: str) -> None:
    names = {words[0] for words, _ in commands() if words}
    assert {name for name in names if f"streamtos3 {name}" not in readme} == set()


@documents
def test_no_line_is_too_long(path: Path) -> None:
    """120 columns, but for what a program printed."""
    text = re.sub(
        r"^#\+begin_example\n.*?^#\+end_example\n",
        "",
        path.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    assert [line for line in text.splitlines() if len(line) > 120] == []


def test_every_document_is_linked_from_the_readme(readme: str) -> None:
    names = [path.relative_to(ROOT).as_posix() for path in ALL if path != README]
    assert [name for name in names if f"[[file:{name}]" not in readme] == []


def test_the_exit_statuses_documented_are_those_of_the_error_classes() -> None:
    documented = terms(section(doc("guarantees"), "Exit status"))

    def subclasses(kind: type[errors.StreamToS3Error]) -> Iterator[type[errors.StreamToS3Error]]:
        yield kind
        for each in kind.__subclasses__():
            yield from subclasses(each)

    statuses = {0, *(kind.exit_status for kind in subclasses(errors.StreamToS3Error))}
    assert documented == [*(str(status) for status in sorted(statuses)), "128+n"]


def test_the_fields_of_the_receipt_documented_are_those_of_its_classes() -> None:
    documented = set(terms(section(doc("formats"), "Receipt")))
    nested: list[tuple[str, type[Any]]] = [
        ("", Receipt),
        ("parts[].", StoredPart),
        ("proof.", Proof),
        ("command.", CommandReport),
        ("retried[].", RetriedRequest),
    ]
    fields = {
        prefix + field.name
        for prefix, kind in nested
        for field in dataclasses.fields(kind)
        if prefix or field.name not in ("parts", "proof", "command", "retried")
    }
    assert documented == fields


def test_the_fields_of_the_report_documented_are_those_of_its_class() -> None:
    documented = terms(section(doc("formats"), "Report"))
    assert sorted(documented) == sorted(field.name for field in dataclasses.fields(ReadReport))


def test_the_fields_of_the_findings_documented_are_those_of_their_class() -> None:
    fields = [f"findings[].{field.name}" for field in dataclasses.fields(Finding)]
    assert sorted(terms(section(doc("formats"), "Findings"))) == sorted(
        ["url", "status", "findings", *fields]
    )


def test_the_fields_of_the_error_documented_are_those_that_are_printed() -> None:
    error = errors.StoreError("cannot")
    errors.leave_behind(error, "something", ["id"])
    told = error_json(error)
    fields = {*told, *(f"left_behind.{name}" for name in told["left_behind"])}
    assert set(terms(section(doc("formats"), "Error"))) == fields


def test_the_fields_of_the_specification_documented_are_those_of_its_classes() -> None:
    documented = terms(section(doc("formats"), "Specification"))
    entry = [f"entries[].{field.name}" for field in dataclasses.fields(Entry)]
    fields = [field.name for field in dataclasses.fields(Specification)]
    assert sorted(documented) == sorted([*fields, *entry])


def test_the_longest_streams_documented_are_what_the_part_plan_holds() -> None:
    table, _, _ = section(doc("operations"), "Limits and memory").partition("#+begin_example")
    shown = [row[:3] for row in rows(table)[1:]]
    computed = []
    for chunk, _, _ in shown:
        chunk_bytes = int(chunk.removesuffix(" MiB")) * MIB
        growing, equal = plan_parts(chunk_bytes), plan_parts(chunk_bytes, equal_parts=True)
        capacities = [format_size(plan.capacity_bytes) for plan in (growing, equal)]
        computed.append([chunk, *capacities])
    assert len(shown) >= 4
    assert shown == computed


def test_every_right_of_the_iam_policy_is_explained() -> None:
    text = section(doc("operations"), "IAM policy")
    policy = json.loads(first_block(text, "begin_src json"))
    actions = [action for statement in policy["Statement"] for action in statement["Action"]]
    assert sorted(terms(text)) == sorted(actions)


def test_every_public_name_of_the_library_is_documented() -> None:
    text = doc("library")
    missing = [name for name in streamtos3.__all__ if not re.search(rf"\b{name}\b", text)]
    assert missing == []


@documents
def test_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\[\[([^]]+)\]", text):
        if target.startswith(("http:", "https:")):
            continue
        file, _, heading = target.removeprefix("file:").partition("::")
        if not target.startswith("file:"):
            file, heading = path.name, target
        linked = path.parent / file
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^\*+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading.removeprefix("*") in headings, target


@documents
def test_every_test_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    names = re.findall(r"=(?:tests/)?((?:\w+/)*test_\w*[a-z_]\.py)=", text)
    assert [name for name in names if not (ROOT / "tests" / name).exists()] == []


def test_every_make_target_of_the_readme_exists(readme: str) -> None:
    named = set(re.findall(r"(?:=|^)make ([a-z-]+)", readme, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_design_names_every_folder() -> None:
    design = DESIGN.read_text(encoding="utf-8")
    folders = [path.parent.name for path in (ROOT / "streamtos3").glob("*/__init__.py")]
    assert len(folders) >= 10
    assert [name for name in sorted(folders) if f"{name}/" not in design] == []


@pytest.fixture
def shell(seaweed: SeaweedFS, tmp_path: Path) -> dict[str, str]:
    """An environment in which `streamtos3` is this program and the endpoint is SeaweedFS."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "streamtos3"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamtos3 "$@"\n')
    script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{directory}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "AWS_ENDPOINT_URL": seaweed.endpoint_url,
        "AWS_ACCESS_KEY_ID": seaweed.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _masked(line: str) -> str:
    """`line` without the digests, sizes and times that differ from run to run."""
    line = re.sub(r"\b[0-9a-f]{32,64}\b", "DIGEST", line)
    return re.sub(r"\d+(\.\d+)? ([KMG]iB|s\b)|\d+(?= parts)|(?<=-)\d+", "N", line)


def test_the_session_at_the_top_prints_what_the_readme_shows(
    readme: str, shell: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    shown = first_block(readme, "begin_example").splitlines()
    (tmp_path / "disk.img").write_bytes(payload(9 * MIB))
    printed = []
    for command in [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]:
        printed.append(f"$ {command}")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command.replace("s3://demo/", f"s3://{bucket}/")],
            cwd=tmp_path,
            env=shell,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        printed += done.stdout.replace(f"s3://{bucket}/", "s3://demo/").splitlines()
    assert [_masked(line) for line in printed] == [_masked(line) for line in shown]
    digests = re.findall(r"\b[0-9a-f]{64}\b", "\n".join(printed))
    assert len(digests) == 2 and digests[0] == digests[1]


@pytest.mark.parametrize(
    ("heading", "printed"),
    [("Library", f"{9 * MIB} bytes, composite-etag "), ("Writing a source", "3893 md5-etag")],
)
def test_the_examples_of_the_library_run(
    heading: str, printed: str, shell: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "disk.img").write_bytes(payload(9 * MIB))
    example = first_block(section(doc("library"), heading), "begin_src python")
    assert '"demo"' in example
    done = subprocess.run(
        [sys.executable, "-c", example.replace('"demo"', f'"{bucket}"')],
        cwd=tmp_path,
        env=shell,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(printed)


def test_the_table_of_endpoints_is_what_was_found() -> None:
    """`make test-servers` writes both."""
    readme = README.read_text(encoding="utf-8")
    first, end = servers_table.table_in(readme)
    assert readme[first:end] == servers_table.table()


EVIDENCE = ROOT / "docs" / "evidence.org"


def _masked_findings(line: str) -> str:
    """`line` without the keys, times and hosts that differ from run to run."""
    line = re.sub(r"SHA256:[\w+/]{43}", "KEY", line)
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC", "TIME", line)
    return _masked(re.sub(r"[\d,]+ bytes|(?<=the clock of )\S+", "N", line))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is missing")
def test_the_sessions_about_evidence_print_what_the_page_shows(
    shell: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    blocks = re.findall(
        r"^#\+begin_example\n(.*?)^#\+end_example", EVIDENCE.read_text(), re.MULTILINE | re.DOTALL
    )
    shown = "".join(blocks).splitlines()
    directory = tmp_path / "session"
    directory.mkdir()
    (directory / "sda.img").write_bytes(payload(11 * MIB))
    printed = []
    for command in [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]:
        printed.append(f"$ {command}")
        done = subprocess.run(
            ["bash", "-c", command.replace("s3://demo/", f"s3://{bucket}/")],
            cwd=directory,
            env=shell,
            capture_output=True,
            text=True,
        )
        text = done.stdout + done.stderr
        printed += text.replace(f"s3://{bucket}/", "s3://demo/").splitlines()
    assert [_masked_findings(line) for line in printed] == [
        _masked_findings(line) for line in shown
    ]
