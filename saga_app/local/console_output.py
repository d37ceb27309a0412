"""What `saga up` prints: each line with the name of the service that said it, in its colour."""

import re
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.text import Text

from saga_app.terminal import visible

COLOURS = ("cyan", "magenta", "green", "blue", "bright_cyan", "bright_magenta", "bright_green", "bright_blue")


#: What a service prints to colour its own words.
STYLES = re.compile(r"\x1b\[[0-9;]*m")


class Voice:
    """Prints as the lines come. When nobody listens any more (a closed pipe) it falls silent and says so."""

    def __init__(self, names: Iterable[str], unheard: Callable[[], None] = lambda: None) -> None:
        names = list(names)
        self._colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(names)}
        self._width = max(map(len, [*names, "up"]))
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._separator = "│" if (self._console.encoding or "").startswith("utf") else "|"
        self.unheard = unheard
        self._silent = False

    def say(self, text: str, style: str = "yellow") -> None:
        """The supervisor's own words."""
        self.line("up", text, style)

    def line(self, name: str, text: str, style: str = "") -> None:
        """A line that a service has printed, without its colours; whatever else could control a terminal is escaped."""
        text = visible(STYLES.sub("", text).expandtabs().rstrip())
        if not text:
            return
        who = Text(f"{name:<{self._width}} {self._separator} ", self._colours.get(name, "yellow"))
        self._print(who + Text(text, style))

    def plain(self, text: str) -> None:
        """A line for programs to find: nothing before it, nothing behind it."""
        self._print(Text(text, "bold green"))

    def _print(self, text: Text) -> None:
        if self._silent:
            return
        try:
            self._console.print(text)
        except (OSError, SystemExit):  # rich answers a broken pipe with SystemExit
            self._silent = True
            self.unheard()
