"""Many tabs of the page in one browser: they share one event stream, and each works on its own."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from devtools.system import System
from devtools.wait import until
from tests.browser.user import SAGA_MS, User

#: One more than the connections that a browser opens to a server by HTTP/1.1, and one more than that.
TABS = 8

#: A browser without Web KeyLocks: plain HTTP to another host than this one.
WITHOUT_LOCKS = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"


class Window:
    """The tabs of one browser window, and the event streams that they hold."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context, self.url = context, url
        self.streams: list[Any] = []
        self.opened: list[str] = []
        context.set_default_timeout(40_000)
        context.on("request", self._began)
        context.on("requestfinished", self._ended)
        context.on("requestfailed", self._ended)

    def _began(self, request: Any) -> None:
        if "/api/stream" in request.url:
            self.streams.append(request)
            self.opened.append(request.url)

    def _ended(self, request: Any) -> None:
        if request in self.streams:
            self.streams.remove(request)

    def tab(self, trace: str = "on", script: str = "") -> User:
        """A new tab that has loaded and receives events."""
        page = self.context.new_page()
        page.add_init_script(f"localStorage.setItem('saga.trace', '{trace}'); {script}")
        page.goto(self.url)
        return User(page).connected()

    def holders(self) -> list[Page]:
        """The tabs that hold a stream."""
        return [request.frame.page for request in self.streams if not request.frame.page.is_closed()]


@pytest.fixture
def window(browser: Browser, shared_system: System) -> Iterator[Window]:
    """A browser window without tabs."""
    context = browser.new_context(viewport={"width": 960, "height": 600})
    yield Window(context, shared_system.url)
    context.close()


def show_all_arrive(tabs: list[User], id: str) -> None:
    """Every tab shows this user on its board."""
    for tab in tabs:
        expect(tab.arrival(id)).to_be_visible(timeout=SAGA_MS)


@pytest.mark.timeout(240)
@pytest.mark.field(19)
def test_eight_tabs_load_share_one_stream_and_can_each_onboard(window: Window, now: Callable[[str], None]) -> None:
    tabs = [window.tab() for _ in range(TABS)]
    assert len(window.holders()) == 1, window.opened
    for id in [tab.press_new_user() for tab in tabs]:
        show_all_arrive(tabs, id)
    assert len(window.holders()) == 1, window.opened
    now(f"{len(tabs)} tabs load and share {len(window.holders())} stream; New User works in each")


@pytest.mark.field(19)
def test_when_the_tab_that_reads_closes_another_resumes_without_a_gap(window: Window) -> None:
    tabs = [window.tab() for _ in range(3)]
    last = tabs[-1]
    for _ in range(2):
        reader = window.holders()[0]
        ids = [last.press_new_user() for _ in range(3)]
        if reader is last.page:
            break
        reader.close()
        until(lambda: (last.page.wait_for_timeout(50), len(window.holders()))[1] == 1, 15, "another tab reads")
        assert "last_event_id=" in window.opened[-1]
        tabs = [tab for tab in tabs if tab.page is not reader]
        for id in ids:
            show_all_arrive(tabs, id)
    expect(last.page.locator("#connection")).to_be_hidden()


@pytest.mark.field(19)
def test_when_the_tab_that_reads_crashes_another_takes_over(window: Window) -> None:
    first, second = window.tab(), window.tab()
    assert window.holders() == [first.page]
    with first.page.expect_event("crash"), suppress(Error):
        first.page.goto("chrome://crash")
    id = second.press_new_user()
    show_all_arrive([second], id)


@pytest.mark.field(19)
def test_a_tab_without_the_trace_shares_the_stream_with_one_that_has_it(window: Window) -> None:
    quiet = window.tab(trace="off")
    assert window.opened[-1].endswith("trace=off")
    loud = window.tab(trace="on")
    assert len(window.holders()) == 1
    quiet.watch_rows()
    id = loud.press_new_user()
    expect(loud.row(id)).to_be_visible()
    show_all_arrive([quiet, loud], id)
    assert quiet.seen() == {}
    assert "trace=on" in window.opened[-1]
    loud.page.close()
    show_all_arrive([quiet], quiet.press_new_user())


@pytest.mark.field(19)
def test_without_web_locks_a_hidden_tab_holds_no_stream(window: Window) -> None:
    tab = window.tab(script=WITHOUT_LOCKS)
    assert len(window.holders()) == 1
    set_hidden(tab, True)
    until(lambda: (tab.page.wait_for_timeout(50), window.streams)[1] == [], 10, "the stream is closed")
    id = tab.ask_new_user()
    set_hidden(tab, False)
    show_all_arrive([tab], id)
    assert "last_event_id=" in window.opened[-1]


def set_hidden(tab: User, hidden: bool) -> None:
    """What a browser does when another tab is chosen."""
    tab.page.evaluate(
        """hidden => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@pytest.mark.field(19)
def test_a_frozen_tab_that_reads_is_replaced(window: Window) -> None:
    first, second = window.tab(), window.tab()
    assert window.holders() == [first.page]
    show_all_arrive([first, second], first.press_new_user())  # now there is an event after which to go on
    first.page.evaluate("BroadcastChannel.prototype.postMessage = () => {}")
    id = second.press_new_user()
    show_all_arrive([second], id)
    until(lambda: (second.page.wait_for_timeout(50), window.holders())[1] == [second.page], 15, "the second tab reads")
    assert "last_event_id=" in window.opened[-1]
