"""Each fault of the wire alone, on each kind of request: the right object, or none and a reason.

`stores` and `fails` (tests/rig/fault_rig.py) assert both sides of every ending: the object and the
list of open uploads. What only the commit must decide is in test_faults_commit.
"""

from __future__ import annotations

import pytest

from streamtos3 import Retries
from streamtos3.errors import (
    AbsentError,
    CredentialsError,
    ExistsError,
    IntegrityError,
    RefusedError,
    RetriesUsedUpError,
    StreamToS3Error,
    UnreachableError,
)
from streamtos3.model.events import Retrying
from tests.rig.fault_rig import Bench, one_of_each_kind, slowly
from tests.rig.proxy import Fault

# Once is survived by every request that carries bytes.
REFUSED = ["500", "502", "503", "429", "request-timeout", "clock-skew", "expired-token"]
DAMAGED = ["bad-digest", "incomplete-body", "flip-request"]
MISANSWERED = ["wrong-etag", "no-etag", "foreign-etag", "cut-answer"]
BROKEN = ["reset-before", "reset-middle", "reset-after", "lost-answer"]
ODD_200 = ["error-200", "empty-200", "html-200", "xhtml-200", "internal-after", "error-200-after"]
STALLED = ["stop-reading", "stop-answering"]
PASSING = [*REFUSED, *DAMAGED, *MISANSWERED, *BROKEN, *ODD_200]

# What becomes of a fault that never passes.
LASTING: list[tuple[str, type[StreamToS3Error]]] = [
    *((action, RetriesUsedUpError) for action in ("500", "502", "503", "429", "request-timeout")),
    *((action, RetriesUsedUpError) for action in ("clock-skew", "error-200", "html-200")),
    *((action, RetriesUsedUpError) for action in BROKEN),
    *((action, IntegrityError) for action in (*DAMAGED, *MISANSWERED)),
    *((action, IntegrityError) for action in ("empty-200", "xhtml-200", "flip-request-no-md5")),
    ("expired-token", CredentialsError),
    ("access-denied", RefusedError),
    ("no-such-upload", AbsentError),
]


# Parts


@pytest.mark.parametrize("part", [2, *slowly(1, 3)])
@pytest.mark.parametrize(
    "action", one_of_each_kind([*PASSING, "flip-request-no-md5", "slow", "duplicate-late"])
)
def test_a_part_survives(on_seaweed: Bench, action: str, part: int) -> None:
    receipt = on_seaweed.stores(Fault("put-part", action, part=part, delay_s=0.05))
    harmless = action in ("slow", "duplicate-late")
    expected = [1 if harmless or number != part else 2 for number in (1, 2, 3)]
    assert [each.tries for each in receipt.parts] == expected
    assert receipt.retries == sum(isinstance(event, Retrying) for event in on_seaweed.events)


@pytest.mark.parametrize("action", ["500", "503", "reset-middle", "lost-answer", "foreign-etag"])
def test_a_part_survives_on_moto(on_moto: Bench, action: str) -> None:
    on_moto.stores(Fault("put-part", action, part=2))


@pytest.mark.parametrize("action", ["flip-request", "flip-request-no-md5"])
def test_a_part_damaged_on_a_server_that_checks_nothing_is_sent_again(
    on_moto: Bench, action: str
) -> None:
    receipt = on_moto.stores(Fault("put-part", action, part=2))
    assert receipt.parts[1].tries == 2


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("part", [2, *slowly(1, 3)])
@pytest.mark.parametrize(
    ("action", "forward"),
    [("stop-reading", False), ("stop-answering", False), ("stop-answering", True)],
)
def test_a_part_survives_a_server_that_stalls(
    on_seaweed: Bench, action: str, forward: bool, part: int
) -> None:
    receipt = on_seaweed.stores(Fault("put-part", action, part=part, forward=forward))
    assert receipt.parts[part - 1].tries == 2


@pytest.mark.parametrize("verb", ["put-part", "create", "complete", "head"])
def test_a_server_that_trickles_is_waited_for(on_seaweed: Bench, verb: str) -> None:
    assert on_seaweed.stores(Fault(verb, "trickle", delay_s=0.001)).retries == 0


@pytest.mark.parametrize("action", ["503", *DAMAGED, *MISANSWERED, *slowly(*BROKEN, *ODD_200)])
@pytest.mark.parametrize("part", [1, *slowly(3)])
def test_two_in_a_row_are_survived_as_one_is(on_fake: Bench, action: str, part: int) -> None:
    receipt = on_fake.stores(Fault("put-part", action, part=part, times=2))
    assert receipt.parts[part - 1].tries == 3


@pytest.mark.parametrize("part", [2, *slowly(1, 3)])
@pytest.mark.parametrize(("action", "kind"), one_of_each_kind(LASTING))
def test_a_part_that_never_arrives_leaves_nothing(
    on_fake: Bench, action: str, kind: type[StreamToS3Error], part: int
) -> None:
    on_fake.fails(kind, Fault("put-part", action, part=part, times=-1))


@pytest.mark.parametrize(
    ("action", "kind"),
    [("503", RetriesUsedUpError), ("flip-request", IntegrityError)],
)
def test_a_part_that_never_arrives_leaves_nothing_on_seaweed(
    on_seaweed: Bench, action: str, kind: type[StreamToS3Error]
) -> None:
    on_seaweed.fails(kind, Fault("put-part", action, part=2, times=-1))


def test_a_burst_of_slowdown_on_everything_is_survived(on_seaweed: Bench) -> None:
    patience = Retries(first_wait_s=0.01, retry_for_s=60)
    on_seaweed.stores(
        Fault("put-part", "503", times=9), Fault("complete", "503", times=5), retries=patience
    )


# The beginning of an upload


@pytest.mark.parametrize(
    "action",
    [
        *("503", "lost-answer", "cut-answer", "html-200", "xhtml-200", "internal-after"),
        *slowly(*REFUSED[:2], *REFUSED[3:], *BROKEN[:3], "error-200", "empty-200"),
        *slowly("error-200-after"),
    ],
)
def test_create_survives_and_the_upload_nobody_heard_of_is_swept(
    on_seaweed: Bench, action: str
) -> None:
    on_seaweed.stores(Fault("create", action))


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("forward", [False, True])
def test_create_survives_a_server_that_stops_answering(on_seaweed: Bench, forward: bool) -> None:
    on_seaweed.stores(Fault("create", "stop-answering", forward=forward))


@pytest.mark.parametrize("action", ["503", "reset-after", "html-200"])
def test_create_survives_on_moto(on_moto: Bench, action: str) -> None:
    on_moto.stores(Fault("create", action))


@pytest.mark.parametrize("action", ["500", "503", "reset-before", "list"])
def test_the_sweep_survives_what_parts_survive(on_seaweed: Bench, action: str) -> None:
    faults = [Fault("create", "lost-answer")]
    if action != "list":
        faults += [Fault(verb, action) for verb in ("list-uploads", "list-parts", "abort")]
    on_seaweed.stores(*faults)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("500", RetriesUsedUpError),
        ("lost-answer", RetriesUsedUpError),
        ("html-200", RetriesUsedUpError),
        ("xhtml-200", RetriesUsedUpError),
        ("access-denied", RefusedError),
        ("expired-token", CredentialsError),
    ],
)
def test_an_upload_that_cannot_begin_leaves_nothing(
    on_seaweed: Bench, action: str, kind: type[StreamToS3Error]
) -> None:
    on_seaweed.fails(kind, Fault("create", action, times=-1))


def test_a_failed_upload_is_aborted_though_the_abort_meets_faults_too(on_seaweed: Bench) -> None:
    on_seaweed.fails(
        RefusedError,
        Fault("create", "lost-answer"),
        Fault("put-part", "access-denied", part=3),
        Fault("abort", "503"),
        Fault("list-parts", "reset-before"),
        Fault("list-uploads", "500"),
    )


@pytest.mark.slow
def test_an_abort_that_never_succeeds_hides_nothing(on_seaweed: Bench) -> None:
    """The first error stays, and what is left is named."""
    error = on_seaweed.raises(
        RefusedError,
        Fault("put-part", "access-denied", part=2),
        Fault("abort", "500", times=-1),
    )
    ((_, upload_id),) = on_seaweed.open_uploads
    assert upload_id in (error.left_behind or "")
    assert not on_seaweed.exists


# The one-request upload


@pytest.mark.parametrize("overwrite", [False, *slowly(True)])
@pytest.mark.parametrize(
    "action", one_of_each_kind([*PASSING, "flip-request-no-md5", "slow", "duplicate-late"])
)
def test_the_one_request_upload_survives(on_seaweed: Bench, action: str, overwrite: bool) -> None:
    if overwrite:
        on_seaweed.s3.put_object(Bucket=on_seaweed.bucket, Key="stream", Body=b"old")
    fault = Fault("put-object", action, delay_s=0.05)
    on_seaweed.stores(fault, parts=1, overwrite=overwrite)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize(
    ("action", "forward"),
    [("stop-reading", False), ("stop-answering", False), ("stop-answering", True)],
)
def test_the_one_request_upload_survives_a_server_that_stalls(
    on_seaweed: Bench, action: str, forward: bool
) -> None:
    on_seaweed.stores(Fault("put-object", action, forward=forward), parts=1)


@pytest.mark.parametrize(
    ("action", "kind"),
    one_of_each_kind(row for row in LASTING if row[0] not in (*BROKEN, "502", "no-such-upload")),
)
def test_a_one_request_upload_that_never_arrives_leaves_nothing(
    on_fake: Bench, action: str, kind: type[StreamToS3Error]
) -> None:
    fault = Fault("put-object", action, times=-1)
    if action in MISANSWERED:  # the object is there and right, whatever the answers say
        on_fake.stores(fault, parts=1)
    elif action == "flip-request-no-md5":
        error = on_fake.raises(kind, fault, parts=1)
        assert on_fake.stored != on_fake.data(1)
        assert "is there and is not what was read" in (error.left_behind or "")
    else:
        on_fake.fails(kind, fault, parts=1)


def test_the_answers_that_never_come_do_not_matter_when_the_object_is_there(
    on_seaweed: Bench,
) -> None:
    on_seaweed.stores(Fault("put-object", "lost-answer", times=-1), parts=1)


@pytest.mark.parametrize("parts", [1, 3])
def test_an_empty_bucket_is_left_empty_by_a_stream_refused_at_its_only_try(
    on_fake: Bench, parts: int
) -> None:
    verb = "put-object" if parts == 1 else "complete"
    on_fake.fails(RefusedError, Fault(verb, "access-denied"), parts=parts)


# The check before the first byte


@pytest.mark.parametrize("parts", [3, *slowly(1)])
@pytest.mark.parametrize(
    "action", ["500", "clock-skew", "reset-before", *slowly("502", "503", "429", *BROKEN[1:])]
)
def test_the_check_before_the_first_byte_survives(
    on_seaweed: Bench, action: str, parts: int
) -> None:
    faults = [Fault("head", action)]
    if action == "clock-skew":  # a HEAD's answer carries no code; the GET that asks for it does
        faults.append(Fault("get", action))
    on_seaweed.stores(*faults, parts=parts)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("verb", ["head", "head-bucket"])
def test_the_check_survives_a_server_that_stops_answering(on_seaweed: Bench, verb: str) -> None:
    on_seaweed.stores(Fault(verb, "stop-answering"))


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("500", RetriesUsedUpError),
        ("503", RetriesUsedUpError),
        ("clock-skew", RetriesUsedUpError),
        ("reset-before", UnreachableError),
        ("lost-answer", UnreachableError),
        ("html-200", UnreachableError),
        ("empty-200", UnreachableError),
        ("expired-token", CredentialsError),
    ],
)
def test_a_check_that_never_passes_begins_nothing(
    on_seaweed: Bench, action: str, kind: type[StreamToS3Error]
) -> None:
    on_seaweed.fails(kind, Fault("any", action, times=-1))
    assert on_seaweed.proxy.count("create") == 0


def test_a_server_that_never_answers_is_given_up_after_the_time_for_the_check(
    on_seaweed: Bench,
) -> None:
    patience = Retries(first_wait_s=0.01, check_for_s=0.3)
    on_seaweed.fails(UnreachableError, Fault("any", "reset-before", times=-1), retries=patience)
    assert on_seaweed.proxy.count("head") > 3


@pytest.mark.parametrize("action", ["500", "reset-after"])
def test_an_object_that_exists_is_found_in_spite_of_a_fault(on_seaweed: Bench, action: str) -> None:
    on_seaweed.s3.put_object(Bucket=on_seaweed.bucket, Key="stream", Body=b"old")
    on_seaweed.raises(ExistsError, Fault("head", action))
    assert on_seaweed.stored == b"old"
    assert on_seaweed.open_uploads == []
