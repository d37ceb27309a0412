"""The retry policy: number of attempts, delays, budget and reach."""

import socket
import ssl
from collections.abc import Callable
from errno import EHOSTUNREACH, EMFILE
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saga_app.saga.onboarding import MAIL, ONBOARDING
from saga_app.saga.plan import Plan, Step
from saga_app.saga.retry import MAX_HELD_DELAY_S, Deferred, Permanent, Retry, Transient, is_transient

RETRIES = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 100),
    timeout=st.floats(0.1, 100),
)
LONG_RETRIES = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    timeout=st.floats(0.1, 100),
    delays=st.lists(st.floats(0, 7200), min_size=1, max_size=9).map(tuple),
    jitter=st.floats(0, 1),
)
TRANSIENT_ERRORS = [
    Transient(),
    Deferred(),
    TimeoutError(),
    ConnectionRefusedError(),
    BrokenPipeError(),
    OSError(EHOSTUNREACH, "no route to host"),
    OSError(EMFILE, "too many open files"),
    socket.gaierror("no such name"),
    ssl.SSLError(),
    ssl.SSLCertVerificationError(),
]
PERMANENT_ERRORS = [Permanent(), KeyError("a bug"), ValueError(), FileNotFoundError(), PermissionError(), MemoryError()]

DICE = st.floats(0, 1)


@given(RETRIES, st.integers(1, 50), DICE)
def test_a_delay_is_between_zero_and_the_capped_exponential_backoff(retry: Retry, attempt: int, dice: float) -> None:
    delay = retry.delay(attempt, Transient(), dice)
    if attempt < retry.attempts:
        assert delay is not None
        assert 0 <= delay <= min(retry.cap, retry.base * 2 ** (attempt - 1))
    else:
        assert delay is None, "there was an attempt after the last one"


@settings(deadline=None)
@given(RETRIES | LONG_RETRIES, st.randoms())
def test_time_in_flight_is_within_budget_and_total_time_within_reach(retry: Retry, random: Random) -> None:
    held = total = longest = 0.0
    delay: float | None = 0.0
    attempt = 0
    while delay is not None:
        attempt += 1
        duration = random.random() * retry.timeout
        delay = retry.delay(attempt, random.choice(TRANSIENT_ERRORS), random.random())
        held += duration
        longest = max(longest, held)
        held = 0.0 if retry.leaves(attempt) else held + (delay or 0.0)
        total += duration + (delay or 0.0)
    assert attempt == retry.attempts
    assert longest <= retry.budget * (1 + 1e-9)
    assert total <= retry.reach * (1 + 1e-9)


@settings(deadline=None)
@given(LONG_RETRIES, st.integers(1, 50), DICE)
def test_listed_delays_are_jittered_and_the_last_one_repeats(retry: Retry, attempt: int, dice: float) -> None:
    delay = retry.delay(attempt, Transient(), dice)
    if attempt < retry.attempts:
        named = retry.delays[min(attempt, len(retry.delays)) - 1]
        assert delay is not None
        assert (1 - retry.jitter) * named * (1 - 1e-9) <= delay <= named * (1 + 1e-9)
    else:
        assert delay is None, "there was an attempt after the last one"


@given(RETRIES, st.integers(1, 50), DICE, st.sampled_from(PERMANENT_ERRORS))
def test_permanent_errors_and_bugs_are_not_retried(retry: Retry, attempt: int, dice: float, error: Exception) -> None:
    assert retry.delay(attempt, error, dice) is None


@pytest.mark.parametrize("error", TRANSIENT_ERRORS, ids=repr)
def test_network_errors_are_retried(error: Exception) -> None:
    assert is_transient(error)
    assert Retry(base=0.5).delay(1, error, 1.0) == 0.5


def test_the_budget_is_the_sum_of_all_timeouts_and_longest_delays() -> None:
    assert Retry(attempts=5, base=0.5, cap=3, timeout=10).budget == 5 * 10 + 0.5 + 1 + 2 + 3
    assert Retry(attempts=1, timeout=7).budget == 7


def test_a_long_delay_is_part_of_the_reach_but_not_of_the_budget() -> None:
    retry = Retry(attempts=5, timeout=10, delays=(2, 300, 5, 300))
    assert retry.budget == 10 + 5 + 10, "the longest time in flight is not that of the third and fourth attempt"
    assert retry.reach == 5 * 10 + 2 + 300 + 5 + 300
    assert [retry.leaves(attempt) for attempt in (1, 2, 3, 4)] == [False, True, False, True]


def test_only_delays_above_the_threshold_leave_the_partition() -> None:
    retry = Retry(attempts=3, delays=(MAX_HELD_DELAY_S, MAX_HELD_DELAY_S + 1))
    assert (retry.leaves(1), retry.leaves(2)) == (False, True)


def test_no_step_holds_back_a_commit_for_more_than_150_seconds() -> None:
    assert max(step.retry.budget for step in ONBOARDING.steps + ONBOARDING.compensations) <= 150


#: For how long a mail server may defer the first mail to a recipient (seconds).
GREYLISTING = {
    "1 minute": 60,
    "5 minutes": 300,
    "10 minutes": 600,
    "15 minutes": 900,
    "1 hour": 3600,
    "4 hours": 4 * 3600,
}


@pytest.mark.field(11)
@pytest.mark.parametrize("name", GREYLISTING)
@settings(deadline=None)
@given(st.randoms())
def test_mail_retries_outlast_greylisting_and_follow_soon_after(name: str, random: Random) -> None:
    delays = [MAIL.delay(attempt, Deferred(), random.random()) or 0.0 for attempt in range(1, MAIL.attempts)]
    accepted_at = next(at for at in accumulate(delays) if at >= GREYLISTING[name])
    assert accepted_at <= 2.5 * GREYLISTING[name]


@pytest.mark.field(11)
def test_mail_is_retried_for_at_least_four_hours(now: Callable[[str], None]) -> None:
    shortest = sum(MAIL.delay(attempt, Deferred(), 0.0) or 0.0 for attempt in range(1, MAIL.attempts))
    assert 4 * 3600 < shortest <= MAIL.reach < 8 * 3600
    hours = f"{shortest / 3600:.1f} to {MAIL.reach / 3600:.1f} h"
    now(f"a mail is attempted {MAIL.attempts} times over {hours}, a commit is held for at most {MAIL.budget:g} s")


def test_steps_of_the_provisioner_cannot_have_long_delays() -> None:
    first = ONBOARDING.steps[0]
    long = Step(first.name, first.topic, first.service, first.act, retry=Retry(delays=(60,)))
    with pytest.raises(ValueError, match="retry of step provision: at provisioner the longest delay"):
        Plan("onboarding", (long, *ONBOARDING.steps[1:]), ONBOARDING.compensations)
