"""Tunes fetch requests: fewer and larger fetches under load.

Each fetch is expensive, because aiokafka names every assigned partition in it. Under load, the minimum size of a
fetch is therefore set to the amount of data expected within a short time. A single record is fetched immediately.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

#: Time to gather data for a fetch, too short to be noticed on the page, and averaging time of the traffic (seconds).
GATHER_S, AVERAGING_S = 0.05, 0.5

#: Range of the minimum size of a gathered fetch (bytes); below it, fetches are not delayed.
MIN_GATHER_BYTES, MAX_GATHER_BYTES = 1500, 262_144


class FetchTuner:
    """Sets the wait parameters of the next fetches by calling `set_wait(min_bytes, max_wait_ms)`.

    `wait_ms`: maximum wait without load.
    """

    def __init__(
        self, set_wait: Callable[[int, int], None], wait_ms: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._set_wait, self._wait_ms, self._clock = set_wait, wait_ms, clock
        self._bytes_per_s, self._at = 0.0, clock()

    def record_fetch(self, records: Mapping[Any, list[Any]]) -> None:
        """Update the parameters after a fetch. `records`: by partition, possibly none."""
        size = sum(record.serialized_value_size for run in records.values() for record in run)
        now = self._clock()
        passed = max(now - self._at, 1e-6)
        self._at = now
        weight = min(1.0, passed / AVERAGING_S)
        self._bytes_per_s += weight * (size / passed - self._bytes_per_s)
        expected = min(int(self._bytes_per_s * GATHER_S), MAX_GATHER_BYTES)
        if expected >= MIN_GATHER_BYTES:
            self._set_wait(expected, int(2000 * GATHER_S))
        else:
            self._set_wait(1, self._wait_ms)
