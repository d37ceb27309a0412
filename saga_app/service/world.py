"""The outside world of a plan: what its steps call. A plan of your own subclasses `World` with its adapters."""

from collections.abc import Callable
from hashlib import blake2b
from time import time

from saga_app.saga.times import iso


class World:
    """Clock and dice. A subclass adds what the steps of its plan use, such as an HTTP client.

    `seed` decides how the dice fall. `clock` returns seconds since 1970.
    """

    def __init__(self, *, seed: int = 0, clock: Callable[[], float] = time) -> None:
        self.seed, self.clock = seed, clock

    async def close(self) -> None:
        """Close what is open. Called once, when the worker stops."""

    def now(self) -> str:
        """The time, ISO 8601 UTC with milliseconds."""
        return iso(self.clock())

    def dice(self, key: str, purpose: str, attempt: int = 0) -> float:
        """A number from 0 to 1: a hash of the seed and the arguments.

        So a redelivered request gets the same number, and a test can choose it by the seed.
        """
        question = f"{self.seed}:{key}:{purpose}:{attempt}".encode()
        return int.from_bytes(blake2b(question, digest_size=6).digest()) / 2**48
