"""When a specification is complete, what it warns of, and which documents equal it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from streamtos3.errors import SourceError
from streamtos3.model.events import Event, Warned
from streamtos3.model.options import Options
from streamtos3.publish.manifest import (
    Entry,
    SpecificationBuilder,
    names_same_objects,
    specification_json,
)
from streamtos3.publish.selection import select_files
from streamtos3.publish.tree import Tree, TreeEntry, Unreadable


class Building:
    """A builder for a directory of these files, and what it warned of."""

    def __init__(self, *paths: str) -> None:
        tree = Tree(
            "d", follows_links=False, entries=[TreeEntry(path, "file", 3) for path in paths]
        )
        self.events: list[Event] = []
        selection = select_files(tree, "bucket", "p")
        self.builder = SpecificationBuilder(selection, Options(), self.events.append)

    @property
    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Warned)]


def entry(path: str, **changes: Any) -> Entry:
    made = Entry(
        path=path,
        bucket="bucket",
        key=f"p/{path}",
        region=None,
        endpoint="http://127.0.0.1",
        version_id=None,
        size_bytes=3,
        etag="e",
        sha256="0" * 64,
        proof="etag",
        changed=False,
        already_there=False,
    )
    return replace(made, **changes)


def test_it_is_complete_once_every_file_is_there() -> None:
    building = Building("a", "b")
    building.builder.add(entry("b", already_there=True))
    assert not building.builder.specification().complete
    building.builder.add(entry("a"))
    specification = building.builder.specification()
    assert specification.complete
    assert [each.path for each in specification.entries] == ["a", "b"]
    assert (specification.objects, specification.size_bytes) == (2, 6)
    assert specification.already_there == 1
    assert building.warnings == []
    building.builder.check()


@pytest.mark.parametrize("changes", [{"proof": None}, {"changed": True}, {"changed": ("x",)}])
def test_it_is_not_complete_without_a_proof_or_after_a_change(changes: dict[str, Any]) -> None:
    building = Building("a")
    building.builder.add(entry("a", **changes))
    assert not building.builder.specification().complete


def test_what_is_unreadable_or_changed_is_warned_of_at_once_and_counted_at_the_end() -> None:
    building = Building("a", "b")
    building.builder.add(entry("a", changed=("x", "y")), (Unreadable("z", "cannot read z"),))
    building.builder.add(entry("b", changed=True))
    assert building.warnings == [
        "not published: cannot read z",
        "x changed while it was read",
        "y changed while it was read",
        "b changed while it was read",
    ]
    assert building.builder.specification().not_published == (Unreadable("z", "cannot read z"),)
    with pytest.raises(SourceError) as caught:
        building.builder.check()
    assert caught.value.message == (
        "not everything in d was published as it is: "
        "1 could not be read, 3 changed while being read"
    )
    assert caught.value.left_behind == "2 objects at s3://bucket/p/, named in the specification"


def test_an_error_before_the_first_object_leaves_nothing_behind() -> None:
    error = SourceError("it failed")
    Building("a").builder.note_what_is_there(error)
    assert error.left_behind is None


def test_a_document_is_equal_if_it_names_the_same_objects() -> None:
    building = Building("a")
    building.builder.add(entry("a"))
    specification = building.builder.specification()
    document = specification_json(specification)
    assert names_same_objects(document.encode(), specification)
    earlier = json.loads(document)
    earlier["entries"][0]["already_there"] = True
    assert names_same_objects(json.dumps(earlier).encode(), specification)
    for name, value in (("sha256", "1" * 64), ("etag", "f"), ("size_bytes", 4), ("key", "q")):
        other = json.loads(document)
        other["entries"][0][name] = value
        assert not names_same_objects(json.dumps(other).encode(), specification)


@pytest.mark.parametrize("document", [b"", b"\xff", b"[]", b"{}", b'{"entries": [{}]}', b"3"])
def test_another_object_under_the_key_is_not_equal(document: bytes) -> None:
    assert not names_same_objects(document, Building("a").builder.specification())
