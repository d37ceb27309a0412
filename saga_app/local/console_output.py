"""The output of `saga up`: lines of all services, each with the coloured name of its service."""

import re
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.text import Text

from saga_app.terminal import visible

#: Colours of the service names.
COLOURS = ("cyan", "magenta", "green", "blue", "bright_cyan", "bright_magenta", "bright_green", "bright_blue")

#: Colour sequences in the output of a service.
STYLES = re.compile(r"\x1b\[[0-9;]*m")


class ConsoleOutput:
    """Prints lines to stdout. If stdout is closed (a broken pipe), it stops printing and calls `on_closed`.

    `names`: the services whose lines are printed.
    """

    def __init__(self, names: Iterable[str], on_closed: Callable[[], None] = lambda: None) -> None:
        names = list(names)
        self._colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}
        self._width = max(map(len, [*names, "up"]))
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._separator = "│" if (self._console.encoding or "").startswith("utf") else "|"
        self.on_closed = on_closed
        self._is_closed = False

    def status(self, text: str, style: str = "yellow") -> None:
        """Print a status line of the supervisor."""
        self.line("up", text, style)

    def line(self, name: str, text: str, style: str = "") -> None:
        """Print a line of a service, without its colours and with control characters escaped."""
        text = visible(STYLES.sub("", text).expandtabs().rstrip())
        if not text:
            return
        who = Text(f"{name:<{self._width}} {self._separator} ", self._colours.get(name, "yellow"))
        self._print(who + Text(text, style))

    def plain(self, text: str) -> None:
        """Print a line without a prefix, so that programs can match it."""
        self._print(Text(text, "bold green"))

    def _print(self, text: Text) -> None:
        if self._is_closed:
            return
        try:
            self._console.print(text)
        except (OSError, SystemExit):  # rich raises SystemExit on a broken pipe
            self._is_closed = True
            self.on_closed()
