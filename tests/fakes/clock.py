"""A clock that a test sets."""

from tests.builders import START


class FakeClock:
    """Returns `now` (seconds since 1970), which begins at the start of the test's saga and moves only if it is set."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
