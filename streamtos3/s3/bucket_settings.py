"""What a bucket is set to, as far as its owner lets us see it: one question, one request.

Nothing here is needed to store or read an object; `uploader.examination` tells an operator.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..errors import AbsentError
from ..model.options import Connection
from .clients import Clients, FoundCredentials
from .sender import Sender

__all__ = ["AbortRule", "BucketSettings", "Retention"]


@dataclass(frozen=True)
class AbortRule:
    """A lifecycle rule that aborts unfinished uploads below `prefix` after so many days."""

    prefix: str
    days: int


@dataclass(frozen=True)
class Retention:
    """The retention that each new object gets by default: `GOVERNANCE`, `30 days`."""

    mode: str
    period: str


class BucketSettings:
    """The settings of one bucket. Each method raises as `Bucket` does where it may not see them."""

    def __init__(
        self, bucket: str, connection: Connection, clients: Clients, *, owner: str | None = None
    ) -> None:
        self._url = f"s3://{bucket}"
        common: dict[str, Any] = {
            "Bucket": bucket,
            **({"ExpectedBucketOwner": owner} if owner else {}),
        }
        self._sender = Sender(clients, connection, common)

    def credentials(self) -> FoundCredentials:
        """What requests are signed with. CredentialsError where there is nothing."""
        return self._sender.find_credentials()

    def region(self) -> str | None:
        """Where the bucket is, by its own word; None where it does not say."""
        answer = self._ask("region", "head_bucket")
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region") or None

    def versioning(self) -> str | None:
        """`Enabled` or `Suspended`; None where it was never turned on."""
        answer = self._ask("versioning", "get_bucket_versioning")
        status = answer.get("Status")
        return str(status) if status else None

    def object_lock(self) -> Retention | bool:
        """The default retention; else whether objects can be locked at all."""
        answer = self._ask_if_set("Object Lock", "get_object_lock_configuration")
        configuration = answer.get("ObjectLockConfiguration", {})
        rule = configuration.get("Rule", {}).get("DefaultRetention", {})
        if not rule.get("Mode"):
            return bool(configuration.get("ObjectLockEnabled") == "Enabled")
        unit = "days" if rule.get("Days") else "years"
        return Retention(rule["Mode"], f"{rule.get('Days') or rule.get('Years')} {unit}")

    def encryption(self) -> str | None:
        """What new objects are encrypted with by default, such as `AES256` or `aws:kms`."""
        answer = self._ask_if_set("default encryption", "get_bucket_encryption")
        rules = answer.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        defaults = [each.get("ApplyServerSideEncryptionByDefault", {}) for each in rules]
        return next((str(each["SSEAlgorithm"]) for each in defaults if each), None)

    def abort_rules(self) -> list[AbortRule]:
        """The lifecycle rules that are on and abort unfinished uploads."""
        answer = self._ask_if_set("lifecycle rules", "get_bucket_lifecycle_configuration")
        return list(_abort_rules(answer.get("Rules", [])))

    def remove(self, key: str, version_id: str | None) -> None:
        """Delete an object for good: that version, or the one that there is, without a trace.

        Where versions are kept, to delete a key only hides it; what hides it is removed as well.
        """
        what = f"delete {self._url}/{key}"
        version: dict[str, Any] = {"VersionId": version_id} if version_id else {}
        answer = self._sender.send(what, "delete_object", Key=key, **version)
        if answer.get("DeleteMarker") and version_id is None and answer.get("VersionId"):
            self._sender.send(what, "delete_object", Key=key, VersionId=answer["VersionId"])

    def _ask(self, about: str, operation: str) -> dict[str, Any]:
        return self._sender.send(f"see the {about} of {self._url}", operation)

    def _ask_if_set(self, about: str, operation: str) -> dict[str, Any]:
        """The answer, empty where S3 says that the bucket has no such setting."""
        try:
            return self._ask(about, operation)
        except AbsentError as error:
            if error.code == "NoSuchBucket":
                raise
            return {}


def _abort_rules(rules: list[dict[str, Any]]) -> Iterator[AbortRule]:
    for rule in rules:
        days = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
        if rule.get("Status") == "Enabled" and days:
            chosen = rule.get("Filter") or rule
            chosen = chosen.get("And") or chosen
            yield AbortRule(chosen.get("Prefix") or "", int(days))
