"""A finished publication as Bacalhau's S3 publisher tells it: its "published result specification".

`Type` and `Params`, which other jobs take as an input source:
https://docs.bacalhau.org/references/other-specifications/publishers/s3
"""

from __future__ import annotations

import json
import re
from typing import Any

from .manifest import Specification

__all__ = ["published_result", "published_result_json", "published_result_yaml"]

# A word that no reader of YAML takes for anything else: not for a number, and none of its words
# for true, false and nothing, which have no slash, dot or digit inside.
_PLAIN = re.compile(r"[A-Za-z](?:[\w/.-]|:(?=[\w/]))*", re.ASCII)
_YAML_WORDS = frozenset("y n yes no true false on off null".split())


def published_result(specification: Specification) -> dict[str, Any]:
    """Where everything is: a prefix, or one archive with its SHA-256 and version.

    `specification` must be complete, because this form cannot say what is missing.
    """
    assert specification.complete
    first = next(iter(specification.entries), None)
    params = {"Bucket": specification.bucket, "Key": specification.key}
    if first is not None:
        params["Endpoint"] = first.endpoint
        if first.region:
            params["Region"] = first.region
        if first.key == specification.key:  # the archive
            params["ChecksumSHA256"] = f"0x{first.sha256}"
            if first.version_id:
                params["VersionID"] = first.version_id
    return {"Type": "s3", "Params": params}


def published_result_json(specification: Specification) -> str:
    """As JSON, with a line break at its end."""
    return json.dumps(published_result(specification), indent=2) + "\n"


def published_result_yaml(specification: Specification) -> str:
    """As YAML, with a line break at its end."""
    result = published_result(specification)
    lines = [f"  {name}: {_scalar(text)}" for name, text in result["Params"].items()]
    return "\n".join([f"Type: {result['Type']}", "Params:", *lines]) + "\n"


def _scalar(text: str) -> str:
    """`text` plain where that is sure to mean a text, else quoted as in JSON, which YAML reads."""
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    # Characters that YAML wants escaped and JSON does not; all others stand for themselves.
    return re.sub(
        "[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", quoted
    )
