"""The one retry policy (tenacity): what is tried again, for how long, and how it ends.

botocore's own retries are off, or the numbers would multiply (docs/design.org, invariant 7).
`s3.error_mapping` decides what is transient; this module counts, waits and stops trying. tenacity
is loaded when it is needed first, or by `get_ready`: where Dask is installed it brings tornado
and asyncio along, a tenth of what a short stream costs.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ..errors import (
    CredentialsError,
    IntegrityError,
    RefusedError,
    RetriesUsedUpError,
    StoreError,
    StreamToS3Error,
    TransientError,
    UnreachableError,
)
from ..model.events import Retrying
from ..model.options import Retries
from ..units import format_duration
from .cancel import CancelScope

if TYPE_CHECKING:
    import tenacity

__all__ = ["DEFAULT_RETRY_FOR_S", "Outcome", "Retrier", "get_ready"]

DEFAULT_RETRY_FOR_S = 15 * 60.0
T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a call returned, and how many tries it took."""

    value: T
    tries: int


def get_ready() -> None:
    """Load what a retry takes now: for what runs long, and may meet a full disk or an update."""
    import tenacity  # noqa: F401


class Retrier:
    """Calls something until it succeeds, fails permanently, or the policy is exhausted.

    `clock` and `sleep` are for tests. By default `sleep` is the scope's, which ends as soon as
    the upload fails elsewhere.
    """

    def __init__(
        self,
        policy: Retries,
        scope: CancelScope,
        on_retry: Callable[[Retrying, TransientError], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._policy = policy
        self._on_retry = on_retry
        self._clock = clock
        self._sleep = sleep or scope.sleep

    def call(
        self, action: str, call: Callable[[], T], *, check_for_s: float | None = None
    ) -> Outcome[T]:
        """Try `call` until it succeeds; `action` names it in events.

        `check_for_s` replaces the policy's time where this is the check before the first byte.

        Raises what `call` raised if that is permanent. A TransientError ends, when the policy
        stops it, as IntegrityError (damage), RefusedError (refused each time), CredentialsError
        (expired), UnreachableError (no answer during the check before the first byte) or
        RetriesUsedUpError.
        """
        try:
            return Outcome(call(), 1)
        except TransientError as error:  # from here on tenacity, which costs as much as signing
            first = [error]
        import tenacity

        def again() -> T:
            if first:
                raise first.pop()
            return call()

        budget = _Budget(self._policy, self._clock, check_for_s)

        def report(state: tenacity.RetryCallState) -> None:
            error = _error_of(state)
            wait_s = state.next_action.sleep if state.next_action else 0.0
            event = Retrying(action, state.attempt_number, wait_s, error.message)
            self._on_retry(event, error)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(TransientError),
            stop=budget.is_spent,
            wait=lambda state: self._wait_s(state, budget),
            sleep=self._sleep,
            before_sleep=report,
            reraise=True,
        )
        try:
            value = retrying(again)
        except TransientError as error:
            raise budget.give_up(error) from error
        return Outcome(value, retrying.statistics["attempt_number"])

    def _wait_s(self, state: tenacity.RetryCallState, budget: _Budget) -> float:
        """Seconds until the next try: exponential with jitter, at least what the service asked for.

        Never beyond the budget, so that the last try is made when the time is over.
        """
        steps = min(state.attempt_number - 1, 30)
        full_s = min(self._policy.first_wait_s * 2**steps, self._policy.longest_wait_s)
        wait_s: float = full_s * random.uniform(0.5, 1.0)
        return min(max(wait_s, _error_of(state).retry_after_s), budget.left_s())


class _Budget:
    """How long, and how often, one call may still be tried."""

    def __init__(
        self, policy: Retries, clock: Callable[[], float], check_for_s: float | None
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._is_check = check_for_s is not None
        self._retry_for_s = check_for_s if self._is_check else policy.retry_for_s
        if self._retry_for_s is None and policy.tries is None:
            self._retry_for_s = DEFAULT_RETRY_FOR_S
        self._damage_tries = min(policy.damage_tries, policy.tries or policy.damage_tries)
        self._first_failure_s: float | None = None
        self._damaged = 0
        self._refused = 0
        self._tries = 0

    def is_spent(self, state: tenacity.RetryCallState) -> bool:
        """Whether the call must not be tried again."""
        self._tries = state.attempt_number
        self._damaged += _error_of(state).damaged
        self._refused += _error_of(state).refused
        if max(self._damaged, self._refused) >= self._damage_tries:
            return True
        if self._policy.tries is not None and self._tries >= self._policy.tries:
            return True
        return self.left_s() <= 0

    def left_s(self) -> float:
        """Seconds until the time is over; infinite where only tries count."""
        failing_s = self._failing_s()
        return math.inf if self._retry_for_s is None else self._retry_for_s - failing_s

    def _failing_s(self) -> float:
        """Seconds since the first failure, which is now if there was none before.

        A slow part must not use up its time before anything has failed. tenacity asks for the
        wait before it asks whether to stop, so either may be the first to call this.
        """
        now_s = self._clock()
        if self._first_failure_s is None:
            self._first_failure_s = now_s
        return now_s - self._first_failure_s

    def give_up(self, error: TransientError) -> StreamToS3Error:
        """The error that ends the upload, for the last one that was tried again."""
        tries = "1 try" if self._tries == 1 else f"{self._tries} tries"
        given_up = f"{error.message}; gave up after {tries} in {format_duration(self._failing_s())}"
        if error.damaged:
            return IntegrityError(given_up, hint=error.hint)
        kind: type[StoreError] = RetriesUsedUpError
        if error.refused:
            kind = RefusedError
        elif error.expired:
            kind = CredentialsError
        elif self._is_check and not error.answered:
            kind = UnreachableError
        return kind(
            given_up,
            hint=error.hint,
            code=error.code,
            http_status=error.http_status,
            request_id=error.request_id,
        )


def _error_of(state: tenacity.RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # the retry condition lets nothing else through
    return error
