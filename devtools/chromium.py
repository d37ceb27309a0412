"""The Chromium of this machine, for tests of the page."""

import shutil

#: The names under which Linux distributions install it.
COMMANDS = ("chromium", "chromium-browser", "google-chrome")

#: Command line flags for a headless Chromium that makes no requests of its own.
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


def chromium() -> str | None:
    """The path of the executable; None if it is not installed."""
    return next(filter(None, map(shutil.which, COMMANDS)), None)
