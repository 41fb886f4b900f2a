"""Group commit: what waits goes together, within bounds, and everybody hears what became of it."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from streamtos3.errors import SpoolError, SpoolFullError
from streamtos3.receiver.batcher import Intake, Outcome, Room
from tests.rig.receiver_rig import WAIT_S, ListRecipient


def held_back() -> ListRecipient:
    recipient = ListRecipient()
    recipient.gate.clear()
    return recipient


def outcomes(futures: list[Future[Outcome]]) -> list[Outcome]:
    return [each.result(WAIT_S) for each in futures]


def test_what_waits_is_appended_together_up_to_a_size() -> None:
    recipient = held_back()
    intake = Intake(recipient, group_bytes=100)
    futures = [intake.submit([b"first\n"])]
    assert recipient.entered.acquire(timeout=WAIT_S)
    futures += [intake.submit([b"x" * 24 + b"\n"] * 2) for _ in range(5)]
    recipient.gate.set()
    assert outcomes(futures) == [Outcome.DURABLE] * 6
    assert [len(records) for records in recipient.appends] == [1, 4, 4, 2]
    assert intake.appends == 4
    intake.close()


def test_more_than_a_group_from_one_sender_stays_together() -> None:
    recipient = ListRecipient()
    intake = Intake(recipient, group_bytes=1)
    assert outcomes([intake.submit([b"a\n", b"b\n", b"c\n"])]) == [Outcome.DURABLE]
    assert recipient.appends == [[b"a\n", b"b\n", b"c\n"]]
    intake.close()


def test_what_was_submitted_before_the_end_has_its_outcome() -> None:
    recipient = held_back()
    intake = Intake(recipient)
    futures = [intake.submit([b"1\n"])]
    assert recipient.entered.acquire(timeout=WAIT_S)
    futures.append(intake.submit([b"2\n"]))
    intake.close(timeout_s=0)
    futures.append(intake.submit([b"3\n"]))
    recipient.gate.set()
    intake.close(WAIT_S)
    assert outcomes(futures) == [Outcome.DURABLE, Outcome.DURABLE, Outcome.ENDING]
    assert recipient.appends == [[b"1\n"], [b"2\n"]]


def test_a_sender_that_gave_up_in_time_is_left_out() -> None:
    recipient = held_back()
    intake = Intake(recipient)
    first = intake.submit([b"1\n"])
    assert recipient.entered.acquire(timeout=WAIT_S)
    gone, stays = intake.submit([b"2\n"]), intake.submit([b"3\n"])
    assert gone.cancel() and not first.cancel()
    recipient.gate.set()
    assert outcomes([first, stays]) == [Outcome.DURABLE] * 2
    assert recipient.appends == [[b"1\n"], [b"3\n"]]
    intake.close()


def test_a_full_spool_ends_nothing_and_any_other_error_does() -> None:
    told: list[BaseException] = []
    recipient = ListRecipient()
    intake = Intake(recipient, told.append)
    recipient.error = SpoolFullError("full")
    assert outcomes([intake.submit([b"1\n"])]) == [Outcome.FULL]
    assert (intake.has_ended, told) == (False, [])
    recipient.error = SpoolError("no disk")
    assert outcomes([intake.submit([b"2\n"])]) == [Outcome.ENDING]
    assert (intake.has_ended, told) == (True, [recipient.error])
    assert outcomes([intake.submit([b"3\n"])]) == [Outcome.ENDING]
    intake.close(WAIT_S)


def test_room_is_taken_and_given_back() -> None:
    room = Room(10)
    with room.hold() as one, room.hold() as other:
        assert one.enlarge(6) and one.enlarge(4)
        assert not other.enlarge(5)
        assert other.enlarge(4)
        assert room.held_bytes == 10
    assert room.held_bytes == 0


def test_room_is_given_back_after_an_error_too() -> None:
    room = Room(10)
    with pytest.raises(ValueError), room.hold() as hold:
        hold.enlarge(10)
        raise ValueError
    assert room.held_bytes == 0
