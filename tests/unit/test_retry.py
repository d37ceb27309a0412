"""How often, and how long between."""

from hypothesis import given
from hypothesis import strategies as st

from saga_app.saga.retry import Permanent, Retry, Transient


@given(st.integers(1, 20), st.floats(0, 1))
def test_a_delay_is_jittered_between_nothing_and_the_doubled_cap(attempt: int, dice: float) -> None:
    delay = Retry(attempts=30, base=0.5, cap=8).delay(attempt, Transient(), dice)
    assert delay is not None
    assert 0 <= delay <= min(8, 0.5 * 2 ** (attempt - 1))


def test_the_last_attempt_is_the_last() -> None:
    assert Retry(attempts=3).delay(3, Transient(), 0.5) is None


def test_what_will_not_work_and_what_is_a_bug_is_not_tried_again() -> None:
    assert Retry().delay(1, Permanent(), 0.5) is None
    assert Retry().delay(1, KeyError("a bug"), 0.5) is None


def test_a_service_that_does_not_answer_is_tried_again() -> None:
    assert Retry().delay(1, TimeoutError(), 1.0) == 0.5
    assert Retry().delay(1, ConnectionRefusedError(), 1.0) == 0.5


def test_the_budget_is_the_sum_of_the_longest_delays() -> None:
    retry = Retry(attempts=5, base=0.5, cap=3)
    assert retry.budget == sum(retry.delay(n, Transient(), 1.0) or 0 for n in range(1, 5)) == 0.5 + 1 + 2 + 3
