"""Times on the page: in the named time zone of the browser, with the date unless it is today, and UTC in the title."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from devtools.system import System
from tests.browser.user import SAGA_TIMEOUT_MS, User

#: JavaScript: the result of a formatting function of the page for a time.
FORMAT = """async ([at, name]) => (await import("/page/core/format.js"))[name](at)"""

#: The end of daylight saving time, when an hour occurs twice: zone, two times an hour (or less) apart, and their texts.
REPEATED_HOURS = [
    ("America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z", "01:30:00 EDT", "01:30:00 EST"),
    ("Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "02:30:00 CEST", "02:30:00 CET"),
    ("Europe/London", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "01:30:00 BST", "01:30:00 GMT"),
    ("Australia/Sydney", "2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z", "02:30:00 AEDT", "02:30:00 AEST"),
    ("Australia/Lord_Howe", "2026-04-04T14:45:00Z", "2026-04-04T15:15:00Z", "01:45:00 LHDT", "01:45:00 LHST"),
]

#: Zone, a time, the current time, and the text: the date is left out if it is today in the zone.
DATES = [
    ("UTC", "2026-11-27T10:00:00Z", "2026-11-27T23:59:00Z", "10:00:00 UTC"),
    ("UTC", "2026-11-26T10:00:00Z", "2026-11-27T00:01:00Z", "26 Nov 10:00:00 UTC"),
    ("UTC", "2025-11-27T10:00:00Z", "2026-11-27T10:00:00Z", "27 Nov 2025 10:00:00 UTC"),
    ("America/New_York", "2026-11-27T04:30:00Z", "2026-11-27T12:00:00Z", "26 Nov 23:30:00 EST"),
    ("America/New_York", "2026-11-27T06:00:00Z", "2026-11-28T03:00:00Z", "01:00:00 EST"),
    ("Asia/Kolkata", "2026-11-27T06:00:00Z", "2026-11-27T07:00:00Z", "11:30:00 UTC+5:30"),
    ("Asia/Kathmandu", "2026-11-27T06:00:00Z", "2026-11-27T07:00:00Z", "11:45:00 UTC+5:45"),
    ("Pacific/Kiritimati", "2026-11-27T09:00:00Z", "2026-11-27T11:00:00Z", "27 Nov 23:00:00 UTC+14"),
    ("America/St_Johns", "2026-07-01T12:00:00Z", "2026-07-01T13:00:00Z", "09:30:00 UTC-2:30"),
]


@pytest.fixture
def formatted(browser: Browser, shared_system: System) -> Iterator[Callable[..., str]]:
    """Return a function that formats a time in a browser with a zone and a clock: `formatted(zone, now, at, "utc")`.

    The last argument is the name of a function of the page's format.js.
    """
    pages: list[Page] = []

    def call(zone: str, now: str, at: str | None, name: str = "clock") -> str:
        context = browser.new_context(timezone_id=zone)
        pages.append(context.new_page())
        pages[-1].clock.install(time=now)
        pages[-1].goto(f"{shared_system.url}/page/icon.svg")
        return str(pages[-1].evaluate(FORMAT, [at, name]))

    yield call
    for page in pages:
        page.context.close()


@pytest.mark.field(20)
@pytest.mark.parametrize(
    ("zone", "first", "second", "shown_first", "shown_second"), REPEATED_HOURS, ids=[case[0] for case in REPEATED_HOURS]
)
def test_the_zone_distinguishes_the_repeated_hour_of_a_clock_change(
    formatted: Callable[..., str],
    zone: str,
    first: str,
    second: str,
    shown_first: str,
    shown_second: str,
    now: Callable[[str], None],
) -> None:
    shown = formatted(zone, second, first), formatted(zone, second, second)
    assert shown == (shown_first, shown_second)
    now(" and ".join(shown))


@pytest.mark.field(20)
@pytest.mark.parametrize(("zone", "at", "clock", "shown"), DATES)
def test_a_time_has_its_zone_and_unless_it_is_today_its_date(
    formatted: Callable[..., str], zone: str, at: str, clock: str, shown: str
) -> None:
    assert formatted(zone, clock, at) == shown
    assert formatted(zone, clock, at, "clockMs") == re.sub(r"(\d\d:\d\d:\d\d)", r"\1.000", shown)
    assert formatted(zone, clock, at, "utc") == at.replace("T", " ").replace("Z", ".000Z")


@pytest.mark.parametrize("at", [None, "", "not a time", "2026-13-01T00:00:00Z"])
def test_an_invalid_time_is_shown_as_a_dash(formatted: Callable[..., str], at: str | None) -> None:
    assert formatted("UTC", "2026-11-27T10:00:00Z", at) == "–"


@pytest.mark.field(20)
def test_every_time_shows_its_zone_and_has_utc_in_its_title(visit: Callable[..., User], shared_system: System) -> None:
    user = visit(shared_system.url, trace="off", timezone_id="America/New_York").wait_for_connection()
    id = user.press_new_user()
    user.wait_for_arrival(id)
    local, utc = re.compile(r"\d\d:\d\d:\d\d E[SD]T"), re.compile(r"\d\d:\d\d:\d\d\.\d{3}Z")
    check_times(user.arrival(id).locator("time"), local, utc)
    user.page.goto(f"{shared_system.url}/#/users?q={id}")
    check_times(user.page.locator(".users-table tbody time"), local, utc)
    user.page.goto(f"{shared_system.url}/#/sagas/{id}")
    drawer = user.drawer()
    expect(drawer.locator(".timeline")).to_contain_text("Saga completed", timeout=SAGA_TIMEOUT_MS)
    expect(drawer.locator(".facts .utc")).to_have_count(3)
    check_times(drawer.locator("time"), re.compile(r"\d\d:\d\d:\d\d\.\d{3} E[SD]T"), utc)
    for shown in drawer.locator(".utc").all_inner_texts():
        assert utc.search(shown)


def check_times(times: Any, local: re.Pattern[str], utc: re.Pattern[str]) -> None:
    """Assert that each time is local with its zone, with UTC in its attributes title and datetime."""
    expect(times.first).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    for time in times.all():
        expect(time).to_have_text(local)
        expect(time).to_have_attribute("title", utc)
        expect(time).to_have_attribute("datetime", re.compile("Z$"))


@pytest.mark.field(20)
def test_after_midnight_times_of_the_previous_day_show_their_date(browser: Browser, shared_system: System) -> None:
    context = browser.new_context(timezone_id="Europe/Berlin")
    page = context.new_page()
    page.clock.install(time="2026-11-27T22:59:50Z")
    page.goto(f"{shared_system.url}/page/icon.svg")
    page.evaluate(
        """async () => {
            const [{ when }, { clock }] = [await import("/page/core/time.js"), await import("/page/core/format.js")];
            document.documentElement.append(when("2026-11-27T22:00:00.000Z", clock));
        }"""
    )
    shown = page.locator("time")
    expect(shown).to_have_text("23:00:00 CET")
    page.clock.fast_forward("01:00")
    expect(shown).to_have_text("27 Nov 23:00:00 CET")
    context.close()
