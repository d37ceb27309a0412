"""Attempt and error -> again after n seconds, or give up.

By default exponential backoff with full jitter: a delay drawn between 0 and min(cap, base * 2^(attempt - 1)), which
spreads the retries of many sagas that failed together (Brooker, "Exponential Backoff And Jitter", 2015). A step whose
world needs hours, such as a mail server that defers mail, names its delays instead.
"""

from dataclasses import dataclass


class Transient(Exception):
    """Could not find out; trying again may help."""


class Deferred(Transient):
    """Not done for now, and certainly without an effect; trying again may help. A mail server's 4xx answer is one."""


class Permanent(Exception):
    """Will not work, however often it is tried: the saga is parked for somebody to look at."""


#: What the next attempt may not meet: no answer in time, and what the network does (an `OSError`: no connection, no
#: route, no name, a certificate that does not hold, no free socket). A library with errors of another kind, such as
#: `aiosmtplib.SMTPException` or `aiohttp.ClientError`, is translated into `Transient` or `Permanent` by its adapter.
#: Everything else is a bug, and will be one the next time.
TRANSIENT: tuple[type[BaseException], ...] = (Transient, OSError)

#: The longest delay for which a request stays in flight, where it holds back its partition's commit (seconds). One with
#: a longer delay leaves the partition, and is published again when its next attempt is due.
MAX_HELD_DELAY_S = 30.0

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
    """How often a step is attempted, how long apart, and how long one attempt may take. All times are in seconds.

    The delay after failed attempt n is drawn between (1 - jitter) * d(n) and d(n). If `delays` is given, d(n) is
    delays[n - 1], and the last of them after that; otherwise d(n) is min(cap, base * 2^(n - 1)).
    `hold` is the longest d(n) for which the request stays in flight.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 8.0
    timeout: float = 5.0
    delays: tuple[float, ...] = ()
    jitter: float = 1.0
    hold: float = MAX_HELD_DELAY_S

    def delay(self, attempt: int, error: BaseException, dice: float) -> float | None:
        """Seconds to wait after attempt number `attempt` (1 is the first) has failed; None to give up.

        `dice` is drawn between 0 and 1.
        """
        if attempt >= self.attempts or not is_transient(error):
            return None
        return (1.0 - self.jitter * (1.0 - dice)) * self._longest(attempt)

    def leaves(self, attempt: int) -> bool:
        """Whether a request whose attempt number `attempt` has failed waits outside its partition for the next."""
        return self._longest(attempt) > self.hold

    @property
    def is_long(self) -> bool:
        """Whether a request may have to wait outside its partition at all."""
        return any(map(self.leaves, range(1, self.attempts)))

    @property
    def budget(self) -> float:
        """The longest time in seconds for which a record can be in flight, and so hold back its partition's commit.

        That is the longest run of attempts at their timeout and of the delays between them, without those for which
        the request leaves its partition. The mock world's lag (SAGA_LAG) comes on top of every attempt.
        """
        held = longest = 0.0
        for attempt in range(1, self.attempts + 1):
            held += self.timeout
            longest = max(longest, held)
            held = 0.0 if self.leaves(attempt) else held + self._longest(attempt)
        return longest

    @property
    def reach(self) -> float:
        """The longest time in seconds from the first attempt until the request is parked:
        attempts * timeout + d(1) + … + d(attempts - 1).
        """
        return self.attempts * self.timeout + sum(map(self._longest, range(1, self.attempts)))

    def _longest(self, attempt: int) -> float:
        if self.delays:
            return self.delays[min(attempt, len(self.delays)) - 1]
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 100))
