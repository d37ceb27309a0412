"""Fixtures: a browser, systems that the tests share, and open pages."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from devtools.chromium import FLAGS, chromium
from devtools.system import System
from devtools.wait import until
from tests.browser.console_api import get, long_user, post, short_user
from tests.browser.user import User
from tests.browser.viewports import DESKTOP

#: How long the page may take to show something on a busy machine (milliseconds).
EXPECT_TIMEOUT_MS = 15_000
expect.set_options(timeout=EXPECT_TIMEOUT_MS)

#: The minimum number of dead letters in `busy_system`.
MIN_ERRORS = 157


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder with `browser`."""
    for item in items:
        if "/browser/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def shared_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running `saga up`, shared by all tests, whose steps are slow enough to be visible on the page."""
    system = System(tmp_path_factory.mktemp("shared_system"), lag="0.15-0.4")
    try:
        system.ready()
        yield system
    finally:
        system.end()


@pytest.fixture(scope="package")
def busy_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system with 300 users, many of them parked and overdue, with short and with the longest texts."""
    system = System(tmp_path_factory.mktemp("busy_system"), lag="0-0.1", error_rate=0.3, flaky_rate=0.1, deadline=1)
    try:
        system.ready()
        post(system, "/api/users", [long_user(n) if n % 5 == 0 else short_user(n) for n in range(300)])
        until(
            lambda: get(system, "/api/errors?limit=1")["total"] >= MIN_ERRORS,
            60,
            f"the console listed fewer than {MIN_ERRORS} errors",
        )
        until(lambda: get(system, "/api/stats")["in_flight"] == 0, 60, "some sagas are still in flight")
        yield system
    finally:
        system.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium for one module: its event loop must be closed before the next asynchronous test."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., User]]:
    """Return a function that opens the page in a new window: `visit(url, "#/errors", trace="off", viewport=…)`.

    Further options are those of Playwright's `new_context`. The test fails if a script of the page raises an error or
    violates the Content Security Policy.
    """
    contexts: list[BrowserContext] = []
    script_errors: list[str] = []

    def open_page(url: str, path: str = "", trace: str | None = None, **options: Any) -> User:
        context_options: dict[str, Any] = {"viewport": DESKTOP, **options}
        context = browser.new_context(**context_options)
        context.set_default_timeout(EXPECT_TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: script_errors.append(str(error)))
        page.on(
            "console",
            lambda message: script_errors.append(message.text) if "Content Security" in message.text else None,
        )
        if trace:
            page.add_init_script(f"localStorage.getItem('saga.trace') ?? localStorage.setItem('saga.trace', '{trace}')")
        page.goto(f"{url}/{path}")
        return User(page)

    yield open_page
    for context in contexts:
        context.close()
    assert not script_errors, f"the page's scripts failed: {script_errors}"


@pytest.fixture
def user(visit: Callable[..., User], shared_system: System) -> User:
    """A user of the shared system's page, with the trace on."""
    return visit(shared_system.url, trace="on").wait_for_connection()
