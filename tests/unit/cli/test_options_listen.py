"""What the options of a listening sink mean together, through a command of the tests' own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from streamtos3.cli.arguments import arguments
from streamtos3.cli.options.common import ConnectionArgs, connection_options
from streamtos3.cli.options.listen import (
    ListenArgs,
    Listening,
    connection_with,
    listen_options,
    listening_from,
    rotation_with,
    vance_from,
)
from streamtos3.cli.options.sink import RotationArgs, SpoolArgs, rotation_options, spool_options
from streamtos3.errors import CredentialsError, StreamToS3Error, UsageError
from streamtos3.model.options import Credentials
from streamtos3.receiver.server import Address
from streamtos3.sink.spool import Spool
from tests.rig.tls import new_certificate
from tests.unit.cli.test_vance import (
    ACCESS_KEY,
    REFERENCE_CONFIG,
    SECRET_KEY,
    config,
    encoded,
    secret,
)

MIB = 1024**2
SPOOL = ("--spool", "spool")
seen: dict[str, Any] = {}


@dataclass(frozen=True)
class Args:
    destination: str | None
    cut: RotationArgs
    spool: SpoolArgs
    listening: ListenArgs
    connection: ConnectionArgs


@click.command()
@click.argument("destination", required=False)
@rotation_options
@spool_options
@listen_options
@connection_options
@arguments(Args)
def sink(args: Args) -> None:
    """A sink that only says what it was told."""
    has_destination = args.destination is not None
    vance = vance_from(args.listening, args.connection, has_destination=has_destination)
    seen["cut"] = rotation_with(args.cut, vance)
    seen["connection"] = connection_with(args.connection, vance)
    seen["vance"] = vance
    seen["listening"] = listening_from(
        args.listening,
        args.spool,
        vance,
        max_record_bytes=args.cut.max_record,
        allow_insecure=args.connection.insecure_keyfile,
    )


def told(*words: str, **environment: str) -> Listening | None:
    """What listening the words mean; raises what the command raises."""
    seen.clear()
    result = CliRunner().invoke(sink, words, env=environment, catch_exceptions=True)
    if result.exception is not None:
        raise result.exception
    seen["said"] = result.stderr
    found: Listening | None = seen["listening"]
    return found


def listening(*words: str, **environment: str) -> Listening:
    found = told("s3://b/p", *SPOOL, *words, **environment)
    assert found is not None
    return found


def message(words: Sequence[str], kind: type[StreamToS3Error] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        told(*words)
    return caught.value.message


def token_file(directory: Path) -> str:
    path = directory / "token"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return str(path)


def test_without_listen_nothing_listens() -> None:
    assert told("s3://b/p") is None
    assert seen["vance"] is None


def test_listening_is_on_loopback_unless_told_otherwise() -> None:
    found = listening("--listen", ":8080")
    assert found.address == Address("127.0.0.1", 8080)
    assert (found.token, found.tls, seen["said"]) == (None, None, "")


def test_every_option_has_its_environment_variable() -> None:
    found = listening(STREAMTOS3_LISTEN=":1", STREAMTOS3_MAX_REQUEST="1MiB")
    assert (found.address.port, found.limits.max_request_bytes) == (1, MIB)


def test_the_limits_follow_the_options() -> None:
    limits = listening("--listen", ":1", "--max-request", "100MiB", "--max-record", "7").limits
    assert (limits.max_request_bytes, limits.max_record_bytes) == (100 * MIB, 7)
    assert limits.max_pending_bytes >= 2 * limits.max_request_bytes
    assert listening("--listen", ":1").limits.max_request_bytes == 8 * MIB


def test_listening_needs_a_spool() -> None:
    assert message(["s3://b/p", "--listen", ":1"]) == "--listen needs --spool"


@pytest.mark.parametrize(
    "words",
    [
        ["--token-file", "x"],
        ["--tls-cert", "x"],
        ["--tls-key", "x"],
        ["--insecure-listen"],
        ["--max-request", "8MiB"],
    ],
)
def test_what_goes_with_listening_goes_with_nothing_else(words: list[str]) -> None:
    assert message(["s3://b/p", *words]) == f"{words[0]} goes with --listen"


@pytest.mark.parametrize(
    "name", ["listen", "token-file", "tls-cert", "tls-key", "vance-config", "vance-secret"]
)
def test_a_variable_that_nobody_set_does_not_mean_none(name: str) -> None:
    """`--token-file "$TOKEN_FILE"` must not listen without a token; in the environment it may."""
    others = () if name == "listen" else ("--listen", ":1")
    result = CliRunner().invoke(sink, ["s3://b/p", *SPOOL, *others, f"--{name}", ""])
    assert (result.exit_code, f"'--{name}': it is empty" in result.stderr) == (2, True)
    assert listening("--listen", ":1", **{f"STREAMTOS3_{name.upper().replace('-', '_')}": ""})


def test_beyond_loopback_a_token_is_needed(tmp_path: Path) -> None:
    everywhere = ("s3://b/p", *SPOOL, "--listen", "0.0.0.0:8080")
    assert "from anyone" in message(everywhere)
    assert told(*everywhere, "--insecure-listen") is not None
    assert seen["said"] == ""
    assert told(*everywhere, "--token-file", token_file(tmp_path)) is not None
    assert seen["said"].startswith("streamtos3: warning: without --tls-cert the token goes")


def test_the_token_is_read_and_not_shown(tmp_path: Path) -> None:
    found = listening("--listen", ":1", "--token-file", token_file(tmp_path))
    assert found.token == "s3cret"
    assert "s3cret" not in repr(found)


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = token_file(tmp_path)
    Path(path).chmod(0o644)
    words = ["s3://b/p", *SPOOL, "--listen", ":1", "--token-file", path]
    assert "can be read by others" in message(words, CredentialsError)
    assert told(*words, "--insecure-keyfile") is not None


def test_tls_files_are_tried_before_anything_is_opened(tmp_path: Path) -> None:
    certificate = str(new_certificate(tmp_path))
    found = listening("--listen", "0.0.0.0:1", "--insecure-listen", "--tls-cert", certificate)
    assert found.tls is not None and found.tls.certificate == certificate
    start = ["s3://b/p", *SPOOL, "--listen", ":1"]
    assert message([*start, "--tls-key", certificate]) == "--tls-key goes with --tls-cert"
    assert "no such file" in message([*start, "--tls-cert", str(tmp_path / "absent")])


def test_a_request_has_at_least_one_byte() -> None:
    words = ["s3://b/p", *SPOOL, "--listen", ":1", "--max-request", "0"]
    assert message(words) == "--max-request must be at least one byte"


def test_no_request_is_taken_that_the_spool_could_never_hold() -> None:
    limits = listening("--listen", ":1", "--spool-limit", "1000").limits
    assert limits.max_request_bytes == 1000


@pytest.mark.parametrize("limit_bytes", [4096, 1024 * MIB])
def test_what_is_taken_of_one_request_fits_into_an_empty_spool(
    limit_bytes: int, tmp_path: Path
) -> None:
    limits = listening("--listen", ":1", "--spool-limit", str(limit_bytes)).limits
    spool = Spool(str(tmp_path), limit_bytes)
    assert limits.max_group_bytes == limit_bytes // 2
    assert limits.max_group_bytes <= spool.room_bytes(2)
    spool.close()


# The reference's configuration


def test_the_references_configuration_listens_and_needs_no_destination(tmp_path: Path) -> None:
    files = ["--vance-config", config(tmp_path, REFERENCE_CONFIG)]
    files += ["--vance-secret", secret(tmp_path)]
    found = told(*files, *SPOOL)
    assert found is not None and found.address == Address("127.0.0.1", 8080)
    assert seen["vance"].bucket == "mybucket"
    cut = seen["cut"]
    assert (cut.flush_count, cut.flush_interval, cut.partition) == (60, 120, "hourly")
    assert seen["connection"].region == "us-west-2"
    assert seen["connection"].credentials == Credentials(ACCESS_KEY, SECRET_KEY)
    assert SECRET_KEY not in repr(seen["connection"])


def test_what_is_said_to_us_wins_over_the_reference(tmp_path: Path) -> None:
    path = config(tmp_path, {**json.loads(REFERENCE_CONFIG), "timeInterval": "DAILY"})
    words = ["s3://b/p", "--vance-config", path, "--vance-secret", secret(tmp_path), *SPOOL]
    found = told(
        *(*words, "--listen", ":9", "--flush-count", "5", "--keyfile", "mine"),
        STREAMTOS3_REGION="eu-central-1",
        SCHEDULEDINTERVAL="7",
    )
    assert found is not None and found.address.port == 9
    cut = seen["cut"]
    assert (cut.flush_count, cut.flush_interval, cut.partition) == (5, 7, "daily")
    assert seen["connection"].region == "eu-central-1"
    assert (seen["connection"].keyfile, seen["connection"].credentials) == ("mine", None)


def test_without_files_the_environment_counts_where_no_destination_is_given() -> None:
    environment = {"BUCKETNAME": "mybucket", "AWSACCESSKEYID": encoded("a")}
    with pytest.raises(UsageError, match="AWSSECRETACCESSKEY is missing"):
        told(*SPOOL, **environment)
    environment["AWSSECRETACCESSKEY"] = encoded("b")
    found = told(*SPOOL, **environment, V_PORT="31080")
    assert found is not None and found.address.port == 31080
    assert seen["vance"].bucket == "mybucket"
    assert told("s3://b/p", **environment) is None
    assert seen["vance"] is None


def test_a_configuration_without_a_bucket_needs_a_destination(tmp_path: Path) -> None:
    path = config(tmp_path, {"v_port": 1})
    words = ["--vance-config", path, *SPOOL]
    assert message(words) == f"no destination: {path} sets no bucketName"
    assert told("s3://b/p", *words) is not None


def test_the_references_configuration_needs_a_spool_too(tmp_path: Path) -> None:
    words = ["--vance-config", config(tmp_path, REFERENCE_CONFIG)]
    assert message(words) == "the Vance configuration needs --spool"
