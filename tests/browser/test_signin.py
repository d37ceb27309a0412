"""Sign-in: where a token is required, the page asks for it once, and then all requests work, the stream included."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from devtools.system import System
from tests.browser.user import SAGA_TIMEOUT_MS, User

pytestmark = pytest.mark.field(27)


@pytest.fixture
def system_with_token(start_system: Callable[..., System]) -> System:
    """A running system that requires a token from all clients."""
    return start_system(lag="0", token="open-sesame", trusted="none")


def test_the_page_asks_for_the_token_and_then_works(
    system_with_token: System, visit: Callable[..., User], now: Callable[[str], None]
) -> None:
    user = visit(system_with_token.url)
    dialog: Any = user.page.get_by_role("dialog", name="Sign in")
    expect(dialog).to_be_visible(timeout=SAGA_TIMEOUT_MS)
    dialog.get_by_label("Token").fill("wrong-token")
    dialog.get_by_role("button", name="Sign in").click()
    expect(dialog.get_by_role("alert")).to_contain_text("this is not the token")
    user.page.keyboard.press("Escape")
    dialog.get_by_label("Token").fill("open-sesame")
    user.page.keyboard.press("Enter")
    expect(dialog).not_to_be_attached()
    user.wait_for_connection()
    user.wait_for_arrival(user.press_new_user())
    now("the page asks for the token; then its stream and New User work")
    user.page.reload()
    user.wait_for_connection()
    expect(dialog).not_to_be_attached()
    assert user.page.evaluate("document.cookie") == ""


def test_without_a_configured_token_the_page_names_the_setting(
    start_system: Callable[..., System], visit: Callable[..., User]
) -> None:
    user = visit(start_system(lag="0", trusted="none").url)
    dialog: Any = user.page.get_by_role("dialog", name="Not allowed")
    expect(dialog).to_contain_text("set SAGA_TOKEN", timeout=SAGA_TIMEOUT_MS)
    dialog.get_by_role("button", name="Try again").click()
    expect(dialog).to_be_visible(timeout=SAGA_TIMEOUT_MS)


def test_the_command_line_needs_the_token_to_read_and_to_write(system_with_token: System) -> None:
    assert system_with_token.saga("new", "--count", "1").returncode == 0
    assert system_with_token.saga("list", "--json").returncode == 0
    system_with_token.env.pop("SAGA_TOKEN")
    refused = system_with_token.saga("list")
    assert refused.returncode == 1
    assert "needs the token" in refused.stderr
