"""Limits repeated log lines: one in ten seconds, with the number of suppressed ones."""

import logging
import re
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic

from cachetools import FIFOCache

#: Packages whose loggers repeat the same lines during an outage.
THROTTLED_PACKAGES = ("aiokafka", "faust", "mode", "librdkafka")

#: Warnings and errors that differ only in numbers are repetitions; information that differs in a number is not.
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


class LogThrottle(logging.Filter):
    """Passes a repeated line once in `every_s` seconds; remembers the latest `remembered` distinct lines."""

    def __init__(self, every_s: float = 10.0, remembered: int = 500, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.every_s = every_s
        self._seen: FIFOCache[tuple[str, int, str], tuple[float, int]] = FIFOCache(remembered)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes. If repetitions of it were suppressed, their number is appended."""
        now = self._clock()
        line = record.getMessage()
        pattern = _VARYING.sub("#", line) if record.levelno >= logging.WARNING else line
        kind = record.name, record.levelno, pattern
        passed_at, suppressed = self._seen.get(kind, (-inf, 0))
        if now - passed_at < self.every_s:
            self._seen[kind] = passed_at, suppressed + 1
            return False
        if suppressed:
            record.msg, record.args = f"{line} ({suppressed} more like this in {now - passed_at:.0f} s)", ()
        self._seen[kind] = now, 0
        return True


def install(every_s: float = 10.0, packages: Iterable[str] = THROTTLED_PACKAGES) -> LogThrottle:
    """Throttle all loggers of these packages that exist by now. May be called again.

    A filter on a parent logger does not see its children's lines, so each logger gets it.
    """
    throttle = LogThrottle(every_s)
    prefixes = tuple(packages)
    for name in [*logging.root.manager.loggerDict, *prefixes]:
        if name.split(".")[0] in prefixes:
            logger = logging.getLogger(name)
            for old in [f for f in logger.filters if isinstance(f, LogThrottle)]:
                logger.removeFilter(old)
            logger.addFilter(throttle)
    return throttle
