"""The external systems of a plan. Subclass `World` with the adapters that the steps of your own plan call."""

from collections.abc import Callable
from datetime import datetime
from hashlib import blake2b
from time import time

from saga_app.saga.times import utc


class World:
    """Clock and random numbers. A subclass adds what the steps of its plan need, such as an HTTP client.

    `seed`: seed of the random numbers. `clock`: returns seconds since 1970 (UTC).
    """

    def __init__(self, *, seed: int = 0, clock: Callable[[], float] = time) -> None:
        self.seed, self.clock = seed, clock

    def is_idempotent(self, step: str) -> bool:
        """Whether the external system of a step ignores a repeated call with the same idempotency key.

        Then the results of that step are not recorded, even if it has `recorded=True` in the plan: a repeated call does
        no harm, and recording costs two more acknowledgements. Its compensation is always called.
        """
        return False

    async def close(self) -> None:
        """Close all connections. Called once, when the worker stops."""

    def now(self) -> datetime:
        """The current time, with milliseconds."""
        return utc(self.clock())

    def dice(self, key: str, purpose: str, attempt: int = 0) -> float:
        """A pseudo-random number from 0 (inclusive) to 1 (exclusive): a hash of the seed and the arguments.

        A redelivered request gets the same number, and a test can choose it by the seed.
        """
        question = f"{self.seed}:{key}:{purpose}:{attempt}".encode()
        return int.from_bytes(blake2b(question, digest_size=6).digest()) / 2**48
