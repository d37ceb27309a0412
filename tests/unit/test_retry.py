"""How often, how long between, and how long all of it can take."""

import socket
import ssl
from errno import EHOSTUNREACH, EMFILE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.retry import Permanent, Retry, Transient, is_transient

RETRIES = st.builds(
    Retry,
    attempts=st.integers(1, 50),
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 100),
    timeout=st.floats(0.1, 100),
)
TRYING_AGAIN_MAY_HELP = [
    Transient(),
    TimeoutError(),
    ConnectionRefusedError(),
    BrokenPipeError(),
    OSError(EHOSTUNREACH, "no route to host"),
    OSError(EMFILE, "too many open files"),
    socket.gaierror("no such name"),
    ssl.SSLError(),
    ssl.SSLCertVerificationError(),
]
IT_DOES_NOT_HELP = [Permanent(), KeyError("a bug"), ValueError(), FileNotFoundError(), PermissionError(), MemoryError()]

dice = st.floats(0, 1)


@given(RETRIES, st.integers(1, 50), dice)
def test_a_delay_is_jittered_between_nothing_and_the_doubled_cap(retry: Retry, attempt: int, dice: float) -> None:
    delay = retry.delay(attempt, Transient(), dice)
    if attempt < retry.attempts:
        assert delay is not None
        assert 0 <= delay <= min(retry.cap, retry.base * 2 ** (attempt - 1))
    else:
        assert delay is None, "the last attempt is the last"


@given(RETRIES, st.lists(st.tuples(st.floats(0, 1), dice, st.sampled_from(TRYING_AGAIN_MAY_HELP)), min_size=50))
def test_no_record_is_worked_on_for_longer_than_the_budget(
    retry: Retry, fate: list[tuple[float, float, Exception]]
) -> None:
    spent, attempt, delay = 0.0, 0, 0.0
    while delay is not None:
        took, thrown, error = fate[attempt]
        attempt += 1
        spent += took * retry.timeout
        delay = retry.delay(attempt, error, thrown)
        spent += delay or 0.0
    assert attempt == retry.attempts
    assert spent <= retry.budget * (1 + 1e-9)


@given(RETRIES, st.integers(1, 50), dice, st.sampled_from(IT_DOES_NOT_HELP))
def test_what_will_not_work_and_what_is_a_bug_is_given_up_at_once(
    retry: Retry, attempt: int, dice: float, error: Exception
) -> None:
    assert retry.delay(attempt, error, dice) is None


@pytest.mark.parametrize("error", TRYING_AGAIN_MAY_HELP, ids=repr)
def test_a_service_that_cannot_be_reached_is_tried_again(error: Exception) -> None:
    assert is_transient(error)
    assert Retry(base=0.5).delay(1, error, 1.0) == 0.5


def test_the_budget_is_all_attempts_and_the_longest_delays_between_them() -> None:
    assert Retry(attempts=5, base=0.5, cap=3, timeout=10).budget == 5 * 10 + 0.5 + 1 + 2 + 3
    assert Retry(attempts=1, timeout=7).budget == 7


def test_no_step_can_hold_back_a_commit_for_more_than_four_minutes() -> None:
    assert max(step.retry.budget for step in ONBOARDING.steps + ONBOARDING.undos) <= 240
