"""Attempt and error -> again after n seconds, or give up.

Exponential backoff with full jitter: a delay drawn between 0 and min(cap, base * 2^(attempt - 1)), which spreads the
retries of many sagas that failed together (Brooker, "Exponential Backoff And Jitter", 2015).
"""

from dataclasses import dataclass


class Transient(Exception):
    """Could not find out; trying again may help."""


class Permanent(Exception):
    """Will not work, however often it is tried: the saga is parked for somebody to look at."""


#: What is worth another try; everything else, a bug included, is not.
TRANSIENT: tuple[type[BaseException], ...] = (Transient, TimeoutError, ConnectionError)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, and how long between (seconds)."""

    attempts: int = 5
    base: float = 0.5
    cap: float = 8.0
    timeout: float = 10.0

    def delay(self, attempt: int, error: BaseException, dice: float) -> float | None:
        """Seconds to wait after attempt number `attempt` (1 is the first) has failed; None to give up.

        `dice` is drawn between 0 and 1.
        """
        if attempt >= self.attempts or not isinstance(error, TRANSIENT):
            return None
        return dice * min(self.cap, self.base * 2.0 ** (attempt - 1))

    @property
    def budget(self) -> float:
        """The longest that all delays together can take, in seconds."""
        return sum(min(self.cap, self.base * 2.0**n) for n in range(self.attempts - 1))
