"""The recipes, as docs/recipes.org has them, with real programs and a real server.

A recipe is skipped where one of its programs is not installed. What is replaced is said: names of
buckets, and paths that a test must not touch.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.rig.command import account, invoke
from tests.rig.fault_rig import Bench
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import payload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).parents[2]
RECIPES = (ROOT / "docs" / "recipes.org").read_text(encoding="utf-8")


def blocks(title: str) -> list[str]:
    """The shell blocks below a heading."""
    section = re.search(rf"^\*\* {re.escape(title)}\n(.*?)(?=^\*|\Z)", RECIPES, re.M | re.S)
    assert section, title
    return re.findall(r"^#\+begin_src sh\n(.*?)^#\+end_src", section[1], re.M | re.S)


class Shell:
    """A directory with a home to back up, a place to restore to, and `streamtos3` on the path."""

    def __init__(self, directory: Path, env: dict[str, str], bucket: str) -> None:
        self.directory = directory
        self.bucket = bucket
        self.home, self.restored = directory / "home", directory / "restored"
        for each in (self.home, self.restored, directory / "bin", directory / "gnupg"):
            each.mkdir(mode=0o700)
        (self.home / "a").write_bytes(payload(100_000))
        (self.home / "sub").mkdir()
        (self.home / "sub" / "b").write_text("text")
        self.program("streamtos3", f'exec "{sys.executable}" -m streamtos3 "$@"')
        self.env = {
            **os.environ,
            **env,
            "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory),
            "GNUPGHOME": str(directory / "gnupg"),
        }

    def program(self, name: str, line: str) -> None:
        script = self.directory / "bin" / name
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)

    def run(self, recipe: str, **paths: object) -> None:
        """Run a recipe with the bucket's name, and with these paths in place of its own."""
        recipe = re.sub(r"s3://(backups|evidence)/", f"s3://{self.bucket}/", recipe)
        for name, path in {"/home": self.home, **{f"/{n}": p for n, p in paths.items()}}.items():
            word = re.escape(name.replace("_", "/"))
            recipe = re.sub(rf"(?<=\s){word}(?=\s)", str(path), recipe)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", recipe],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr

    def call(self, *words: str, **env: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.directory,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def check_restored(self) -> None:
        assert (self.restored / "a").read_bytes() == (self.home / "a").read_bytes()
        assert (self.restored / "sub" / "b").read_text() == "text"


@pytest.fixture
def shell(tmp_path: Path, seaweed: SeaweedFS, bucket: str) -> Shell:
    return Shell(tmp_path, account(seaweed), bucket)


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("age", "age-keygen")
def test_age(shell: Shell, s3: S3Client) -> None:
    shell.call("age-keygen", "-o", "backup.key")
    (shell.directory / "backup.pub").write_text(shell.call("age-keygen", "-y", "backup.key"))
    shell.run(blocks("Encrypt before it leaves")[0])
    shell.check_restored()
    stored = s3.get_object(Bucket=shell.bucket, Key="home.tar.age")["Body"].read()
    assert stored.startswith(b"age-encryption.org/v1")


@pytest.mark.slow
@needs("gpg")
def test_gpg(shell: Shell) -> None:
    (shell.directory / "passphrase").write_text("correct horse\n")
    shell.run(blocks("Encrypt before it leaves")[1])
    shell.check_restored()


@needs("zstd")
def test_zstd(shell: Shell) -> None:
    shell.run(blocks("Compress")[0])
    shell.check_restored()


@needs("ddrescue")
def test_ddrescue(shell: Shell, s3: S3Client) -> None:
    disk = shell.directory / "sdb"
    disk.write_bytes(payload(1 << 20))
    shell.run(blocks("A disk that is failing")[0].replace("--idirect ", ""), dev_sdb=disk)
    assert s3.get_object(Bucket=shell.bucket, Key="sdb.img")["Body"].read() == disk.read_bytes()
    assert b"+" in s3.get_object(Bucket=shell.bucket, Key="sdb.map")["Body"].read()
    assert json.loads((shell.directory / "sdb.json").read_text())["case"] == {"case": "2026-17"}


@needs("borg")
def test_borg(shell: Shell) -> None:
    quiet = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    quiet |= {"BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
    shell.env |= quiet
    repository = str(shell.directory / "borg")
    shell.call("borg", "init", "--encryption=none", repository)
    shell.call("borg", "create", f"{repository}::one", "home")
    shell.run(blocks("A repository of restic or borg, as one object")[0], srv_borg=repository)
    shell.call("borg", "break-lock", str(shell.restored))  # the copy was made under it
    shell.call("borg", "check", str(shell.restored))
    assert "home/sub/b" in shell.call("borg", "list", f"{shell.restored}::one")


@needs("restic")
def test_restic(shell: Shell) -> None:
    shell.env |= {"RESTIC_PASSWORD": "secret"}
    repository = str(shell.directory / "restic")
    shell.call("restic", "-r", repository, "init")
    shell.call("restic", "-r", repository, "backup", "home")
    shell.run(blocks("A repository of restic or borg, as one object")[1], srv_restic=repository)
    shell.call("restic", "-r", str(shell.restored), "check")


@contextmanager
def monitor() -> Iterator[tuple[str, list[str]]]:
    """A server that remembers what it was asked for."""
    asked: list[str] = []

    class Remembers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Remembers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/ping/uuid", asked
        server.shutdown()


@needs("curl")
@pytest.mark.parametrize(("producer", "path"), [("echo dump", "/0"), ("exit 1", "/7")])
def test_a_monitor_hears_how_it_ended(shell: Shell, producer: str, path: str) -> None:
    shell.program("pg_dump", producer)
    with monitor() as (url, asked):
        shell.env |= {"PING_URL": url, "NO_PROXY": "127.0.0.1"}
        recipe = blocks("Tell a monitor that it is done, or that it failed")[0]
        shell.run(f"set +e\n{recipe}")
    assert asked == [f"/ping/uuid{path}"]


def test_the_lifecycle_rule_is_one_that_check_finds(on_moto: Bench, moto_s3: S3Client) -> None:
    rules: Any = json.loads((ROOT / "contrib" / "lifecycle.json").read_text())
    moto_s3.put_bucket_lifecycle_configuration(Bucket=on_moto.bucket, LifecycleConfiguration=rules)
    env = {"AWS_ENDPOINT_URL": on_moto.proxy.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1"}
    found = invoke("check", f"s3://{on_moto.bucket}/", env=env).stdout
    assert "ok       lifecycle         unfinished uploads are aborted after 7 days" in found


def test_the_policies_name_rights_that_are_explained() -> None:
    operations = (ROOT / "docs" / "operations.org").read_text(encoding="utf-8")
    policies = {
        path.stem: json.loads(path.read_text()) for path in (ROOT / "contrib" / "iam").iterdir()
    }
    assert len(policies) == 5
    for policy in policies.values():
        for statement in policy["Statement"]:
            assert statement["Resource"].startswith("arn:aws:s3:::BUCKET")
            assert [each for each in statement["Action"] if f"={each}=" not in operations] == []
    shown = operations.partition("#+begin_src json\n")[2].partition("#+end_src")[0]
    assert json.loads(shown) == policies["everything"]
