"""Somebody in front of the page: what they do and what they see, in their words."""

import re
from typing import Any
from urllib.parse import unquote

from playwright.sync_api import Locator, Page, expect

#: How long a saga may take on a busy machine, from the press to the board. Milliseconds.
SAGA_MS = 30_000


class User:
    """Wraps one open page."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._accepted = ""

    def connected(self) -> "User":
        """Wait until the page hears from the server."""
        expect(self.page.locator("body[data-connection=live]")).to_be_attached()
        return self

    def button(self, name: str) -> Locator:
        """A button by what it says, exactly."""
        return self.page.get_by_role("button", name=name, exact=True)

    def press_new_user(self) -> str:
        """Press New User; answers the id of the saga that was accepted."""
        self.page.locator("#new-user").click()
        return self.accepted()

    def accepted(self) -> str:
        """The id behind the next "Accepted": not the one that was asked for before."""
        link = self.page.locator("#new-answer .accepted a")
        expect(link).to_be_visible()
        expect(link).not_to_have_attribute("href", self._accepted)
        self._accepted = link.get_attribute("href") or ""
        return unquote(self._accepted.removeprefix("#/sagas/"))

    def fill_form(self, **fields: str) -> None:
        """Open the form if need be, fill it in and send it."""
        if not self.page.locator("#user-form").is_visible():
            self.more()
            self.button("Form").click()
        for field, value in fields.items():
            self.page.locator(f"#f-{field}").fill(value)
        self.button("Onboard").click()

    def more(self) -> None:
        """On a narrow window: show the controls that are behind the button More."""
        options = self.page.locator("#options")
        if options.is_visible() and options.get_attribute("aria-expanded") == "false":
            options.click()

    def choose_csv(self, content: str | bytes, name: str = "people.csv") -> None:
        """Choose a CSV file of this content; text is UTF-8."""
        buffer = content.encode() if isinstance(content, str) else content
        self.page.set_input_files("#csv-file", {"name": name, "mimeType": "text/csv", "buffer": buffer})

    def row(self, id: str) -> Locator:
        """The row of a user who is on the way."""
        return self.page.locator(f'.run[data-id="{id}"]')

    def arrival(self, id: str) -> Locator:
        """A line of the arrivals board."""
        return self.page.locator(f'.arrival[data-id="{id}"]')

    def sees_arrival(self, id: str) -> Locator:
        """Wait until the user is on the arrivals board."""
        expect(self.arrival(id)).to_be_visible(timeout=SAGA_MS)
        return self.arrival(id)

    def go(self, view: str) -> None:
        """Press a tab."""
        self.page.get_by_role("navigation", name="Views").get_by_role("link", name=re.compile(view)).click()

    def trace_switch(self) -> Locator:
        """The Trace Mode switch."""
        return self.page.get_by_role("switch", name="Trace Mode")

    def drawer(self) -> Locator:
        """The drawer that shows one saga."""
        return self.page.get_by_role("dialog")

    def watch_rows(self) -> None:
        """Note from now on every row that appears, and every place at which a token has been."""
        self.page.evaluate(
            """() => {
                window.seen = {};
                const look = () => {
                    for (const row of document.querySelectorAll(".run")) {
                        const x = new DOMMatrix(getComputedStyle(row.querySelector(".token")).transform).e;
                        const places = (window.seen[row.dataset.id] ??= []);
                        if (places.at(-1) !== x) places.push(x);
                    }
                    requestAnimationFrame(look);
                };
                look();
            }"""
        )

    def seen(self) -> dict[str, list[float]]:
        """The places (pixels from the left) at which each token has been since `watch_rows`."""
        answer: dict[str, list[float]] = self.page.evaluate("window.seen")
        return answer

    def scrolls_sideways(self) -> bool:
        """Whether the page is wider than the window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def ask(self, path: str) -> Any:
        """What the API says, fetched by the page."""
        return self.page.evaluate("path => fetch(path).then(answer => answer.json())", path)

    def ask_new_user(self) -> str:
        """Onboard somebody without the page's own controls; answers the id."""
        answer: dict[str, str] = self.page.evaluate(
            """() => fetch("/api/users", {
                method: "POST",
                headers: { "Content-Type": "application/json" },
                body: JSON.stringify({ name: "Ina Background", email: "ina@example.com", department: "Sales" }),
            }).then(answer => answer.json())"""
        )
        return answer["id"]
