"""What --dask may name."""

from __future__ import annotations

import pytest

from streamtos3.cluster.address import ClusterAddress, parse_address
from streamtos3.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("local:3", ClusterAddress(processes=3)),
        ("local", ClusterAddress(processes=0)),
        ("tcp://host:8786", ClusterAddress(url="tcp://host:8786")),
        ("tls://host:8786", ClusterAddress(url="tls://host:8786")),
        ("/shared/scheduler.json", ClusterAddress(scheduler_file="/shared/scheduler.json")),
    ],
)
def test_an_address_is_read_and_said_again(text: str, address: ClusterAddress) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_local == text.startswith("local")


@pytest.mark.parametrize("text", ["", "local:0", "local:x", "local:-1", "http://h:1", "tcp://"])
def test_what_is_no_address_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)
