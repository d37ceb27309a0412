"""A mail server that defers mails: requests wait outside their partition, hold no commit, and none is lost."""

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
from tests.broker.test_dead_letters import Services, becomes, post
from tests.console_server import ConsoleClient, running
from tests.fakes.topics import PARTITIONS
from tests.mail_server import MailServer, mail_server
from tests.topics import everything

USERS = 20


class Setup:
    """Three services, a console, and a mail server that greylists."""

    def __init__(self, bootstrap: str, desk: ConsoleClient, services: Services, mails: MailServer) -> None:
        self.bootstrap, self.desk, self.services, self.mails = bootstrap, desk, services, mails
        self.start_notifier()

    def start_notifier(self) -> None:
        self.port = free_port()
        mail = f"smtp://127.0.0.1:{self.mails.port}"
        self.services.start("notifier", "tests.broker.fast_notifier", SAGA_MAIL=mail, SAGA_NOTIFIER_PORT=str(self.port))

    async def metrics(self) -> dict[str, float]:
        """What the Notifier counts; nothing while it does not answer."""
        try:
            async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
                lines = (await answer.text()).splitlines()
        except aiohttp.ClientError:
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    async def waiting(self, count: int) -> dict[str, float]:
        """Wait until so many requests wait outside their partitions, of which all is committed."""

        async def do_wait() -> dict[str, float] | None:
            found = await self.metrics()
            if found.get("saga_requests_waiting") != count or found["saga_commit_held_seconds"] > 0:
                return None
            return found if await asyncio.to_thread(is_committed, self.bootstrap, "notify") else None

        found = await eventually(do_wait, 40, f"{count} requests wait, and their records are committed")
        assert found is not None
        return found

    async def onboard(self, count: int) -> None:
        users = [
            {"id": f"u{n}", "name": f"N{n}", "email": f"u{n}@example.com", "department": "Sales"} for n in range(count)
        ]
        async with self.desk.client.post("/api/users", json=users) as answer:
            assert answer.status == 202, await answer.text()

    def mailed(self) -> list[str]:
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
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    async with AsyncExitStack() as stack:
        broker = stack.enter_context(Broker(topics=dict.fromkeys(TOPICS, PARTITIONS)))
        mails = await stack.enter_async_context(mail_server())
        services = Services(broker.bootstrap, tmp_path)
        stack.callback(services.end)
        services.start("provisioner")
        services.start("authorizer")
        desk = await stack.enter_async_context(running(broker.bootstrap))
        yield Setup(broker.bootstrap, await desk.ready(), services, mails)


def addresses(*numbers: int) -> list[str]:
    return sorted(f"u{n}@example.com" for n in numbers)


@pytest.mark.field(11)
async def test_twenty_greylisted_users_are_all_mailed_and_no_commit_is_held(
    setup: Setup, now: Callable[[str], None]
) -> None:
    setup.mails.greylist_s = 10.0
    began = time.monotonic()
    await setup.onboard(USERS)
    metrics = await setup.waiting(USERS)
    assert metrics["saga_requests_waiting_next_seconds"] < 20
    row = await retrying(setup, "u7", attempt=2)
    assert (row["state"], row["trouble"]["kind"], row["overdue"]) == ("running", "failed", False)
    assert row["why"].startswith("retrying: attempt 2 of 12 by the Notifier failed: ")
    assert "451 4.7.1 greylisted" in row["why"]

    await setup.desk.counts({"completed": USERS}, within_s=40)
    assert setup.mailed() == addresses(*range(USERS))
    assert not [*everything(setup.bootstrap, "dlq")]
    await setup.waiting(0)
    now(f"{len(setup.mailed())} of {USERS} mailed after {time.monotonic() - began:.0f} s, 0 parked, 0 commits held")


async def retrying(setup: Setup, id: str, attempt: int) -> dict[str, Any]:
    """The saga, as soon as the console knows that this attempt failed."""

    async def has_failed() -> dict[str, Any] | None:
        row: dict[str, Any] = await setup.desk.get(f"/api/sagas/{id}")
        return row if row["trouble"] and row["trouble"]["attempt"] == attempt else None

    row = await eventually(has_failed, 10, f"attempt {attempt} of {id} has failed")
    assert row is not None
    return row


@pytest.mark.field(11)
async def test_requests_that_wait_survive_kill_9_of_their_notifier_and_a_rollback_ends_the_wait(
    setup: Setup, now: Callable[[str], None]
) -> None:
    setup.mails.greylist_s = 20.0
    await setup.onboard(5)
    await setup.waiting(5)
    setup.services.running["notifier"].process.send_signal(signal.SIGKILL)
    setup.start_notifier()
    await post(setup.desk, "/api/errors/rollback", ids=["u4"], by="ana")
    await becomes(setup.desk, "u4", "rolled-back")
    history = (await setup.desk.get("/api/sagas/u4"))["history"]
    assert [line["reason"] for line in history if line["step"] == "retract"] == [
        "nothing to compensate: notify was not done"
    ]
    await setup.desk.counts({"completed": 4, "rolled-back": 1}, within_s=60)
    assert setup.mailed() == addresses(*range(4))
    await setup.waiting(0)
    attempts = [await attempts_of(setup, f"u{n}") for n in range(4)]
    assert min(attempts) >= 3, "the attempts go on with the one for which the request has waited"
    now("after kill -9 each waiting user is mailed once, and one rolled back gets no mail")


async def attempts_of(setup: Setup, id: str) -> int:
    """The attempt that sent the mail."""
    history: list[dict[str, Any]] = (await setup.desk.get(f"/api/sagas/{id}"))["history"]
    return int(next(line["attempts"] for line in history if line["step"] == "notify"))
