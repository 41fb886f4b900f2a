"""Faults at the one request that makes the object: what is claimed then must be so.

A commit ends decided (the object, or nothing and no upload), or undecided, and then the error
says so, nothing is aborted, and the upload is named.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from streamtos3 import Retries
from streamtos3.errors import (
    AbsentError,
    CredentialsError,
    ExistsError,
    IntegrityError,
    Interrupted,
    RefusedError,
    RetriesUsedUpError,
    StreamToS3Error,
    UndecidedError,
    UnprovedError,
)
from streamtos3.model.events import Warned
from streamtos3.runtime.cancel import CancelScope
from streamtos3.s3.responses import TOKEN_KEY
from tests.rig.fake_s3 import Quirks
from tests.rig.fault_rig import KEY, Bench, fake_bench, interrupting, one_of_each_kind, slowly
from tests.rig.proxy import Fault, FaultProxy

ANSWERED = ["500", "503", "429", "request-timeout", "clock-skew", "expired-token", "conflict"]
APPLIED = ["lost-answer", "cut-answer", "internal-after", "error-200-after"]
ODD_200 = ["error-200", "empty-200", "html-200", "xhtml-200"]
BROKEN = ["reset-before", "reset-middle", "reset-after", "502"]
ETAGS = ["wrong-etag", "no-etag", "foreign-etag"]
EITHER = pytest.mark.parametrize("overwrite", [False, *slowly(True)])


def put_foreign(bench: Bench, **metadata: str) -> Callable[[FaultProxy], object]:
    """A fault's callback: another writer stores an object under the key."""
    return lambda _: bench.s3.put_object(
        Bucket=bench.bucket, Key=KEY, Body=b"foreign", Metadata=metadata
    )


@pytest.mark.parametrize("server", ["on_seaweed", "on_moto", "on_fake"])
@pytest.mark.parametrize("parts", [1, 3])
def test_without_a_fault_there_is_nothing_to_warn_of(
    request: pytest.FixtureRequest, server: str, parts: int
) -> None:
    bench: Bench = request.getfixturevalue(server)
    assert bench.stores(parts=parts).retries == 0
    assert [event for event in bench.events if isinstance(event, Warned)] == []


# Once


@EITHER
@pytest.mark.parametrize(
    "action", one_of_each_kind([*ANSWERED, *APPLIED, *ODD_200, *BROKEN, *ETAGS])
)
def test_complete_survives(on_seaweed: Bench, action: str, overwrite: bool) -> None:
    """A lost answer meets a 412 for our own object where the request is conditional."""
    if overwrite:
        on_seaweed.s3.put_object(Bucket=on_seaweed.bucket, Key=KEY, Body=b"old")
    on_seaweed.stores(Fault("complete", action), overwrite=overwrite)


@pytest.mark.parametrize("action", ["503", "lost-answer", "html-200", "wrong-etag"])
def test_complete_survives_on_moto(on_moto: Bench, action: str) -> None:
    on_moto.stores(Fault("complete", action))


@pytest.mark.usefixtures("short_timeouts")
@EITHER
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("verb", ["complete", "put-object"])
def test_an_answer_that_never_comes(
    on_seaweed: Bench, verb: str, applied: bool, overwrite: bool
) -> None:
    fault = Fault(verb, "stop-answering", forward=applied)
    on_seaweed.stores(fault, parts=3 if verb == "complete" else 1, overwrite=overwrite)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("idempotent", [True, False, "412"])
def test_a_lost_answer_is_no_failure_whatever_the_service_says_next(
    monkeypatch: pytest.MonkeyPatch, idempotent: bool, parts: int
) -> None:
    """Even where the first look fails too, so that the request goes out once more."""
    quirks = Quirks(min_part_bytes=1, complete_idempotent=idempotent)
    verb = "complete" if parts > 1 else "put-object"
    with fake_bench(monkeypatch, quirks) as bench:
        bench.stores(Fault(verb, "lost-answer"), Fault("head", "500", skip=1), parts=parts)


@EITHER
@pytest.mark.parametrize("idempotent", [True, False, "412"])
@pytest.mark.parametrize("how_often", [4, *slowly(1, 2, 3)])
def test_a_lost_answer_in_a_service_whose_objects_appear_late(
    monkeypatch: pytest.MonkeyPatch, idempotent: bool, how_often: int, overwrite: bool
) -> None:
    quirks = Quirks(min_part_bytes=1, complete_idempotent=idempotent)
    patience = Retries(first_wait_s=0.01, tries=8)
    with fake_bench(monkeypatch, quirks) as bench:
        bench.stores(
            Fault("complete", "lost-answer"),
            Fault("head", "no-such-upload", skip=1, times=how_often),
            retries=patience,
            overwrite=overwrite,
        )


def test_an_invalid_part_once_is_survived(on_seaweed: Bench) -> None:
    on_seaweed.stores(Fault("complete", "invalid-part"))


def test_a_lost_answer_at_the_only_try_is_looked_up(on_seaweed: Bench) -> None:
    on_seaweed.stores(Fault("complete", "lost-answer"), retries=Retries(tries=1))


@pytest.mark.parametrize("parts", [1, 3])
def test_an_expired_token_is_not_taken_for_a_right_that_is_missing(
    on_fake: Bench, parts: int
) -> None:
    """A HEAD's answer has no body and so no code: a GET asks for it."""
    verb = "complete" if parts > 1 else "put-object"
    on_fake.stores(
        Fault(verb, "lost-answer"),
        Fault("head", "expired-token", skip=1),
        Fault("get", "expired-token"),
        parts=parts,
    )


# For ever


@pytest.mark.parametrize(
    ("action", "kind"),
    one_of_each_kind(
        [
            *((action, RetriesUsedUpError) for action in ("500", "503", "429", "clock-skew")),
            *((action, RetriesUsedUpError) for action in ODD_200),
            ("expired-token", CredentialsError),
            ("access-denied", RefusedError),
            ("invalid-part", IntegrityError),
            ("no-such-upload", AbsentError),
            ("precondition-failed", ExistsError),
        ]
    ),
)
def test_a_complete_that_is_always_refused_leaves_nothing(
    on_seaweed: Bench, action: str, kind: type[StreamToS3Error]
) -> None:
    on_seaweed.fails(kind, Fault("complete", action, times=-1))


@EITHER
@pytest.mark.parametrize("verb", ["complete", "put-object"])
@pytest.mark.parametrize("action", one_of_each_kind(BROKEN))
def test_a_commit_that_is_never_answered_is_undecided(
    on_seaweed: Bench, action: str, verb: str, overwrite: bool
) -> None:
    """Nothing is aborted: a service that is still at work may yet make the object."""
    parts = 3 if verb == "complete" else 1
    fault = Fault(verb, action, times=-1)
    error = on_seaweed.raises(UndecidedError, fault, parts=parts, overwrite=overwrite)
    assert error.exit_status == 8
    assert "its answer is unknown" in (error.left_behind or "")
    assert on_seaweed.proxy.count("abort") == 0
    for _, upload_id in on_seaweed.open_uploads:
        assert upload_id in (error.left_behind or "")
    assert len(on_seaweed.open_uploads) == (verb == "complete")
    assert not on_seaweed.exists


@pytest.mark.parametrize("verb", ["complete", "put-object"])
@pytest.mark.parametrize("action", APPLIED)
def test_a_commit_whose_answers_are_all_lost_is_found(
    on_seaweed: Bench, action: str, verb: str
) -> None:
    on_seaweed.stores(Fault(verb, action, times=-1), parts=3 if verb == "complete" else 1)


@pytest.mark.parametrize("verb", ["complete", "put-object"])
@pytest.mark.parametrize(
    "then", ["access-denied", "expired-token", "503", "no-such-upload", "invalid-part"]
)
def test_a_lost_answer_stays_undecided_where_nothing_can_be_looked_at(
    monkeypatch: pytest.MonkeyPatch, verb: str, then: str
) -> None:
    """Neither is it aborted, nor claimed that nothing is there: it is."""
    with fake_bench(monkeypatch, Quirks(min_part_bytes=1, head_forbidden=True)) as bench:
        error = bench.raises(
            UndecidedError,
            Fault(verb, "lost-answer"),
            Fault(verb, then, times=-1),
            parts=3 if verb == "complete" else 1,
        )
        bench.proxy.faults.clear()
        assert "its answer is unknown" in (error.left_behind or "")
        assert bench.proxy.count("abort") == 0
        assert bench.fake is not None
        assert list(bench.fake.objects) == [("bucket", KEY)]


def test_a_412_after_a_lost_answer_decides_nothing_where_nothing_can_be_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quirks = Quirks(min_part_bytes=1, head_forbidden=True, complete_idempotent="412")
    with fake_bench(monkeypatch, quirks) as bench:
        error = bench.raises(UndecidedError, Fault("complete", "lost-answer"))
        assert "its answer is unknown" in (error.left_behind or "")


def test_a_412_after_a_lost_answer_decides_nothing_where_nobody_can_tell_whose_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quirks = Quirks(min_part_bytes=1, etag="uuid", drops_metadata=True, complete_idempotent="412")
    with fake_bench(monkeypatch, quirks) as bench:
        error = bench.raises(UndecidedError, Fault("complete", "lost-answer"))
        assert "its answer is unknown" in (error.left_behind or "")


def test_without_metadata_size_and_etag_tell_whose_object_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_bench(monkeypatch, Quirks(min_part_bytes=1, drops_metadata=True)) as bench:
        bench.stores(Fault("complete", "lost-answer"), Fault("head", "500", skip=1))


# Signals


@pytest.mark.parametrize("verb", ["complete", "put-object"])
@pytest.mark.parametrize("applied", [False, True])
def test_a_signal_while_the_answer_is_lost(on_seaweed: Bench, verb: str, applied: bool) -> None:
    """An object that is found after all is a success; what is not answered is not aborted."""
    parts = 3 if verb == "complete" else 1
    with CancelScope() as scope:
        signal_comes = Fault(
            verb, "callback-after" if applied else "callback", callback=_then_reset(scope)
        )
        if applied:
            on_seaweed.check_stored(on_seaweed.run(signal_comes, parts=parts, scope=scope), parts)
            return
        error = on_seaweed.raises(Interrupted, signal_comes, parts=parts, scope=scope)
    assert error.exit_status == 128 + signal.SIGTERM
    assert "its answer is unknown" in (error.left_behind or "")
    assert on_seaweed.proxy.count("abort") == 0
    assert not on_seaweed.exists


@pytest.mark.parametrize("parts", [1, 3])
def test_a_signal_while_a_refused_commit_waits_for_its_next_try(
    on_seaweed: Bench, parts: int
) -> None:
    verb = "complete" if parts > 1 else "put-object"
    with CancelScope() as scope:
        on_seaweed.fails(
            Interrupted,
            Fault(verb, "503", times=-1),
            Fault("head", "callback", skip=1, callback=interrupting(scope)),
            parts=parts,
            scope=scope,
        )


@pytest.mark.parametrize("parts", [1, 3])
def test_a_signal_after_a_lost_answer_asks_once_more(on_seaweed: Bench, parts: int) -> None:
    verb = "complete" if parts > 1 else "put-object"
    with CancelScope() as scope:
        faults = (
            Fault(verb, "lost-answer"),
            Fault("head", "callback-after", skip=1, callback=interrupting(scope)),
        )
        receipt = on_seaweed.run(*faults, parts=parts, scope=scope)
    on_seaweed.check_stored(receipt, parts)


def _then_reset(scope: CancelScope) -> Callable[[FaultProxy], object]:
    """SIGTERM comes, and the connection breaks before an answer."""

    def callback(proxy: FaultProxy) -> None:
        interrupting(scope)(proxy)
        proxy.down()
        proxy.up()

    return callback


# Other writers


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("lost", [False, True])
def test_an_object_that_appears_meanwhile_is_left_alone(
    on_seaweed: Bench, parts: int, lost: bool
) -> None:
    verb = "complete" if parts > 1 else "put-object"
    faults = [Fault(verb, "callback", callback=put_foreign(on_seaweed))]
    if lost:
        faults.insert(0, Fault(verb, "reset-after"))
    error = on_seaweed.raises(ExistsError, *faults, parts=parts)
    assert error.left_behind is None
    assert on_seaweed.stored == b"foreign"
    assert on_seaweed.open_uploads == []


@pytest.mark.parametrize("parts", [1, 3])
def test_an_endpoint_that_refuses_conditions_is_asked_without(
    monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """At once: to ask in another way is no second try."""
    quirks = Quirks(min_part_bytes=1, if_none_match="refused")
    with fake_bench(monkeypatch, quirks) as bench:
        receipt = bench.stores(parts=parts, retries=Retries(tries=1))
        warnings = [event for event in bench.events if isinstance(event, Warned)]
        assert (receipt.retries, len(warnings)) == (0, 1)


@pytest.mark.parametrize("parts", [1, 3])
def test_without_conditions_an_object_that_is_seen_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    quirks = Quirks(min_part_bytes=1, if_none_match="refused")
    verb = "complete" if parts > 1 else "put-object"
    with fake_bench(monkeypatch, quirks) as bench:
        bench.raises(ExistsError, Fault(verb, "callback", callback=put_foreign(bench)), parts=parts)
        assert bench.stored == b"foreign"
        assert bench.open_uploads == []


@pytest.mark.parametrize(
    ("token", "reason"), [({}, "not what was read"), ({TOKEN_KEY: "x"}, "replaced by another")]
)
def test_an_object_replaced_before_the_look_is_no_success(
    on_seaweed: Bench, token: dict[str, str], reason: str
) -> None:
    fault = Fault("complete", "callback-after", callback=put_foreign(on_seaweed, **token))
    error = on_seaweed.raises(IntegrityError, fault)
    assert f"s3://{on_seaweed.bucket}/{KEY}" in error.message
    assert reason in error.message
    assert on_seaweed.stored == b"foreign"
    assert on_seaweed.open_uploads == []


def test_an_object_deleted_before_the_look_is_no_success(on_seaweed: Bench) -> None:
    def delete(_: FaultProxy) -> None:
        on_seaweed.s3.delete_object(Bucket=on_seaweed.bucket, Key=KEY)

    error = on_seaweed.fails(IntegrityError, Fault("complete", "callback-after", callback=delete))
    assert "is not there after it was stored" in error.message


@pytest.mark.parametrize("parts", [1, 3])
def test_under_versioning_the_version_that_was_stored_is_looked_at(
    on_seaweed: Bench, parts: int
) -> None:
    on_seaweed.s3.put_bucket_versioning(
        Bucket=on_seaweed.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    verb = "complete" if parts > 1 else "put-object"
    fault = Fault(verb, "callback-after", callback=put_foreign(on_seaweed))
    receipt = on_seaweed.run(fault, parts=parts)
    assert receipt.version_id
    version = on_seaweed.s3.get_object(
        Bucket=on_seaweed.bucket, Key=KEY, VersionId=receipt.version_id
    )
    assert version["Body"].read() == on_seaweed.data(parts)
    assert on_seaweed.stored == b"foreign"


@pytest.mark.parametrize("at", ["put-part", "complete"])
def test_an_upload_aborted_by_someone_else(on_seaweed: Bench, at: str) -> None:
    def abort(_: FaultProxy) -> None:
        for key, upload_id in on_seaweed.open_uploads:
            on_seaweed.s3.abort_multipart_upload(
                Bucket=on_seaweed.bucket, Key=key, UploadId=upload_id
            )

    error = on_seaweed.fails(AbsentError, Fault(at, "callback", callback=abort))
    assert error.code == "NoSuchUpload"
    assert error.exit_status == 5


def test_an_upload_completed_by_someone_else_is_ours_all_the_same(on_seaweed: Bench) -> None:
    """As by a gateway that sends a request twice: the first time it was applied."""
    on_seaweed.stores(Fault("complete", "duplicate-late", delay_s=0.0))


@pytest.mark.parametrize("action", ["no-such-upload", "precondition-failed", "conflict"])
def test_a_refusal_that_meets_our_own_object_is_a_success(on_seaweed: Bench, action: str) -> None:
    """The answer of a second sending by a gateway, while the first was applied."""
    bench = on_seaweed

    def complete_behind_the_back(proxy: FaultProxy) -> None:
        ((key, upload_id),) = bench.open_uploads
        listed = bench.s3.list_parts(Bucket=bench.bucket, Key=key, UploadId=upload_id)["Parts"]
        bench.s3.complete_multipart_upload(
            Bucket=bench.bucket,
            Key=key,
            UploadId=upload_id,
            MultipartUpload={
                "Parts": [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in listed]
            },
        )
        proxy.faults.append(Fault("complete", action))

    after_the_last = Fault("put-part", "callback-after", part=3, callback=complete_behind_the_back)
    bench.stores(after_the_last, jobs=1)


# The look after the commit


@pytest.mark.parametrize(
    "action",
    [
        *("500", "cut-answer", "html-200", "wrong-etag", "access-denied", "no-such-upload"),
        *slowly("503", "clock-skew", "reset-before", "lost-answer", "empty-200", "no-etag"),
    ],
)
def test_the_look_at_the_object_survives(on_seaweed: Bench, action: str) -> None:
    receipt = on_seaweed.stores(Fault("head", action, skip=1))
    assert receipt.proof.object == "composite-etag"


@pytest.mark.parametrize("action", ["lost-answer", "internal-after", "wrong-etag", "no-etag"])
def test_after_an_answer_that_did_not_prove_an_object_of_one_request_is_looked_at(
    on_seaweed: Bench, action: str
) -> None:
    receipt = on_seaweed.stores(Fault("put-object", action), parts=1)
    assert receipt.proof.object == "md5-etag"
    assert on_seaweed.proxy.count("head") >= 2


@pytest.mark.parametrize("action", ["500", "reset-before", "access-denied", "expired-token"])
def test_an_answer_that_proves_is_enough_where_nobody_may_look(
    on_seaweed: Bench, action: str
) -> None:
    faults = [Fault("head", action, skip=1, times=-1)]
    if action in ("access-denied", "expired-token"):  # a HEAD's answer does not say which
        faults.append(Fault("get", action, times=-1))
    on_seaweed.stores(*faults)
    assert any(
        "could not be inspected" in event.message
        for event in on_seaweed.events
        if isinstance(event, Warned)
    )


def test_an_object_that_is_never_what_was_read_stays_and_is_named(on_seaweed: Bench) -> None:
    error = on_seaweed.raises(IntegrityError, Fault("head", "wrong-etag", skip=1, times=-1))
    assert f"s3://{on_seaweed.bucket}/{KEY} is there and is not what was read" == error.left_behind
    assert on_seaweed.exists
    assert on_seaweed.open_uploads == []


@pytest.mark.parametrize("parts", [3, *slowly(1)])
def test_an_object_whose_etag_is_no_md5_is_said_to_be_unproved(
    monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    quirks = Quirks(min_part_bytes=1, complete_etag="opaque-n", etag="opaque")
    with fake_bench(monkeypatch, quirks) as bench:
        error = bench.raises(UnprovedError, parts=parts, verify="etag")
        assert "unproved" in (error.left_behind or "")
        assert bench.open_uploads == []


def test_a_one_request_upload_stored_damaged_is_replaced_by_a_sound_one(
    on_seaweed: Bench,
) -> None:
    on_seaweed.stores(Fault("put-object", "flip-request-no-md5", times=2), parts=1)
