"""The example end to end: five stations, a service of its own, compensation in order, and a clean audit."""

import json
import os
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import sync_playwright

from devtools.system import System
from devtools.wait import free_port, until
from saga_app.service.world import World
from tests.browser.conftest import FLAGS, chromium

STEPS = ["provision", "authorize", "train", "notify", "complete"]
COMPENSATIONS = ["retract", "untrain", "revoke", "deprovision"]
DENY_RATE = 0.5


@pytest.fixture
def company(
    start_system: Callable[..., System], start_inventory: Callable[..., None], training: dict[str, str]
) -> System:
    start_inventory()
    return start_system(lag="0-0.1", deny_rate=DENY_RATE, trainer_port=free_port(), **training)


def get(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def text(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def onboard(system: System, *ids: str) -> None:
    users = [{"id": id, "name": f"User {id}", "email": f"{id}@example.com", "department": "Sales"} for id in ids]
    body = json.dumps(users).encode()
    urlopen(Request(f"{system.url}/api/users", body, {"Content-Type": "application/json"}), timeout=30).close()


def denied_at(step: str | None) -> str:
    """The id of a user whose saga is denied at this step and at no earlier one; None: at none."""
    world = World()

    def denied(id: str, name: str) -> bool:
        return world.dice(f"training:{id}:{name}", "deny") < DENY_RATE

    before = STEPS[: STEPS.index(step)] if step else STEPS[:-1]
    for number in range(10_000):
        id = f"u{number}"
        if not any(denied(id, name) for name in before) and (step is None or denied(id, step)):
            return id
    raise AssertionError("no such id")


def ended(system: System, id: str) -> dict[str, Any]:
    states = ("completed", "rolled-back", "rollback-incomplete", "parked")
    until(lambda: get(f"{system.url}/api/sagas?q={id}")["items"], 20, f"{id} is known")
    until(lambda: get(f"{system.url}/api/sagas/{id}")["state"] in states, 30, f"{id} has ended")
    return dict(get(f"{system.url}/api/sagas/{id}"))


@pytest.mark.browser
def test_the_new_step_shows_everywhere_and_its_sagas_add_up(company: System, inventory_url: str) -> None:
    good, bad = denied_at(None), denied_at("notify")
    onboard(company, good, bad)

    done = ended(company, good)
    assert (done["state"], [visit["step"] for visit in done["history"]]) == ("completed", STEPS)
    assert done["course"] == "Customer conversations"
    assert get(f"{inventory_url}/reservations")[f"training:{good}:provision"] == done["device_id"]

    back = ended(company, bad)
    assert (back["state"], [visit["step"] for visit in back["history"][4:]]) == ("rolled-back", COMPENSATIONS[1:])
    assert f"training:{bad}:provision" not in get(f"{inventory_url}/reservations"), "its device is in stock again"

    assert [step["name"] for step in get(f"{company.url}/api/plan")["steps"]] == STEPS
    assert "course" in get(f"{company.url}/openapi.json")["components"]["schemas"]["Saga"]["properties"]
    assert {"train", "untrain"} <= set(get(f"{company.url}/asyncapi.json")["channels"])
    until(lambda: get(f"{company.url}/api/stats")["services"]["trainer"]["up"], 20, "the Trainer is shown as up")
    assert set(STEPS) <= set(get(f"{company.url}/api/stats")["steps"])
    metrics = text(f"http://127.0.0.1:{company.settings['trainer_port']}/metrics")
    assert 'saga_steps_total{outcome="done",step="train"}' in metrics

    shown = company.saga("show", good)
    assert "Customer conversations" in shown.stdout
    audit = until(lambda: _clean(company), 60, "the audit is clean")
    assert audit["sagas"] == 2

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        for name, width, height in (("desktop", 1440, 900), ("phone", 390, 844)):
            page = browser.new_page(viewport={"width": width, "height": height})
            broken: list[str] = []
            page.on("pageerror", lambda error, broken=broken: broken.append(str(error)))  # type: ignore[misc]
            page.goto(company.url)
            page.wait_for_selector(".station")
            assert page.locator(".station").count() == len(STEPS)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing overflows"
            if folder := os.environ.get("SCREENSHOTS"):
                onboard(company, *(f"{name}{number}" for number in range(8)))
                page.wait_for_timeout(700)
                page.screenshot(path=f"{folder}/training-{name}.png")
            assert not broken
        browser.close()


def _clean(system: System) -> dict[str, Any] | None:
    audit = system.saga("audit", "--json", "--settle", "0")
    return json.loads(audit.stdout) if audit.returncode == 0 else None


def test_a_device_that_the_inventory_does_not_have_rolls_the_saga_back(
    start_system: Callable[..., System], start_inventory: Callable[..., None], training: dict[str, str]
) -> None:
    start_inventory(devices=1)
    system = start_system(lag="0", trainer_port=free_port(), **training)
    onboard(system, "first")
    assert ended(system, "first")["state"] == "completed"
    onboard(system, "second")
    saga = ended(system, "second")
    assert (saga["state"], saga["reason"]) == ("rolled-back", "no device left for Sales")


def test_an_inventory_that_is_away_is_asked_again(
    start_system: Callable[..., System], start_inventory: Callable[..., None], training: dict[str, str]
) -> None:
    system = start_system(lag="0", trainer_port=free_port(), **training)
    onboard(system, "ada")
    until(lambda: "cannot be reached" in get(f"{system.url}/api/sagas/ada")["why"], 20, "the reason is shown")
    start_inventory()
    assert ended(system, "ada")["state"] == "completed"
