"""Retry policy: from an attempt and its error, the delay before the next attempt, or giving up.

By default exponential backoff with full jitter: a delay drawn between 0 and min(cap, base * 2^(attempt - 1)), which
spreads the retries of many sagas that failed together (Brooker, "Exponential Backoff And Jitter", 2015). A step
that depends on a slow system, such as a mail server that defers mail for hours, lists its delays instead.
"""

from dataclasses import dataclass


class Transient(Exception):
    """The result could not be determined; a retry may help."""


class Deferred(Transient):
    """The call certainly had no effect, and a retry may help. Example: a 4xx response of a mail server."""


class Permanent(Exception):
    """A retry cannot help: the saga is parked until an operator decides."""


#: Errors that may not recur: timeouts and network errors (`OSError`: no connection, no route, failed name resolution,
#: invalid certificate, no free socket). An adapter translates the errors of its library, such as
#: `aiosmtplib.SMTPException` or `aiohttp.ClientError`, into `Transient` or `Permanent`. Every other error is a bug,
#: which a retry would repeat.
TRANSIENT: tuple[type[BaseException], ...] = (Transient, OSError)

#: The longest delay for which a request stays in flight and holds back the commit of its partition (seconds). A request
#: with a longer delay leaves the partition, and is published again when its next attempt is due.
MAX_HELD_DELAY_S = 30.0

#: `OSError`s about files: configuration errors, which a retry does not fix.
PERMANENT_OS_ERRORS: tuple[type[BaseException], ...] = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def is_transient(error: BaseException) -> bool:
    """Whether a retry may help, judged by the type of the error."""
    return isinstance(error, TRANSIENT) and not isinstance(error, PERMANENT_OS_ERRORS)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step is attempted, the delays between attempts, and the timeout of one attempt. All times in seconds.

    The delay after failed attempt n is drawn between (1 - jitter) * d(n) and d(n). If `delays` is given, d(n) is
    delays[n - 1], and the last element for further attempts; otherwise d(n) is min(cap, base * 2^(n - 1)).
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
        """Seconds to wait after attempt number `attempt` (counted from 1) failed; None to give up.

        `dice` is a random number between 0 and 1.
        """
        if attempt >= self.attempts or not is_transient(error):
            return None
        return (1.0 - self.jitter * (1.0 - dice)) * self._longest(attempt)

    def leaves(self, attempt: int) -> bool:
        """Whether a request waits outside its partition after attempt number `attempt` has failed."""
        return self._longest(attempt) > self.hold

    @property
    def is_long(self) -> bool:
        """Whether any delay is long enough for the request to wait outside its partition."""
        return any(map(self.leaves, range(1, self.attempts)))

    @property
    def budget(self) -> float:
        """The longest time in seconds for which a record can be in flight and hold back the commit of its partition.

        It is the longest sequence of attempts at their timeout and the delays between them, excluding delays for which
        the request leaves its partition. The injected lag (SAGA_LAG) is added to every attempt.
        """
        held = longest = 0.0
        for attempt in range(1, self.attempts + 1):
            held += self.timeout
            longest = max(longest, held)
            held = 0.0 if self.leaves(attempt) else held + self._longest(attempt)
        return longest

    @property
    def reach(self) -> float:
        """The longest time in seconds from the first attempt until the request is parked.

        It is attempts * timeout + d(1) + … + d(attempts - 1).
        """
        return self.attempts * self.timeout + sum(map(self._longest, range(1, self.attempts)))

    def _longest(self, attempt: int) -> float:
        if self.delays:
            return self.delays[min(attempt, len(self.delays)) - 1]
        return min(self.cap, self.base * 2.0 ** min(attempt - 1, 100))
