"""What an answer says that is no S3 error, and how a proxy is named."""

from __future__ import annotations

import gzip

import pytest

from streamtos3.model.options import Connection
from streamtos3.s3.clients import Clients, first_line


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"plain\nand more", "plain"),
        (b"\n\n  spaced   out \n", "spaced out"),
        (b'{"error": "no"}', '{"error": "no"}'),
        (b"<html><title>400\n Bad</title><body>x</body></html>", "400 Bad"),
        (b"<html><body><h1>Go</h1> away</body></html>", "Go"),
        (b"x" * 1000, "x" * 200),
        (gzip.compress(b"packed", mtime=0), None),
        (b"", None),
        (None, None),
    ],
)
def test_the_first_line_of_a_body(body: bytes | None, expected: str | None) -> None:
    assert first_line(body) == expected


@pytest.mark.parametrize(
    ("connection", "environment", "expected"),
    [
        (Connection(), {}, None),
        (Connection(proxy="http://u:p@host:1/"), {}, "the proxy http://host:1"),
        (Connection(proxy="host:1", proxy_origin="--proxy"), {}, "the proxy host:1 (from --proxy)"),
        (Connection(), {"https_proxy": "http://a"}, "the proxy http://a (from https_proxy)"),
        (Connection(), {"HTTPS_PROXY": "http://u:p@a"}, "the proxy http://a (from HTTPS_PROXY)"),
        (Connection(), {"HTTP_PROXY": "http://a"}, None),
        (Connection(), {"HTTPS_PROXY": "http://a", "NO_PROXY": "s3.example"}, None),
    ],
)
def test_the_proxy_is_named_with_where_it_was_configured(
    monkeypatch: pytest.MonkeyPatch,
    connection: Connection,
    environment: dict[str, str],
    expected: str | None,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Clients(connection, 1).proxy_name("https://s3.example") == expected
