"""The tabs of the page by their names in its URL."""

from devtools.system import System
from tests.browser.user import User

VIEWS = ("live", "users", "errors", "order", "system")


def open_view(user: User, system: System, view: str) -> None:
    """Open a tab and wait for its data. Under Errors, expand the first group and its first message."""
    user.page.goto(f"{system.url}/#/{view}")
    content = {
        "live": ".stuck:visible",
        "users": ".users-table tbody tr",
        "errors": ".g-head",
        "order": ".names.right li",
        "system": ".steps-table tbody tr",
    }[view]
    user.page.locator(content).first.wait_for()
    if view == "errors":
        user.page.locator(".g-head").first.click()
        user.page.locator(".l-toggle").first.click()
        user.page.locator(".letter pre").wait_for()
