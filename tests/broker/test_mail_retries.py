"""A mail server that defers mails: requests wait outside their partition, hold back no commit, and none is lost."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka import Consumer, TopicPartition

from devtools.wait import eventually, free_port
from saga_app.local.broker import Broker
from saga_app.service.kafka.topics import TOPICS
from tests.broker.service_processes import ServiceProcesses, post, wait_for_state
from tests.console_server import ConsoleClient, running
from tests.fakes.topics import PARTITIONS
from tests.mail_server import MailServer, mail_server
from tests.topics import read_messages

USER_COUNT = 20


class MailSystem:
    """Three services, a console, and a mail server."""

    def __init__(self, bootstrap: str, console: ConsoleClient, services: ServiceProcesses, mails: MailServer) -> None:
        self.bootstrap, self.console, self.services, self.mails = bootstrap, console, services, mails
        self.start_notifier()

    def start_notifier(self) -> None:
        """Start a Notifier with short retry delays, on a new port."""
        self.port = free_port()
        mail = f"smtp://127.0.0.1:{self.mails.port}"
        self.services.start("notifier", "tests.broker.fast_notifier", SAGA_MAIL=mail, SAGA_NOTIFIER_PORT=str(self.port))

    async def metrics(self) -> dict[str, float]:
        """The metrics of the Notifier by name and labels; empty if it does not answer."""
        try:
            async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
                lines = (await answer.text()).splitlines()
        except aiohttp.ClientError:
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def wait_for_waiting_requests(self, count: int) -> dict[str, float]:
        """Wait until `count` requests wait outside their partitions and all is committed; return the metrics."""

        async def matching_metrics() -> dict[str, float] | None:
            found = await self.metrics()
            if found.get("saga_requests_waiting") != count or found["saga_commit_held_seconds"] > 0:
                return None
            return found if await asyncio.to_thread(is_committed, self.bootstrap, "notify") else None

        found = await eventually(matching_metrics, 40, f"expected {count} waiting requests and no uncommitted record")
        assert found is not None
        return found

    async def onboard(self, count: int) -> None:
        users = [
            {"id": f"u{n}", "name": f"N{n}", "email": f"u{n}@example.com", "department": "Sales"} for n in range(count)
        ]
        async with self.console.client.post("/api/users", json=users) as answer:
            assert answer.status == 202, await answer.text()

    def recipients(self) -> list[str]:
        """The recipients of all accepted mails, sorted."""
        return sorted(str(mail["To"]) for mail in self.mails.mails)


def is_committed(bootstrap: str, topic: str) -> bool:
    """Whether the Notifier has committed every record of a topic."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "notifier", "enable.auto.commit": False})
    try:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        ends = [consumer.get_watermark_offsets(place, 5)[1] for place in places]
        committed = [place.offset for place in consumer.committed(places, 5)]
        return all(at >= end for at, end in zip(committed, ends, strict=True) if end)
    finally:
        consumer.close()


@pytest.fixture
async def mail_system(tmp_path: Path) -> AsyncIterator[MailSystem]:
    """A running system whose mail server accepts mails at once."""
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)))
        mails = await stack.enter_async_context(mail_server())
        services = ServiceProcesses(broker.bootstrap, tmp_path)
        stack.callback(services.end)
        services.start("provisioner")
        services.start("authorizer")
        console = await stack.enter_async_context(running(broker.bootstrap))
        yield MailSystem(broker.bootstrap, await console.wait_until_ready(), services, mails)


def addresses(*numbers: int) -> list[str]:
    return sorted(f"u{n}@example.com" for n in numbers)


@pytest.mark.field(11)
async def test_greylisted_mails_are_sent_and_hold_back_no_commit(
    mail_system: MailSystem, now: Callable[[str], None]
) -> None:
    mail_system.mails.greylist_s = 10.0
    began = time.monotonic()
    await mail_system.onboard(USER_COUNT)
    metrics = await mail_system.wait_for_waiting_requests(USER_COUNT)
    assert metrics["saga_requests_waiting_next_seconds"] < 20
    row = await row_after_failure(mail_system, "u7", attempt=2)
    assert (row["state"], row["trouble"]["kind"], row["overdue"]) == ("running", "failed", False)
    assert row["why"].startswith("retrying: attempt 2 of 12 by the Notifier failed: ")
    assert "451 4.7.1 greylisted" in row["why"]

    await mail_system.console.wait_for_counts({"completed": USER_COUNT}, within_s=40)
    assert mail_system.recipients() == addresses(*range(USER_COUNT))
    assert not [*read_messages(mail_system.bootstrap, "dlq")]
    await mail_system.wait_for_waiting_requests(0)
    took_s = time.monotonic() - began
    now(f"{len(mail_system.recipients())} of {USER_COUNT} mailed after {took_s:.0f} s, 0 parked, 0 commits held")


async def row_after_failure(mail_system: MailSystem, id: str, attempt: int) -> dict[str, Any]:
    """Wait until the console shows that this attempt of the saga failed; return the row."""

    async def has_failed() -> dict[str, Any] | None:
        row: dict[str, Any] = await mail_system.console.get(f"/api/sagas/{id}")
        return row if row["trouble"] and row["trouble"]["attempt"] == attempt else None

    row = await eventually(has_failed, 10, f"the console did not show that attempt {attempt} of {id} failed")
    assert row is not None
    return row


@pytest.mark.field(11)
async def test_waiting_requests_survive_kill_9_and_a_rollback_cancels_them(
    mail_system: MailSystem, now: Callable[[str], None]
) -> None:
    mail_system.mails.greylist_s = 20.0
    await mail_system.onboard(5)
    await mail_system.wait_for_waiting_requests(5)
    mail_system.services.running["notifier"].process.send_signal(signal.SIGKILL)
    mail_system.start_notifier()
    await post(mail_system.console, "/api/errors/rollback", ids=["u4"], by="ana")
    await wait_for_state(mail_system.console, "u4", "rolled-back")
    history = (await mail_system.console.get("/api/sagas/u4"))["history"]
    assert [line["reason"] for line in history if line["step"] == "retract"] == [
        "nothing to compensate: notify was not done"
    ]
    await mail_system.console.wait_for_counts({"completed": 4, "rolled-back": 1}, within_s=60)
    assert mail_system.recipients() == addresses(*range(4))
    await mail_system.wait_for_waiting_requests(0)
    attempts = [await attempts_of(mail_system, f"u{n}") for n in range(4)]
    assert min(attempts) >= 3, "the number of attempts was lost in the restart"
    now("after kill -9 each waiting user is mailed once, and one rolled back gets no mail")


async def attempts_of(mail_system: MailSystem, id: str) -> int:
    """The number of the attempt that sent the mail."""
    history: list[dict[str, Any]] = (await mail_system.console.get(f"/api/sagas/{id}"))["history"]
    return int(next(line["attempts"] for line in history if line["step"] == "notify"))
