"""Run `saga up` on a real Kafka, and query its sagas and workers."""

from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from devtools.http_client import ask
from devtools.system import System
from tests.topics import rows

#: The services that run steps.
SERVICES = ("provisioner", "authorizer", "notifier")


def running_system(data: Path, bootstrap: str, *arguments: str, **settings: Any) -> Iterator[System]:
    """For fixtures (`yield from`): a ready system on the broker at `bootstrap`, stopped afterwards."""
    system = System(data, "--broker", f"kafka://{bootstrap}", *arguments, **settings)
    try:
        system.ready()
        yield system
    finally:
        system.end()


def count_states(bootstrap: str, prefix: str) -> Counter[str]:
    """The number of sagas in each state according to the changelog, for ids with this prefix."""
    return Counter(versions[-1].state for id, versions in rows(bootstrap).items() if id.startswith(prefix))


def count_ended(bootstrap: str) -> int:
    """The number of sagas in a final state according to the changelog."""
    return sum(versions[-1].ended for versions in rows(bootstrap).values())


def worker_pids(system: System, service: str) -> list[int]:
    """The process ids of the workers of a service."""
    return [process.pid for process in system.children() if f"agents:{service}" in process.cmdline()]


def list_sagas(system: System, query: str = "") -> list[dict[str, Any]]:
    """All pages of the console's list of sagas. `query` are further parameters, such as `&state=completed`."""
    items: list[dict[str, Any]] = []
    cursor = ""
    for _ in count():
        _, page = ask(f"{system.url}/api/sagas?limit=500{query}{cursor}")
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = f"&cursor={page['next']}"
    raise AssertionError


def view_rows(port: int, query: str = "") -> dict[str, dict[str, Any]]:
    """All pages of a Provisioner's view, by saga id: the rows of its own partitions."""
    found: dict[str, dict[str, Any]] = {}
    after: str | None = ""
    while after is not None:
        _, page = ask(f"http://127.0.0.1:{port}/sagas/?limit=1000{query}&after={after}")
        found |= {item["id"]: item for item in page["items"]}
        after = page["next"]
    return found
