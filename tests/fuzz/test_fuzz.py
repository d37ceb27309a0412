"""Thousands of poison records against the running system: no process restarts, and every record is accounted for."""

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from devtools.real_kafka import RealKafka
from devtools.system import System
from devtools.wait import until
from saga_app.service.kafka.topics import TOPICS
from tests.fuzz.accounting import dead_letters, fates
from tests.fuzz.poison import Poison, poison
from tests.fuzz.sending import Place, Sender
from tests.kafka.test_saga import ask, listed

PARTITIONS = 12
SERVICES = ("provisioner", "authorizer", "notifier", "console")

#: How long it may take until everything that was sent has been read (seconds).
READ_WITHIN_S = 120.0

Now = Callable[[str], None]


@pytest.mark.timeout(300)
def test_no_record_on_the_embedded_broker_stops_the_system(start_system: Callable[..., System], now: Now) -> None:
    system = start_system(lag="0")
    _run(system, f"127.0.0.1:{system.settings['embedded_port']}", seed=1, count=3_000, now=now)


@pytest.mark.timeout(400)
def test_no_record_on_a_real_kafka_stops_the_system(
    own_kafka: RealKafka, start_system: Callable[..., System], now: Now
) -> None:
    _create_topics_with_the_senders_time(own_kafka.bootstrap)
    system = start_system("--broker", f"kafka://{own_kafka.bootstrap}", lag="0")
    _run(system, own_kafka.bootstrap, seed=2, count=4_000, now=now)


def _create_topics_with_the_senders_time(bootstrap: str) -> None:
    """As somebody else may have made them: with the timestamps of whoever writes, however odd, and large records."""
    odd = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**63 - 1)}
    new = [NewTopic(name, PARTITIONS, 1, config={**config, **odd}) for name, config in TOPICS.items()]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics(new).values():
        future.result(30)


def _run(system: System, bootstrap: str, seed: int, count: int, now: Now) -> None:
    before = _pids(system)
    sender = Sender(bootstrap)
    records = list(poison(seed, count, PARTITIONS))
    users = 0
    for start in range(0, count, 500):
        users += _onboard(system, f"good{start}")
        sender.send(records[start : start + 500])
    sender.flush()
    assert len(sender.stands) > count * 0.8, "the broker refused most of it"
    _everything_is_read(system)
    _completed(system, users)
    _nothing_restarted(system, before)
    counts = _everything_is_accounted_for(system, bootstrap, sender.stands)
    _recovers(system, users)
    now(f"{len(sender.stands)} records: " + ", ".join(f"{n} {fate}" for fate, n in counts.items()))


def _pids(system: System) -> dict[str, int]:
    return {name: system.child(f"agents:{name}").pid for name in SERVICES}


def _onboard(system: System, prefix: str, count: int = 10) -> int:
    users = [
        {"id": f"{prefix}-{n}", "name": f"Good {n}", "email": f"good{n}@example.com", "department": "Sales"}
        for n in range(count)
    ]
    status, answer = ask(f"{system.url}/api/users", users)
    assert status == 202, answer
    return count


def _everything_is_read(system: System) -> None:
    def is_read() -> bool:
        status, stats = ask(f"{system.url}/api/stats")
        lags = [service["lag"] for service in stats["services"].values()] if status == 200 else [None]
        return all(lag == 0 for lag in lags) and stats["not_ready"] is None

    until(is_read, READ_WITHIN_S, "every service has read everything", every_s=0.5)


def _completed(system: System, users: int) -> None:
    def completed() -> list[dict[str, Any]]:
        return listed(system, "&q=good&state=completed")

    until(lambda: len(completed()) >= users, 60, f"{users} users completed among the poison", every_s=0.5)


def _nothing_restarted(system: System, before: dict[str, int]) -> None:
    output = "\n".join(system.lines)
    assert _pids(system) == before, system.said()
    assert "starting it again" not in output
    assert "Traceback" not in output, output[output.index("Traceback") - 500 :][:4000]


def _everything_is_accounted_for(system: System, bootstrap: str, sent: dict[Place, Poison]) -> Any:
    audit = json.loads(system.saga("audit", "--json", "--broker", f"kafka://{bootstrap}").stdout)
    named = {_place(proof) for finding in audit["findings"] for proof in finding["proof"]}
    strangers = {record.id for record in sent.values()}
    for finding in audit["findings"]:
        about_poison = any(_place(proof) in sent for proof in finding["proof"])
        assert about_poison or finding["saga"] in strangers or not str(finding["saga"]).startswith("good"), finding
    known = {item["id"] for item in listed(system)}
    counts, lost = fates(sent, dead_letters(bootstrap), known, named)
    assert not lost, f"{len(lost)} records have no fate, such as {lost[:3]!r}"
    return counts


def _place(text: str) -> Place:
    topic, _, rest = text.partition("[")
    partition, _, offset = rest.partition("]@")
    return topic, int(partition), int(offset)


def _recovers(system: System, users: int) -> None:
    """From changelogs and topics full of poison, after kill -9 of each process."""
    for name, pid in _pids(system).items():
        os.kill(pid, signal.SIGKILL)
        until(lambda name=name, pid=pid: _restarted(system, name, pid), READ_WITHIN_S, f"{name} is ready again")  # type: ignore[misc]
    _completed(system, users + _onboard(system, "good-afterwards"))


def _restarted(system: System, name: str, pid: int) -> bool:
    try:
        status, _ = ask(f"http://127.0.0.1:{system.settings[f'{name}_port']}/health/ready")
        return status == 200 and system.child(f"agents:{name}").pid != pid
    except (OSError, AssertionError):  # it has not begun to listen, or does not run
        return False
