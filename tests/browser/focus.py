"""The keyboard focus: moving it with the Tab key, and observing where it is."""

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.user import User

#: JavaScript: a description of the focused element; "body" if no element has the focus.
FOCUSED_ELEMENT = """() => {
    const e = document.activeElement;
    if (!e || e === document.body) return "body";
    return `${e.id || e.className || e.tagName}: ${e.textContent.trim().slice(0, 40)}`;
}"""


def tab_to(user: User, selector: str) -> None:
    """Press Tab until an element that matches has the focus, and assert that the focus is visible."""
    for _ in range(40):
        user.page.keyboard.press("Tab")
        if user.page.locator(f"{selector}:focus").count():
            break
    focused = user.page.locator(f"{selector}:focus-visible")
    expect(focused).to_have_count(1)
    has_outline = "e => [e, e.closest('tr, li')].some(x => x && getComputedStyle(x).outlineStyle !== 'none')"
    assert focused.evaluate(has_outline), f"{selector} has the focus without a visible outline"


def focused_element(user: User) -> str:
    """A description of the focused element; "body" if no element has the focus."""
    return str(user.page.evaluate(FOCUSED_ELEMENT))


def record_focus(user: User) -> Callable[[], list[str]]:
    """Record the focused element in every frame from now on. Returns a function that returns the changes so far."""
    user.page.evaluate(
        f"""() => {{
            const describe = {FOCUSED_ELEMENT};
            window.focused = [];
            const record = () => {{
                const now = describe();
                if (window.focused.at(-1) !== now) window.focused.push(now);
                requestAnimationFrame(record);
            }};
            record();
        }}"""
    )
    return lambda: list(user.page.evaluate("window.focused"))
