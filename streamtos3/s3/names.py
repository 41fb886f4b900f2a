"""Names of buckets and keys, quickly or not at all: for whoever completes a half-typed address."""

from __future__ import annotations

from ..model.options import Connection
from .clients import Clients
from .sender import Sender

__all__ = ["bucket_names", "key_names", "load"]

_MOST = 200


def load() -> None:
    """Load what the requests need, which takes longer than they do."""
    import botocore.session  # noqa: F401


def bucket_names(connection: Connection) -> list[str]:
    """The buckets of the account. Raises as all requests do, within three seconds."""
    sender = Sender(Clients(connection, 1), connection, {})
    answer = sender.send("list the buckets", "list_buckets", "hint")
    return [each["Name"] for each in answer.get("Buckets", [])]


def key_names(connection: Connection, bucket: str, prefix: str) -> list[str]:
    """Keys that begin with `prefix`, as far as the next slash; at most 200, likewise."""
    sender = Sender(Clients(connection, 1), connection, {"Bucket": bucket})
    answer = sender.send(
        f"list s3://{bucket}/{prefix}",
        "list_objects_v2",
        "hint",
        Prefix=prefix,
        Delimiter="/",
        MaxKeys=_MOST,
    )
    below = [each["Prefix"] for each in answer.get("CommonPrefixes", [])]
    return [*below, *(each["Key"] for each in answer.get("Contents", []))]
