"""README.org says what the program does: made from it where possible, compared with it elsewhere.

`python -m tests.project.test_docs` (`make readme`) writes the `--help` of every command into
README.org anew; the tests here fail as long as that, or anything else they compare, is out of date.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import streamtos3
from streamtos3 import errors
from streamtos3.cli import program
from streamtos3.model.parts import plan_parts
from streamtos3.publish.manifest import Published, Specification
from streamtos3.results import CommandReport, Proof, Receipt, StoredPart
from streamtos3.units import MIB, format_size
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import payload

ROOT = Path(__file__).parents[2]
README = ROOT / "README.org"
DESIGN = ROOT / "docs" / "design.org"

HELP_BEGINS = "# From here to the next comment the text is made by `make readme`.\n"
HELP_ENDS = "# End of what is made by `make readme`.\n"
HELP_WIDTH = 100


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, the program itself first."""
    pending: list[tuple[tuple[str, ...], click.Command]] = [((), program)]
    while pending:
        words, command = pending.pop(0)
        yield words, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                pending.append(((*words, name), found))


def help_of(words: tuple[str, ...]) -> str:
    """What `streamtos3 WORDS --help` prints."""
    result = CliRunner().invoke(
        program, [*words, "--help"], prog_name="streamtos3", terminal_width=HELP_WIDTH
    )
    assert result.exit_code == 0, result.output
    return "".join(f"{line.rstrip()}\n" for line in result.output.splitlines())


def help_section() -> str:
    """The usage of all commands, as org text."""
    blocks = []
    for words, _ in commands():
        name = " ".join(["streamtos3", *words])
        blocks.append(
            f"** ={name}=\n\n#+begin_example\n$ {name} --help\n{help_of(words)}#+end_example\n"
        )
    return "\n" + "\n".join(blocks) + "\n"


def with_help(text: str) -> str:
    """`text` of a README with the help in it brought up to date."""
    before, _, rest = text.partition(HELP_BEGINS)
    _, _, after = rest.partition(HELP_ENDS)
    return before + HELP_BEGINS + help_section() + HELP_ENDS + after


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


def test_the_help_in_the_readme_is_what_the_program_prints(readme: str) -> None:
    """If this fails, run `make readme`."""
    assert HELP_BEGINS in readme and HELP_ENDS in readme
    assert with_help(readme) == readme


def test_every_option_of_every_command_says_what_it_is_for(readme: str) -> None:
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
                    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown), name
        assert shown in readme
    assert seen >= 20


def test_the_exit_statuses_of_the_readme_are_those_of_the_error_classes(readme: str) -> None:
    documented = [row[0] for row in rows(section(readme, "Exit status"))[1:]]

    def subclasses(kind: type[errors.StreamToS3Error]) -> Iterator[type[errors.StreamToS3Error]]:
        yield kind
        for each in kind.__subclasses__():
            yield from subclasses(each)

    statuses = {0, *(kind.exit_status for kind in subclasses(errors.StreamToS3Error))}
    assert documented == [*(str(status) for status in sorted(statuses)), "128+n"]


def test_the_fields_of_the_receipt_in_the_readme_are_those_of_its_classes(readme: str) -> None:
    documented = {row[0] for row in rows(section(readme, "Receipt")) if row[0] != "field"}
    nested: list[tuple[str, type[Receipt | StoredPart | Proof | CommandReport]]] = [
        ("", Receipt),
        ("parts[].", StoredPart),
        ("proof.", Proof),
        ("command.", CommandReport),
    ]
    fields = {
        prefix + field.name
        for prefix, kind in nested
        for field in dataclasses.fields(kind)
        if prefix or field.name not in ("parts", "proof", "command")
    }
    assert documented == fields


def test_the_fields_of_the_specification_in_the_readme_are_those_of_its_classes(
    readme: str,
) -> None:
    found = [row[0] for row in rows(section(readme, "Publishing a directory"))]
    cells = found[found.index("field") + 1 :]
    documented = [name.strip("= ") for cell in cells for name in cell.split(",")]
    entry = [f"entries[].{field.name}" for field in dataclasses.fields(Published)]
    fields = [field.name for field in dataclasses.fields(Specification)]
    assert sorted(documented) == sorted([*fields, *entry])


def test_the_longest_streams_in_the_readme_are_what_the_part_plan_holds(readme: str) -> None:
    table, _, _ = section(readme, "Limits and memory").partition("#+begin_example")
    shown = [row[:3] for row in rows(table)[1:]]
    computed = []
    for chunk, _, _ in shown:
        chunk_bytes = int(chunk.removesuffix(" MiB")) * MIB
        growing, equal = plan_parts(chunk_bytes), plan_parts(chunk_bytes, equal_parts=True)
        capacities = [format_size(plan.capacity_bytes) for plan in (growing, equal)]
        computed.append([chunk, *capacities])
    assert len(shown) >= 4
    assert shown == computed


def test_every_right_of_the_iam_policy_is_explained(readme: str) -> None:
    text = section(readme, "IAM policy")
    policy = json.loads(first_block(text, "begin_src json"))
    actions = [action for statement in policy["Statement"] for action in statement["Action"]]
    assert sorted(row[0] for row in rows(text)[1:]) == sorted(actions)


def test_every_public_name_of_the_library_is_in_the_readme(readme: str) -> None:
    text = section(readme, "Library")
    missing = [name for name in streamtos3.__all__ if not re.search(rf"\b{name}\b", text)]
    assert missing == []


@pytest.mark.parametrize("document", ["README.org", "CHANGELOG.org", "docs/design.org"])
def test_every_link_to_a_file_leads_to_one(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\[\[file:([^]]+)\]", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


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


def test_the_example_of_the_library_runs(
    readme: str, shell: dict[str, str], bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "disk.img").write_bytes(payload(9 * MIB))
    example = first_block(section(readme, "Library"), "begin_src python")
    assert '"demo"' in example
    done = subprocess.run(
        [sys.executable, "-c", example.replace('"demo"', f'"{bucket}"')],
        cwd=tmp_path,
        env=shell,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"{9 * MIB} bytes, composite-etag ")


if __name__ == "__main__":
    README.write_text(with_help(README.read_text(encoding="utf-8")), encoding="utf-8")
