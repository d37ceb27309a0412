"""Attempt and error -> again after n seconds, or give up.

Exponential backoff with full jitter: a delay drawn between 0 and min(cap, base * 2^(attempt - 1)), which spreads the
retries of many sagas that failed together (Brooker, "Exponential Backoff And Jitter", 2015).
"""

from dataclasses import dataclass


class Transient(Exception):
    """Could not find out; trying again may help."""


class Permanent(Exception):
    """Will not work, however often it is tried: the saga is parked for somebody to look at."""


#: What the next attempt may not meet: no answer in time, and what the network does (an `OSError`: no connection, no
#: route, no name, a certificate that does not hold, no free socket). A library with errors of another kind, such as
#: `aiosmtplib.SMTPException` or `aiohttp.ClientError`, is translated into `Transient` or `Permanent` by its adapter.
#: Everything else is a bug, and will be one the next time.
TRANSIENT: tuple[type[BaseException], ...] = (Transient, OSError)

#: `OSError`s about files: a mistake in the setup that stays.
LASTING: tuple[type[BaseException], ...] = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help; decided by type."""
    return isinstance(error, TRANSIENT) and not isinstance(error, LASTING)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, how long between, and how long one attempt may take (seconds)."""

    attempts: int = 5
    base: float = 0.5
    cap: float = 8.0
    timeout: float = 5.0

    def delay(self, attempt: int, error: BaseException, dice: float) -> float | None:
        """Seconds to wait after attempt number `attempt` (1 is the first) has failed; None to give up.

        `dice` is drawn between 0 and 1.
        """
        if attempt >= self.attempts or not is_transient(error):
            return None
        return dice * self._longest(attempt)

    @property
    def budget(self) -> float:
        """The longest that a record can be worked on before it is done or parked, and so hold back the commit of its
        partition, in seconds: attempts * timeout + the sum of min(cap, base * 2^(n - 1)) for n = 1 … attempts - 1.

        What the mock world takes its time over (SAGA_LAG) comes on top of every attempt.
        """
        return self.attempts * self.timeout + sum(self._longest(n) for n in range(1, self.attempts))

    def _longest(self, attempt: int) -> float:
        return min(self.cap, self.base * 2.0 ** (attempt - 1))
