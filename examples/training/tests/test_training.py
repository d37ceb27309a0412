"""The example end to end: the page, the API, metrics, compensation in order, and the audit."""

import json
import os
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Page, sync_playwright

from devtools.chromium import FLAGS, chromium
from devtools.system import System
from devtools.wait import free_port, until
from saga_app.service.world import World

STEPS = ["provision", "authorize", "train", "notify", "complete"]
COMPENSATIONS = ["retract", "untrain", "revoke", "deprovision"]
DENY_RATE = 0.5


@pytest.fixture
def training_system(
    start_system: Callable[..., System], start_inventory: Callable[..., None], training: dict[str, str]
) -> System:
    """A system with the plan of the example and the inventory. Half of the steps, chosen at random, are denied."""
    start_inventory()
    return start_system(lag="0-0.1", deny_rate=DENY_RATE, trainer_port=free_port(), **training)


def get(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def get_text(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def onboard(system: System, *ids: str) -> None:
    """Onboard a user for each saga id."""
    users = [{"id": id, "name": f"User {id}", "email": f"{id}@example.com", "department": "Sales"} for id in ids]
    body = json.dumps(users).encode()
    urlopen(Request(f"{system.url}/api/users", body, {"Content-Type": "application/json"}), timeout=30).close()


def id_denied_at(step: str | None) -> str:
    """The id of a saga that is denied at this step and at no earlier one; None: at no step."""
    world = World()

    def is_denied(id: str, name: str) -> bool:
        return world.dice(f"training:{id}:{name}", "deny") < DENY_RATE

    earlier = STEPS[: STEPS.index(step)] if step else STEPS[:-1]
    for number in range(10_000):
        id = f"u{number}"
        if not any(is_denied(id, name) for name in earlier) and (step is None or is_denied(id, step)):
            return id
    raise AssertionError(f"none of 10,000 ids is denied at {step}")


def wait_for_end(system: System, id: str) -> dict[str, Any]:
    """Wait until a saga is in a final state or parked. Returns the saga."""
    states = ("completed", "rolled-back", "rollback-incomplete", "parked")
    until(lambda: get(f"{system.url}/api/sagas?q={id}")["items"], 20, f"the console did not list saga {id}")
    until(lambda: get(f"{system.url}/api/sagas/{id}")["state"] in states, 30, f"saga {id} did not end")
    return dict(get(f"{system.url}/api/sagas/{id}"))


def clean_audit(system: System) -> dict[str, Any] | None:
    """The report of `saga audit`; None if it has findings."""
    audit = system.saga("audit", "--json", "--settle", "0")
    return json.loads(audit.stdout) if audit.returncode == 0 else None


@pytest.mark.browser
def test_an_added_step_appears_in_all_interfaces(training_system: System, inventory_url: str) -> None:
    completed_id, denied_id = id_denied_at(None), id_denied_at("notify")
    onboard(training_system, completed_id, denied_id)

    completed = wait_for_end(training_system, completed_id)
    assert (completed["state"], [visit["step"] for visit in completed["history"]]) == ("completed", STEPS)
    assert completed["course"] == "Customer conversations"
    assert get(f"{inventory_url}/reservations")[f"training:{completed_id}:provision"] == completed["device_id"]

    denied = wait_for_end(training_system, denied_id)
    steps = [visit["step"] for visit in denied["history"][4:]]
    assert (denied["state"], steps) == ("rolled-back", COMPENSATIONS[1:])
    reservations = get(f"{inventory_url}/reservations")
    assert f"training:{denied_id}:provision" not in reservations, "the device was not returned"

    assert [step["name"] for step in get(f"{training_system.url}/api/plan")["steps"]] == STEPS
    assert "course" in get(f"{training_system.url}/openapi.json")["components"]["schemas"]["Saga"]["properties"]
    assert {"train", "untrain"} <= set(get(f"{training_system.url}/asyncapi.json")["channels"])
    until(
        lambda: get(f"{training_system.url}/api/stats")["services"]["trainer"]["up"],
        20,
        "the console did not show the Trainer as up",
    )
    assert set(STEPS) <= set(get(f"{training_system.url}/api/stats")["steps"])
    metrics = get_text(f"http://127.0.0.1:{training_system.settings['trainer_port']}/metrics")
    assert 'saga_steps_total{outcome="done",step="train"}' in metrics

    shown = training_system.saga("show", completed_id)
    assert "Customer conversations" in shown.stdout
    audit = until(lambda: clean_audit(training_system), 60, "the audit has findings")
    assert audit is not None
    assert audit["sagas"] == 2

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name, width, height in (("desktop", 1440, 900), ("phone", 390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            script_errors = collect_script_errors(page)
            page.goto(training_system.url)
            page.wait_for_selector(".station")
            assert page.locator(".station").count() == len(STEPS)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
                "the page is wider than the window"
            )
            if folder := os.environ.get("SCREENSHOTS"):
                onboard(training_system, *(f"{name}{number}" for number in range(8)))
                page.wait_for_timeout(700)
                page.screenshot(path=f"{folder}/training-{name}.png")
            assert not script_errors
        browser.close()


def collect_script_errors(page: Page) -> list[str]:
    """A list to which every uncaught error of the page's scripts is added."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def test_a_saga_is_rolled_back_if_no_device_is_left(
    start_system: Callable[..., System], start_inventory: Callable[..., None], training: dict[str, str]
) -> None:
    start_inventory(devices=1)
    system = start_system(lag="0", trainer_port=free_port(), **training)
    onboard(system, "first")
    assert wait_for_end(system, "first")["state"] == "completed"
    onboard(system, "second")
    saga = wait_for_end(system, "second")
    assert (saga["state"], saga["reason"]) == ("rolled-back", "no device left for Sales")


def test_a_step_is_retried_while_the_inventory_is_down(
    start_system: Callable[..., System], start_inventory: Callable[..., None], training: dict[str, str]
) -> None:
    system = start_system(lag="0", trainer_port=free_port(), **training)
    onboard(system, "ada")
    until(
        lambda: "cannot be reached" in get(f"{system.url}/api/sagas/ada")["why"],
        20,
        "the saga did not show that the inventory cannot be reached",
    )
    start_inventory()
    assert wait_for_end(system, "ada")["state"] == "completed"
