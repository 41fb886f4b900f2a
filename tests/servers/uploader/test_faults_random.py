"""Faults mixed at random under a seed: whatever happens, what is claimed is so.

Only three endings are allowed: the right object and success; a documented error and nothing left;
or an error that says that the object may be there, or is there and is wrong, and names it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from streamtos3 import Receipt, Retries
from streamtos3.errors import (
    CredentialsError,
    ExistsError,
    IntegrityError,
    RefusedError,
    RetriesUsedUpError,
    StreamToS3Error,
    UndecidedError,
    UnprovedError,
    UnreachableError,
)
from tests.rig.fake_s3 import Quirks
from tests.rig.fault_rig import KEY, Bench, fake_bench
from tests.rig.proxy import Fault

FAKE_SEEDS = 240
SEAWEED_SEEDS = 16

PASSING = [
    *("500", "502", "503", "429", "request-timeout", "bad-digest", "incomplete-body"),
    *("clock-skew", "expired-token", "access-key", "error-200", "empty-200", "html-200"),
    *("xhtml-200", "flip-request", "flip-request-no-md5", "wrong-etag", "no-etag"),
    *("foreign-etag", "reset-before", "reset-middle", "reset-after", "lost-answer"),
    *("cut-answer", "internal-after", "error-200-after", "duplicate-late", "slow"),
    *("stop-answering", "conflict", "invalid-part", "redirect"),
]
FINAL = ["access-denied", "no-such-upload", "precondition-failed"]
VERBS = ["put-part"] * 5 + [
    *("create", "complete", "complete", "put-object", "put-object", "head", "head", "head"),
    *("head-bucket", "get", "abort", "list-parts", "list-uploads"),
]
DOCUMENTED = (
    CredentialsError,
    ExistsError,
    IntegrityError,
    RefusedError,
    RetriesUsedUpError,
    UnprovedError,
    UnreachableError,
)


def some_faults(dice: random.Random) -> Iterator[Fault]:
    for _ in range(dice.randint(1, 7)):
        verb = dice.choice(VERBS)
        action = dice.choice(PASSING if dice.random() < 0.95 else FINAL)
        if (verb, action) == ("create", "duplicate-late"):
            continue  # what nobody asked for and nobody heard of cannot be known to be ours
        yield Fault(
            verb,
            action,
            part=dice.choice([None, 1, 2, 3, 5]) if verb == "put-part" else None,
            times=dice.choice([1, 1, 1, 2, 3, -1 if dice.random() < 0.15 else 1]),
            skip=dice.choice([0, 0, 0, 1, 2]),
            delay_s=0.02,
            forward=dice.random() < 0.5,
            location="http://127.0.0.1:1/elsewhere",
        )


def some_quirks(dice: random.Random) -> Quirks:
    return Quirks(
        min_part_bytes=1,
        check_md5=dice.random() < 0.8,
        complete_idempotent=dice.choice([True, False, "412"]),
        complete_etag=dice.choice(["composite", "composite", "composite", "empty"]),
        if_none_match=dice.choice(["honoured", "honoured", "refused", "put-only"]),
        keeps_resent_parts=dice.random() < 0.5,
        drops_metadata=dice.random() < 0.2,
        capitalises_metadata=dice.random() < 0.2,
        head_forbidden=dice.random() < 0.1,
        versioned=dice.random() < 0.3,
    )


def play(bench: Bench, dice: random.Random, largest_stream: int) -> None:
    """One upload with random faults, and the question whether its ending is true."""
    parts = dice.randint(1, largest_stream)
    overwrite = dice.random() < 0.4
    old = b"old" if overwrite and dice.random() < 0.5 else None
    if old is not None:
        bench.s3.put_object(Bucket=bench.bucket, Key=KEY, Body=old)
    tries = dice.choice([1, 3, 6, 10])
    faults = list(some_faults(dice))
    outcome: Receipt | StreamToS3Error
    try:
        outcome = bench.run(
            *faults,
            parts=parts,
            overwrite=overwrite,
            jobs=dice.randint(1, 4),
            retries=Retries(first_wait_s=0.002, tries=tries, check_for_s=1),
        )
    except StreamToS3Error as error:
        outcome = error
    # What pytest shows of a failure.
    print(f"{parts} parts, {tries} tries, {overwrite=}, {getattr(bench.fake, 'quirks', None)}")
    print(*faults, sep="\n")
    print(*((seen.verb, seen.part, seen.status, seen.fault) for seen in bench.proxy.seen))
    print(repr(outcome))
    bench.proxy.faults.clear()
    if bench.fake is not None:  # or the judge could not look either
        bench.fake.quirks = Quirks(min_part_bytes=1)
    judge(bench, outcome, parts, old)


def judge(bench: Bench, outcome: Receipt | StreamToS3Error, parts: int, old: bytes | None) -> None:
    found = bench.stored if bench.exists else None
    if isinstance(outcome, Receipt):
        assert found == bench.data(parts)
        assert outcome.proof.object is not None
        assert bench.open_uploads == []
        return
    assert isinstance(outcome, DOCUMENTED), repr(outcome)
    left_behind = outcome.left_behind or ""
    place = f"s3://{bench.bucket}/{KEY}"
    if isinstance(outcome, UndecidedError):
        assert f"makes {place} was sent" in left_behind
        assert found in (old, bench.data(parts))
        assert all(upload_id in left_behind for _, upload_id in bench.open_uploads)
    elif isinstance(outcome, UnprovedError):
        assert found == bench.data(parts)
    elif f"{place} is there and is not what was read" in left_behind:
        assert isinstance(outcome, IntegrityError)
        assert found not in (old, None)
    else:
        assert found == old, f"{found!r} is there"
        unnamed = [each for each in bench.open_uploads if each[1] not in left_behind]
        assert unnamed == []
        assert bench.open_uploads == [] or "could not be aborted" in left_behind


@pytest.mark.slow
@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("seed", range(FAKE_SEEDS))
def test_any_mixture_of_faults_ends_truly(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    dice = random.Random(f"fake {seed}")
    with fake_bench(monkeypatch, some_quirks(dice)) as bench:
        play(bench, dice, largest_stream=6)


@pytest.mark.slow
@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize("seed", range(SEAWEED_SEEDS))
def test_any_mixture_of_faults_ends_truly_on_seaweed(on_seaweed: Bench, seed: int) -> None:
    play(on_seaweed, random.Random(f"seaweed {seed}"), largest_stream=3)
