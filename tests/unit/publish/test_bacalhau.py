"""The published result as Bacalhau reads it: every text stays a text, in YAML as in JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from streamtos3.publish.bacalhau import (
    published_result,
    published_result_json,
    published_result_yaml,
)
from streamtos3.publish.manifest import Specification
from tests.unit.publish.test_manifest import Building, entry


def specification(key: str, version_id: str | None = None) -> Specification:
    """A complete one, of an archive under `key`."""
    building = Building("a")
    building.builder.add(entry("a", key=key, version_id=version_id))
    return replace(building.builder.specification(), key=key)


def test_the_checksum_is_a_text_and_no_number() -> None:
    """Unquoted, YAML takes 0x00... for a number, and readers of texts refuse it."""
    text = published_result_yaml(specification("a.tar.gz"))
    assert text == (
        "Type: s3\nParams:\n  Bucket: bucket\n  Key: a.tar.gz\n  Endpoint: http://127.0.0.1\n"
        f'  ChecksumSHA256: "0x{"0" * 64}"\n'
    )


@pytest.mark.parametrize(
    "key",
    ["true", "No", "null", "1", "1e3", "a: b", "a:", "a #b", "- a", "~", "é", "\x85", "\U0001f600"],
)
def test_a_key_that_yaml_could_misread_is_quoted(key: str) -> None:
    assert yaml.safe_load(published_result_yaml(specification(key)))["Params"]["Key"] == key


@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    version_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_yaml_and_json_say_the_same(key: str, version_id: str) -> None:
    published = specification(key, version_id)
    expected = published_result(published)
    assert expected["Params"]["Key"] == key
    assert expected["Params"]["VersionID"] == version_id
    assert yaml.safe_load(published_result_yaml(published)) == expected
    assert json.loads(published_result_json(published)) == expected
