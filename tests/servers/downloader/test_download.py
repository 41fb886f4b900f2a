"""`download`: what comes out is proved to be what was stored, or the error says why not."""

from __future__ import annotations

import importlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import streamtos3.downloader.download
import streamtos3.downloader.ranges
from streamtos3 import (
    ByteRange,
    CancelScope,
    Options,
    Receipt,
    Retries,
    download,
    upload,
    verify_object,
)
from streamtos3.downloader.proofs import cut_pieces
from streamtos3.errors import (
    AbsentError,
    IntegrityError,
    Interrupted,
    OutputClosedError,
    OutputError,
    RefusedError,
    RetriesUsedUpError,
    StreamToS3Error,
    UnprovedReadError,
    UnreachableError,
    UsageError,
)
from streamtos3.model.events import RangeRead, ReadStarted
from tests.rig.client import plain_client
from tests.rig.fake_s3 import FakeS3
from tests.rig.peak_pool import PeakPool
from tests.rig.quirks import Stored
from tests.rig.shelf import OPTIONS, P, Shelf, bodies_of, once, shelf
from tests.rig.support import MIB, payload

# Where an operation makes a scope of its own.
SCOPE_MADE_IN = "streamtos3.s3.context.CancelScope"

GRID = (0, 1, P - 1, P, P + 1, 2 * P, 2 * P + 1, 3 * P + 7, 9 * P + 1)


@pytest.fixture
def shelves() -> Iterator[Shelf]:
    with shelf() as each:
        yield each


# Round trips


@pytest.mark.parametrize("size_bytes", GRID)
@pytest.mark.parametrize("chunk_bytes", [P, P // 3, 2 * P])
def test_what_was_stored_comes_back_and_is_proved(
    shelves: Shelf, size_bytes: int, chunk_bytes: int
) -> None:
    """With parts of one size and of growing sizes, in whole parts and in smaller ranges."""
    data = payload(size_bytes)
    stored = shelves.store(data)
    report, got = shelves.read(options={"chunk_bytes": chunk_bytes, "memory_bytes": 4 * P})
    assert got == data
    assert report.proof == ("md5-etag" if size_bytes <= P else "composite-etag")
    assert (report.object_bytes, report.size_bytes) == (size_bytes, size_bytes)
    assert report.etag == stored.etag_found


@pytest.mark.parametrize("size_bytes", GRID)
def test_what_was_stored_comes_back_and_its_receipt_proves_it(
    shelves: Shelf, size_bytes: int
) -> None:
    data = payload(size_bytes)
    receipt = shelves.store(data)
    report, got = shelves.read(receipt=receipt)
    assert got == data
    assert (report.proof, report.compared) == ("receipt", ("part MD5s", "sha256"))
    assert report.digests == receipt.digests


def test_pieces_are_the_parts_and_never_more_than_was_asked_for(shelves: Shelf) -> None:
    shelves.store(payload(2 * P + 7))
    shelves.read(options={"jobs": 1})
    assert shelves.ranges == ["bytes=0-999", "bytes=1000-1999", "bytes=2000-2006"]


def test_parts_that_would_cost_parallelism_are_read_in_chunks(shelves: Shelf) -> None:
    shelves.store(payload(2 * P + 7))
    shelves.read(options={"chunk_bytes": 600, "jobs": 1, "memory_bytes": 1200})
    assert shelves.ranges[0] == "bytes=0-599"
    assert len(shelves.ranges) == 4


def test_an_empty_object_needs_no_request_for_its_bytes(shelves: Shelf) -> None:
    shelves.store(b"")
    shelves.read()
    assert shelves.ranges == []


def test_an_object_of_one_empty_part_is_proved(shelves: Shelf) -> None:
    shelves.place([b""])
    report, got = shelves.read()
    assert (got, report.proof) == (b"", "composite-etag")


def test_events_tell_the_length_and_every_piece(shelves: Shelf) -> None:
    shelves.store(payload(3 * P))
    shelves.read()
    assert shelves.events[0] == ReadStarted(3 * P)
    read = [event.size_bytes for event in shelves.events if isinstance(event, RangeRead)]
    assert read == [P, P, P]


def test_a_descriptor_is_written_and_stays_open() -> None:
    with shelf() as each:
        data = each.store(payload(2 * P)) and payload(2 * P)
        read_fd, write_fd = os.pipe()
        each.read(write_fd)
        os.close(write_fd)
        with os.fdopen(read_fd, "rb") as pipe:
            assert pipe.read() == data


# Boundaries of parts that are not ours


def test_a_foreign_object_with_equal_parts_is_proved_with_two_questions(shelves: Shelf) -> None:
    data = shelves.place(bodies_of(700, 700, 700, 100))
    report, got = shelves.read()
    assert (got, report.proof) == (data, "composite-etag")
    assert shelves.proxy.count("head") == 3  # the object, its last part and its first


@pytest.mark.parametrize("sizes", [(500, 600, 200), (500, 700, 300, 400, 400), (1, 2)])
def test_a_foreign_object_with_uneven_parts_is_proved(
    shelves: Shelf, sizes: tuple[int, ...]
) -> None:
    data = shelves.place(bodies_of(*sizes))
    report, got = shelves.read()
    assert (got, report.proof) == (data, "composite-etag")


def test_uneven_parts_that_look_equal_are_no_false_alarm(shelves: Shelf) -> None:
    """First and last part fit equal parts; only after the mismatch the others are asked for."""
    data = shelves.place(bodies_of(500, 600, 400, 200))
    with pytest.raises(UnprovedReadError) as caught:
        shelves.read()
    assert caught.value.report.size_bytes == len(data)


def test_our_metadata_on_an_object_that_was_copied_in_other_parts_is_no_false_alarm(
    shelves: Shelf,
) -> None:
    """As many parts as our plan would make, but other ones."""
    data = shelves.place(bodies_of(900, 900, 900), metadata={"streamtos3-plan": "1000/3/3"})
    report, got = shelves.read()
    assert (got, report.proof) == (data, "composite-etag")


def test_our_metadata_is_enough_where_the_server_knows_no_part_numbers(shelves: Shelf) -> None:
    plan = {"streamtos3-plan": "500/3/3"}
    bodies = bodies_of(500, 500, 500, 1000, 1000, 1)
    data = shelves.place(bodies, metadata=plan, tells_parts=False)
    report, got = shelves.read()
    assert (got, report.proof) == (data, "composite-etag")


def test_without_any_boundaries_everything_comes_but_nothing_is_proved(shelves: Shelf) -> None:
    data = shelves.place(bodies_of(500, 500, 300), tells_parts=False)
    out = io.BytesIO()
    with pytest.raises(UnprovedReadError, match="nothing proves") as caught:
        shelves.read(out)
    assert out.getvalue() == data
    assert "does not tell where its parts end" in caught.value.message
    assert "--receipt" in (caught.value.hint or "")
    assert (caught.value.exit_status, caught.value.report.proof) == (10, None)


@pytest.mark.parametrize("quirk", [{"etag": "opaque"}, {"sse": "aws:kms:dsse"}])
@pytest.mark.parametrize("size_bytes", [10, 3 * P])
def test_an_etag_that_is_no_md5_proves_nothing_but_a_receipt_does(
    quirk: dict[str, Any], size_bytes: int
) -> None:
    data = payload(size_bytes)
    with shelf(**quirk) as each:
        receipt = each.store(data)
        out = io.BytesIO()
        with pytest.raises(UnprovedReadError, match="is not made of MD5s"):
            each.read(out)
        assert out.getvalue() == data
        report, got = each.read(receipt=receipt)
        assert (got, report.proof) == (data, "receipt")


def test_a_whole_md5_in_the_head_proves_an_object_of_many_parts() -> None:
    with shelf(head_etag="whole-md5") as each:
        data = payload(3 * P)
        each.store(data, digests=("md5",))
        report, got = each.read()
        assert (got, report.proof) == (data, "md5-etag")


# Damage


@pytest.mark.parametrize("options", [{}, {"chunk_bytes": 300, "memory_bytes": 4 * P}])
def test_a_rotten_byte_is_an_integrity_error_though_the_bytes_are_out(
    shelves: Shelf, options: dict[str, Any]
) -> None:
    shelves.store(payload(3 * P))
    shelves.rot(1500)
    out = io.BytesIO()
    with pytest.raises(IntegrityError, match="is not what was stored") as caught:
        shelves.read(out, options=options)
    assert len(out.getvalue()) == 3 * P
    assert caught.value.exit_status == 9


def test_a_rotten_byte_in_an_object_of_one_request_is_an_integrity_error(shelves: Shelf) -> None:
    shelves.store(payload(10))
    shelves.rot(3)
    with pytest.raises(IntegrityError):
        shelves.read()


def test_with_a_receipt_no_byte_of_a_rotten_part_leaves(shelves: Shelf) -> None:
    data = payload(3 * P)
    receipt = shelves.store(data)
    shelves.rot(1500)
    out = io.BytesIO()
    with pytest.raises(IntegrityError, match="part 2 .* the receipt says"):
        shelves.read(out, receipt=receipt, options={"jobs": 1})
    assert out.getvalue() == data[:P]
    assert shelves.ranges.count("bytes=1000-1999") == 4  # one for each try


def test_with_a_receipt_damage_on_the_way_is_read_again(shelves: Shelf) -> None:
    data = payload(3 * P)
    receipt = shelves.store(data)
    shelves.fail("callback", callback=once(lambda: shelves.rot(1500)), skip=1)
    shelves.fail("callback", callback=once(lambda: shelves.rot(1500)), skip=1)  # back again
    report, got = shelves.read(receipt=receipt, options={"jobs": 1})
    assert (got, report.proof, report.retries) == (data, "receipt", 1)


def test_a_receipt_whose_digest_differs_is_an_integrity_error_at_the_end(shelves: Shelf) -> None:
    receipt = shelves.store(payload(3 * P))
    other = _with(receipt, digests={"sha256": "0" * 64})
    with pytest.raises(IntegrityError, match="its sha256 is"):
        shelves.read(receipt=other)


def test_a_receipt_of_another_size_ends_it_before_the_first_byte(shelves: Shelf) -> None:
    receipt = shelves.store(payload(3 * P))
    shelves.place_whole(payload(2 * P))
    out = io.BytesIO()
    with pytest.raises(IntegrityError, match="has 2000 bytes, the receipt says 3000"):
        shelves.read(out, receipt=receipt)
    assert (out.getvalue(), shelves.ranges) == (b"", [])


def test_a_part_larger_than_the_memory_is_refused_with_the_way_out(shelves: Shelf) -> None:
    receipt = shelves.store(payload(3 * P))
    with pytest.raises(UsageError, match="must be checked as a whole") as caught:
        shelves.read(receipt=receipt, options={"memory_bytes": P - 1})
    assert caught.value.hint == "raise it: --memory 1000"
    assert shelves.ranges == []


def _with(receipt: Receipt, **changes: Any) -> Receipt:
    from dataclasses import replace

    return replace(receipt, **changes)


# Faults on the way


def test_a_cut_answer_goes_on_where_it_was_cut(shelves: Shelf) -> None:
    data = payload(P)
    shelves.store(data)
    shelves.fail("cut-answer")
    report, got = shelves.read()
    assert (got, report.retries) == (data, 1)
    assert shelves.ranges == ["bytes=0-999", "bytes=500-999"]


def test_an_answer_that_is_cut_again_and_again_still_comes_to_its_end(shelves: Shelf) -> None:
    data = payload(P)
    shelves.store(data)
    shelves.fail("cut-answer", times=3)
    assert shelves.read()[1] == data
    assert shelves.ranges[-1] == "bytes=875-999"


@pytest.mark.parametrize(
    "action",
    ["reset-before", "reset-after", "lost-answer", "500", "502", "503", "429", "request-timeout"]
    + ["empty-200", "html-200", "no-etag", "internal-after"],
)
@pytest.mark.parametrize("skip", [0, 1])
def test_what_passes_by_waiting_is_waited_for(shelves: Shelf, action: str, skip: int) -> None:
    data = payload(3 * P)
    shelves.store(data)
    shelves.fail(action, skip=skip, times=2)
    report, got = shelves.read()
    assert (got, report.proof, report.retries) == (data, "composite-etag", 2)
    assert shelves.retried == 2


def test_what_does_not_pass_ends_with_the_retries_used_up(shelves: Shelf) -> None:
    data = payload(3 * P)
    shelves.store(data)
    shelves.fail("503", skip=1, times=-1)
    out = io.BytesIO()
    with pytest.raises(RetriesUsedUpError, match="gave up after 4 tries"):
        shelves.read(out, options={"jobs": 1})
    assert data.startswith(out.getvalue())


def test_an_object_replaced_half_way_is_noticed(shelves: Shelf) -> None:
    data = payload(3 * P)
    shelves.store(data)
    shelves.fail("callback", skip=1, callback=once(lambda: shelves.place_whole(payload(3 * P, 1))))
    out = io.BytesIO()
    with pytest.raises(IntegrityError, match="was replaced while it was being read"):
        shelves.read(out, options={"jobs": 1})
    assert out.getvalue() == data[:P]


def test_a_server_that_ignores_if_match_does_not_hide_a_replaced_object(shelves: Shelf) -> None:
    shelves.store(payload(3 * P))
    shelves.fail("wrong-etag", skip=1)
    with pytest.raises(IntegrityError, match="was replaced while it was being read"):
        shelves.read(options={"jobs": 1})


def test_every_request_is_pinned_to_version_and_etag() -> None:
    with shelf(versioned=True) as each:
        receipt = each.store(payload(3 * P))
        report, _ = each.read()
        gets = [request for request in each.fake.requests if request.verb == "get"]
        assert [request.query["versionId"] for request in gets] == [receipt.version_id] * 3
        assert {request.headers["if-match"] for request in gets} == {f'"{receipt.etag_found}"'}
        assert report.version_id == receipt.version_id


def test_without_the_right_to_read_versions_the_etag_alone_pins() -> None:
    with shelf(versioned=True) as each:
        data = payload(3 * P)
        each.store(data)
        from tests.rig.proxy import Fault

        each.proxy.faults.append(Fault("head", "access-denied", skip=1))
        assert each.read()[1] == data
        gets = [request for request in each.fake.requests if request.verb == "get"]
        assert ["versionId" in request.query for request in gets] == [False] * 3
        assert all("if-match" in request.headers for request in gets)


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("by_receipt", [True, False])
def test_a_server_that_does_not_heed_range_is_read_as_one_stream(
    jobs: int, by_receipt: bool
) -> None:
    data = payload(20 * P + 10)
    with shelf(ignores_range=True) as each:
        receipt = each.store(data)
        options = {"jobs": jobs}
        report, got = each.read(options=options, receipt=receipt if by_receipt else None)
        assert got == data
        assert report.proof == ("receipt" if by_receipt else "composite-etag")
        streams = [seen for seen in each.proxy.seen if seen.verb == "get"]
        assert sum("range" not in seen.headers for seen in streams) == 1


def test_one_stream_that_breaks_is_begun_anew() -> None:
    data = payload(20 * P + 10)
    with shelf(ignores_range=True) as each:
        each.store(data)
        each.fail("cut-answer", skip=1, times=2)
        _, got = each.read(options={"jobs": 1})
        assert got == data
        assert each.retried >= 1


def test_one_stream_with_a_part_damaged_on_its_way_is_begun_anew() -> None:
    data = payload(20 * P + 10)
    with shelf(ignores_range=True) as each:
        receipt = each.store(data)
        sound = each.fake.objects["bkt", "k"]
        each.rot(5 * P + 1)

        def mend(_: object) -> None:
            each.fake.objects["bkt", "k"] = sound

        each.fail("callback", skip=2, callback=mend)
        _, got = each.read(options={"jobs": 1}, receipt=receipt)
        assert got == data
        assert each.retried == 1


def test_an_object_that_is_replaced_is_noticed_without_ranges() -> None:
    with shelf(ignores_range=True) as each:
        each.store(payload(20 * P))

        def replace_it(_: object) -> None:
            each.place_whole(b"x" * 20 * P)

        each.fail("callback", skip=1, callback=replace_it)
        with pytest.raises(IntegrityError, match="replaced"):
            each.read(options={"jobs": 1})


def test_a_server_that_answers_another_range_is_refused(
    shelves: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelves.store(payload(3 * P))
    monkeypatch.setattr("tests.rig.fake_s3._range", lambda asked, stored: (1, P), raising=True)
    with pytest.raises(RefusedError, match="begins with byte 1"):
        shelves.read()


# What is not there


def test_a_missing_object_and_a_missing_bucket_are_told_apart(shelves: Shelf) -> None:
    with pytest.raises(AbsentError, match="NoSuchKey"):
        shelves.read()
    with pytest.raises(AbsentError, match="NoSuchBucket"):
        download("absent", "k", io.BytesIO(), options=OPTIONS, client=shelves.client)


def test_access_denied_says_so() -> None:
    with shelf(head_forbidden=True) as each:
        each.store(b"secret")
        with pytest.raises(RefusedError, match="AccessDenied") as caught:
            each.read()
        assert caught.value.exit_status == 5


def test_what_speaks_no_s3_is_unreachable(shelves: Shelf) -> None:
    from tests.rig.proxy import Fault

    shelves.store(b"data")
    shelves.proxy.faults.append(Fault("head", "no-etag"))
    with pytest.raises(UnreachableError, match="does not speak S3"):
        shelves.read()


def test_a_service_that_is_down_is_unreachable_after_the_check() -> None:
    client = plain_client("http://127.0.0.1:9")
    options = Options(retries=Retries(first_wait_s=0.001, check_for_s=0.01))
    with pytest.raises(UnreachableError):
        download("bkt", "k", io.BytesIO(), options=options, client=client)


@pytest.mark.parametrize(
    ("restore", "said"), [(None, "must be restored first"), ('ongoing-request="true"', "under way")]
)
def test_an_archived_object_must_be_restored_first(
    shelves: Shelf, monkeypatch: pytest.MonkeyPatch, restore: str | None, said: str
) -> None:
    from tests.rig.quirks import Quirks, Refusal

    shelves.store(payload(3 * P))
    shown = {"x-amz-storage-class": "DEEP_ARCHIVE"} | (
        {"x-amz-restore": restore} if restore else {}
    )
    monkeypatch.setattr(Quirks, "headers_of", lambda self, stored=None: shown)
    answer = FakeS3._do_get

    def archived(self: FakeS3, asked: Any) -> Any:
        raise Refusal(403, "InvalidObjectState")

    monkeypatch.setattr(FakeS3, "_do_get", archived)
    assert FakeS3._do_head is answer
    with pytest.raises(RefusedError, match=said) as caught:
        shelves.read()
    assert "DEEP_ARCHIVE" in caught.value.message
    assert (caught.value.exit_status, caught.value.code) == (5, "InvalidObjectState")


# Ranges


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        (ByteRange(0, 0), 0, 1),
        (ByteRange(999, 1000), 999, 1001),
        (ByteRange(1500, None), 1500, 3007),
        (ByteRange(None, 10), 2997, 3007),
        (ByteRange(None, 9999), 0, 3007),
        (ByteRange(10, 99999), 10, 3007),
        (ByteRange(1000, 1999), 1000, 2000),
    ],
)
def test_a_range_is_proved_by_the_parts_of_the_receipt_that_hold_it(
    shelves: Shelf, wanted: ByteRange, first: int, end: int
) -> None:
    data = payload(3 * P + 7)
    receipt = shelves.store(data)
    report, got = shelves.read(byte_range=wanted, receipt=receipt)
    assert got == data[first:end]
    assert (report.offset_bytes, report.size_bytes) == (first, end - first)
    assert report.proof == "receipt"
    whole = (first, end) == (0, len(data))
    assert report.compared == (("part MD5s", "sha256") if whole else ("part MD5s",))


def test_a_range_without_a_receipt_comes_but_is_not_proved(shelves: Shelf) -> None:
    data = payload(3 * P)
    shelves.store(data)
    out = io.BytesIO()
    with pytest.raises(UnprovedReadError, match="no ETag covers a range"):
        shelves.read(out, byte_range=ByteRange(10, 2500))
    assert out.getvalue() == data[10:2501]
    assert sorted(shelves.ranges) == ["bytes=10-1009", "bytes=1010-2009", "bytes=2010-2500"]


def test_a_range_that_is_the_whole_is_proved_like_the_whole(shelves: Shelf) -> None:
    shelves.store(payload(3 * P))
    assert shelves.read(byte_range=ByteRange(0, None))[0].proof == "composite-etag"


@pytest.mark.parametrize("wanted", [ByteRange(3000, None), ByteRange(None, 0), ByteRange(5, 4)])
def test_a_range_outside_the_object_is_refused(shelves: Shelf, wanted: ByteRange) -> None:
    shelves.store(payload(3 * P))
    with pytest.raises(UsageError, match="none of this range"):
        shelves.read(byte_range=wanted)


@pytest.mark.parametrize("sizes", [None, (3, 1, 4, 1, 5)])
def test_pieces_cover_every_range_once(sizes: tuple[int, ...] | None) -> None:
    for first in range(14):
        for end in range(first + 1, 15):
            pieces = list(cut_pieces(first, end, 4, sizes))
            taken = [
                byte
                for piece in pieces
                for byte in range(
                    piece.offset_bytes + piece.skip_bytes,
                    piece.offset_bytes + piece.skip_bytes + piece.take_bytes,
                )
            ]
            assert taken == list(range(first, end))


# The output, memory, and the end by others


class _BrokenPipe(io.RawIOBase):
    def write(self, data: Any) -> int:
        raise BrokenPipeError


class _Full(io.RawIOBase):
    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


class _Sips(io.BytesIO):
    """Takes a little of what it is given, as an unbuffered object may."""

    def write(self, data: Any) -> int:
        return super().write(data[:7])


def test_whoever_reads_the_output_may_leave(shelves: Shelf) -> None:
    shelves.store(payload(3 * P))
    with pytest.raises(OutputClosedError):
        shelves.read(_BrokenPipe())
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with pytest.raises(OutputClosedError):
        shelves.read(write_fd)
    os.close(write_fd)


def test_an_output_that_cannot_be_written_is_an_output_error(shelves: Shelf) -> None:
    shelves.store(payload(3 * P))
    for output in (_Full(), os.open("/dev/full", os.O_WRONLY)):
        with pytest.raises(OutputError) as caught:
            shelves.read(output)
        assert "space left on device" in caught.value.message.lower()
        assert caught.value.exit_status == 11
    os.close(output)  # type: ignore[arg-type]  # the last of them is a descriptor


def test_an_output_that_takes_little_gets_everything(shelves: Shelf) -> None:
    data = payload(3 * P)
    shelves.store(data)
    assert shelves.read(_Sips())[1] == data


def test_memory_stays_bounded_however_slow_the_output(
    shelves: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[PeakPool] = []

    class Watched(PeakPool):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            pools.append(self)

    monkeypatch.setattr(streamtos3.downloader.download, "BufferPool", Watched)
    shelves.store(payload(40 * P), equal_parts=True)
    held: list[int] = []

    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            held.append(pools[0].peak_bytes)
            return super().write(data)

    report, got = shelves.read(Slow(), options={"memory_bytes": 3 * P, "jobs": 8})
    assert got == payload(40 * P)
    assert pools[0].peak_bytes <= 3 * P
    assert len(held) == 40


def test_a_signal_ends_it_though_nobody_reads_the_output(
    shelves: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer hangs in a full pipe; the caller is told all the same."""
    monkeypatch.setattr(streamtos3.downloader.ranges, "_SETTLE_S", 0.05)
    shelves.store(payload(3 * MIB), chunk_bytes=MIB, memory_bytes=4 * MIB)
    read_fd, write_fd = os.pipe()
    raised: list[BaseException] = []
    scope = CancelScope()

    def read() -> None:
        try:
            shelves.read(
                write_fd, scope=scope, options={"chunk_bytes": MIB, "memory_bytes": 4 * MIB}
            )
        except BaseException as error:  # noqa: BLE001 - that is what is tested
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while not shelves.ranges:
        assert thread.is_alive()
    scope.fail(Interrupted(signal.SIGTERM))
    thread.join(10)
    assert not thread.is_alive()
    assert [type(error) for error in raised] == [Interrupted]
    os.close(read_fd)
    os.close(write_fd)


def test_nothing_is_being_written_any_more_when_the_error_is_raised(shelves: Shelf) -> None:
    """Who closes the output then must not lose a race with the writer."""
    shelves.store(payload(3 * P))
    scope = CancelScope()

    class Slow(io.BytesIO):
        is_busy = False

        def write(self, data: Any) -> int:
            self.is_busy = True
            scope.fail(Interrupted(signal.SIGTERM))
            threading.Event().wait(0.1)
            self.is_busy = False
            return super().write(data)

    out = Slow()
    with pytest.raises(Interrupted):
        shelves.read(out, scope=scope)
    assert not out.is_busy


def test_the_first_error_wins_and_nothing_is_written_after_it(shelves: Shelf) -> None:
    shelves.store(payload(9 * P), equal_parts=True)
    shelves.fail("access-denied", skip=2)
    out = io.BytesIO()
    with pytest.raises(StreamToS3Error, match="AccessDenied"):
        shelves.read(out, options={"jobs": 1})
    length = len(out.getvalue())
    threading.Event().wait(0.05)
    assert len(out.getvalue()) == length <= 2 * P


def test_a_client_of_ones_own_and_names_that_no_upload_would_take() -> None:
    """Objects of others may have keys that `upload` refuses; they can be read."""
    with FakeS3(buckets=("bkt",)) as fake:
        fake.objects["bkt", "a/../b"] = Stored(b"x", "9dd4e461268c8034f5c8564e155c67a6", {})
        out = io.BytesIO()
        report = download("bkt", "a/../b", out, client=plain_client(fake.endpoint_url))
        assert (out.getvalue(), report.proof) == (b"x", "md5-etag")


def test_upload_and_download_are_the_same_door(shelves: Shelf) -> None:
    """What `upload` returned is what `download` takes, without a file in between."""
    receipt = upload(
        io.BytesIO(payload(3 * P)), "bkt", "again", options=OPTIONS, client=shelves.client
    )
    out = io.BytesIO()
    report = download("bkt", "again", out, receipt=receipt, options=OPTIONS, client=shelves.client)
    assert (out.getvalue(), report.proof) == (payload(3 * P), "receipt")


# The scope


def test_a_scope_that_the_caller_gives_is_not_closed(shelves: Shelf) -> None:
    shelves.store(payload(P))
    with CancelScope() as scope:
        for _ in range(2):
            shelves.read(scope=scope)
            os.fstat(scope.wake_fd)


def test_a_verification_closes_no_scope_not_even_in_its_middle(shelves: Shelf) -> None:
    """Its download is given the very scope that the caller gave."""
    data = shelves.place_whole(payload(3 * P))
    with CancelScope() as scope:
        for _ in range(2):
            verify_object(
                *("bkt", "k"),
                source=io.BytesIO(data),
                readback=True,
                options=OPTIONS,
                client=shelves.client,
                scope=scope,
            )
            os.fstat(scope.wake_fd)


def test_a_verification_keeps_its_own_scope_open_until_the_end(
    shelves: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download that it runs used to close it."""
    closed: list[str] = []

    class Watched(CancelScope):
        def close(self) -> None:
            closed.append("closed" if returned else "closed in the middle")
            super().close()

    def downloading(*args: Any, **more: Any) -> Any:
        try:
            return download(*args, **more)
        finally:
            returned.append(True)

    returned: list[bool] = []
    verify_module = importlib.import_module("streamtos3.downloader.verify")
    monkeypatch.setattr(SCOPE_MADE_IN, Watched)
    monkeypatch.setattr(verify_module, "download", downloading)
    shelves.place_whole(payload(P))
    verify_object("bkt", "k", options=OPTIONS, client=shelves.client)
    assert closed == ["closed"]
