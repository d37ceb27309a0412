"""Sagas whose attempts fail delay no other saga, and hold back commits no longer than their retry budget."""

import urllib.request
from collections.abc import Callable
from typing import Any

from devtools.http_client import ask
from devtools.system import System
from devtools.wait import free_port, until
from saga_app.saga.onboarding import ONBOARDING
from saga_app.stream import partition_of
from tests.chaos.mailbox import Mailbox
from tests.kafka.kafka_system import SERVICES, count_states, list_sagas

USER_COUNT = 500


def metrics(system: System, service: str) -> dict[str, float]:
    """The metrics of a service, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.settings[f'{service}_port']}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def longest_held_commit_s(system: System) -> float:
    """The longest time that any service is currently holding back a commit."""
    return max(metrics(system, service)["saga_commit_held_seconds"] for service in SERVICES)


def test_a_failing_saga_delays_no_other_and_holds_commits_within_budget(
    kafka: str, start_system: Callable[..., System]
) -> None:
    with Mailbox(free_port(), seed=1) as mailbox:  # over SMTP, because results of the log mailer are not recorded
        system = start_system("--broker", f"kafka://{kafka}", lag="0", flaky_rate="0.35", mail=mailbox.url)
        for start in range(0, USER_COUNT, 20):  # in small batches, so that later sagas can overtake earlier ones
            users = [
                {"id": f"flaky{n}", "name": f"N{n}", "email": "n@example.com", "department": "Sales"}
                for n in range(start, start + 20)
            ]
            assert ask(f"{system.url}/api/users", users)[0] == 202
        held_s = [0.0]

        def all_ended() -> bool:
            held_s.append(longest_held_commit_s(system))
            counts = count_states(kafka, "flaky")
            return counts["completed"] + counts["parked"] == USER_COUNT

        until(all_ended, 90, "a saga neither completed nor is parked", every_s=0.3)
        completed = [item for item in list_sagas(system, "&state=completed&q=flaky") if item["id"].startswith("flaky")]
        retried = [item for item in completed if most_attempts(item) > 2 and int(item["id"][5:]) < USER_COUNT * 3 // 4]
        overtaken = [slow for slow in retried if any(overtook(item, slow) for item in completed)]
        print(f"{len(overtaken)} of {len(retried)} sagas with 3 or more attempts were overtaken in their partition")
        print(f"a commit was held back for at most {max(held_s):.2f} s")
        notifier = metrics(system, "notifier")
        total, mails = (notifier[f'saga_note_seconds_{part}{{step="notify"}}'] for part in ("sum", "count"))
        assert mails >= len(completed), "a mail whose result was not recorded"
        mean_ms = 1000 * total / mails
        print(f"time from a mail's acceptance to its acknowledged note: {mean_ms:.1f} ms on average, {mails:.0f} mails")
        assert len(overtaken) > len(retried) / 2 > 0, "other sagas have waited for them"
        assert 0 < max(held_s) <= max(step.retry.budget for step in ONBOARDING.steps)
        until(lambda: longest_held_commit_s(system) < 1.0, 10, "a commit is still held back")


def most_attempts(item: dict[str, Any]) -> int:
    """The highest number of attempts of a step of the saga."""
    return max(int(line["attempts"]) for line in item["history"])


def overtook(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether `one` started later and ended earlier than `other`, in the same partition."""
    same_partition = partition_of(one["id"].encode(), 12) == partition_of(other["id"].encode(), 12)
    return same_partition and one["started_at"] > other["started_at"] and one["ended_at"] < other["ended_at"]
