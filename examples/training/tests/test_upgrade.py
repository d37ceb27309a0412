"""Sagas finish by the routing slip with which they began, whatever plan the services have by then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from devtools.system import System
from devtools.wait import free_port, until

THREE = ["provision", "authorize", "notify", "complete"]
FOUR = ["provision", "authorize", "train", "notify", "complete"]
USERS = 40


def get(system: System, path: str) -> Any:
    with urlopen(f"{system.url}{path}", timeout=10) as answer:
        return json.load(answer)


def onboard(system: System, prefix: str) -> None:
    users = [
        {"id": f"{prefix}{n}", "name": f"User {n}", "email": f"u{n}@example.com", "department": "Sales"}
        for n in range(USERS)
    ]
    request = Request(f"{system.url}/api/users", json.dumps(users).encode(), {"Content-Type": "application/json"})
    urlopen(request, timeout=30).close()
    # The first step writes the slip: until then a saga belongs to no plan.
    until(lambda: all(each.get("history") for each in found(system, prefix)), 30, "they are under way")


def found(system: System, prefix: str) -> list[dict[str, Any]]:
    """The sagas of this prefix; some false entry while there are fewer."""
    items = list(get(system, f"/api/sagas?q={prefix}&limit={2 * USERS}")["items"])
    return items if len(items) == USERS else [{}]


def histories(system: System, prefix: str) -> set[tuple[str, tuple[str, ...]]]:
    """State and steps of these sagas, once all have ended."""
    until(lambda: all(each.get("ended_at") for each in found(system, prefix)), 60, lambda: _unfinished(system, prefix))
    return {(saga["state"], tuple(visit["step"] for visit in saga["history"])) for saga in found(system, prefix)}


def _unfinished(system: System, prefix: str) -> str:
    """What the sagas wait for that should have ended."""
    return "they have ended: " + str({saga.get("why") for saga in found(system, prefix) if not saga.get("ended_at")})


def in_flight(system: System) -> int:
    return int(get(system, "/api/stats")["in_flight"])


@pytest.mark.timeout(300)
def test_sagas_finish_by_their_slips_when_a_step_is_added_and_removed(
    start_system: Callable[..., System],
    start_inventory: Callable[..., None],
    training: dict[str, str],
    kafka: str,
    tmp_path: Path,
) -> None:
    start_inventory()
    data, kept = ("--broker", f"kafka://{kafka}"), {"datadir": tmp_path / "data"}
    before = start_system(*data, lag="2-4", **kept)
    onboard(before, "three")
    assert in_flight(before) > 0
    before.stop()

    added = start_system(*data, lag="2-4", trainer_port=free_port(), **kept, **training)
    assert histories(added, "three") == {("completed", tuple(THREE))}
    onboard(added, "four")
    assert in_flight(added) > 0
    added.stop()

    removed = start_system(*data, lag="0-0.1", **kept)
    apart = {"broker": f"kafka://{kafka}", "datadir": tmp_path / "trainer", "trainer_port": free_port()}
    trainer = System.worker("trainer", removed, **apart, **training)
    try:
        assert histories(removed, "four") == {("completed", tuple(FOUR))}
        onboard(removed, "again")
        assert histories(removed, "again") == {("completed", tuple(THREE))}
        audit = removed.saga("audit", "--settle", "0")
        assert audit.returncode == 0, audit.stdout
    finally:
        trainer.end()
