"""`publish`: every file its own proved object, or all in one archive, and a record of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streamtos3.model.options import Retries
from streamtos3.publish import publication as publish_module
from streamtos3.sources.regular_file import WatchedFile
from streamtos3.uploader import upload as engine
from tests.rig.command import Outcome, account, assert_refused, invoke
from tests.rig.proxy import Fault, FaultProxy
from tests.rig.seaweed import SeaweedFS
from tests.rig.support import MIB, open_uploads, payload
from tests.unit.publish.test_tar_source import contents

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ODD_NAMES = (
    *(
        "a",
        "-dash",
        "with space",
        "line\nbreak",
        "tab\there",
        "end\n",
        "é",
        "e\u0301",
        "\U0001f600",
    ),
    *("{date}", "{", "plus+%20", "q?x=1&y#z", "'\"<>&", "*", "\x7f", "d/\u202ex", "d/e/f;g", "~"),
)
PART = ("-c", "5MiB", "-s", "0.01", "-r", "3")


class Site:
    """A directory, a bucket, and the program between them."""

    def __init__(self, seaweed: SeaweedFS, s3: S3Client, bucket: str, directory: Path) -> None:
        self.env = account(seaweed)
        self.s3 = s3
        self.bucket = bucket
        self.directory = directory

    def publish(self, where: str, *options: object, **env: str) -> Outcome:
        words = ("publish", *PART, *options, self.directory, f"s3://{self.bucket}/{where}")
        return invoke(*words, env={**self.env, **env})

    def through(self, proxy: FaultProxy) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": proxy.endpoint_url}

    def add(self, files: dict[str, bytes]) -> None:
        for name, data in files.items():
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def stored(self, prefix: str = "") -> dict[str, bytes]:
        """All objects, by their keys below `prefix`."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return {key.removeprefix(prefix): self.body(key) for key in keys}

    def body(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def uploads(self) -> list[tuple[str, str]]:
        return open_uploads(self.s3, self.bucket)


@pytest.fixture
def site(seaweed: SeaweedFS, s3: S3Client, bucket: str, tmp_path: Path) -> Site:
    directory = tmp_path / "results"
    directory.mkdir()
    return Site(seaweed, s3, bucket, directory)


@pytest.fixture
def proxy(seaweed: SeaweedFS) -> Any:
    with FaultProxy(seaweed.endpoint_url, (seaweed.access_key, seaweed.secret_key)) as proxy:
        yield proxy


def document(outcome: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def paths(outcome: Outcome) -> list[str]:
    return [each["path"] for each in document(outcome)["entries"]]


# What is stored, and what is said of it


def test_every_file_becomes_an_object_under_its_path_whatever_its_name(site: Site) -> None:
    files = {name: payload(number) for number, name in enumerate(ODD_NAMES)}
    site.add(files)
    outcome = site.publish("r/")
    assert outcome.status == 0, outcome.stderr
    assert site.stored("r/") == files
    assert site.uploads() == []
    assert paths(outcome) == sorted(files, key=os.fsencode)


def test_the_specification_says_where_each_object_is_and_what_it_holds(
    site: Site, seaweed: SeaweedFS
) -> None:
    data = payload(12 * MIB)
    site.add({"big": data, "sub/page.html": b"<p>"})
    site.s3.put_bucket_versioning(Bucket=site.bucket, VersioningConfiguration={"Status": "Enabled"})
    outcome = site.publish("r/{jobID}", "--var", "jobID=abc123", "--metadata", "k=v")
    found = document(outcome)
    assert (outcome.status, found["complete"], found["objects"]) == (0, True, 2)
    assert (found["key"], found["template"]) == ("r/abc123/", "r/{jobID}")
    assert found["size_bytes"] == len(data) + 3
    big, page = found["entries"]
    head = site.s3.head_object(Bucket=site.bucket, Key="r/abc123/big")
    assert big == {
        "path": "big",
        "bucket": site.bucket,
        "key": "r/abc123/big",
        "region": "us-east-1",
        "endpoint": seaweed.endpoint_url,
        "version_id": head["VersionId"],
        "size_bytes": len(data),
        "etag": head["ETag"].strip('"'),
        "sha256": hashlib.sha256(data).hexdigest(),
        "proof": "composite-etag",
        "changed": False,
        "already_there": False,
    }
    assert head["ETag"].strip('"').endswith("-3")
    assert head["Metadata"]["k"] == "v"
    assert page["path"] == "sub/page.html"
    head = site.s3.head_object(Bucket=site.bucket, Key="r/abc123/sub/page.html")
    assert head["ContentType"] == "text/html"


def test_an_empty_directory_is_published_without_an_object(site: Site) -> None:
    (site.directory / "empty").mkdir()
    outcome = site.publish("r/")
    assert (outcome.status, document(outcome)["complete"], site.stored()) == (0, True, {})


def test_symbolic_links_are_counted_and_followed_only_where_that_is_asked(site: Site) -> None:
    site.add({"a": b"A", "d/b": b"B"})
    (site.directory / "to-a").symlink_to("a")
    (site.directory / "to-d").symlink_to("d")
    outcome = site.publish("no/")
    assert (outcome.status, sorted(site.stored("no/"))) == (0, ["a", "d/b"])
    assert document(outcome)["links_not_followed"] == 2
    assert "symbolic links not followed: 2 (--follow)" in outcome.stderr
    outcome = site.publish("yes/", "--follow")
    assert outcome.status == 0
    assert site.stored("yes/") == {"a": b"A", "d/b": b"B", "to-a": b"A", "to-d/b": b"B"}


# Keys


@pytest.mark.parametrize(
    "name, error",
    [
        ("/".join(["x" * 200] * 5) + "/" + "y" * 18, "the key has 1025 bytes; S3 allows 1024"),
        ("line\x01", "holds a control character"),
        ("no\ufffecharacter", "holds U+FFFE, which is not a character"),
        ("\uffff", "holds U+FFFF, which is not a character"),
        (os.fsdecode(b"latin-\xe9"), "is not valid UTF-8"),
    ],
)
def test_a_name_that_cannot_be_a_key_is_refused_before_anything_is_stored(
    site: Site, name: str, error: str
) -> None:
    site.add({"a": b"A", name: b"x"})
    assert_refused(site.publish("r/"), 2, error, "--archive")
    assert site.stored() == {}
    assert site.publish("r/", "--archive").status == 0


def test_a_key_of_1024_bytes_is_stored(site: Site) -> None:
    name = "/".join(["x" * 200] * 5) + "/" + "y" * 17
    assert len("r/" + name) == 1024
    site.add({name: b"x"})
    assert site.publish("r/").status == 0
    assert site.stored("r/") == {name: b"x"}


def test_two_files_that_a_service_could_take_for_one_are_refused(site: Site) -> None:
    """SeaweedFS takes a backslash for a slash: one would replace the other, silently."""
    site.add({"a/b": b"1", "a\\b": b"2"})
    assert_refused(site.publish("r/", "--overwrite"), 2, "to some services they are one key")
    assert site.stored() == {}


def test_braces_in_names_are_no_template(site: Site) -> None:
    site.add({"{jobID}": b"x", "{unknown": b"y"})
    assert site.publish("{jobID}/", "--var", "jobID={date}").status == 0
    assert sorted(site.stored()) == ["{date}/{jobID}", "{date}/{unknown"]


@pytest.mark.parametrize(
    "options, error",
    [
        (("--var", "jobID"), "is not of the form KEY=VALUE"),
        (("--var", "j=1", "--var", "j=2"), "gives 'j' twice"),
        (("--var", "date=1"), "--var date would hide"),
        (("--var", "env=1"), "--var env would hide"),
        (("--var", "a-b=1"), "is not a valid name"),
        (("--manifest", "r/a"), "the manifest's key r/a is that of a file"),
        (("--manifest", "m/{nope}"), "{nope}, which is not known"),
    ],
)
def test_what_makes_no_sense_is_refused(site: Site, options: tuple[str, ...], error: str) -> None:
    site.add({"a": b"A"})
    assert_refused(site.publish("r/", *options), 2, error)
    assert site.stored() == {}


def test_an_unknown_name_in_the_template_is_the_same_mistake_as_in_put(site: Site) -> None:
    site.add({"a": b"A"})
    assert_refused(site.publish("{nope}/", "--var", "mine=1"), 2, "{nope}", "{mine}")


def test_variables_may_come_from_the_environment_one_a_line(site: Site) -> None:
    site.add({"a": b"A"})
    assert site.publish("{x}/{y}", STREAMTOS3_VAR="x=1\ny=2\n").status == 0
    assert site.stored() == {"1/2/a": b"A"}


def test_a_destination_of_the_configuration_file_puts_its_prefix_before_everything(
    site: Site, tmp_path: Path
) -> None:
    site.add({"a": b"A"})
    config = tmp_path / "config.toml"
    config.write_text(f'[destination.lab]\nbucket = "{site.bucket}"\nprefix = "lab/"\n')
    common = ("publish", "-D", "lab", "--config", config, "--manifest", "{year}.json")
    outcome = invoke(*common, site.directory, "r/{hour}", env=site.env)
    assert outcome.status == 0, outcome.stderr
    found = document(outcome)
    assert found["key"].startswith("lab/r/")
    assert sorted(site.stored()) == sorted(
        [f"lab/{found['ended_at'][:4]}.json", found["key"] + "a"]
    )
    assert invoke(*common[:-2], site.directory, env=site.env).status == 0
    assert site.body("lab/a") == b"A"


@pytest.mark.parametrize("words", [(), ("dir",), ("s3://b/k",), ("a", "b", "s3://b/k")])
def test_without_just_one_directory_and_one_destination_the_usage_is_told(
    words: tuple[str, ...],
) -> None:
    assert_refused(invoke("publish", *words), 2, "one directory and one destination", "publish")


@pytest.mark.parametrize("name, error", [("missing", "no such file"), ("a", "not a directory")])
def test_what_is_no_directory_is_an_error_of_the_input(site: Site, name: str, error: str) -> None:
    site.add({"a": b"A"})
    site.directory /= name
    assert_refused(site.publish("r/"), 7, error)


# As Bacalhau's S3 publisher does


@pytest.mark.parametrize("codec, suffix", [((), ".gz"), (("gzip",), ".gz"), (("zstd",), ".zst")])
def test_compress_alone_makes_one_archive(site: Site, codec: tuple[str, ...], suffix: str) -> None:
    site.add({"a": b"A"})
    assert site.publish("run-1", "--compress", *codec).status == 0
    assert list(site.stored()) == ["run-1.tar" + suffix]


def test_compress_in_the_environment_is_only_a_default_for_archives(site: Site) -> None:
    site.add({"a": b"A"})
    assert site.publish("r/", STREAMTOS3_COMPRESS="gzip").status == 0
    assert site.publish("s", "--archive", STREAMTOS3_COMPRESS="gzip").status == 0
    assert list(site.stored()) == ["r/a", "s.tar.gz"]


def test_a_directory_may_be_called_like_the_option(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add({"--compress/a": b"A"})
    monkeypatch.chdir(site.directory)
    words = ("publish", *PART, "--", "--compress", f"s3://{site.bucket}/r/")
    assert invoke(*words, env=site.env).status == 0
    assert list(site.stored()) == ["r/a"]


def test_an_archive_is_told_as_bacalhau_tells_it(site: Site, seaweed: SeaweedFS) -> None:
    site.add({"a": b"A"})
    site.s3.put_bucket_versioning(Bucket=site.bucket, VersioningConfiguration={"Status": "Enabled"})
    where = "{jobID}/{executionID}"
    job = {"BACALHAU_JOB_ID": "j-1", "BACALHAU_EXECUTION_ID": "e-2"}
    outcome = site.publish(where, "--compress", "--spec", "bacalhau-json", **job)
    assert outcome.status == 0, outcome.stderr
    key = "j-1/e-2.tar.gz"
    head = site.s3.head_object(Bucket=site.bucket, Key=key)
    assert document(outcome) == {
        "Type": "s3",
        "Params": {
            "Bucket": site.bucket,
            "Key": key,
            "Endpoint": seaweed.endpoint_url,
            "Region": "us-east-1",
            "ChecksumSHA256": "0x" + hashlib.sha256(site.body(key)).hexdigest(),
            "VersionID": head["VersionId"],
        },
    }


def test_a_directory_is_told_as_bacalhau_tells_it(site: Site, seaweed: SeaweedFS) -> None:
    site.add({"a": b"A"})
    outcome = site.publish("{jobID}", "--spec", "bacalhau", "--var", "jobID=mine")
    assert (outcome.status, outcome.stdout) == (
        0,
        f"Type: s3\nParams:\n  Bucket: {site.bucket}\n  Key: mine/\n"
        f"  Endpoint: {seaweed.endpoint_url}\n  Region: us-east-1\n",
    )


def test_what_is_not_complete_is_told_in_our_own_form(site: Site) -> None:
    """The other one cannot say what is missing, and would pass for a result."""
    site.add({"a": b"A"})
    os.mkfifo(site.directory / "fifo")
    outcome = site.publish("r", "--spec", "bacalhau")
    assert (outcome.status, document(outcome)["complete"]) == (7, False)
    assert [each["path"] for each in document(outcome)["not_published"]] == ["fifo"]


def test_bacalhau_takes_no_empty_key(site: Site) -> None:
    site.add({"a": b"A"})
    assert_refused(site.publish("", "--spec", "bacalhau"), 2, "needs a prefix")
    assert site.stored() == {}


# Files that cannot be read, or change


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def during(monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[Path], object]) -> None:
    """`happens(path)` once the file `name` is open and before it is read to its end."""
    real = WatchedFile.finish

    def finish(self: WatchedFile, scope: Any) -> None:
        if self.name.endswith("/" + name):
            happens(Path(self.name))
        real(self, scope)

    monkeypatch.setattr(WatchedFile, "finish", finish)


def test_what_cannot_be_read_is_named_and_the_rest_is_published(site: Site) -> None:
    """A named pipe, and a file whose reading fails; root may read everything else."""
    site.add({"a": b"A", "z": b"Z"})
    os.mkfifo(site.directory / "fifo")
    (site.directory / "memory").symlink_to("/proc/self/mem")
    outcome = site.publish("r/", "--follow", "--manifest", "m")
    assert outcome.status == 7
    assert site.stored() == {"r/a": b"A", "r/z": b"Z"}, "without a manifest"
    assert site.uploads() == []
    memory = f"cannot read {site.directory}/memory at byte 0: input/output error"
    fifo = "fifo is a named pipe, not a regular file"
    assert sorted(outcome.said("warning")) == [f"not published: {memory}", f"not published: {fifo}"]
    found = document(outcome)
    assert (found["complete"], paths(outcome)) == (False, ["a", "z"])
    assert found["not_published"] == [
        {"path": "fifo", "reason": fifo},
        {"path": "memory", "reason": memory},
    ]
    assert outcome.said("error") == [
        f"not everything in {site.directory} was published as it is: 2 could not be read"
    ]
    assert f"left behind: 2 objects at s3://{site.bucket}/r/" in outcome.stderr


@pytest.mark.parametrize("size_bytes", [1, 11 * MIB])
def test_a_file_that_changes_while_it_is_read_is_stored_and_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, size_bytes: int
) -> None:
    site.add({"a": b"A", "log": payload(size_bytes)})
    during(monkeypatch, "log", grow)
    outcome = site.publish("r/", "--manifest", "m")
    assert outcome.status == 7
    assert site.stored() == {"r/a": b"A", "r/log": payload(size_bytes)}
    assert {each["path"]: each["changed"] for each in document(outcome)["entries"]} == {
        "a": False,
        "log": True,
    }
    assert outcome.said("warning") == ["log changed while it was read"]
    assert "1 changed while being read" in outcome.said("error")[0]


def test_a_file_that_vanishes_before_its_turn_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add({"a": b"A", "b": b"B"})
    during(monkeypatch, "a", lambda path: (path.parent / "b").unlink())
    outcome = site.publish("r/", "--files", "1")
    assert (outcome.status, site.stored("r/")) == (7, {"a": b"A"})
    assert [each["path"] for each in document(outcome)["not_published"]] == ["b"]


# The store fails


def test_an_object_that_exists_ends_the_publication_before_the_first_byte(site: Site) -> None:
    site.add({"a": b"A", "b": b"B"})
    site.s3.put_object(Bucket=site.bucket, Key="r/b", Body=b"theirs")
    outcome = site.publish("r/", "--files", "1", "--manifest", "m")
    assert outcome.status == 6
    assert site.stored() == {"r/b": b"theirs"}
    assert (paths(outcome), document(outcome)["complete"]) == ([], False)
    assert outcome.said("error") == [f"s3://{site.bucket}/r/b already exists"]
    assert "--resume skips what is there and equal" in outcome.said("hint")[0]
    assert site.publish("r/", "--overwrite", "--manifest", "m").status == 0
    assert site.body("r/b") == b"B"


def test_a_part_that_cannot_be_stored_ends_all_uploads_and_leaves_none(
    site: Site, proxy: FaultProxy
) -> None:
    site.add({name: payload(12 * MIB) for name in ("a", "b", "c", "d", "e")})
    proxy.faults.append(Fault("put-part", "500", part=2, key="c", times=-1))
    outcome = site.publish("r/", "--memory", "64MiB", "--files", "3", **site.through(proxy))
    assert outcome.status == 8, outcome.stderr
    stored = site.stored("r/")
    assert "c" not in stored
    assert site.uploads() == []
    assert sorted(stored) == paths(outcome)
    assert all(body == payload(12 * MIB) for body in stored.values())


def test_no_file_is_begun_after_the_store_has_failed(site: Site, proxy: FaultProxy) -> None:
    site.add({f"f{number:02}": b"x" for number in range(20)})
    proxy.faults.append(Fault("put-object", "access-denied", key="f03"))
    outcome = site.publish("r/", "--files", "1", **site.through(proxy))
    assert (outcome.status, paths(outcome)) == (5, ["f00", "f01", "f02"])
    assert sorted(site.stored("r/")) == ["f00", "f01", "f02"]
    assert proxy.count("put-object") == 4


def test_a_failure_that_passes_is_survived(site: Site, proxy: FaultProxy) -> None:
    files = {"a": payload(11 * MIB), "b": b"B"}
    site.add(files)
    proxy.faults += [Fault("put-part", "503"), Fault("put-object", "flip-request")]
    assert site.publish("r/", **site.through(proxy)).status == 0
    assert site.stored("r/") == files


def test_wrong_keys_are_refused_before_anything_is_stored(site: Site) -> None:
    site.add({"a": b"A", "b": b"B"})
    outcome = site.publish("r/", AWS_SECRET_ACCESS_KEY="wrong")
    assert (outcome.status, site.stored()) == (3, {})
    assert document(outcome)["entries"] == []


def test_what_nothing_proves_is_in_the_specification_and_ends_the_publication(site: Site) -> None:
    site.add({"a": b"A", "b": b"B"})
    outcome = site.publish("r/", "--files", "1", "--verify", "checksum")
    assert (outcome.status, site.stored("r/")) == (10, {"a": b"A"})
    (entry,) = document(outcome)["entries"]
    assert (entry["path"], entry["proof"]) == ("a", None)


def test_verify_none_goes_on_without_a_proof_and_never_calls_it_complete(site: Site) -> None:
    site.add({"a": b"A", "b": b"B"})
    outcome = site.publish("r/", "--verify", "none", "--manifest", "m")
    assert (outcome.status, site.stored()) == (10, {"r/a": b"A", "r/b": b"B"})
    assert [each["proof"] for each in document(outcome)["entries"]] == [None, None]
    assert document(outcome)["complete"] is False
    assert outcome.said("error") == ["stored, but not proved, as --verify none allows"]


# The manifest


def test_the_manifest_is_what_was_printed_and_is_stored_last(site: Site, proxy: FaultProxy) -> None:
    site.add({"a": b"A", "b": payload(11 * MIB)})
    outcome = site.publish("r/{j}/", "--manifest", "r/{j}.json", "--var", "j=7",
                           **site.through(proxy))  # fmt: skip
    assert outcome.status == 0, outcome.stderr
    assert site.body("r/7.json").decode() == outcome.stdout
    assert document(outcome)["complete"] is True
    commits = [each.key for each in proxy.seen if each.verb in ("put-object", "complete")]
    assert commits[-1].endswith("r/7.json") and len(commits) == 3
    head = site.s3.head_object(Bucket=site.bucket, Key="r/7.json")
    assert head["ContentType"] == "application/json"


def test_the_language_is_that_of_the_files_and_not_of_the_manifest(site: Site) -> None:
    site.add({"a.html": b"<p>Guten Tag"})
    outcome = site.publish("r/", "--manifest", "m", "--content-language", "de")
    assert outcome.status == 0, outcome.stderr
    heads = [site.s3.head_object(Bucket=site.bucket, Key=key) for key in ("r/a.html", "m")]
    assert [head.get("ContentLanguage") for head in heads] == ["de", None]


def test_a_manifest_that_exists_is_known_before_the_first_byte(site: Site) -> None:
    site.add({"a": b"A"})
    site.s3.put_object(Bucket=site.bucket, Key="m", Body=b"theirs")
    outcome = site.publish("r/", "--manifest", "m")
    assert (outcome.status, site.stored()) == (6, {"m": b"theirs"})


def test_a_manifest_that_cannot_be_stored_leaves_the_objects_and_says_so(
    site: Site, proxy: FaultProxy
) -> None:
    site.add({"a": b"A"})
    proxy.faults.append(Fault("put-object", "access-denied", key="m.json"))
    outcome = site.publish("r/", "--manifest", "m.json", **site.through(proxy))
    assert (outcome.status, site.stored()) == (5, {"r/a": b"A"})
    assert (paths(outcome), document(outcome)["complete"]) == (["a"], False)


# Again, with --resume


def test_what_is_there_and_equal_is_skipped_without_a_download(
    site: Site, proxy: FaultProxy
) -> None:
    site.add({"a": b"A", "b": payload(11 * MIB), "c": b"", "d/e": b"E"})
    assert site.publish("r/", "--manifest", "m").status == 0
    site.add({"new": b"N"})
    outcome = site.publish("r/", "--resume", **site.through(proxy))
    assert outcome.status == 0, outcome.stderr
    there = {each["path"]: each["already_there"] for each in document(outcome)["entries"]}
    assert there == {"a": True, "b": True, "c": True, "d/e": True, "new": False}
    assert [each.key for each in proxy.seen if each.verb == "put-object"] == ["r/new"]
    read = [each.key for each in proxy.seen if each.verb == "get" and each.key != "r/new"]
    assert (read, proxy.count("create")) == ([], 0)
    digests = {each["path"]: each["sha256"] for each in document(outcome)["entries"]}
    assert digests["b"] == hashlib.sha256(payload(11 * MIB)).hexdigest()
    assert "4 were there already" in outcome.stderr


def test_what_is_there_and_differs_is_not_skipped(site: Site) -> None:
    """Of the same size, so that only the ETag can tell."""
    site.add({"a": b"A", "b": payload(11 * MIB)})
    assert site.publish("r/").status == 0
    for name, data in {"a": b"B", "b": payload(11 * MIB, seed=1)}.items():
        site.s3.put_object(Bucket=site.bucket, Key=f"r/{name}", Body=data)
        outcome = site.publish("r/", "--resume")
        assert outcome.status == 6, outcome.stderr
        assert f"r/{name} already exists" in outcome.stderr
        assert site.publish("r/", "--resume", "--overwrite").status == 0
    assert site.stored("r/") == {"a": b"A", "b": payload(11 * MIB)}


def test_a_complete_publication_can_be_repeated_with_its_manifest(site: Site) -> None:
    """And a manifest that would say something else is not replaced unasked."""
    site.add({"a": b"A"})
    again = ("r/", "--resume", "--manifest", "m")
    assert site.publish(*again).status == 0
    first = site.body("m")
    assert site.publish(*again).status == 0
    assert site.body("m") == first
    site.add({"b": b"B"})
    assert site.publish(*again).status == 6
    assert site.body("m") == first
    assert site.publish(*again, "--overwrite").status == 0
    assert [each["path"] for each in json.loads(site.body("m"))["entries"]] == ["a", "b"]


def test_an_upload_that_broke_off_goes_on(site: Site, proxy: FaultProxy) -> None:
    site.add({"a": b"A", "big": payload(16 * MIB)})
    proxy.faults.append(Fault("put-part", "500", part=3, times=-1))
    outcome = site.publish("r/", "--resume", "-j", "1", **site.through(proxy))
    assert (outcome.status, site.stored("r/")) == (8, {"a": b"A"})
    assert "kept for --resume" in outcome.stderr
    proxy.faults.clear()
    proxy.seen.clear()
    assert site.publish("r/", "--resume", **site.through(proxy)).status == 0
    assert site.stored("r/") == {"a": b"A", "big": payload(16 * MIB)}
    assert sorted(each.part for each in proxy.seen if each.verb == "put-part" and each.part) == [
        3,
        4,
    ]
    assert site.uploads() == []


# Archives


@pytest.mark.slow
@pytest.mark.parametrize(
    "codec, key, unpack",
    [
        (None, "results.tar", "-x"),
        ("gzip", "results.tar.gz", "-xz"),
        ("zstd", "results.tar.zst", "-x"),
    ],
)
def test_the_archive_unpacks_to_what_was_there(
    site: Site, tmp_path: Path, codec: str | None, key: str, unpack: str
) -> None:
    site.add({name: name.encode() for name in ODD_NAMES})
    site.add({os.fsdecode(b"latin-\xe9"): b"", "noise": payload(11 * MIB), "x" * 250: b"long"})
    (site.directory / "empty").mkdir()
    (site.directory / "link").symlink_to("nowhere")
    outcome = site.publish("p/", "--archive", *(["--compress", codec] if codec else []))
    assert outcome.status == 0, outcome.stderr
    ((stored_key, packed),) = site.stored("p/").items()
    (entry,) = document(outcome)["entries"]
    assert stored_key == key
    assert entry["sha256"] == hashlib.sha256(packed).hexdigest()
    assert (entry["path"], entry["changed"], entry["size_bytes"]) == (".", [], len(packed))
    out = tmp_path / "out"
    out.mkdir()
    if codec == "zstd":
        packed = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True).stdout
    subprocess.run(["tar", f"{unpack}pf", "-", "-C", out], input=packed, check=True)
    assert contents(out) == contents(site.directory)


def test_an_archive_names_what_changed_and_what_it_had_to_leave_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add({"a": b"A", "b": b"B", "c": b"C"})
    os.mkfifo(site.directory / "fifo")
    during(monkeypatch, "a", lambda path: (path.parent / "b").unlink())
    during(monkeypatch, "c", grow)
    outcome = site.publish("p/x", "--archive", "--manifest", "m")
    assert outcome.status == 7
    found = document(outcome)
    assert list(site.stored()) == ["p/x.tar"]
    with tarfile.open(fileobj=io.BytesIO(site.body("p/x.tar"))) as archive:
        assert archive.getnames() == ["a", "c"]
    assert found["entries"][0]["changed"] == ["c"]
    assert [each["path"] for each in found["not_published"]] == ["b", "fifo"]
    assert "2 could not be read, 1 changed while being read" in outcome.said("error")[0]


@pytest.mark.parametrize("codec", [(), ("--compress", "zstd")])
def test_an_archive_of_an_unchanged_directory_is_found_there_again(
    site: Site, proxy: FaultProxy, codec: tuple[str, ...]
) -> None:
    site.add({"a": b"A", "noise": payload(11 * MIB)})
    words = ("p/x", "--archive", "--resume", *codec)
    assert site.publish(*words).status == 0
    outcome = site.publish(*words, **site.through(proxy))
    assert (outcome.status, document(outcome)["already_there"]) == (0, 1)
    assert (proxy.count("get"), proxy.count("create"), proxy.count("put-object")) == (0, 0, 0)
    site.add({"a": b"B"})
    assert site.publish(*words).status == 6


def test_an_archive_whose_parts_cannot_be_stored_leaves_nothing(
    site: Site, proxy: FaultProxy
) -> None:
    site.add({"noise": payload(16 * MIB)})
    proxy.faults.append(Fault("put-part", "500", part=2, times=-1))
    outcome = site.publish("p/", "--archive", **site.through(proxy))
    assert (outcome.status, site.stored(), site.uploads()) == (8, {}, [])
    assert document(outcome)["entries"] == []


# How much at a time


@pytest.mark.parametrize(
    "memory, files, jobs, at_once",
    [
        *[("1GiB", 4, 12, 4), ("1GiB", 100, 12, 6), ("20MiB", 4, 12, 2), ("1MiB", 4, 12, 1)],
        *[("1GiB", 1, 12, 1), ("1GiB", 4, 2, 2), ("1GiB", 4, 1, 1)],
    ],
)
def test_memory_and_connections_are_shared_out_among_the_files(
    site: Site, monkeypatch: pytest.MonkeyPatch, memory: str, files: int, jobs: int, at_once: int
) -> None:
    site.add({str(number): b"x" for number in range(6)})
    shares = []
    real = engine.upload_one_of_many

    def spy(*arguments: Any, **more: Any) -> Any:
        shares.append((more["options"].memory_bytes, more["options"].jobs))
        return real(*arguments, **more)

    monkeypatch.setattr(publish_module, "upload_one_of_many", spy)
    outcome = site.publish("r/", "--memory", memory, "--files", files, "-j", jobs)
    assert outcome.status == 0, outcome.stderr
    total_bytes = {"1GiB": 1024 * MIB, "20MiB": 20 * MIB, "1MiB": MIB}[memory]
    assert set(shares) == {(total_bytes // at_once, jobs // at_once)}


@pytest.mark.slow
def test_uploads_that_fail_each_by_itself_are_all_named(
    site: Site, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes away: each upload uses up its own retries, and cannot be aborted."""
    impatient = Retries(first_wait_s=0.05, retry_for_s=1.0)
    monkeypatch.setattr("streamtos3.uploader.multipart._ABORT_RETRIES", impatient)
    site.add({str(number): payload(12 * MIB, number) for number in range(4)})
    proxy.faults = [
        Fault("put-part", "503", times=-1, part=2),
        Fault("abort", "503", times=-1),
    ]
    outcome = site.publish("r/", **site.through(proxy))
    assert outcome.status == 8
    left = site.uploads()
    assert len(left) > 1
    assert [upload_id for _, upload_id in left if upload_id not in outcome.stderr] == []


@pytest.mark.parametrize("where", ["pre\nfix/", "../", "a/../b/", "./"])
def test_a_prefix_is_held_to_what_a_key_that_was_typed_is(site: Site, where: str) -> None:
    site.add({"a": b"x"})
    assert site.publish(where).status == 2
    assert site.stored() == {}
