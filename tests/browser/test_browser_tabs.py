"""Several tabs with the page in one browser: they share one event stream."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from devtools.system import System
from tests.browser.user import SAGA_TIMEOUT_MS, User

#: Two more than the connections that a browser opens to one server over HTTP/1.1.
TABS = 8

#: JavaScript: removes the Web Locks API, which browsers lack on plain HTTP pages of other hosts.
WITHOUT_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"


class BrowserWindow:
    """A browser window whose tabs show the page, and the event streams that they have opened."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.open_streams: list[Any] = []
        self.stream_urls: list[str] = []
        context.set_default_timeout(40_000)
        context.on("request", self._on_request)
        context.on("requestfinished", self._on_request_end)
        context.on("requestfailed", self._on_request_end)

    def _on_request(self, request: Any) -> None:
        if "/api/stream" in request.url:
            self.open_streams.append(request)
            self.stream_urls.append(request.url)

    def _on_request_end(self, request: Any) -> None:
        if request in self.open_streams:
            self.open_streams.remove(request)

    def open_tab(self, trace: str = "on", script: str = "") -> User:
        """Open a tab with the page, and wait until it receives events. `script` runs before the page's own scripts."""
        page = self.context.new_page()
        page.add_init_script(f"localStorage.setItem('saga.trace', '{trace}'); {script}")
        page.goto(self.url)
        return User(page).wait_for_connection()

    def tabs_with_stream(self) -> list[Page]:
        """The tabs that have an event stream open."""
        return [request.frame.page for request in self.open_streams if not request.frame.page.is_closed()]


@pytest.fixture
def window(browser: Browser, shared_system: System) -> Iterator[BrowserWindow]:
    """A browser window without tabs."""
    context = browser.new_context(viewport={"width": 960, "height": 600})
    yield BrowserWindow(context, shared_system.url)
    context.close()


def expect_arrival(tabs: list[User], id: str) -> None:
    """Wait until each tab shows the saga on its arrivals board."""
    for tab in tabs:
        expect(tab.arrival(id)).to_be_visible(timeout=SAGA_TIMEOUT_MS)


@pytest.mark.timeout(240)
@pytest.mark.field(19)
def test_eight_tabs_share_one_stream_and_each_can_onboard_users(
    window: BrowserWindow, now: Callable[[str], None]
) -> None:
    tabs = [window.open_tab() for _ in range(TABS)]
    assert len(window.tabs_with_stream()) == 1, window.stream_urls
    for id in [tab.press_new_user() for tab in tabs]:
        expect_arrival(tabs, id)
    assert len(window.tabs_with_stream()) == 1, window.stream_urls
    now(f"{len(tabs)} tabs load and share {len(window.tabs_with_stream())} stream; New User works in each")


@pytest.mark.field(19)
def test_another_tab_resumes_the_stream_when_the_reading_tab_closes(window: BrowserWindow) -> None:
    tabs = [window.open_tab() for _ in range(3)]
    last = tabs[-1]
    for _ in range(2):
        reader = window.tabs_with_stream()[0]
        ids = [last.press_new_user() for _ in range(3)]
        if reader is last.page:
            break
        reader.close()
        last.wait_until(lambda: len(window.tabs_with_stream()) == 1, 15, "no other tab opened a stream")
        assert "last_event_id=" in window.stream_urls[-1]
        tabs = [tab for tab in tabs if tab.page is not reader]
        for id in ids:
            expect_arrival(tabs, id)
    expect(last.page.locator("#connection")).to_be_hidden()


@pytest.mark.field(19)
def test_another_tab_takes_over_when_the_reading_tab_crashes(window: BrowserWindow) -> None:
    first, second = window.open_tab(), window.open_tab()
    assert window.tabs_with_stream() == [first.page]
    with first.page.expect_event("crash"), suppress(Error):
        first.page.goto("chrome://crash")
    id = second.press_new_user()
    expect_arrival([second], id)


@pytest.mark.field(19)
def test_tabs_with_and_without_the_trace_share_one_stream(window: BrowserWindow) -> None:
    without_trace = window.open_tab(trace="off")
    assert window.stream_urls[-1].endswith("trace=off")
    with_trace = window.open_tab(trace="on")
    assert len(window.tabs_with_stream()) == 1
    without_trace.record_token_positions()
    id = with_trace.press_new_user()
    expect(with_trace.row(id)).to_be_visible()
    expect_arrival([without_trace, with_trace], id)
    assert without_trace.token_positions() == {}
    assert "trace=on" in window.stream_urls[-1]
    with_trace.page.close()
    expect_arrival([without_trace], without_trace.press_new_user())


@pytest.mark.field(19)
def test_without_web_locks_a_hidden_tab_closes_its_stream(window: BrowserWindow) -> None:
    tab = window.open_tab(script=WITHOUT_LOCKS)
    assert len(window.tabs_with_stream()) == 1
    set_hidden(tab, True)
    tab.wait_until(lambda: window.open_streams == [], 10, "the hidden tab did not close its stream")
    id = tab.onboard_by_api()
    set_hidden(tab, False)
    expect_arrival([tab], id)
    assert "last_event_id=" in window.stream_urls[-1]


def set_hidden(tab: User, hidden: bool) -> None:
    """Change the visibility of a tab, as a browser does when the user switches tabs."""
    tab.page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@pytest.mark.field(19)
def test_another_tab_takes_over_when_the_reading_tab_freezes(window: BrowserWindow) -> None:
    first, second = window.open_tab(), window.open_tab()
    assert window.tabs_with_stream() == [first.page]
    expect_arrival([first, second], first.press_new_user())  # from now on there is an event id from which to resume
    first.page.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
    id = second.press_new_user()
    expect_arrival([second], id)
    second.wait_until(
        lambda: window.tabs_with_stream() == [second.page], 15, "the second tab did not take over the stream"
    )
    assert "last_event_id=" in window.stream_urls[-1]
