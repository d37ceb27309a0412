"""The console on a real Kafka: time, lag, workers, outages, and topics that are made anew."""

import asyncio
import base64
from pathlib import Path
from time import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from saga_app.service.kafka import topics
from tests.console_server import running, write
from devtools.real_kafka import RealKafka
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.web_server import problem_of
from devtools.wait import eventually


@pytest.fixture
def index(tmp_path: Path) -> str:
    """Kept over restarts of the console."""
    return f"sqlite:///{tmp_path}/index.sqlite"


async def make_topics(bootstrap: str) -> None:
    """As a service does at its start."""
    async for _reason in topics.ensure(bootstrap, PARTITIONS, 1):
        pass


async def delete_topics(bootstrap: str) -> None:
    """Somebody starts all over."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(list(topics.TOPICS))

        async def are_gone() -> bool:
            return not set(topics.TOPICS) & set(await admin.list_topics())

        await eventually(are_gone, 20, "the topics are gone")
    finally:
        await admin.close()


def crowd(*ids: str, **how: Any) -> FakeTopics:
    """Sagas of now."""
    logs = FakeTopics(time())
    for id in ids:
        logs.saga(id, **{"pace": 0.01, **how})
    return logs


async def test_a_trace_is_found_by_the_time_at_which_the_saga_ran_and_is_the_whole_story(
    own_kafka: RealKafka, index: str
) -> None:
    bootstrap = own_kafka.bootstrap
    await make_topics(bootstrap)
    logs = crowd(*(f"s{number}" for number in range(200)), "parked", steps=100)
    stuck = crowd("waits", steps=1)
    stuck.failed("waits", "authorize", "authorizer", 60)
    await write(bootstrap, logs)
    await write(bootstrap, stuck)
    async with running(bootstrap, index, embedded=False) as console:
        await console.ready()
        await console.counts({"completed": 201, "running": 1})
        for id in ("s0", "s77", "s199"):
            entries = (await console.get(f"/api/sagas/{id}/trace"))["entries"]
            assert [e["kind"] for e in entries] == ["requested", *["done", "requested"] * 3, "completed"]
            places = {(raw.topic, raw.partition, raw.offset) for raw in logs.written if raw.key == id.encode()}
            assert {(e["topic"], e["partition"], e["offset"]) for e in entries} <= places
        kinds = [e["kind"] for e in (await console.get("/api/sagas/waits/trace"))["entries"]]
        assert kinds == ["requested", "done", "requested", "failed"]


async def test_dead_letters_are_looked_up_wherever_they_stand_and_without_a_broker_it_says_so(
    own_kafka: RealKafka, index: str
) -> None:
    bootstrap = own_kafka.bootstrap
    await make_topics(bootstrap)
    logs = crowd()
    for number in range(600):
        raw = FakeRecord("notify", 0, number, 0, b"k", b"\xff%d" % number)
        logs.park(raw, 0.001 * number, step="notify", error="BadMessage")
    await write(bootstrap, logs)
    async with running(bootstrap, index, embedded=False) as console:
        await console.ready()
        for number in (0, 17, 599):
            whole = await console.get(f"/api/errors/notify/0/{number}")
            assert base64.b64decode(whole["value_base64"]) == b"\xff%d" % number
        async with console.client.post("/api/errors/redrive", json={"filter": {}}) as answer:
            assert await answer.json() == {"count": 600, "dry_run": False}

        async def all_are_dealt_with() -> bool:
            return bool((await console.get("/api/errors"))["total"] == 0)

        await eventually(all_are_dealt_with, 20, "all have been sent again")
        await asyncio.to_thread(own_kafka.kill)
        console.console.sender._timeout_s = 1.0
        async with console.client.get("/api/errors/notify/0/0") as answer:
            await problem_of(answer, 503)


async def test_it_goes_on_by_itself_after_the_broker_was_away(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await make_topics(bootstrap)
    await write(bootstrap, crowd("before"))
    async with running(bootstrap, index, embedded=False) as console:
        await console.ready()
        cursor = (await console.get("/api/sagas"))["cursor_event"]
        await asyncio.to_thread(own_kafka.kill)
        async with console.listen(trace="off", last_event_id=cursor) as line:
            assert (await console.get("/api/sagas/before"))["state"] == "completed"
            await asyncio.to_thread(own_kafka.start)
            await write(bootstrap, crowd("after"))
            kind, _, data = await line.next("saga", "reset", within_s=40)
        assert (kind, data["id"]) == ("saga", "after")


async def test_topics_that_were_deleted_and_made_anew_are_read_anew(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await make_topics(bootstrap)
    await write(bootstrap, crowd("one", "two", "three"))
    async with running(bootstrap, index, embedded=False) as console:
        await console.ready()
        await console.counts({"completed": 3})
    await delete_topics(bootstrap)
    await make_topics(bootstrap)
    await write(bootstrap, crowd("four"))
    async with running(bootstrap, index, embedded=False) as console:
        await console.ready()
        await console.counts({"completed": 1})


async def test_workers_and_lag_of_each_service_are_shown(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await make_topics(bootstrap)
    await write(bootstrap, crowd(*(f"s{number}" for number in range(10))))
    worker = AIOKafkaConsumer(
        "notify",
        bootstrap_servers=bootstrap,
        group_id="notifier",
        group_instance_id="notifier-one",  # as services are that have a SAGA_INSTANCE: these do not leave the group
        session_timeout_ms=6000,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with running(bootstrap, index, embedded=False) as console:

        async def shows(**expected: Any) -> None:
            async def does() -> bool:
                figures = (await console.get("/api/stats"))["services"]["notifier"]
                return {name: figures[name] for name in expected} == expected

            await eventually(does, 30, f"the notifier is shown as {expected}", every_s=0.5)

        await shows(up=False, workers=0, lag=10)
        await worker.start()
        await shows(up=True, workers=1, lag=10)
        while (await asyncio.wait_for(worker.getmany(timeout_ms=500), 10)) or not worker.assignment():
            pass
        await worker.commit()
        await shows(up=True, workers=1, lag=0)
        await worker.stop()
        await shows(up=False, workers=0)
