"""Each promise against each server: one line for each, and what differs from S3 written down.

`make test-servers` runs this and makes the table of README.org from what came out. A cell that is
not what `DIFFERS` says, or `SAME`, is a failure: either the program, or the server, has changed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from streamtos3 import Connection, Credentials, Options, Receipt, Retries, upload
from streamtos3.errors import ExistsError, SourceError
from streamtos3.model.events import PartStored
from tests.rig.command import Outcome, invoke, run
from tests.rig.servers import SERVERS, Server
from tests.rig.support import MIB, object_exists, open_uploads, payload
from tests.rig.tiny import InSteps, Seen, broken_input

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LARGE = payload(11 * MIB)
PARTS = ("-c", "5MiB", "-s", "0.05")
RESULT = os.environ.get("MATRIX_RESULT")
"""The file that the cells are written to, as JSON; what it has of other servers stays."""


@dataclass
class Bench:
    """A server, an unused bucket there, and a directory with the input."""

    server: Server
    bucket: str
    directory: Path

    @property
    def large(self) -> Path:
        path = self.directory / "large"
        path.write_bytes(LARGE)
        return path

    @property
    def small(self) -> Path:
        path = self.directory / "small"
        path.write_bytes(LARGE[:1000])
        return path

    def url(self, key: str = "") -> str:
        return f"s3://{self.bucket}/{key}"

    def call(self, *words: object, status: int = 0) -> Outcome:
        outcome = invoke(*words, env=self.server.env)
        assert outcome.status == status, outcome
        return outcome

    def put(self, *words: object, key: str = "k") -> Receipt:
        """The receipt, as far as it is looked at here."""
        outcome = self.call(*PARTS, "--json", *words, self.url(key))
        receipt: Receipt = json.loads(outcome.stdout)
        return receipt

    def body(self, key: str = "k") -> bytes:
        return self.server.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def proof(self, *words: object) -> str:
        """Store the words' input; the name of the proof."""
        outcome = self.call(*PARTS, "--json", *words, self.url("k"))
        assert self.body() == Path(str(words[-1])).read_bytes()
        return _name_of(json.loads(outcome.stdout)["proof"]["object"])

    def upload(
        self,
        source: InSteps,
        *,
        resume: bool = False,
        on_event: Callable[[object], None] | None = None,
    ) -> Receipt:
        server = self.server
        options = Options(
            connection=Connection(
                endpoint_url=server.endpoint_url,
                region="us-east-1",
                credentials=Credentials(server.access_key, server.secret_key),
            ),
            chunk_bytes=5 * MIB,
            retries=Retries(first_wait_s=0.05, tries=3),
            resume=resume,
        )
        return upload(source, self.bucket, "k", options=options, on_event=on_event)

    def begin(self) -> None:
        """An upload that fails when two parts are stored, and keeps them."""
        seen = Seen()

        def fail() -> None:
            seen.wait_for(PartStored, 2)
            broken_input()

        with pytest.raises(SourceError):
            self.upload(InSteps(LARGE, at_end=fail), resume=True, on_event=seen)

    def exists(self, key: str = "k") -> bool:
        return object_exists(self.server.client, self.bucket, key)

    def assert_nothing_left(self) -> None:
        """Neither an object nor, where that can be told, an upload."""
        assert not self.exists()
        try:
            left = open_uploads(self.server.client, self.bucket)
        except ClientError:  # rclone's word for none, or a server that cannot list them
            return
        assert left == []


def _name_of(proof: str) -> str:
    return proof.removesuffix("-etag").replace("-", " ")


def one_request(bench: Bench) -> str:
    return bench.proof(bench.small)


def multipart(bench: Bench) -> str:
    return bench.proof(bench.large)


def multipart_with_md5(bench: Bench) -> str:
    return bench.proof("--digest", "sha256", "--digest", "md5", bench.large)


def empty(bench: Bench) -> str:
    infile = bench.directory / "empty"
    infile.write_bytes(b"")
    return bench.proof(infile)


def exists_before(bench: Bench) -> str:
    bench.put(bench.small)
    bench.call(bench.large, bench.url("k"), status=6)
    return "kept" if bench.body() == LARGE[:1000] else "replaced"


def no_bucket(bench: Bench) -> str:
    name = "no-such-bucket-here"
    outcome = bench.call(*PARTS, bench.small, f"s3://{name}/k", status=5)
    assert len(outcome.said("error")) == 1
    return "status 5"


def created_meanwhile(bench: Bench, data: bytes) -> str:
    def interfere() -> None:
        bench.server.client.put_object(Bucket=bench.bucket, Key="k", Body=b"other")

    try:
        bench.upload(InSteps(data, at_end=interfere))
    except ExistsError:
        assert bench.body() == b"other"
        return "kept"
    assert bench.body() == data
    return "replaced"


def created_meanwhile_short(bench: Bench) -> str:
    return created_meanwhile(bench, LARGE[:1000])


def created_meanwhile_long(bench: Bench) -> str:
    return created_meanwhile(bench, LARGE)


def wrong_md5(bench: Bench) -> str:
    md5 = base64.b64encode(hashlib.md5(b"another").digest()).decode()
    try:
        bench.server.client.put_object(Bucket=bench.bucket, Key="k", Body=b"data", ContentMD5=md5)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        return "refused"
    return "accepted"


def failed_input(bench: Bench) -> str:
    with pytest.raises(SourceError):
        bench.upload(InSteps(LARGE, at_end=broken_input))
    bench.assert_nothing_left()
    return "nothing"


def failed_command(bench: Bench) -> str:
    words = ("run", *PARTS, bench.url("k"), "--", "sh", "-c", "head -c 6000000 /dev/zero; exit 3")
    outcome = run(*words, env=bench.server.env)
    assert outcome.status == 7, outcome
    bench.assert_nothing_left()
    return "nothing"


def resume(bench: Bench) -> str:
    bench.begin()
    receipt = bench.upload(InSteps(LARGE), resume=True)
    assert bench.body() == LARGE
    resumed = sum(part.resumed for part in receipt.parts)
    return f"{resumed} of {len(receipt.parts)}" if resumed else "anew"


def left_uploads(bench: Bench) -> str:
    bench.begin()
    outcome = invoke("uploads", "list", "--json", bench.url(), env=bench.server.env)
    if outcome.status == 5:
        assert "cannot list unfinished uploads" in outcome.said("error")[0]
        return "no list"
    assert [json.loads(line)["key"] for line in outcome.stdout.splitlines()] == ["k"]
    bench.call("uploads", "abort", "--yes", "--older-than", "0", bench.url())
    bench.assert_nothing_left()
    return "yes"


def get(bench: Bench) -> str:
    bench.put(bench.large)
    out = bench.directory / "out"
    outcome = bench.call("get", "--json", "-c", "1MiB", bench.url("k"), out)
    assert out.read_bytes() == LARGE
    return _name_of(json.loads(outcome.stdout)["proof"])


def get_range(bench: Bench) -> str:
    receipt, out = bench.directory / "receipt", bench.directory / "out"
    bench.put("--receipt", receipt, bench.large)
    words = ("--receipt", receipt, "--range", "5000000-6000000")
    bench.call("get", *words, bench.url("k"), out)
    assert out.read_bytes() == LARGE[5000000:6000001]
    return "yes"


def verify(bench: Bench) -> str:
    receipt, other = bench.directory / "receipt", bench.directory / "other"
    other.write_bytes(LARGE[:-1] + b"x")
    bench.put("--receipt", receipt, bench.large)
    bench.call("verify", bench.url("k"), bench.large)
    bench.call("verify", bench.url("k"), "--receipt", receipt)
    bench.call("verify", bench.url("k"), "--readback", bench.large)
    bench.call("verify", bench.url("k"), other, status=9)
    return "yes"


def other_version(bench: Bench) -> str:
    bench.put(bench.small)
    wanted = "0123456789abcdef0123456789abcdef"
    outcome = invoke("verify", "--version-id", wanted, bench.url("k"), env=bench.server.env)
    assert outcome.status in (5, 9), outcome
    return "refused" if outcome.status == 5 else "noticed"


def metadata(bench: Bench) -> str:
    bench.put("--metadata", "who=José", "--metadata", "what=plain", bench.small)
    outcome = bench.call("verify", "--json", bench.url("k"))
    found = json.loads(outcome.stdout)["metadata"]
    if found == {"who": "José", "what": "plain"}:
        return "yes"
    assert found == {}
    return "dropped"


def directory_key(bench: Bench) -> str:
    outcome = invoke(bench.small, bench.url("d/"), env=bench.server.env)
    if outcome.status == 0:
        assert bench.body("d/") == LARGE[:1000]
        return "an object"
    assert outcome.status == 9, outcome
    assert "makes a directory" in outcome.said("hint")[0]
    return "status 9"


def publish(bench: Bench) -> str:
    tree = bench.directory / "tree"
    (tree / "deep").mkdir(parents=True)
    for path, size_bytes in (("a", 0), ("b", 1000), ("deep/c", 6 * MIB)):
        (tree / path).write_bytes(payload(size_bytes))
    words = ("publish", *PARTS, "--manifest", "m.json", tree, bench.url("p"))
    bench.call(*words)
    assert bench.body("p/deep/c") == payload(6 * MIB)
    again = bench.call(*words, "--resume")
    assert json.loads(again.stdout)["already_there"] == 3
    return "yes"


def sink(bench: Bench) -> str:
    records = b"".join(b"%d\n" % number for number in range(30))
    words = ("sink", "--flush-count", "10", "--spool", bench.directory / "spool", bench.url("s"))
    (bench.directory / "spool").mkdir()
    outcome = run(*words, env=bench.server.env, stdin=records)
    assert outcome.status == 0, outcome
    keys = [line.partition("s3://")[2].split()[0] for line in outcome.lines if "s3://" in line]
    stored = [bench.body(key.partition("/")[2]) for key in sorted(keys)]
    assert (len(stored), b"".join(stored)) == (3, records)
    return "yes"


PROMISES: dict[str, tuple[Callable[[Bench], str], str]] = {
    # What it says in the table: what tries it, and what S3 does
    "one request, proved by": (one_request, "md5"),
    "no bytes, proved by": (empty, "md5"),
    "parts, proved by": (multipart, "composite"),
    "parts, with =--digest md5=": (multipart_with_md5, "composite"),
    "a wrong =Content-MD5=": (wrong_md5, "refused"),
    "a bucket that is not there": (no_bucket, "status 5"),
    "an object that is there": (exists_before, "kept"),
    "made meanwhile, one request": (created_meanwhile_short, "kept"),
    "made meanwhile, parts": (created_meanwhile_long, "kept"),
    "an input that fails leaves": (failed_input, "nothing"),
    "=run=: one that fails leaves": (failed_command, "nothing"),
    "=--resume= keeps": (resume, "2 of 3"),
    "=uploads= lists and aborts": (left_uploads, "yes"),
    "=get=, proved by": (get, "composite"),
    "=get= of a range, by receipt": (get_range, "yes"),
    "=verify=": (verify, "yes"),
    "a version that is not there": (other_version, "refused"),
    "=--metadata=, not ASCII": (metadata, "yes"),
    "a key that ends in =/=": (directory_key, "an object"),
    "=publish= and =--resume=": (publish, "yes"),
    "=sink= with a spool": (sink, "yes"),
}

DIFFERS: dict[str, dict[str, str]] = {
    "seaweedfs": {
        "a version that is not there": "noticed",
        "a key that ends in =/=": "status 9",
    },
    "moto": {
        "a wrong =Content-MD5=": "accepted",
    },
    "rclone": {
        "parts, with =--digest md5=": "whole md5",
        "made meanwhile, one request": "replaced",
        "made meanwhile, parts": "replaced",
        "=get=, proved by": "md5",
        "a version that is not there": "noticed",
    },
    "alluxio": {
        "parts, proved by": "readback",
        "parts, with =--digest md5=": "whole md5",
        "made meanwhile, one request": "replaced",
        "made meanwhile, parts": "replaced",
        "=--resume= keeps": "anew",
        "=uploads= lists and aborts": "no list",
        "=get=, proved by": "md5",
        "a version that is not there": "noticed",
        "=--metadata=, not ASCII": "dropped",
        "a key that ends in =/=": "status 9",
    },
    "s3rver": {
        "parts, proved by": "readback",
        "parts, with =--digest md5=": "whole md5",
        "a wrong =Content-MD5=": "accepted",
        "made meanwhile, one request": "replaced",
        "made meanwhile, parts": "replaced",
        "=--resume= keeps": "anew",
        "=uploads= lists and aborts": "no list",
        "=get=, proved by": "md5",
        "a version that is not there": "noticed",
    },
    "ceph": {
        "made meanwhile, parts": "replaced",
    },
}
"""By server: what is not as in S3."""

_cells: dict[str, dict[str, str]] = {}


@pytest.fixture(scope="module", params=list(SERVERS))
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server]]:
    name: str = request.param
    with SERVERS[name](tmp_path_factory.mktemp(name)) as running:
        yield name, running
        running.client.close()


@pytest.fixture(scope="module", autouse=True)
def _written_down() -> Iterator[None]:
    yield
    if RESULT is None:
        return
    path = Path(RESULT)
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **_cells}, indent=1) + "\n")


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(server: tuple[str, Server], promise: str, tmp_path: Path) -> None:
    name, running = server
    attempt, same = PROMISES[promise]
    found = attempt(Bench(running, running.new_bucket(), tmp_path))
    cells = _cells.setdefault(name, {"name": running.name})
    cells[promise] = found
    assert found == DIFFERS.get(name, {}).get(promise, same)
