"""The programs that are measured: how each is called, and in what environment.

All get the same keys, region, certificate authority and path-style addresses, their own
defaults otherwise, and neither a configuration file nor a place to write one.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "BUCKET",
    "COPIERS",
    "DASK_COPIERS",
    "FILE_PUTTERS",
    "FLOOR",
    "GETTERS",
    "LIMITED",
    "LIMITED_GETTERS",
    "LIMIT_MIB_PER_S",
    "PUTTERS",
    "RECOPIERS",
    "STREAMTOS3",
    "WORKERS",
    "Copier",
    "Program",
    "environment_of",
    "streamtos3_by",
]

BUCKET = "bench"
_SCRIPTS = Path(sys.executable).parent  # not resolved: that of the virtual environment
_SITE = Path(sysconfig.get_path("purelib"))
_LIBRARY_PEERS = str(Path(__file__).with_name("library_peers.py"))

Command = Callable[[str, str], list[str]]
"""Endpoint URL and key to the words of a command."""


@dataclass(frozen=True)
class Program:
    """A program under its name in the tables."""

    name: str
    command: Command
    stores: bool = True


@dataclass(frozen=True)
class Copier:
    """A program that stores a directory: `command` takes endpoint URL, directory and prefix."""

    name: str
    command: Callable[[str, str, str], list[str]]


def environment_of(endpoint_url: str, authority: Path, home: Path) -> dict[str, str]:
    """What every program is run with."""
    return {
        "PATH": f"{_SCRIPTS}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": endpoint_url,
        "AWS_CONFIG_FILE": str(home / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CA_BUNDLE": str(authority),
        "SSL_CERT_FILE": str(authority),
        "CURL_CA_BUNDLE": str(authority),
    }


def streamtos3_by(command: list[str], *options: str) -> Command:
    """streamtos3 as `command` calls it."""
    return lambda endpoint, key: [
        *(*command, "-q", *options, "--endpoint-url", endpoint, f"s3://{BUCKET}/{key}")
    ]


def _rclone(*verb: str) -> Command:
    def words(endpoint: str, key: str) -> list[str]:
        remote = f':s3,provider=Other,env_auth=true,region=us-east-1,endpoint="{endpoint}"'
        return [str(_SCRIPTS / "rclone"), "--config=", *verb, f"{remote}:{BUCKET}/{key}"]

    return words


def _rclone_copy(endpoint: str, directory: str, prefix: str) -> list[str]:
    return _rclone("copy", directory)(endpoint, prefix)


def _aws_recursive(endpoint: str, directory: str, prefix: str) -> list[str]:
    # Quiet as the others are: a line for each file would cost it more than they pay.
    words = _aws(directory, "{url}")(endpoint, prefix)
    return [*words, "--recursive", "--only-show-errors"]


def _publish(*options: str) -> Callable[[str, str, str], list[str]]:
    words = [*STREAMTOS3, "publish", "-q", *options]
    return lambda endpoint, directory, prefix: [
        *(*words, "--endpoint-url", endpoint, directory, f"s3://{BUCKET}/{prefix}/")
    ]


def _put_file(*options: str) -> Callable[[str, str, str], list[str]]:
    """The one file of a directory."""
    words = [*STREAMTOS3, "put", "-q", *options]
    return lambda endpoint, directory, prefix: [
        *(*words, "--endpoint-url", endpoint, f"{directory}/000000.bin"),
        f"s3://{BUCKET}/{prefix}/file",
    ]


def _s5cmd(verb: str) -> Command:
    # The program itself and not the Python script in front of it, which would cost a start-up.
    binary = str(_SITE / "s5cmd" / "bin" / "s5cmd")
    return lambda endpoint, key: [
        *(binary, "--endpoint-url", endpoint, verb, f"s3://{BUCKET}/{key}")
    ]


def _library(name: str, verb: str) -> Command:
    return lambda endpoint, key: [sys.executable, _LIBRARY_PEERS, name, verb, key]


def _aws(source: str, target: str) -> Command:
    return lambda endpoint, key: [
        *(sys.executable, str(_SCRIPTS / "aws"), "s3", "cp"),
        *(word.format(url=f"s3://{BUCKET}/{key}") for word in (source, target)),
    ]


def _curl(endpoint: str, key: str) -> list[str]:
    url = f"{endpoint}/{BUCKET}/{key}"
    return ["curl", "--silent", "--show-error", "--fail", "--upload-file", "-", url]


FLOOR = [
    Program("openssl md5", lambda endpoint, key: ["openssl", "md5"], stores=False),
    Program("curl -T", _curl),
]
"""Each byte hashed once, and encrypted and sent once: what cannot be done for less."""

STREAMTOS3 = [str(_SCRIPTS / "streamtos3")]

PUTTERS = [
    Program("streamtos3", streamtos3_by(STREAMTOS3)),
    Program("streamtos3 --digest none", streamtos3_by(STREAMTOS3, "--digest", "none")),
    Program("aws s3 cp", _aws("-", "{url}")),
    Program("s5cmd pipe", _s5cmd("pipe")),
    Program("rclone rcat", _rclone("rcat")),
    Program("obstore", _library("obstore", "put")),
    Program("boto3", _library("boto3", "put")),
    Program("smart_open", _library("smart_open", "put")),
]

GETTERS = [
    Program("streamtos3 get", streamtos3_by([*STREAMTOS3, "get"])),
    Program("aws s3 cp", _aws("{url}", "-")),
    Program("s5cmd cat", _s5cmd("cat")),
    Program("rclone cat", _rclone("cat")),
    Program("obstore", _library("obstore", "get")),
    Program("boto3", _library("boto3", "get")),
    Program("smart_open", _library("smart_open", "get")),
]

LIMIT_MIB_PER_S = 20
_LIMIT = ("--limit-rate", f"{LIMIT_MIB_PER_S}MiB")
LIMITED = [
    Program("streamtos3 --limit-rate", streamtos3_by(STREAMTOS3, *_LIMIT)),
    Program("rclone rcat --bwlimit", _rclone("rcat", f"--bwlimit={LIMIT_MIB_PER_S}Mi")),
]
LIMITED_GETTERS = [
    Program("streamtos3 get --limit-rate", streamtos3_by([*STREAMTOS3, "get"], *_LIMIT)),
    Program("rclone cat --bwlimit", _rclone("cat", f"--bwlimit={LIMIT_MIB_PER_S}Mi")),
]

COPIERS = [
    Copier("streamtos3 publish", _publish()),
    Copier("aws s3 cp --recursive", _aws_recursive),
    Copier("rclone copy", _rclone_copy),
]

RECOPIERS = [
    Copier("streamtos3 publish --resume", _publish("--resume")),
    Copier("rclone copy, again", _rclone_copy),
]
"""Where all is there already, stored by the same program."""

FILE_PUTTERS = [
    Copier("streamtos3 put FILE", _put_file()),
    Copier("streamtos3 put --digest none FILE", _put_file("--digest", "none")),
    Copier("streamtos3 put --dask local:2", _put_file("--dask", "local:2")),
]
"""The first digests the whole by SHA-256, the last each part, the second does neither."""

DASK_COPIERS = [
    Copier("streamtos3 publish", _publish()),
    Copier("streamtos3 publish --dask local:2", _publish("--dask", "local:2")),
]

WORKERS = [
    Copier(f"local:{count}", _put_file("--dask", f"local:{count}", "--jobs", str(count)))
    for count in (1, 2, 4, 8)
]
"""Of one connection each, as if each had a link of its own."""
