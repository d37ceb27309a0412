"""The page where the token is needed: it asks for it, once, and then everything works, the stream included."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from devtools.system import System
from tests.browser.user import SAGA_MS, User

pytestmark = pytest.mark.field(27)


@pytest.fixture
def guarded(start_system: Callable[..., System]) -> System:
    """A system that trusts no network."""
    return start_system(lag="0", token="open-sesame", trusted="none")


def test_the_page_asks_for_the_token_and_then_works(
    guarded: System, visit: Callable[..., User], now: Callable[[str], None]
) -> None:
    user = visit(guarded.url)
    dialog: Any = user.page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible(timeout=SAGA_MS)
    dialog.get_by_label("Token").fill("wrong-token")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).to_contain_text("this is not the token")
    user.page.keyboard.press("Escape")
    dialog.get_by_label("Token").fill("open-sesame")
    user.page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    user.connected()
    user.sees_arrival(user.press_new_user())
    now("the page asks for the token, then its stream and New User work")
    user.page.reload()
    user.connected()
    expect(dialog).not_to_be_attached()
    assert user.page.evaluate("document.cookie") == ""


def test_where_no_token_is_set_the_page_says_what_to_set(
    start_system: Callable[..., System], visit: Callable[..., User]
) -> None:
    user = visit(start_system(lag="0", trusted="none").url)
    dialog: Any = user.page.get_by_role("dialog", name="Not allowed")
    expect(dialog).to_contain_text("set SAGA_TOKEN", timeout=SAGA_MS)
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog).to_be_visible(timeout=SAGA_MS)


def test_the_command_line_reads_and_changes_with_the_token_only(guarded: System) -> None:
    assert guarded.saga("new", "--count", "1").returncode == 0
    assert guarded.saga("list", "--json").returncode == 0
    guarded.env.pop("SAGA_TOKEN")
    refused = guarded.saga("list")
    assert refused.returncode == 1
    assert "needs the token" in refused.stderr
