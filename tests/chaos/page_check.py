"""Compares the states that the console shows with those in Kafka."""

import time
from collections.abc import Mapping

from devtools.http_client import UNREACHABLE, ask

#: How long the console may take to show the latest states (seconds).
MAX_DELAY_S = 30.0


def differing_sagas(url: str, states: Mapping[str, str]) -> list[str]:
    """The ids of sagas whose state in the console differs from `states`, or that only one of the two has."""
    deadline = time.monotonic() + MAX_DELAY_S
    while True:
        shown = fetch_states(url)
        differing = sorted(id for id in states.keys() | shown.keys() if states.get(id) != shown.get(id))
        if not differing or time.monotonic() > deadline:
            return differing
        time.sleep(1)


def fetch_states(url: str) -> dict[str, str]:
    """The state of every saga in the console's list, by id; empty if the console cannot be reached."""
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
