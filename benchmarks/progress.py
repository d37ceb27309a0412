"""Says what is going on: a line that changes on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

#: Where there is no terminal: seconds between two lines about the same thing.
EVERY_S = 5.0


class Progress:
    """To the console on which the table is printed in the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @contextmanager
    def doing(self, what: str) -> Iterator[Callable[[str], None]]:
        """Something that may last; the function adds how far it is."""
        with self.console.status(what) as status:
            said = time.monotonic()
            if not self.console.is_terminal:
                self._line(what)

            def more(how: str) -> None:
                nonlocal said
                status.update(f"{what}: {how}")
                if not self.console.is_terminal and time.monotonic() - said > EVERY_S:
                    said = time.monotonic()
                    self._line(f"{what}: {how}")

            yield more

    def say(self, line: str, style: str | None = None) -> None:
        """A line that stays."""
        self._line(line, style)

    def _line(self, line: str, style: str | None = None) -> None:
        at = f"{time.monotonic() - self._began:6.0f} s  "
        self.console.print(at + line, style=style, markup=False, highlight=False)


def counting(more: Callable[[str], None], what: str, total: int) -> Callable[[int], None]:
    """How many of a total, as a function of a number."""
    return lambda number: more(f"{what}, {number:,} of {total:,} sagas")
