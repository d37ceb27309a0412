"""Send thousands of poison records to a running system: no process restarts, and the fate of every record is known."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from devtools.http_client import ask
from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from saga_app.service.kafka.topics import TOPICS
from tests.fuzz.accounting import dead_letters, fates
from tests.fuzz.poison import Poison, poison
from tests.fuzz.sending import Place, Sender
from tests.kafka.kafka_system import list_sagas

PARTITIONS = 12
SERVICES = ("provisioner", "authorizer", "notifier", "console")

#: The longest time until all sent records have been consumed, and until a killed process is ready again.
READ_WITHIN_S = 120.0

Now = Callable[[str], None]


@pytest.mark.timeout(300)
def test_no_record_on_the_embedded_broker_stops_the_system(start_system: Callable[..., System], now: Now) -> None:
    system = start_system(lag="0")
    _send_poison_and_check(system, f"127.0.0.1:{system.settings['embedded_port']}", seed=1, count=3_000, now=now)


@pytest.mark.timeout(400)
def test_no_record_on_a_real_kafka_stops_the_system(
    own_kafka: RealKafka, start_system: Callable[..., System], now: Now
) -> None:
    _create_permissive_topics(own_kafka.bootstrap)
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0")
    _send_poison_and_check(system, own_kafka.bootstrap, seed=2, count=4_000, now=now)


def _create_permissive_topics(bootstrap: str) -> None:
    """Create the topics with configs that accept any timestamp of a client."""
    permissive = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
    new = [NewTopic(name, PARTITIONS, 1, config={**config, **permissive}) for name, config in TOPICS.items()]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics(new).values():
        future.result(30)


def _send_poison_and_check(system: System, bootstrap: str, seed: int, count: int, now: Now) -> None:
    before = _pids(system)
    sender = Sender(bootstrap)
    records = list(poison(seed, count, PARTITIONS))
    users = 0
    for start in range(0, count, 500):
        users += _submit_users(system, f"good{start}")
        sender.send(records[start : start + 500])
    sender.flush()
    assert len(sender.stored) > count * 0.8, "the broker refused more than 20 % of the records"
    _wait_until_all_is_read(system)
    _wait_until_completed(system, users)
    _assert_no_restart(system, before)
    counts = _assert_every_fate_is_known(system, bootstrap, sender.stored)
    _assert_recovery(system, users)
    now(f"{len(sender.stored)} records: " + ", ".join(f"{n} {fate}" for fate, n in counts.items()))


def _pids(system: System) -> dict[str, int]:
    return {name: system.child(f"agents:{name}").pid for name in SERVICES}


def _submit_users(system: System, prefix: str, count: int = 10) -> int:
    """Submit valid users; return their number."""
    users = [
        {"id": f"{prefix}-{n}", "name": f"Good {n}", "email": f"good{n}@example.com", "department": "Sales"}
        for n in range(count)
    ]
    status, answer = ask(f"{system.url}/api/users", users)
    assert status == 202, answer
    return count


def _wait_until_all_is_read(system: System) -> None:
    def is_read() -> bool:
        status, stats = ask(f"{system.url}/api/stats")
        lags = [service["lag"] for service in stats["services"].values()] if status == 200 else [None]
        return all(lag == 0 for lag in lags) and stats["not_ready"] is None

    until(is_read, READ_WITHIN_S, "a service did not consume all records", every_s=0.5)


def _wait_until_completed(system: System, users: int) -> None:
    def completed() -> list[dict[str, Any]]:
        return list_sagas(system, "&q=good&state=completed")

    until(lambda: len(completed()) >= users, 60, f"not all {users} valid users completed", every_s=0.5)


def _assert_no_restart(system: System, before: dict[str, int]) -> None:
    output = "\n".join(system.lines)
    assert _pids(system) == before, system.output_tail()
    assert "restarting in" not in output
    assert "Traceback" not in output, output[output.index("Traceback") - 500 :][:4000]


def _assert_every_fate_is_known(system: System, bootstrap: str, sent: dict[Place, Poison]) -> Counter[str]:
    audit = json.loads(system.saga("audit", "--json", "--broker", f"kafka://{bootstrap}").stdout)
    audited = {_place(proof) for finding in audit["findings"] for proof in finding["proof"]}
    poison_ids = {record.id for record in sent.values()}
    for finding in audit["findings"]:
        about_poison = any(_place(proof) in sent for proof in finding["proof"])
        assert about_poison or finding["saga"] in poison_ids or not str(finding["saga"]).startswith("good"), finding
    known_ids = {item["id"] for item in list_sagas(system)}
    counts, unknown = fates(sent, dead_letters(bootstrap), known_ids, audited)
    assert not unknown, f"the fate of {len(unknown)} records is unknown, such as {unknown[:3]!r}"
    return counts


def _place(text: str) -> Place:
    """Parse a position such as `authorize[3]@42`."""
    topic, _, rest = text.partition("[")
    partition, _, offset = rest.partition("]@")
    return topic, int(partition), int(offset)


def _assert_recovery(system: System, users: int) -> None:
    """Kill each process; it must recover from topics and changelogs full of poison."""
    for name, pid in _pids(system).items():
        os.kill(pid, signal.SIGKILL)
        until(partial(_is_restarted, system, name, pid), READ_WITHIN_S, f"{name} did not become ready again")
    _wait_until_completed(system, users + _submit_users(system, "good-afterwards"))


def _is_restarted(system: System, name: str, pid: int) -> bool:
    """Whether a service is ready and has another process id."""
    try:
        status, _ = ask(f"http://127.0.0.1:{system.settings[f'{name}_port']}/health/ready")
        return status == 200 and system.child(f"agents:{name}").pid != pid
    except (OSError, AssertionError):  # the service does not listen yet, or does not run
        return False
