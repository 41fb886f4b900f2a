"""Objects of one request share their MD5s where they are large enough to gain by it."""

from __future__ import annotations

import hashlib
from typing import cast

import pytest

from streamtos3.runtime.md5_group import Md5Group
from streamtos3.uploader.object_upload import OneOfMany

LARGE = 1 << 18


class Asked(Md5Group):
    """Notes the sizes that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def digest(self, data: memoryview) -> bytes:
        self.sizes.append(len(data))
        return super().digest(data)


def test_only_large_objects_are_hashed_together() -> None:
    among = OneOfMany(md5s=Asked())
    for size in (0, 1, LARGE - 1, LARGE, LARGE + 1):
        data = bytes(size)
        assert among.md5(memoryview(data)) == hashlib.md5(data).digest()
    assert cast(Asked, among.md5s).sizes == [LARGE, LARGE + 1]


@pytest.mark.parametrize(
    ("size", "announced"), [(None, 0), (0, 0), (LARGE - 1, 0), (LARGE, 1), (LARGE + 1, 1)]
)
def test_only_large_objects_are_announced(size: int | None, announced: int) -> None:
    group = Md5Group()
    with OneOfMany(md5s=group).reading(size):
        assert group._announced == announced
    assert group._announced == 0


def test_without_others_each_is_hashed_alone() -> None:
    among = OneOfMany()
    data = bytes(LARGE)
    with among.reading(LARGE):
        assert among.md5(memoryview(data)) == hashlib.md5(data).digest()
