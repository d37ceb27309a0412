"""Sagas finish by the routing slip with which they began, even if the plan of the services changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from devtools.system import System
from devtools.wait import free_port, until

STEPS = ["provision", "authorize", "notify", "complete"]
STEPS_WITH_TRAINING = ["provision", "authorize", "train", "notify", "complete"]
USERS = 40


def get(system: System, path: str) -> Any:
    with urlopen(f"{system.url}{path}", timeout=10) as answer:
        return json.load(answer)


def onboard(system: System, prefix: str) -> None:
    """Onboard users whose saga ids begin with `prefix`, and wait until all sagas have a routing slip."""
    users = [
        {"id": f"{prefix}{n}", "name": f"User {n}", "email": f"u{n}@example.com", "department": "Sales"}
        for n in range(USERS)
    ]
    request = Request(f"{system.url}/api/users", json.dumps(users).encode(), {"Content-Type": "application/json"})
    urlopen(request, timeout=30).close()
    # The first step writes the slip. Before that, a saga does not depend on a plan.
    until(
        lambda: all(saga.get("history") for saga in sagas(system, prefix)), 30, "not all sagas completed the first step"
    )


def sagas(system: System, prefix: str) -> list[dict[str, Any]]:
    """The sagas whose ids begin with `prefix`; a single empty one until the console lists all of them."""
    items = list(get(system, f"/api/sagas?q={prefix}&limit={2 * USERS}")["items"])
    return items if len(items) == USERS else [{}]


def histories(system: System, prefix: str) -> set[tuple[str, tuple[str, ...]]]:
    """Wait until these sagas have ended. Returns their distinct states and steps."""
    until(lambda: all(saga.get("ended_at") for saga in sagas(system, prefix)), 60, lambda: _unfinished(system, prefix))
    return {(saga["state"], tuple(visit["step"] for visit in saga["history"])) for saga in sagas(system, prefix)}


def _unfinished(system: System, prefix: str) -> str:
    reasons = {saga.get("why") for saga in sagas(system, prefix) if not saga.get("ended_at")}
    return f"some sagas did not end: {reasons}"


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
    broker, datadir = ("--broker", f"kafka://{kafka}"), {"datadir": tmp_path / "data"}
    original = start_system(*broker, lag="2-4", **datadir)
    onboard(original, "three")
    assert in_flight(original) > 0
    original.stop()

    with_training = start_system(*broker, lag="2-4", trainer_port=free_port(), **datadir, **training)
    assert histories(with_training, "three") == {("completed", tuple(STEPS))}
    onboard(with_training, "four")
    assert in_flight(with_training) > 0
    with_training.stop()

    without_training = start_system(*broker, lag="0-0.1", **datadir)
    trainer_settings = {
        "broker": f"kafka://{kafka}",
        "datadir": tmp_path / "trainer",
        "trainer_port": free_port(),
    }
    trainer = System.worker("trainer", without_training, **trainer_settings, **training)
    try:
        assert histories(without_training, "four") == {("completed", tuple(STEPS_WITH_TRAINING))}
        onboard(without_training, "again")
        assert histories(without_training, "again") == {("completed", tuple(STEPS))}
        audit = without_training.saga("audit", "--settle", "0")
        assert audit.returncode == 0, audit.stdout
    finally:
        trainer.end()
