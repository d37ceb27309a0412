"""Takes screenshots of the page with running sagas: `python -m devtools.screenshots FOLDER`.

`page.png` is the picture of README (docs/page.png); the other files show each tab on a desktop and on a phone.
"""

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from devtools.chromium import FLAGS, chromium
from devtools.http_client import ask
from devtools.system import System
from devtools.wait import until

VIEWPORTS: dict[str, ViewportSize] = {
    "desktop": {"width": 1440, "height": 900},
    "phone": {"width": 390, "height": 844},
}
TABS = ("live", "users", "errors", "order", "system")
FINISHED_SAGAS, RUNNING_SAGAS = 14, 9


def finished(system: System) -> int:
    """The number of sagas that have ended or are parked."""
    stats = ask(f"{system.url}/api/stats")[1]
    return int(sum(stats["counts"].values()) - stats["in_flight"])


def open_page(browser: Browser, system: System, viewport: ViewportSize, tab: str) -> Page:
    """A new window with this tab of the page in the dark color scheme."""
    page = browser.new_page(viewport=viewport, color_scheme="dark")
    page.goto(f"{system.url}/#/{tab}")
    page.wait_for_selector("#new-user")
    return page


def take_live_picture(browser: Browser, system: System, file: Path) -> None:
    """A screenshot of the live view with finished sagas and several running ones."""
    page = open_page(browser, system, VIEWPORTS["desktop"], "live")
    for _ in range(RUNNING_SAGAS):
        page.keyboard.press("n")
        page.wait_for_timeout(350)
    page.screenshot(path=file)
    page.close()


def main() -> None:
    """Take all screenshots. Requires Chromium."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files are written")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"lag": "0.5-2", "flaky_rate": 0.05, "error_rate": 0.03, "seed": 3}
    with tempfile.TemporaryDirectory() as data:
        system = System(Path(data), "--users", str(FINISHED_SAGAS), **settings)
        try:
            system.ready()
            until(lambda: finished(system) >= FINISHED_SAGAS, 60, "the first sagas have not ended")
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
                take_live_picture(browser, system, folder / "page.png")
                for name, viewport in VIEWPORTS.items():
                    for tab in TABS:
                        page = open_page(browser, system, viewport, tab)
                        page.wait_for_timeout(700)
                        page.screenshot(path=folder / f"{tab}-{name}.png")
                        page.close()
                browser.close()
        finally:
            system.end()


if __name__ == "__main__":
    main()
