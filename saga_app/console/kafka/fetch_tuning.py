"""Fewer and larger fetches under load.

A fetch costs client and broker much, however little it brings: aiokafka names every assigned partition in each. So the
broker is asked to answer when as much is there as comes within a moment, and soon in any case. A record that comes
alone is fetched at once.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

#: For how long to gather: nobody sees the difference on a page. Over how long the traffic is averaged (seconds).
GATHER_S, AVERAGED_S = 0.05, 0.5

#: With less than this it is not worth waiting for more, and nobody waits for more than that (bytes).
WORTH, ENOUGH = 1500, 262_144


class Gather:
    """Given the records of each fetch, sets what the next fetches wait for: `set_wait(min_bytes, max_wait_ms)`."""

    def __init__(
        self, set_wait: Callable[[int, int], None], wait_ms: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._set_wait, self._wait_ms, self._clock = set_wait, wait_ms, clock
        self._bytes_per_s, self._at = 0.0, clock()

    def fetched(self, records: Mapping[Any, list[Any]]) -> None:
        """Records by partition, perhaps none."""
        size = sum(record.serialized_value_size for run in records.values() for record in run)
        now = self._clock()
        passed = max(now - self._at, 1e-6)
        self._at = now
        weight = min(1.0, passed / AVERAGED_S)
        self._bytes_per_s += weight * (size / passed - self._bytes_per_s)
        expected = min(int(self._bytes_per_s * GATHER_S), ENOUGH)
        if expected >= WORTH:
            self._set_wait(expected, int(2000 * GATHER_S))
        else:
            self._set_wait(1, self._wait_ms)
