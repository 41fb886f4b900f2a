"""`put` from the command line: where words, options and environment variables end up."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3 import __version__
from streamtos3.integrity.md5 import md5_method
from tests.rig.command import account, anonymous, assert_refused, invoke, run, shell
from tests.rig.fake_s3 import FakeS3
from tests.rig.support import MIB, assert_nothing_left, object_exists, payload

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from tests.rig.seaweed import SeaweedFS

DATA = payload(6 * MIB)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def admin(seaweed: SeaweedFS) -> dict[str, str]:
    return account(seaweed)


@pytest.fixture
def infile(tmp_path: Path) -> Path:
    path = tmp_path / "input"
    path.write_bytes(DATA)
    return path


def stored(s3: S3Client, bucket: str, key: str = "k") -> bytes:
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def receipt_of(*words: object, env: dict[str, str]) -> dict[str, Any]:
    """The receipt that the program prints, and nothing else on standard output."""
    outcome = invoke(*words, "--json", env=env)
    assert outcome.status == 0, outcome
    assert outcome.stdout.count("\n") == 1
    receipt: dict[str, Any] = json.loads(outcome.stdout)
    return receipt


# Words


@pytest.mark.parametrize(
    "words",
    [
        "put INFILE s3://BUCKET/k",
        "INFILE s3://BUCKET/k",
        "s3://BUCKET/k INFILE",
        "-q INFILE s3://BUCKET/k",
        "s3://BUCKET/k -q INFILE",
        "-b BUCKET -o k INFILE",
        "put --bucket BUCKET --obj k INFILE",
        "INFILE -bBUCKET -ok",
    ],
)
def test_words_may_come_in_any_order_and_spelling(
    words: str, infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    infile.write_bytes(b"few bytes")
    spelled = words.replace("BUCKET", bucket).replace("INFILE", str(infile))
    outcome = invoke(*spelled.split(), env=admin)
    assert (outcome.status, outcome.stdout) == (0, "")
    assert stored(s3, bucket) == b"few bytes"


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_standard_input_is_the_default_input(
    dash: list[str], s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    outcome = run(f"s3://{bucket}/k", *dash, env=admin, stdin=DATA)
    assert outcome.status == 0
    assert stored(s3, bucket) == DATA


def test_the_destination_may_come_from_the_environment_and_be_overruled(
    infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    env = admin | {"STREAMTOS3_BUCKET": bucket, "STREAMTOS3_OBJ": "from-env"}
    assert invoke(infile, env=env).status == 0
    assert invoke(infile, "-o", "from-line", env=env).status == 0
    assert invoke(infile, f"s3://{bucket}/from-url", env=env).status == 0
    for key in ("from-env", "from-line", "from-url"):
        assert object_exists(s3, bucket, key)


def test_help_names_every_option_and_loads_neither_botocore_nor_tqdm() -> None:
    code = (
        "import sys\n"
        "from streamtos3.cli import program\n"
        "try: program.main(['put', '--help'], prog_name='streamtos3')\n"
        "finally: assert not {'botocore', 'boto3', 'tqdm', 'tenacity'} & set(sys.modules)\n"
    )
    shown = shell('"$1" -c "$CODE"', env={"CODE": code})
    assert shown.status == 0
    for name in OPTIONS:
        assert re.search(rf"(^|[ ,]){name}\b", shown.stdout, re.MULTILINE), name


OPTIONS = (
    "-b --bucket -o --obj -c --chunksize -j --jobs --memory --expect-size --min-size --size-hint"
    " --expect-sha256 --equal-parts --overwrite --digest -k --keyfile --insecure-keyfile --profile"
    " --region --endpoint-url --addressing --ca-bundle --no-verify-ssl --proxy -s --secs-wait"
    " -r --retry --retry-for --json --receipt --progress -q --quiet -d --debug"
).split()


def test_help_into_a_closed_pipe_is_no_bug() -> None:
    outcome = shell('{ "$@" --help; echo $? >&2; } | head -c 0')
    assert outcome.stderr == "141\n"


def test_version() -> None:
    outcome = invoke("--version")
    assert (outcome.status, outcome.stdout) == (0, f"streamtos3 {__version__}\n")
    assert outcome.stderr == f"streamtos3: MD5: {md5_method()}\n"


def test_version_warns_of_a_method_that_is_not_there() -> None:
    outcome = run("--version", env={"STREAMTOS3_MD5": "abacus"})
    assert (outcome.status, outcome.stdout) == (0, f"streamtos3 {__version__}\n")
    method, warning = outcome.stderr.splitlines()
    assert method == "streamtos3: MD5: hashlib, one part at a time"
    assert warning.startswith("streamtos3: warning: STREAMTOS3_MD5 is 'abacus'; ")


@pytest.mark.slow
def test_a_method_that_is_not_there_is_warned_of_where_it_matters(
    seaweed: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    infile = tmp_path / "infile"
    infile.write_bytes(payload(11 * MIB))
    env = {**account(seaweed), "STREAMTOS3_MD5": "abacus"}
    warning = "streamtos3: warning: STREAMTOS3_MD5 is 'abacus'; "
    stored = run("-q", "-c", "5MiB", f"s3://{bucket}/k", stdin=infile.read_bytes(), env=env)
    got = run("get", "-q", f"s3://{bucket}/k", tmp_path / "out", env=env)
    verified = run("verify", "-q", f"s3://{bucket}/k", infile, env=env)
    computed = run("etag", infile, env=env)
    for outcome in (stored, got, verified, computed):
        assert outcome.status == 0, outcome.stderr
        assert outcome.stderr.count(warning) == 1


# Options that shape the upload


def test_the_receipt_says_what_the_options_asked_for(
    infile: Path, s3: S3Client, bucket: str, admin: dict[str, str]
) -> None:
    receipt = receipt_of(
        *(infile, f"s3://{bucket}/k", "-c", "5MiB", "-j", "2", "--memory", "10M"),
        *("--digest", "md5", "--digest", "sha1", "--expect-size", len(DATA)),
        *("--expect-sha256", SHA256.upper(), "--min-size", "1k", "-s", "0.1", "-r", "3"),
        env=admin,
    )
    assert [part["size_bytes"] for part in receipt["parts"]] == [5 * MIB, MIB]
    assert receipt["part_plan"] == f"{5 * MIB}/10000"
    assert receipt["digests"] == {
        "md5": hashlib.md5(DATA).hexdigest(),
        "sha1": hashlib.sha1(DATA).hexdigest(),
        "sha256": SHA256,
    }
    assert receipt["command_line"][:2] == ["streamtos3", str(infile)]
    assert stored(s3, bucket) == DATA


def test_every_option_can_come_from_the_environment(
    infile: Path, bucket: str, admin: dict[str, str], tmp_path: Path
) -> None:
    env = admin | {
        "STREAMTOS3_CHUNKSIZE": "5MiB",
        "STREAMTOS3_DIGEST": "md5\nblake2b\n",
        "STREAMTOS3_JSON": "1",
        "STREAMTOS3_RECEIPT": str(tmp_path / "receipt.json"),
        "STREAMTOS3_QUIET": "true",
        "STREAMTOS3_RETRY": "2",
        "STREAMTOS3_OVERWRITE": "",
    }
    outcome = invoke(infile, f"s3://{bucket}/k", env=env)
    assert (outcome.status, outcome.stderr) == (0, "")
    receipt = json.loads(outcome.stdout)
    assert len(receipt["parts"]) == 2
    assert list(receipt["digests"]) == ["md5", "blake2b"]
    assert json.loads((tmp_path / "receipt.json").read_text()) == receipt
    assert invoke(infile, f"s3://{bucket}/k", env=env).status == 6
    assert invoke(infile, f"s3://{bucket}/k", env=env | {"STREAMTOS3_OVERWRITE": "1"}).status == 0


def test_no_digest_on_request(infile: Path, bucket: str, admin: dict[str, str]) -> None:
    receipt = receipt_of(infile, f"s3://{bucket}/k", "--digest", "none", env=admin)
    assert receipt["digests"] == {}


@pytest.mark.parametrize(
    ("words", "plan"),
    [
        ([], f"{8 * MIB}/2500/750"),
        (["--equal-parts"], f"{8 * MIB}/10000"),
        (["--size-hint", "100GiB"], f"{21 * MIB}/5000/750"),
        (["--chunksize", "64m"], f"{64 * MIB}/2500/750"),
    ],
)
def test_the_part_plan_of_a_stream(words: list[str], plan: str) -> None:
    with FakeS3(buckets=["bucket"]) as fake:
        env = anonymous(fake.endpoint_url)
        assert receipt_of("/dev/null", *words, "s3://bucket/k", env=env)["part_plan"] == plan


def test_the_ceiling_of_equal_parts_is_said_at_the_start(
    bucket: str, admin: dict[str, str]
) -> None:
    outcome = run("--equal-parts", f"s3://{bucket}/k", env=admin)
    assert outcome.lines[0] == "streamtos3: parts are all of 8 MiB: at most 78.1 GiB fit"


def test_memory_for_fewer_than_two_parts_is_warned_of(
    infile: Path, bucket: str, admin: dict[str, str]
) -> None:
    outcome = invoke(infile, f"s3://{bucket}/k", "--memory", "0", env=admin)
    assert outcome.status == 0
    assert outcome.said("warning") == [
        "--memory 0 B holds fewer than two parts; 16 MiB will be used"
    ]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--expect-size", "7"], "the input is longer than the 7 bytes expected"),
        (["--expect-size", "7MiB"], f"the input ended after {len(DATA)} bytes"),
        (["--min-size", "7MiB"], "at least 7340032 were expected"),
        (["--expect-sha256", "0" * 64], f"the input's SHA-256 is {SHA256}"),
    ],
)
def test_an_input_that_is_not_what_was_announced_stores_nothing(
    words: list[str],
    error: str,
    infile: Path,
    s3: S3Client,
    bucket: str,
    admin: dict[str, str],
) -> None:
    outcome = invoke(infile, f"s3://{bucket}/k", "-c", "5MiB", *words, env=admin)
    assert_refused(outcome, 7, error)
    assert_nothing_left(s3, bucket, "k")


# Options that shape the connection


def test_keys_come_from_the_keyfile(
    infile: Path, s3: S3Client, bucket: str, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    keyfile = tmp_path / "keyfile"
    keyfile.write_text(f"{seaweed.access_key}:{seaweed.secret_key}\n")
    keyfile.chmod(0o600)
    env = {"AWS_ENDPOINT_URL": seaweed.endpoint_url}
    assert invoke(infile, f"s3://{bucket}/k", "-k", keyfile, env=env).status == 0
    keyfile.chmod(0o644)
    outcome = invoke(infile, f"s3://{bucket}/k2", "-k", keyfile, env=env)
    assert_refused(outcome, 3, "can be read by others (mode 0644)", "chmod 600")
    assert_nothing_left(s3, bucket, "k2")
    words = ("-k", keyfile, "--insecure-keyfile")
    assert invoke(infile, f"s3://{bucket}/k2", *words, env=env).status == 0


def test_keys_and_endpoint_come_from_a_profile(
    infile: Path, s3: S3Client, bucket: str, seaweed: SeaweedFS, home: Path
) -> None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(
        f"[profile lab]\nendpoint_url = {seaweed.endpoint_url}\nregion = us-east-1\n"
        f"aws_access_key_id = {seaweed.access_key}\n"
        f"aws_secret_access_key = {seaweed.secret_key}\n"
    )
    receipt = receipt_of(infile, f"s3://{bucket}/k", "--profile", "lab", env={})
    assert receipt["endpoint"] == seaweed.endpoint_url
    assert stored(s3, bucket) == DATA


def test_region_and_endpoint_of_the_command_line_win(
    infile: Path, seaweed: SeaweedFS, bucket: str, admin: dict[str, str]
) -> None:
    env = admin | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    words = ("--endpoint-url", seaweed.endpoint_url, "--region", "eu-test-7")
    receipt = receipt_of(infile, f"s3://{bucket}/k", *words, env=env)
    assert (receipt["endpoint"], receipt["region"]) == (seaweed.endpoint_url, "eu-test-7")


@pytest.mark.parametrize(
    ("addressing", "host"), [("path", "s3.invalid"), ("virtual", "bucket.s3.invalid")]
)
def test_addressing_puts_the_bucket_into_path_or_host_and_a_proxy_carries_it(
    addressing: str, host: str, infile: Path
) -> None:
    with FakeS3(buckets=["bucket", "k"]) as fake:
        words = ("--addressing", addressing, "--proxy", fake.endpoint_url)
        invoke(infile, "s3://bucket/k", *words, "-r", 1, env=anonymous("http://s3.invalid"))
        assert {asked.headers["host"] for asked in fake.requests} == {host}
        assert (("bucket", "k") in fake.objects) == (addressing == "path")
