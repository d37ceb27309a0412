"""A browser, and a system that all tests of the page share."""

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from devtools.system import System
from devtools.wait import until
from tests.browser.user import User

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1440, "height": 900}
#: How long a busy machine may take to show something.
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs a browser."""
    for item in items:
        if "/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def shared_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running `saga up` whose steps take long enough to be seen."""
    system = System(tmp_path_factory.mktemp("shared_system"), lag="0.15-0.4")
    try:
        system.ready()
        yield system
    finally:
        system.end()


#: As many errors as the crowded system has at least.
ERRORS = 157


@pytest.fixture(scope="package")
def busy_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system full of users, many of them parked and overdue, with long and short names, addresses and ids."""
    system = System(tmp_path_factory.mktemp("busy_system"), lag="0-0.1", error_rate=0.3, flaky_rate=0.1, deadline=1)
    try:
        system.ready()
        post(system, "/api/users", [long_user(n) if n % 5 == 0 else short_user(n) for n in range(300)])
        until(lambda: get(system, "/api/errors?limit=1")["total"] >= ERRORS, 60, f"{ERRORS} errors")
        until(lambda: get(system, "/api/stats")["in_flight"] == 0, 60, "no saga is moving")
        yield system
    finally:
        system.end()


def short_user(n: int) -> dict[str, str]:
    """One of many."""
    return {"name": f"Jo {n}", "email": f"jo{n}@example.com", "department": ("Sales", "People", "Support")[n % 3]}


def long_user(n: int) -> dict[str, str]:
    """The longest that is accepted."""
    return {
        "name": ("Maximiliane Featherstonehaugh-Cholmondeley " * 5)[:196] + f"{n:04}",
        "email": f"{'m' * 60}{n:04}@{'a-subsidiary.' * 12}example.com",
        "department": "Engineering",
        "id": f"{n:04}-" + "long-id-of-another-system." * 2,
    }


def get(system: System, path: str) -> Any:
    """What the API answers."""
    with urlopen(f"{system.url}{path}", timeout=10) as answer:
        return json.load(answer)


def post(system: System, path: str, body: Any) -> Any:
    """What the API answers to this JSON."""
    request = Request(f"{system.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)


def chromium() -> str | None:
    """The path of a Chromium on this machine."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium. Of one module only: its event loop must be gone before the next asynchronous test."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., User]]:
    """Open the page of a system: `visit(url, trace="off", viewport=…)`. It fails the test when a script fails."""
    contexts: list[BrowserContext] = []
    broken: list[str] = []

    def open_page(url: str, at: str = "", trace: str | None = None, **options: Any) -> User:
        context = browser.new_context(**({"viewport": DESKTOP} | options))
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page: Page = context.new_page()
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("console", lambda message: broken.append(message.text) if "Content Security" in message.text else None)
        if trace:
            page.add_init_script(f"localStorage.getItem('saga.trace') ?? localStorage.setItem('saga.trace', '{trace}')")
        page.goto(f"{url}/{at}")
        return User(page)

    yield open_page
    for context in contexts:
        context.close()
    assert not broken, f"the page's scripts failed: {broken}"


@pytest.fixture
def user(visit: Callable[..., User], shared_system: System) -> User:
    """Somebody who looks at the shared system's page, with the trace on."""
    return visit(shared_system.url, trace="on").connected()
