"""Shows progress: a status line on a terminal, otherwise a line every few seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

#: Without a terminal: the time between two lines about the same task (seconds).
LINE_INTERVAL_S = 5.0

#: Shows the current state of a task.
Update = Callable[[str], None]

#: Shows how many sagas are done.
ShowCount = Callable[[int], None]


class Progress:
    """Prints progress to a console, each line with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began = time.monotonic()

    @contextmanager
    def task(self, title: str) -> Iterator[Update]:
        """Show a task while the block runs; the yielded function appends its current state."""
        with self.console.status(title) as status:
            printed = time.monotonic()
            if not self.console.is_terminal:
                self.print(title)

            def update(state: str) -> None:
                nonlocal printed
                status.update(f"{title}: {state}")
                if not self.console.is_terminal and time.monotonic() - printed > LINE_INTERVAL_S:
                    printed = time.monotonic()
                    self.print(f"{title}: {state}")

            yield update

    def print(self, line: str, style: str | None = None) -> None:
        """Print a permanent line."""
        elapsed = f"{time.monotonic() - self._began:6.0f} s  "
        self.console.print(elapsed + line, style=style, markup=False, highlight=False)


def saga_count(update: Update, phase: str, total: int) -> ShowCount:
    """A function that shows how many of `total` sagas are done in a phase of the task."""
    return lambda count: update(f"{phase}, {count:,} of {total:,} sagas")
