"""An unfinished upload as a value."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from streamtos3.model.parts import ListedPart
from streamtos3.model.unfinished_upload import UnfinishedUpload

BEGUN = datetime(2026, 1, 2, tzinfo=timezone.utc)
MD5 = "0" * 32


@pytest.mark.parametrize(
    ("age_s", "older_than_s", "expected"),
    [
        (100.0, 99, True),
        (100.0, 99.5, False),  # the service's dates are of whole seconds
        (0.0, 0, True),
        (None, 0, True),
        (None, 1, False),  # where the service does not tell the time, nothing is surely old
    ],
)
def test_older_means_surely_older(age_s: float | None, older_than_s: float, expected: bool) -> None:
    assert UnfinishedUpload("k", "id", BEGUN, age_s).is_older_than(older_than_s) is expected


def test_a_part_that_is_listed_twice_counts_once() -> None:
    """SeaweedFS lists a part twice after it was sent again with other bytes."""
    listed = (ListedPart(1, 5, MD5), ListedPart(1, 6, "1" * 32), ListedPart(2, 3, MD5))
    measured = UnfinishedUpload("k", "id", BEGUN).measured(listed)
    assert (measured.parts, measured.size_bytes) == (2, 9)


def test_a_part_is_held_if_number_size_and_md5_are_the_same() -> None:
    upload = UnfinishedUpload("k", "id", BEGUN, listed=(ListedPart(1, 5, MD5),))
    assert upload.find_part(1, 5, MD5)
    assert not upload.find_part(2, 5, MD5)
    assert not upload.find_part(1, 6, MD5)
    assert not upload.find_part(1, 5, "1" * 32)
