"""Signed receipts, from the put to the page: with OpenSSH's own programs, and a real browser."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3.receipts.file import read_receipt, receipt_bytes
from tests.rig.command import PROGRAM, Outcome, account, assert_refused, invoke, run
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.support import MIB, assert_nothing_left, payload
from tests.rig.terminal import Terminal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS

pytestmark = pytest.mark.skipif(
    shutil.which("ssh-keygen") is None, reason="ssh-keygen is missing (openssh-client)"
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DATA = payload(11 * MIB)
WHO = "jdoe@lab.example"
NAMESPACE = "streamtos3-receipt"


def keygen(*words: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", *(str(word) for word in words)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60)


def new_key(path: Path, passphrase: str = "") -> Path:
    made = keygen("-q", "-t", "ed25519", "-N", passphrase, "-C", WHO, "-f", path)
    assert made.returncode == 0, made.stderr
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return new_key(tmp_path / "lab.key")


@pytest.fixture
def allowed(key: Path, tmp_path: Path) -> Path:
    path = tmp_path / "allowed"
    path.write_text(f"{WHO} {key.with_suffix('.key.pub').read_text()}")
    return path


@pytest.fixture
def admin(seaweed: SeaweedFS) -> dict[str, str]:
    return account(seaweed)


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def signed(infile: Path, key: Path, bucket: str, admin: dict[str, str], tmp_path: Path) -> Path:
    """A receipt of three parts with its signature, both also beside the object."""
    path = tmp_path / "receipt.json"
    words = ("-c", "5MiB", "--receipt", path, "--receipt-object", "--sign-key", key)
    case = ("--case", "2026-117", "--evidence", "4", "--digest", "sha256", "--digest", "md5")
    outcome = invoke(*words, *case, infile, f"s3://{bucket}/disk.img", env=admin)
    assert outcome.status == 0, outcome
    return path


def verify(path: Path, *words: object, env: dict[str, str] | None = None) -> Outcome:
    return invoke("receipt", "verify", path, *words, env=env)


def verdicts(outcome: Outcome) -> dict[str, str]:
    found = (line.split()[:2] for line in outcome.stdout.splitlines())
    return {subject: verdict for verdict, subject in found}


# Signing


def test_a_third_party_checks_the_signature_with_ssh_keygen_alone(
    signed: Path, allowed: Path
) -> None:
    words = ("-Y", "verify", "-f", allowed, "-I", WHO, "-s", f"{signed}.sig")
    assert keygen(*words, "-n", NAMESPACE, stdin=signed.read_bytes()).returncode == 0
    assert keygen(*words, "-n", "file", stdin=signed.read_bytes()).returncode != 0
    assert keygen(*words, "-n", NAMESPACE, stdin=signed.read_bytes() + b" ").returncode != 0


def test_all_copies_are_the_bytes_that_were_signed(signed: Path, s3: S3Client, bucket: str) -> None:
    def stored(key: str) -> bytes:
        return s3.get_object(Bucket=bucket, Key=key)["Body"].read()

    assert stored("disk.img.receipt.json") == signed.read_bytes()
    assert stored("disk.img.receipt.json.sig") == Path(f"{signed}.sig").read_bytes()
    assert receipt_bytes(read_receipt(str(signed))) == signed.read_bytes()


def test_run_signs_too(key: Path, bucket: str, admin: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    words = ("run", "--receipt", path, "--sign-key", key, f"s3://{bucket}/k", "--", "echo", "hello")
    assert run(*words, env=admin).status == 0
    assert verdicts(verify(path))["signature"] == "unproved"
    assert read_receipt(str(path)).source == "the output of echo"


@contextmanager
def agent_with(key: Path, directory: Path) -> Iterator[dict[str, str]]:
    """An agent that holds `key`, as the environment that leads to it."""
    socket = directory / "agent"
    env = {"SSH_AUTH_SOCK": str(socket)}
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it says where it listens
        added = subprocess.run(
            ["ssh-add", "-q", str(key)], env={**os.environ, **env}, capture_output=True, timeout=60
        )
        assert added.returncode == 0, added.stderr
        yield env
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.skipif(shutil.which("ssh-agent") is None, reason="ssh-agent is missing")
def test_a_public_key_signs_where_the_agent_has_its_private_half(
    key: Path, infile: Path, bucket: str, admin: dict[str, str], tmp_path: Path
) -> None:
    public = tmp_path / "only.pub"
    public.write_text(key.with_suffix(".key.pub").read_text())
    words = ("--receipt", tmp_path / "r.json", "--sign-key", public, infile, f"s3://{bucket}/k")
    alone = run(*words, env=admin)
    assert_refused(alone, 2, "its private half is neither beside it nor in the agent", "ssh-add")
    with agent_with(key, tmp_path) as env:
        assert run(*words, env={**admin, **env}).status == 0
    assert verdicts(verify(tmp_path / "r.json"))["signature"] == "unproved"


# A key that cannot sign is known before the first byte


def broken_keys(directory: Path) -> dict[str, Any]:
    exposed = new_key(directory / "exposed")
    exposed.chmod(0o644)
    junk, large, folder = directory / "junk", directory / "large", directory / "folder"
    junk.write_text("no key\n")
    large.write_bytes(bytes(2 * MIB))
    folder.mkdir()
    return {
        "there is no": directory / "nothing",
        "it has a passphrase, and the agent does not hold the key": new_key(
            directory / "locked", "secret"
        ),
        "it can be read by others": exposed,
        "cannot sign with": folder,
        "it is not an OpenSSH key": junk,
        "too, it is not an OpenSSH key": large,
    }


def test_a_key_that_cannot_sign_is_known_before_the_first_byte(
    bucket: str, s3: S3Client, admin: dict[str, str], tmp_path: Path
) -> None:
    for said, path in broken_keys(tmp_path).items():
        words = ("--receipt", tmp_path / "r.json", "--sign-key", path, f"s3://{bucket}/k")
        outcome = run(*words, env=admin, stdin=b"never read")
        assert_refused(outcome, 2, said.removeprefix("too, "))
        assert_nothing_left(s3, bucket, "k")
    assert not (tmp_path / "r.json").exists()


def test_a_locked_key_asks_nobody(bucket: str, admin: dict[str, str], tmp_path: Path) -> None:
    """Not the terminal, and no program that would ask in its place."""
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\necho secret\n")
    askpass.chmod(0o755)
    asking = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    key = new_key(tmp_path / "locked", "secret")
    words = ("--receipt", tmp_path / "r", "--sign-key", key, f"s3://{bucket}/k")
    with (
        Terminal() as terminal,
        terminal.start([*PROGRAM, *map(str, words)], {**admin, **asking}) as process,
    ):
        process.communicate(b"", timeout=60)
        painted = terminal.painted()
    assert process.returncode == 2
    assert "Enter passphrase" not in painted
    assert f"hint: ssh-add {key}" in painted
    assert not (tmp_path / "asked").exists()


def test_a_signature_needs_a_receipt(key: Path, infile: Path, bucket: str) -> None:
    outcome = invoke("--sign-key", key, infile, f"s3://{bucket}/k")
    assert_refused(outcome, 2, "--sign-key has no receipt to sign", "--receipt FILE")


def test_a_place_where_the_signature_cannot_go_is_known_before(
    key: Path, infile: Path, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "r.json.sig").mkdir()
    words = ("--sign-key", key, "--receipt", tmp_path / "r.json", infile, f"s3://{bucket}/k")
    assert_refused(invoke(*words), 2, "cannot write the signature to")


def test_without_ssh_keygen_it_is_said_what_to_install(
    key: Path, infile: Path, bucket: str, tmp_path: Path
) -> None:
    words = ("--sign-key", key, "--receipt", tmp_path / "r.json", infile, f"s3://{bucket}/k")
    outcome = invoke(*words, env={"PATH": str(tmp_path)})
    assert_refused(outcome, 2, "there is no ssh-keygen", "install openssh-client")


# A signature that fails afterwards


def stub(directory: Path) -> dict[str, str]:
    """An `ssh-keygen` that signs once, and then says no, as an agent that was locked does."""
    bin_directory = directory / "bin"
    bin_directory.mkdir()
    script = bin_directory / "ssh-keygen"
    real = shutil.which("ssh-keygen")
    script.write_text(
        "#!/bin/sh\n"
        f'if mkdir {directory}/signed 2>/dev/null; then exec {real} "$@"; fi\n'
        "echo 'agent refused operation' >&2\n"
        "exit 255\n"
    )
    script.chmod(0o755)
    return {"PATH": f"{bin_directory}:{os.environ['PATH']}"}


def test_a_signature_that_fails_afterwards_is_status_11_and_the_receipt_is_there(
    key: Path, infile: Path, bucket: str, admin: dict[str, str], s3: S3Client, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    Path(f"{path}.sig").write_text("of an earlier receipt")
    words = ("--receipt", path, "--receipt-object", "--sign-key", key, infile, f"s3://{bucket}/k")
    outcome = run(*words, env={**admin, **stub(tmp_path)})
    assert outcome.status == 11, outcome
    assert outcome.said("error") == [f"cannot sign with {key}: agent refused operation"]
    assert outcome.said("left behind") == [f"s3://{bucket}/k, stored and proved"]
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == DATA
    assert read_receipt(str(path)).size_bytes == len(DATA)
    assert not Path(f"{path}.sig").exists()
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [each["Key"] for each in listed] == ["k", "k.receipt.json"]


# Verifying


def test_a_signed_receipt_and_its_object_are_proved(
    signed: Path, allowed: Path, admin: dict[str, str]
) -> None:
    outcome = verify(signed, "--allowed-signers", allowed, "--object", "--readback", env=admin)
    assert outcome.status == 0, outcome
    assert set(verdicts(outcome).values()) == {"ok"}
    assert f"good: {WHO} signed exactly these bytes, with ED25519 key SHA256:" in outcome.stdout
    assert "compared size, etag, part MD5s, sha256" in outcome.stdout


def test_without_a_trusted_key_nobody_knows_who_signed(signed: Path) -> None:
    outcome = verify(signed)
    assert (outcome.status, verdicts(outcome)["signature"]) == (10, "unproved")
    assert outcome.said("error") == [f"{signed} failed no check, but this is not proved: signature"]
    Path(f"{signed}.sig").unlink()
    outcome = verify(signed)
    assert outcome.status == 10
    assert f"there is no {signed}.sig: nothing shows who wrote the receipt" in outcome.stdout


def test_without_ssh_keygen_the_signature_is_not_checked(signed: Path, tmp_path: Path) -> None:
    outcome = verify(signed, env={"PATH": str(tmp_path)})
    assert outcome.status == 10
    assert "not checked: ssh-keygen is not installed" in outcome.stdout


def test_a_receipt_that_was_changed_is_found(signed: Path, allowed: Path) -> None:
    signed.write_bytes(signed.read_bytes().replace(b'"case": "2026-117"', b'"case": "2026-118"'))
    outcome = verify(signed, "--allowed-signers", allowed)
    assert (outcome.status, verdicts(outcome)["signature"]) == (9, "failed")
    assert "incorrect signature" in outcome.stdout
    assert outcome.said("error") == [f"{signed} failed these checks: signature"]


def test_a_part_that_was_changed_is_found_without_a_signature(signed: Path) -> None:
    Path(f"{signed}.sig").unlink()
    values = json.loads(signed.read_text())
    values["parts"][1]["md5"] = values["parts"][1]["etag"] = "0" * 32
    signed.write_text(json.dumps(values, indent=2) + "\n")
    outcome = verify(signed)
    assert (outcome.status, verdicts(outcome)["etag"]) == (9, "failed")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no principal matched"),
        ('{who} namespaces="file" {key}', "not permitted for use in signature namespace"),
        ('{who} valid-before="20200101" {key}', "no principal matched"),
    ],
)
def test_a_key_that_is_not_allowed_is_found(
    line: str, said: str, signed: Path, key: Path, tmp_path: Path
) -> None:
    public = key.with_suffix(".key.pub").read_text().strip()
    allowed = tmp_path / "others"
    allowed.write_text(line.format(who=WHO, key=public) + "\n")
    outcome = verify(signed, "--allowed-signers", allowed)
    assert (outcome.status, verdicts(outcome)["signature"]) == (9, "failed")
    assert said in outcome.stdout


def test_allowed_signers_that_cannot_be_read_are_a_mistake(signed: Path, tmp_path: Path) -> None:
    outcome = verify(signed, "--allowed-signers", tmp_path / "nothing")
    assert_refused(outcome, 2, "cannot read the allowed signers")


def test_an_object_that_is_another_or_gone_is_found(
    signed: Path, allowed: Path, admin: dict[str, str], s3: S3Client, bucket: str
) -> None:
    words = ("--allowed-signers", allowed, "--object")
    s3.put_object(Bucket=bucket, Key="disk.img", Body=b"another")
    outcome = verify(signed, *words, env=admin)
    assert (outcome.status, verdicts(outcome)["object"]) == (9, "failed")
    s3.delete_object(Bucket=bucket, Key="disk.img")
    outcome = verify(signed, *words, env=admin)
    assert (outcome.status, verdicts(outcome)["object"]) == (9, "failed")


def test_a_service_that_does_not_answer_leaves_the_other_findings(
    signed: Path, allowed: Path, admin: dict[str, str]
) -> None:
    env = {**admin, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    outcome = verify(signed, "--allowed-signers", allowed, "--object", "-r", "1", env=env)
    assert outcome.status == 4
    assert verdicts(outcome)["signature"] == "ok"
    assert "object" not in verdicts(outcome)


def test_the_findings_as_json(signed: Path, allowed: Path) -> None:
    outcome = verify(signed, "--allowed-signers", allowed, "--json")
    shown = json.loads(outcome.stdout)
    assert shown["receipt"] == str(signed)
    assert {each["verdict"] for each in shown["findings"]} == {"ok"}
    assert shown["findings"][-1]["subject"] == "signature"


def test_show_prints_it_for_people(signed: Path, bucket: str) -> None:
    outcome = invoke("receipt", "show", signed)
    assert (outcome.status, outcome.stderr) == (0, "")
    for said in (
        "2026-117",
        f"s3://{bucket}/disk.img",
        hashlib.sha256(DATA).hexdigest(),
        "3 parts",
    ):
        assert said in outcome.stdout


def test_what_is_no_receipt_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("{}")
    for command in ("verify", "show"):
        assert_refused(invoke("receipt", command, tmp_path / "r"), 2, "is not a receipt")
    words = ("receipt", "report", tmp_path / "r", "-o", tmp_path / "page")
    assert_refused(invoke(*words), 2, "is not a receipt")
    assert not (tmp_path / "page").exists()


# What the receipt notes while it is made


def test_every_retry_and_the_time_of_every_part_is_noted(
    infile: Path, bucket: str, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    with FaultProxy(seaweed.endpoint_url) as proxy:
        proxy.faults = [Fault("put-part", "503"), Fault("put-part", "502")]
        env = {**account(seaweed), "AWS_ENDPOINT_URL": proxy.endpoint_url}
        words = ("-c", "5MiB", "-s", "0.01", "--receipt", path, infile, f"s3://{bucket}/k")
        assert invoke(*words, env=env).status == 0
    receipt = read_receipt(str(path))
    assert receipt.retries == len(receipt.retried) == 2
    for each in receipt.retried:
        assert each.action.startswith("store part ") and each.tries >= 1 and each.reason
        assert receipt.started_at <= each.at <= receipt.ended_at
    for part in receipt.parts:
        assert part.stored_at is not None
        assert receipt.started_at <= part.stored_at <= receipt.ended_at
    assert verdicts(verify(path))["times"] == "ok"
    assert receipt.source == str(infile)


# The page


def report(signed: Path, allowed: Path) -> Path:
    page = signed.parent / "report.html"
    words = ("--allowed-signers", allowed, "-o", page)
    outcome = invoke("receipt", "report", signed, *words)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "", "")
    return page


def steps(page: Path) -> list[tuple[str, str | None]]:
    """The commands of a page, and what it says that they print."""
    text = re.sub(r"</?span>", "", page.read_text(encoding="utf-8"))
    found = re.findall(
        r'<pre class="command">(.*?)</pre>(?:\s*<p class="prints">must print <code>(.*?)</code>)?',
        text,
    )
    return [(html.unescape(command), html.unescape(prints) or None) for command, prints in found]


def test_what_the_page_says_that_commands_print_is_what_they_print(
    signed: Path, allowed: Path
) -> None:
    page = report(signed, allowed)
    (signed.parent / "object").write_bytes(DATA)
    (signed.parent / "allowed_signers").write_bytes(allowed.read_bytes())
    done = 0
    for command, prints in steps(page):
        if command.startswith("aws "):
            continue
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=signed.parent, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, (command, ran.stderr)
        for word in (prints or "").partition("… ")[::2]:
            assert word.split(" …")[0] in ran.stdout, (command, ran.stdout)
        done += 1
    assert done == 8


def test_a_page_of_a_receipt_that_does_not_stand_warns(signed: Path, tmp_path: Path) -> None:
    signed.write_bytes(signed.read_bytes().replace(b"2026-117", b"2026-118"))
    outcome = invoke("receipt", "report", signed, "-o", tmp_path / "page.html")
    assert outcome.status == 0
    assert "is no signature of these bytes" in outcome.said("warning")[0]
    assert "This receipt failed these checks: signature" in (tmp_path / "page.html").read_text()


def test_a_page_goes_to_standard_output_where_a_dash_asks_for_it(signed: Path) -> None:
    outcome = invoke("receipt", "report", signed, "-o", "-")
    assert outcome.status == 0
    assert outcome.stdout.startswith("<!doctype html>")
    assert not (signed.parent / "-").exists()


def test_a_page_never_replaces_a_receipt(signed: Path) -> None:
    before = signed.read_bytes()
    outcome = invoke("receipt", "report", signed, "-o", signed)
    assert_refused(outcome, 2, "the report would replace the receipt")
    assert signed.read_bytes() == before


def browse(page: Path, directory: Path, *words: str) -> str:
    """What Chromium, alone with the page, prints."""
    assert CHROMIUM
    profile = directory / "profile"
    command = [
        CHROMIUM,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={profile}", "--no-pdf-header-footer", *words, page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    shutil.rmtree(profile, ignore_errors=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


HOSTILE = "</style></title><script>document.title='owned'</script>\"\u202e"


@pytest.fixture
def hostile(signed: Path) -> Path:
    values = json.loads(signed.read_text())
    for name in ("host", "user", "source", "program", "key_template"):
        values[name] = HOSTILE
    values["case"] = {"case": HOSTILE, "evidence": HOSTILE}
    signed.write_text(json.dumps(values, indent=2) + "\n")
    return signed


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is missing")
def test_a_browser_shows_the_page_and_runs_nothing_of_it(hostile: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert invoke("receipt", "report", hostile, "-o", page).status == 0
    shown = browse(page, tmp_path, "--dump-dom")
    title = re.search(r"<title>(.*?)</title>", shown, re.DOTALL)
    assert title and title[1].startswith("Acquisition report: Case &lt;/style&gt;")
    assert "<script" not in shown
    picture = tmp_path / "page.png"
    browse(page, tmp_path, f"--screenshot={picture}", "--window-size=1000,1400")
    assert picture.stat().st_size > 10_000


@pytest.mark.skipif(
    CHROMIUM is None or shutil.which("pdftotext") is None,
    reason="Chromium or pdftotext (poppler-utils) is missing",
)
def test_on_paper_the_parts_are_unfolded_and_every_page_has_its_number(
    signed: Path, allowed: Path, tmp_path: Path
) -> None:
    page, pdf = report(signed, allowed), tmp_path / "page.pdf"
    browse(page, tmp_path, f"--print-to-pdf={pdf}")
    done = subprocess.run(
        ["pdftotext", "-layout", str(pdf), "-"], capture_output=True, text=True, check=True
    )
    sheets = done.stdout.rstrip("\f").split("\f")
    assert 2 <= len(sheets) <= 6
    for number, sheet in enumerate(sheets, 1):
        assert f"Page {number} of {len(sheets)}" in sheet
        assert "Case 2026-117, Evidence 4" in sheet
    for part in read_receipt(str(signed)).parts:
        assert part.md5 in done.stdout
    sizes = subprocess.run(["pdfinfo", str(pdf)], capture_output=True, text=True, check=True)
    assert "(A4)" in sizes.stdout
