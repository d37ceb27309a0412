"""What the console shows in the end: it has to be what Kafka says."""

import time
from collections.abc import Mapping

from devtools.http_client import UNREACHABLE, ask

#: The console may be behind for so long (seconds).
BEHIND_S = 30.0


def differing(url: str, states: Mapping[str, str]) -> list[str]:
    """Ids of sagas that the console shows in another state, or does not show, or shows though they are not there."""
    deadline = time.monotonic() + BEHIND_S
    while True:
        found = shown(url)
        wrong = sorted(id for id in states.keys() | found.keys() if states.get(id) != found.get(id))
        if not wrong or time.monotonic() > deadline:
            return wrong
        time.sleep(1)


def shown(url: str) -> dict[str, str]:
    """The state of every saga, by all pages of its list; nothing while it is away."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        try:
            status, page = ask(f"{url}/api/sagas?limit=500{cursor}")
        except UNREACHABLE:
            return {}
        if status != 200:
            return {}
        found |= {item["id"]: item["state"] for item in page["items"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"
