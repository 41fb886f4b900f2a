"""Where an object's parts end: what is asked, in which order, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamtos3.downloader.part_layout import ask_exact_layout, find_layout
from streamtos3.model.parts import Limits
from streamtos3.s3.responses import ObjectInfo

LIMITS = Limits(min_part_bytes=1)
MD5 = "0" * 32


class Server:
    """Knows the sizes of the parts, or none; `asked` are the part numbers, in order."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.asked: list[int] = []

    def __call__(self, numbers: Sequence[int]) -> list[tuple[int, int] | None]:
        self.asked.extend(numbers)
        count = len(self.sizes)
        return [(self.sizes[n - 1], count) if n <= count else None for n in numbers]


def info(
    size_bytes: int, etag: str | None, plan: str | None = None, *, etag_is_md5: bool = True
) -> ObjectInfo:
    return ObjectInfo(size_bytes, etag, None, None, plan, etag_is_md5=etag_is_md5)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (info(7, MD5), (7,)),
        (info(7, f"{MD5}-1"), (7,)),
        (info(0, f"{MD5}-1"), (0,)),
        (info(7, "opaque"), None),
        (info(7, None), None),
        (info(7, MD5, etag_is_md5=False), None),
        (info(7, f"{MD5}-3", "3", etag_is_md5=False), None),
    ],
)
def test_what_needs_no_question(found: ObjectInfo, expected: tuple[int, ...] | None) -> None:
    server = Server(7)
    assert find_layout(found, server, LIMITS) == expected
    assert server.asked == []


@pytest.mark.parametrize(
    ("sizes", "plan", "asked"),
    [
        # Our plan, and the last part agrees: one question.
        ((4, 4, 2), "4/10000", [3]),
        ((4, 4, 8, 3), "4/2/2", [4]),
        # A plan that is missing, unreadable or of another object: equal parts, two questions.
        ((4, 4, 2), None, [3, 1]),
        ((4, 4, 2), "nonsense", [3, 1]),
        ((4, 4, 2), "5/10000", [3, 1]),
        ((4, 4, 4), None, [3, 1]),
        # Neither: every part is asked for.
        ((4, 5, 1), None, [3, 1, 1, 2, 3]),
        ((4, 5, 1), "4/10000", [3, 1, 1, 2, 3]),
        ((0, 5, 5), None, [3, 1, 1, 2, 3]),
    ],
)
def test_a_server_that_tells_the_sizes_of_parts(
    sizes: tuple[int, ...], plan: str | None, asked: list[int]
) -> None:
    server = Server(*sizes)
    found = info(sum(sizes), f"{MD5}-{len(sizes)}", plan)
    assert find_layout(found, server, LIMITS) == sizes
    assert server.asked == asked


class OnePart(Server):
    """Answers for every part as if the object were one."""

    def __call__(self, numbers: Sequence[int]) -> list[tuple[int, int] | None]:
        return [(10, 1) for _ in numbers]


@pytest.mark.parametrize("server", [Server(), Server(10), OnePart()])
@pytest.mark.parametrize(("plan", "expected"), [("4/10000", (4, 4, 2)), (None, None)])
def test_a_server_that_knows_no_parts_leaves_our_plan(
    server: Server, plan: str | None, expected: tuple[int, ...] | None
) -> None:
    """It answers with an error, or as if the object were one part."""
    assert find_layout(info(10, f"{MD5}-3", plan), server, LIMITS) == expected


def test_a_plan_of_another_number_of_parts_is_none() -> None:
    assert find_layout(info(10, f"{MD5}-4", "4/10000"), Server(), LIMITS) is None


def test_a_wrong_guess_in_the_middle_is_not_noticed_here_but_by_asking_for_each() -> None:
    server = Server(5, 3, 2)
    found = info(10, f"{MD5}-3", "4/10000")
    assert find_layout(found, server, LIMITS) == (4, 4, 2)
    assert ask_exact_layout(found, server) == (5, 3, 2)


@pytest.mark.parametrize(
    ("found", "server", "asked"),
    [
        (info(10, MD5), Server(10), []),
        (info(10, "opaque"), Server(10), []),
        (info(10, f"{MD5}-3"), Server(), [1, 2, 3]),
        (info(10, f"{MD5}-3"), Server(5, 5), [1, 2, 3]),
        (info(11, f"{MD5}-3"), Server(5, 3, 2), [1, 2, 3]),
    ],
)
def test_no_exact_layout_where_the_answers_do_not_make_up_the_object(
    found: ObjectInfo, server: Server, asked: list[int]
) -> None:
    assert ask_exact_layout(found, server) is None
    assert server.asked == asked
