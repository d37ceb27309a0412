"""A saga whose attempts fail waits by itself: others overtake it, and no commit is held back beyond the budget."""

import urllib.request
from collections.abc import Callable
from typing import Any

from devtools.system import System
from devtools.wait import until
from saga_app.saga.onboarding import ONBOARDING
from saga_app.stream import partition_of
from tests.kafka.test_saga import SERVICES, ask, listed, states

USERS = 500


def metrics(system: System, service: str) -> dict[str, float]:
    """What a service counts, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.settings[f'{service}_port']}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def held(system: System) -> float:
    """The longest that a commit is being held back anywhere, in seconds."""
    return max(metrics(system, service)["saga_commit_held_seconds"] for service in SERVICES)


def test_a_failing_saga_holds_up_no_other_and_no_commit_beyond_its_budget(
    kafka: str, start_system: Callable[..., System]
) -> None:
    system = start_system("--broker", f"kafka://{kafka}", lag="0", flaky_rate="0.35")
    for start in range(0, USERS, 20):  # not all at once: what is to be seen is who waits for whom
        users = [
            {"id": f"flaky{n}", "name": f"N{n}", "email": "n@example.com", "department": "Sales"}
            for n in range(start, start + 20)
        ]
        assert ask(f"{system.url}/api/users", users)[0] == 202
    seen = [0.0]

    def settled() -> bool:
        seen.append(held(system))
        counts = states(kafka, "flaky")
        return counts["completed"] + counts["parked"] == USERS

    until(settled, 90, "all have completed or are parked", every_s=0.3)
    done = [item for item in listed(system, "&state=completed&q=flaky") if item["id"].startswith("flaky")]
    rough = [item for item in done if tries(item) > 2 and int(item["id"][5:]) < USERS * 3 // 4]
    overtaken = [slow for slow in rough if any(overtook(item, slow) for item in done)]
    print(
        f"{len(overtaken)} of {len(rough)} that were tried thrice and more were overtaken in their partition; ", end=""
    )
    print(f"a commit was held back for {max(seen):.2f} s at most")
    notifier = metrics(system, "notifier")
    total, mails = (notifier[f'saga_note_seconds_{part}{{step="notify"}}'] for part in ("sum", "count"))
    print(f"from acceptance to acknowledged note: {1000 * total / mails:.1f} ms on average, {mails:.0f} mails")
    assert len(overtaken) > len(rough) / 2 > 0, "others have waited for them"
    assert 0 < max(seen) <= max(step.retry.budget for step in ONBOARDING.steps)
    until(lambda: held(system) < 1.0, 10, "the commits have caught up")


def tries(item: dict[str, Any]) -> int:
    """The most attempts that one of its steps has taken."""
    return max(line["attempts"] for line in item["history"])


def overtook(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one has started later and ended earlier, in the same partition."""
    together = partition_of(one["id"].encode(), 12) == partition_of(other["id"].encode(), 12)
    return together and one["started_at"] > other["started_at"] and one["ended_at"] < other["ended_at"]
