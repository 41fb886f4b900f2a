"""Completion, by the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.rig.command import account, invoke
from tests.rig.process import wait_until
from tests.rig.seaweed import SeaweedFS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).parents[2]
needs = {
    name: pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")
    for name in ("bash", "zsh", "fish")
}

_BASH = """\
compopt() { printf '%s\\n' "compopt $2"; }
eval "$(streamtos3 completion bash)"
COMP_LINE=$1 COMP_POINT=${#1}
_streamtos3_completion streamtos3
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment in which `streamtos3` is this program."""
    directory = tmp_path / "bin"
    directory.mkdir()
    script = directory / "streamtos3"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamtos3 "$@"\n')
    script.chmod(0o755)
    path = f"{directory}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


def in_bash(line: str, env: dict[str, str]) -> list[str]:
    """What bash completes the end of `line` to; it says nothing on standard error."""
    done = subprocess.run(
        ["bash", "--norc", "-c", _BASH, "bash", line],
        env=env, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@needs["bash"]
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("streamtos3 pu", ["put", "publish"]),
        ("streamtos3 uploads ", ["abort", "list"]),
        ("streamtos3 --overw", ["--overwrite"]),
        ("streamtos3 put --verify rea", ["readback"]),
        ("streamtos3 put --expect-s", ["--expect-size", "--expect-sha256"]),
        ("streamtos3 put --receipt r", ["compopt default", ""]),
        ("streamtos3 put dis", ["compopt default", ""]),
        ("streamtos3 dis", ["compopt default", ""]),
        ("streamtos3 run s3://bucket/key -- pg_d", ["compopt default", ""]),
        ("streamtos3 completion ", ["bash", "zsh", "fish"]),
        ("streamtos3 get s3:", ["compopt nospace", "//"]),
        ("streamtos3 get 'unfinished", ["compopt default", ""]),
        ("streamtos3 put --verify=rea", ["readback"]),
        ("streamtos3 put --verify='rea", ["readback"]),
    ],
)
def test_bash(line: str, completed: list[str], env: dict[str, str]) -> None:
    assert in_bash(line, env) == completed


@pytest.mark.slow
@needs["bash"]
def test_buckets_and_keys(
    env: dict[str, str], seaweed: SeaweedFS, s3: S3Client, bucket: str
) -> None:
    for key in ("alpha", "beta/1", "beta/2"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    env |= account(seaweed)

    def completes(line: str, *completed: str) -> None:
        """At last: on a busy machine the answer may come when nobody waits for it any more."""
        wait_until(lambda: {*completed} <= {*in_bash(line, env)}, lambda: f"{line} to complete")

    completes("streamtos3 get s3://test-", "compopt nospace", f"//{bucket}/")
    completes(f"streamtos3 get s3://{bucket}/", f"//{bucket}/beta/", f"//{bucket}/alpha")
    completes(f"streamtos3 s3://{bucket}/al", f"//{bucket}/alpha")


HOSTILE = 'x$(touch made) it\'s "y"`z`;&|,a:b=c'


@needs["bash"]
@pytest.mark.parametrize("typed", ["", "'", '"'])
def test_what_a_key_holds_stays_text(
    typed: str, env: dict[str, str], seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path
) -> None:
    """A key that anybody chose was put on the line as it is, so that Return ran what it holds."""
    s3.put_object(Bucket=bucket, Key=HOSTILE, Body=b"")
    env |= account(seaweed)
    line = f"streamtos3 get {typed}s3://{bucket}/x"
    wait_until(lambda: in_bash(line, env) != [""], lambda: "the key to complete")
    (word,) = in_bash(line, env)
    before = "" if typed else "s3:"  # what bash leaves on the line
    done = subprocess.run(
        ["bash", "--norc", "-c", f"printf %s {typed}{before}{word}{typed}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == f"s3://{bucket}/{HOSTILE}"
    assert not (tmp_path / "made").exists()


@needs["bash"]
def test_where_nobody_answers_nothing_is_said(env: dict[str, str]) -> None:
    """No credentials, and an endpoint that does not exist; bash prints an empty line for none."""
    env |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "true"}
    assert in_bash("streamtos3 get s3://b", env) == [""]


@needs["bash"]
def test_destinations(env: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[destination.nightly]\nbucket = "b"\n[destination.weekly]\nbucket = "c"\n')
    env |= {"STREAMTOS3_CONFIG": str(config)}
    assert in_bash("streamtos3 put -D ni", env) == ["nightly"]
    assert in_bash("streamtos3 uploads list --destination ", env) == ["nightly", "weekly"]
    config.write_text("broken")
    assert in_bash("streamtos3 put -D ni", env) == [""]


def in_fish(line: str, env: dict[str, str]) -> list[str]:
    """What fish completes the end of `line` to."""
    script = "streamtos3 completion fish | source; complete -C $argv"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script, line],
        env=env, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@needs["fish"]
def test_fish(env: dict[str, str]) -> None:
    done = in_fish("streamtos3 pu", env)
    assert {each.split("\t")[0] for each in done} == {"put", "publish"}
    assert any("\tStore standard input" in each for each in done)


@needs["fish"]
def test_the_value_of_an_option_in_one_word_in_fish(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "held.json").touch()
    assert in_fish("streamtos3 put --verify=rea", env) == ["--verify=readback"]
    assert in_fish(f"streamtos3 put --receipt={tmp_path}/he", env) == [
        f"--receipt={tmp_path}/held.json"
    ]


@needs["fish"]
def test_a_key_with_a_comma_in_fish(
    env: dict[str, str], seaweed: SeaweedFS, s3: S3Client, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="a,b", Body=b"")
    env |= account(seaweed)
    whole = f"s3://{bucket}/a,b"
    wait_until(
        lambda: in_fish(f"streamtos3 get s3://{bucket}/a", env) == [whole],
        lambda: "the key to complete",
    )


@needs["zsh"]
def test_zsh(env: dict[str, str]) -> None:
    """Its own completion needs a terminal; so the script is parsed, and its question asked."""
    script = invoke("completion", "zsh").stdout
    subprocess.run(["zsh", "-n"], input=script, text=True, check=True, timeout=60)
    line = '_STREAMTOS3_COMPLETE=zsh_complete COMP_WORDS="streamtos3 pub" COMP_CWORD=1 streamtos3'
    done = subprocess.run(["zsh", "-fc", line], env=env, capture_output=True, text=True, timeout=60)
    kind, word, text = done.stdout.splitlines()
    assert (kind, word) == ("plain", "publish")
    assert text.startswith("Store a directory")
    line = line.replace("pub", "put --verify=rea").replace("CWORD=1", "CWORD=2")
    done = subprocess.run(["zsh", "-fc", line], env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[:2] == ["plain", "--verify=readback"]


def test_another_shell() -> None:
    done = invoke("completion", "tcsh")
    assert done.status == 2
    assert "'tcsh'" in done.said("error")[0]
