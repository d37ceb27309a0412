"""A user of the page: what they do, and where they look for the result."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from playwright.sync_api import Locator, Page, expect

from devtools.wait import until

#: How long a saga may take on a busy machine, from the click to the arrivals board (milliseconds).
SAGA_TIMEOUT_MS = 30_000


class User:
    """Operates one open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._last_accepted = ""

    def wait_for_connection(self) -> "User":
        """Wait until the page receives events from the server. Returns the same user."""
        expect(self.page.locator("body[data-connection=live]")).to_be_attached()
        return self

    def wait_until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Like `devtools.wait.until()`, but handle the page's requests and events before each poll."""

        def poll() -> bool:
            self.page.wait_for_timeout(50)
            return condition()

        until(poll, within_s, what)

    def button(self, name: str) -> Locator:
        """The button with exactly this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def press_new_user(self) -> str:
        """Press New User and wait until the user is accepted. Returns the saga id."""
        self.page.locator("#new-user").click()
        return self.accepted_id()

    def accepted_id(self) -> str:
        """Wait until another user than at the last call is shown as accepted. Returns the saga id."""
        link = self.page.locator("#new-answer .accepted a")
        expect(link).to_be_visible()
        expect(link).not_to_have_attribute("href", self._last_accepted)
        self._last_accepted = link.get_attribute("href") or ""
        return unquote(self._last_accepted.removeprefix("#/sagas/"))

    def submit_form(self, **fields: str) -> None:
        """Open the form if it is closed, fill in the fields, and submit it."""
        if not self.page.locator("#user-form").is_visible():
            self.open_more()
            self.button("Form").click()
        for field, value in fields.items():
            self.page.locator(f"#f-{field}").fill(value)
        self.button("Onboard").click()

    def open_more(self) -> None:
        """In a narrow window, show the controls behind the button More."""
        options = self.page.locator("#options")
        if options.is_visible() and options.get_attribute("aria-expanded") == "false":
            options.click()

    def choose_csv(self, content: str | bytes, name: str = "people.csv") -> None:
        """Choose a CSV file with this content; text is encoded as UTF-8."""
        buffer = content.encode() if isinstance(content, str) else content
        self.page.set_input_files("#csv-file", {"name": name, "mimeType": "text/csv", "buffer": buffer})

    def row(self, id: str) -> Locator:
        """The row of a running saga on the Live tab."""
        return self.page.locator(f'.run[data-id="{id}"]')

    def arrival(self, id: str) -> Locator:
        """The entry of a saga on the arrivals board."""
        return self.page.locator(f'.arrival[data-id="{id}"]')

    def wait_for_arrival(self, id: str) -> Locator:
        """Wait until the saga is on the arrivals board. Returns its entry."""
        expect(self.arrival(id)).to_be_visible(timeout=SAGA_TIMEOUT_MS)
        return self.arrival(id)

    def open_tab(self, name: str) -> None:
        """Press the tab with this name."""
        self.page.get_by_role("navigation", name="Views").get_by_role("link", name=re.compile(name)).click()

    def trace_switch(self) -> Locator:
        """The switch Trace Mode."""
        return self.page.get_by_role("switch", name="Trace Mode")

    def drawer(self) -> Locator:
        """The drawer with the details of one saga."""
        return self.page.get_by_role("dialog")

    def record_token_positions(self) -> None:
        """Record the position of every token in every frame from now on; see `token_positions()`."""
        self.page.evaluate(
            """() => {
                window.tokenPositions = {};
                const record = () => {
                    for (const row of document.querySelectorAll(".run")) {
                        const x = new DOMMatrix(getComputedStyle(row.querySelector(".token")).transform).e;
                        const positions = (window.tokenPositions[row.dataset.id] ??= []);
                        if (positions.at(-1) !== x) positions.push(x);
                    }
                    requestAnimationFrame(record);
                };
                record();
            }"""
        )

    def token_positions(self) -> dict[str, list[float]]:
        """The recorded positions (pixels from the left) of each token by saga id."""
        positions: dict[str, list[float]] = self.page.evaluate("window.tokenPositions")
        return positions

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def fetch(self, path: str) -> Any:
        """The JSON body of an API response, requested by the page."""
        return self.page.evaluate("path => fetch(path).then(answer => answer.json())", path)

    def onboard_by_api(self) -> str:
        """Onboard a user by an API request of the page, without its controls. Returns the saga id."""
        answer: dict[str, str] = self.page.evaluate(
            """() => fetch("/api/users", {
                method: "POST",
                headers: { "Content-Type": "application/json" },
                body: JSON.stringify({ name: "Ina Background", email: "ina@example.com", department: "Sales" }),
            }).then(answer => answer.json())"""
        )
        return answer["id"]
