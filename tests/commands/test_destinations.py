"""Where an object goes: key templates, and destinations by name with what they set."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import botocore
import pytest

from streamtos3.cli.config.destinations import Destination, read_destinations
from streamtos3.cli.options.templates import expand_template, time_values
from streamtos3.errors import CredentialsError, UsageError
from tests.rig.client import Uploading, plain_client
from tests.rig.command import Outcome, anonymous, assert_refused, invoke, run
from tests.rig.fake_s3 import FakeS3, Quirks
from tests.rig.tls import fake_over_tls, new_certificate

VALUES = {"date": "20300102", "hostname": "h"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    with FakeS3(Quirks(min_part_bytes=1), buckets=["bucket", "vault"]) as fake:
        for name, value in anonymous(fake.endpoint_url).items():
            monkeypatch.setenv(name, value)
        yield fake


@pytest.fixture
def infile(tmp_path: Path) -> str:
    path = tmp_path / "infile"
    path.write_bytes(b"data")
    return str(path)


@pytest.fixture
def config(home: Path) -> Path:
    """The configuration file where it is looked for; a test writes it."""
    path = home / ".config" / "streamtos3" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def write(config: Path, text: str, mode: int = 0o600) -> Path:
    config.write_text(text)
    config.chmod(mode)
    return config


def evidence(config: Path, text: str = "", mode: int = 0o600) -> Path:
    """A destination in the bucket `vault`, with further lines."""
    return write(config, f'[destination.evidence]\nbucket = "vault"\n{text}\n', mode)


# Templates


@pytest.mark.parametrize(
    "template, expected",
    [
        ("k", "k"),
        ("a/{date}/b", "a/20300102/b"),
        ("{hostname}{hostname}", "hh"),
        ("{env:SITE}", "north"),
        ("{{date}}", "{date}"),
        ("{{{date}}}", "{20300102}"),
    ],
)
def test_a_template_is_filled_in(template: str, expected: str) -> None:
    assert expected == expand_template(template, VALUES, {"SITE": "north"})


@pytest.mark.parametrize(
    "template, message",
    [
        ("{user}", "the key asks for {user}, which is not known"),
        ("{}", "the key asks for {}, which is not known"),
        ("{0}", "the key asks for {0}, which is not known"),
        ("{date.year}", "{date.year}, which is not known"),
        ("{date[0]}", "{date[0]}, which is not known"),
        ("{date!r}", "{date}, which is not known"),
        ("{date:%Y}", "{date:%Y}, which is not known"),
        ("{env}", "the key asks for {env}, which is not known"),
        ("{env:HOME}", "the environment variable HOME, which is not set"),
        ("{date", "'{date' is not a valid template"),
        ("date}", "'date}' is not a valid template"),
    ],
)
def test_what_is_no_template_is_refused(template: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        expand_template(template, VALUES, {})
    assert message in caught.value.message
    assert "--no-template" in (caught.value.hint or "") or "not set" in message


def test_times_are_utc() -> None:
    east = timezone(timedelta(hours=3))
    assert time_values(datetime(2030, 1, 2, 1, 4, 5, tzinfo=east)) == {
        "date": "20300101",
        "time": "220405",
        "year": "2030",
        "month": "01",
        "day": "01",
        "hour": "22",
    }


def test_put_expands_and_the_receipt_says_from_what(
    fake: FakeS3, infile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE", "north")
    template = "{env:SITE}/{hostname}-{uuid}{{x}}"
    outcome = invoke("--json", infile, f"s3://bucket/{template}")
    assert outcome.status == 0, outcome
    receipt = json.loads(outcome.stdout)
    ((_, key),) = fake.objects
    assert receipt["key"] == key
    assert key.startswith(f"north/{socket.gethostname()}-")
    assert len(key) == len(f"north/{socket.gethostname()}-{{x}}") + 36
    assert receipt["key_template"] == template


def test_the_references_spelling_expands_too(fake: FakeS3, infile: str) -> None:
    assert invoke("-b", "bucket", "-o", "{{a}}", infile).status == 0
    assert list(fake.objects) == [("bucket", "{a}")]


def test_run_expands(fake: FakeS3) -> None:
    outcome = run("run", "--json", "s3://bucket/{{k}}", "--", "echo", "{date}")
    assert json.loads(outcome.stdout)["key_template"] == "{{k}}"
    assert fake.objects["bucket", "{k}"].body == b"{date}\n"


def test_no_template_takes_the_key_as_it_is(fake: FakeS3, infile: str) -> None:
    outcome = invoke("--no-template", "--json", infile, "s3://bucket/{date}}")
    assert outcome.status == 0, outcome
    assert list(fake.objects) == [("bucket", "{date}}")]
    assert json.loads(outcome.stdout)["key_template"] is None


@pytest.mark.usefixtures("nameless_user")
def test_a_user_without_a_name_has_a_number(fake: FakeS3, infile: str) -> None:
    assert invoke(infile, "s3://bucket/{user}").status == 0
    assert list(fake.objects) == [("bucket", str(os.getuid()))]


@pytest.mark.parametrize("key", ["{nobody}", "{env:UNSET_HERE}", "{date"])
def test_an_unknown_name_is_status_2_before_anything_is_asked(
    fake: FakeS3, infile: str, key: str
) -> None:
    assert_refused(invoke(infile, f"s3://bucket/{key}"), 2, "the key")
    assert fake.requests == []


@pytest.mark.parametrize("value", ["..", "a/../b", "a\nb", ""])
def test_what_a_variable_holds_is_checked_like_any_key(
    fake: FakeS3, infile: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SITE", value)
    assert_refused(invoke(infile, "s3://bucket/{env:SITE}"), 2, "the key")
    assert fake.requests == []


# Destinations by name


def test_a_destination_gives_bucket_and_prefix(fake: FakeS3, config: Path, infile: str) -> None:
    evidence(config, 'prefix = "cases/"')
    outcome = invoke("-D", "evidence", infile, "42/sda.img")
    assert outcome.status == 0, outcome
    assert list(fake.objects) == [("vault", "cases/42/sda.img")]


def test_the_prefix_may_be_a_template(fake: FakeS3, config: Path, infile: str) -> None:
    evidence(config, 'prefix = "{{x}}/"')
    assert invoke("-D", "evidence", infile, "{{y}}").status == 0
    assert list(fake.objects) == [("vault", "{x}/{y}")]


def test_run_stores_under_a_destination(fake: FakeS3, config: Path) -> None:
    evidence(config, 'prefix = "cases/"')
    outcome = run("run", "-D", "evidence", "k", "--", "echo", "hello")
    assert outcome.status == 0, outcome
    assert fake.objects["vault", "cases/k"].body == b"hello\n"


@pytest.mark.parametrize("key", ["../k", "a/../../k", "./k", ".."])
def test_no_key_leaves_the_prefix(fake: FakeS3, config: Path, infile: str, key: str) -> None:
    evidence(config, 'prefix = "cases/"')
    assert_refused(invoke("-D", "evidence", infile, key), 2, "has a segment '.' or '..'")
    assert_refused(invoke("get", "-D", "evidence", key, "-"), 2, "has a segment '.' or '..'")
    assert fake.requests == []


@pytest.mark.parametrize(
    "words",
    [
        ["s3://bucket/k"],
        ["-", "s3://bucket/k"],
        ["-b", "bucket", "k"],
        ["-o", "k"],
        [],
    ],
)
def test_with_a_destination_only_the_key_is_given(config: Path, words: list[str]) -> None:
    evidence(config)
    assert_refused(invoke("-D", "evidence", *words), 2, "with -D give just the key")


def test_environment_names_the_destination_and_the_file(
    fake: FakeS3, tmp_path: Path, infile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMTOS3_CONFIG", str(evidence(tmp_path / "mine.toml")))
    monkeypatch.setenv("STREAMTOS3_DESTINATION", "evidence")
    assert invoke(infile, "k").status == 0
    assert list(fake.objects) == [("vault", "k")]


def test_the_command_line_names_the_file(
    fake: FakeS3, config: Path, tmp_path: Path, infile: str
) -> None:
    write(config, '[destination.evidence]\nbucket = "bucket"\n')
    mine = evidence(tmp_path / "mine.toml")
    assert invoke("-D", "evidence", "--config", mine, infile, "k").status == 0
    assert list(fake.objects) == [("vault", "k")]


def stored_type(fake: FakeS3, outcome: Outcome) -> str:
    assert outcome.status == 0, outcome
    (stored,) = [each for each in fake.requests if each.verb == "put-object"]
    return stored.headers["content-type"]


@pytest.mark.parametrize(
    "words, variable, expected",
    [
        ([], None, "from/file"),
        ([], "from/environment", "from/environment"),
        (["--content-type", "from/line"], "from/environment", "from/line"),
    ],
)
def test_the_command_line_beats_the_environment_and_that_the_file(
    fake: FakeS3,
    config: Path,
    infile: str,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    variable: str | None,
    expected: str,
) -> None:
    evidence(config, 'content_type = "from/file"')
    if variable:
        monkeypatch.setenv("STREAMTOS3_CONTENT_TYPE", variable)
    outcome = invoke("-D", "evidence", *words, infile, "k")
    assert expected == stored_type(fake, outcome)


def test_any_option_may_have_its_default_in_the_file(
    fake: FakeS3, config: Path, infile: str
) -> None:
    """With - or _, also lists and numbers, and options that only another command has."""
    evidence(
        config,
        'metadata = ["a=1", "b=2"]\ntag = "t=1"\ndigest = ["md5", "sha512"]\nchunksize = "9MiB"\n'
        "jobs = 2\nlegal-hold = false\ncase = 42\nlock_until = 2099-12-31\n"
        'lock-mode = "GOVERNANCE"\ngrace = "3s"\nsize_hint = 5',
    )
    outcome = invoke("-D", "evidence", "--json", infile, "k")
    (stored,) = [each for each in fake.requests if each.verb == "put-object"]
    assert stored.headers["x-amz-meta-b"] == "2"
    assert stored.headers["x-amz-meta-case"] == "42"
    assert stored.headers["x-amz-tagging"] == "t=1"
    assert stored.headers["x-amz-object-lock-retain-until-date"] == "2099-12-31T23:59:59Z"
    assert_refused(outcome, 9, "cannot be confirmed")  # the fake forgets locks


def test_the_connection_is_that_of_the_destination(
    fake: FakeS3, config: Path, tmp_path: Path, infile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    keyfile = write(tmp_path / "keys", "access:secret-of-file")
    evidence(
        config,
        f'endpoint = "{fake.endpoint_url}"\nregion = "eu-north-7"\naddressing = "path"\n'
        f'keyfile = "{keyfile}"\nsession_token = "token-of-file"',
    )
    outcome = invoke("-D", "evidence", infile, "k")
    assert outcome.status == 0, outcome
    asked = fake.requests[-1]
    assert "Credential=access/" in asked.headers["authorization"]
    assert "/eu-north-7/" in asked.headers["authorization"]
    assert asked.headers["x-amz-security-token"] == "token-of-file"


def test_the_profile_is_that_of_the_destination(
    fake: FakeS3, config: Path, home: Path, infile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (home / ".aws").mkdir()
    write(
        home / ".aws" / "credentials",
        "[lab]\naws_access_key_id = of-profile\naws_secret_access_key = s\n",
    )
    evidence(config, 'profile = "lab"')
    assert invoke("-D", "evidence", infile, "k").status == 0
    assert "Credential=of-profile/" in fake.requests[-1].headers["authorization"]


def test_the_proxy_gets_user_and_password(config: Path, infile: str) -> None:
    """They go to the proxy, in the form that it understands, whatever characters they have."""
    evidence(
        config,
        'endpoint = "http://s3.example"\nproxy_user = "me@lab"\nproxy_password = "p:a/s s"\n'
        'proxy = "http://127.0.0.1:8080"',
    )
    found = read_destinations(str(config))["evidence"]
    assert found.options["proxy"] == "http://me%40lab:p%3Aa%2Fs%20s@127.0.0.1:8080"
    assert found.public_options["proxy"] == "http://127.0.0.1:8080"


def test_requests_go_through_the_destinations_proxy(
    fake: FakeS3, config: Path, infile: str
) -> None:
    """The fake is the proxy here; there is no such endpoint."""
    evidence(
        config,
        f'endpoint = "http://s3.invalid"\nproxy = "{fake.endpoint_url}"\naddressing = "path"\n'
        'proxy_user = "me"\nproxy_password = "pass word"',
    )
    outcome = invoke("-D", "evidence", infile, "k")
    assert outcome.status == 0, outcome
    assert list(fake.objects) == [("vault", "k")]
    for asked in fake.requests:
        assert asked.headers["host"] == "s3.invalid"
        assert asked.headers["proxy-authorization"] == "Basic bWU6cGFzcyB3b3Jk"


def test_a_directory_of_authorities_is_trusted(
    config: Path, tmp_path: Path, infile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in anonymous("").items():
        monkeypatch.setenv(name, value)
    certificate = new_certificate(tmp_path)
    authorities = tmp_path / "authorities"
    authorities.mkdir()
    shutil.copy(Path(botocore.__file__).parent / "cacert.pem", authorities / "others.pem")
    with fake_over_tls(certificate) as fake:
        fake.buckets.add("vault")
        where = f'endpoint = "{fake.endpoint_url}"\nretry = 1\n'
        evidence(config, f'{where}ca_directory = "{authorities}"')
        assert invoke("-D", "evidence", infile, "k").status == 4
        shutil.copy(certificate, authorities / "right.pem")
        assert invoke("-D", "evidence", infile, "k").status == 0
        evidence(config, f'{where}ca_file = "{certificate}"')
        assert invoke("-D", "evidence", infile, "k2").status == 0
        evidence(config, f"{where}verify_tls = false")
        outcome = run("-D", "evidence", infile, "k3")  # pytest makes its warning an error
    assert outcome.status == 0
    assert "anyone on the way can read" in outcome.said("warning")[0]


# Secrets


SECRET_LINES = [
    'keyfile = "k"\nsession_token = "sesame"',
    'proxy = "http://p:1"\nproxy_user = "u"\nproxy_password = "sesame"',
    'proxy = "http://u:sesame@p:1"',
]


@pytest.mark.parametrize("lines", SECRET_LINES)
def test_a_file_with_secrets_that_others_can_read_is_status_3(config: Path, lines: str) -> None:
    evidence(config, lines, mode=0o640)
    outcome = invoke("-D", "evidence", "-", "k")
    assert_refused(outcome, 3, "holds secrets of 'evidence' and can be read by others", "chmod 600")


def test_a_file_without_secrets_may_be_read_by_others(config: Path) -> None:
    evidence(config, 'proxy = "http://user@p:1"', mode=0o644)
    assert list(read_destinations(str(config))) == ["evidence"]


@pytest.mark.parametrize("lines", SECRET_LINES)
def test_secrets_never_show_in_a_listing(config: Path, lines: str) -> None:
    evidence(config, lines)
    outcome = invoke("destinations")
    as_json = invoke("destinations", "--json")
    assert (outcome.status, as_json.status) == (0, 0)
    assert outcome.stdout.startswith("evidence  s3://vault/")
    assert "sesame" not in outcome.stdout + as_json.stdout
    assert "sesame" not in repr(read_destinations(str(config)))
    assert json.loads(as_json.stdout)["bucket"] == "vault"


def test_secrets_show_neither_in_the_debug_log_nor_in_the_receipt(
    fake: FakeS3, config: Path, tmp_path: Path, infile: str
) -> None:
    keyfile = write(tmp_path / "keys", "access:secret-of-file")
    """Wherever they turn up: here also as metadata, under a name that gives nothing away."""
    receipt, log = tmp_path / "receipt", tmp_path / "log"
    evidence(
        config,
        f'keyfile = "{keyfile}"\nsession_token = "open/sesame"\nmetadata = "echo=open/sesame"',
    )
    outcome = run(
        *("--debug", "-D", "evidence", "--receipt", receipt, "--log", log, infile, "k"),
    )
    assert outcome.status == 0, outcome.stderr[-2000:]
    shown = outcome.stderr + receipt.read_text() + log.read_text()
    assert "x-amz-security-token" in shown.lower()
    for secret in ("sesame", "secret-of-file"):
        assert secret not in shown


# Files that are none


@pytest.mark.parametrize(
    "lines, message",
    [
        ('colour = "red"', "sets colour, which is not an option"),
        ('obj = "k"', "sets obj, which no destination has"),
        ('destination = "x"', "sets destination, which no destination has"),
        ('config = "x"', "sets config, which no destination has"),
        ('ca_file = "a"\nca_directory = "b"', "names both ca_file and ca_directory"),
        ('profile = "a"\nkeyfile = "b"', "names both profile and keyfile"),
        ('session_token = "a"', "has a session_token, but no keyfile"),
        ('proxy_user = "a"', "that needs proxy"),
        ('proxy = "http://p:1"\nproxy_password = "a"', "proxy_password needs proxy_user"),
        ('verify_tls = "no"', "verify_tls is neither true nor false"),
        ("proxy = 5", "proxy is not text"),
        ('region = ["a"]', "region takes one value"),
        ("metadata = {a = 1}", "metadata takes one value"),
        ('chunksize = "big"', "big"),
        ("prefix = 5", "names no bucket"),
    ],
)
def test_what_no_destination_has_is_status_2(config: Path, lines: str, message: str) -> None:
    evidence(config, lines)
    assert_refused(invoke("-D", "evidence", "-", "k"), 2, message)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[destination.evidence]", "names no bucket"),
        ('[destination.evidence]\nbucket = ""', "names no bucket"),
        ("[destination]\nevidence = 1", "is not a table"),
        ("destination = 1", "holds something other than destinations"),
        ("[defaults]\njobs = 1", "holds something other than destinations"),
        ("[destination.evidence", "is malformed"),
        ('[destination.other]\nbucket = "vault"', "there is no destination 'evidence'"),
    ],
)
def test_a_file_that_is_no_configuration_is_status_2(config: Path, text: str, message: str) -> None:
    write(config, text)
    assert_refused(invoke("-D", "evidence", "-", "k"), 2, message)


def test_a_file_that_is_not_there_is_status_2() -> None:
    outcome = invoke("-D", "evidence", "-", "k")
    assert_refused(outcome, 2, "config.toml: no such file or directory")


def test_the_directory_of_the_user_may_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "streamtos3").mkdir()
    evidence(tmp_path / "streamtos3" / "config.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert invoke("destinations").stdout == "evidence  s3://vault/\n"


# The other commands


def test_get_and_verify_take_the_key_as_it_is(
    fake: FakeS3, config: Path, tmp_path: Path, infile: str
) -> None:
    evidence(config, 'prefix = "cases/"\noverwrite = true\ndigest = ["md5", "sha256"]')
    assert invoke("-D", "evidence", "--no-template", infile, "{date}").status == 0
    out = tmp_path / "out"
    outcome = invoke("get", "-D", "evidence", "{date}", out)
    assert (outcome.status, out.read_bytes()) == (0, b"data"), outcome
    outcome = invoke("verify", "-D", "evidence", "{date}", infile)
    assert outcome.status == 0, outcome


@pytest.mark.parametrize("command", ["get", "verify"])
def test_an_address_beside_a_destination_is_status_2(config: Path, command: str) -> None:
    evidence(config)
    outcome = invoke(command, "-D", "evidence", "s3://bucket/k", "-")
    assert_refused(outcome, 2, "with -D give just the key")


def test_uploads_are_listed_below_the_prefix(fake: FakeS3, config: Path) -> None:
    evidence(config, 'prefix = "cases/"')
    for key in ("cases/1/a", "cases/2/b", "other"):
        Uploading(plain_client(fake.endpoint_url), "vault", key)
    everything = invoke("uploads", "list", "-D", "evidence", "--json")
    below = invoke("uploads", "list", "-D", "evidence", "2/", "--json")
    assert everything.status == below.status == 0, everything
    listed = [json.loads(line)["key"] for line in everything.stdout.splitlines()]
    assert sorted(listed) == ["cases/1/a", "cases/2/b"]
    assert [json.loads(line)["key"] for line in below.stdout.splitlines()] == ["cases/2/b"]


def test_uploads_without_any_place_are_status_2() -> None:
    assert_refused(invoke("uploads", "list"), 2, "no address in S3")


def test_a_destination_in_a_library_hides_its_options() -> None:
    assert "sesame" not in repr(Destination("n", "b", "", {"session_token": "sesame"}))


def test_secrets_are_refused_to_the_library_as_well(config: Path) -> None:
    evidence(config, SECRET_LINES[0], mode=0o604)
    with pytest.raises(CredentialsError):
        read_destinations(str(config))
