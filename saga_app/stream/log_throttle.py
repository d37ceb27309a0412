"""No flood of log lines: the same line passes once in a while, with a count of those held back."""

import logging
import re
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic

#: Whose loggers repeat themselves while a broker is away.
TALKERS = ("aiokafka", "faust", "mode", "librdkafka")

#: Warnings and errors that differ only in these are the same line (of other lines each tells something).
_VARYING = re.compile(r"0x[0-9a-f]+|\d+")


class Quiet(logging.Filter):
    """Lets a repeated line through once per `every_s` seconds; remembers the latest `remembered` kinds of lines."""

    def __init__(self, every_s: float = 10.0, remembered: int = 500, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._clock = clock
        self.every_s = every_s
        self._remembered = remembered
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line passes; one that others were held back for says how many."""
        now = self._clock()
        line = record.getMessage()
        same = _VARYING.sub("#", line) if record.levelno >= logging.WARNING else line
        kind = record.name, record.levelno, same
        passed_at, held = self._seen.get(kind, (-inf, 0))
        if now - passed_at < self.every_s:
            self._seen[kind] = passed_at, held + 1
            return False
        if held:
            record.msg, record.args = f"{line} ({held} more like this in {now - passed_at:.0f} s)", ()
        self._remember(kind, now)
        return True

    def _remember(self, kind: tuple[str, int, str], now: float) -> None:
        self._seen.pop(kind, None)  # the newest is last
        self._seen[kind] = now, 0
        if len(self._seen) > self._remembered:
            del self._seen[next(iter(self._seen))]


def install(every_s: float = 10.0, talkers: Iterable[str] = TALKERS) -> Quiet:
    """Quieten all loggers of these packages that exist by now; may be called again.

    A filter on a parent logger does not see its children's lines, so each logger gets it.
    """
    quiet = Quiet(every_s)
    prefixes = tuple(talkers)
    for name in [*logging.root.manager.loggerDict, *prefixes]:
        if name.split(".")[0] in prefixes:
            logger = logging.getLogger(name)
            for old in [f for f in logger.filters if isinstance(f, Quiet)]:
                logger.removeFilter(old)
            logger.addFilter(quiet)
    return quiet
