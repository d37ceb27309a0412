"""The console on a real Kafka: traces, dead letters, lag, workers, outages, and recreated topics."""

import asyncio
import base64
from pathlib import Path
from time import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient

from devtools.real_kafka import RealKafka
from devtools.wait import eventually
from saga_app.service.kafka import topics
from tests.console_server import running, write
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.web_server import problem_of


@pytest.fixture
def index(tmp_path: Path) -> str:
    """The URL of an index that several consoles of a test open in turn."""
    return f"sqlite:///{tmp_path}/index.sqlite"


async def create_topics(bootstrap: str) -> None:
    """Create all topics as a service does at its start."""
    async for _reason in topics.ensure(bootstrap, PARTITIONS, 1):
        pass


async def delete_topics(bootstrap: str) -> None:
    """Delete all topics and wait until they are gone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(list(topics.TOPICS))

        async def are_gone() -> bool:
            return not set(topics.TOPICS) & set(await admin.list_topics())

        await eventually(are_gone, 20, "the topics were not deleted")
    finally:
        await admin.close()


def sagas_of_now(*ids: str, **options: Any) -> FakeTopics:
    """Records of one saga for each id, with current timestamps. `options` are those of `FakeTopics.run_saga`."""
    logs = FakeTopics(time())
    for id in ids:
        logs.run_saga(id, **{"pace": 0.01, **options})
    return logs


async def test_a_trace_is_complete_and_looked_up_by_the_times_of_the_saga(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await create_topics(bootstrap)
    logs = sagas_of_now(*(f"s{number}" for number in range(200)), "parked", steps=100)
    stuck = sagas_of_now("waits", steps=1)
    stuck.write_failed_attempt("waits", "authorize", "authorizer", 60)
    await write(bootstrap, logs)
    await write(bootstrap, stuck)
    async with running(bootstrap, index, embedded=False) as console:
        await console.wait_until_ready()
        await console.wait_for_counts({"completed": 201, "running": 1})
        for id in ("s0", "s77", "s199"):
            entries = (await console.get(f"/api/sagas/{id}/trace"))["entries"]
            assert [e["kind"] for e in entries] == ["requested", *["done", "requested"] * 3, "completed"]
            places = {(raw.topic, raw.partition, raw.offset) for raw in logs.records if raw.key == id.encode()}
            assert {(e["topic"], e["partition"], e["offset"]) for e in entries} <= places
        kinds = [e["kind"] for e in (await console.get("/api/sagas/waits/trace"))["entries"]]
        assert kinds == ["requested", "done", "requested", "failed"]


async def test_dead_letters_are_looked_up_in_kafka_which_needs_the_broker(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await create_topics(bootstrap)
    logs = sagas_of_now()
    for number in range(600):
        raw = FakeRecord("notify", 0, number, 0, b"k", b"\xff%d" % number)
        logs.park(raw, 0.001 * number, step="notify", error="BadMessage")
    await write(bootstrap, logs)
    async with running(bootstrap, index, embedded=False) as console:
        await console.wait_until_ready()
        for number in (0, 17, 599):
            whole = await console.get(f"/api/errors/notify/0/{number}")
            assert base64.b64decode(whole["value_base64"]) == b"\xff%d" % number
        async with console.client.post("/api/errors/redrive", json={"filter": {}}) as answer:
            assert await answer.json() == {"count": 600, "dry_run": False}

        async def are_redriven() -> bool:
            return bool((await console.get("/api/errors"))["total"] == 0)

        await eventually(are_redriven, 20, "not all dead letters were redriven")
        await asyncio.to_thread(own_kafka.kill)
        console.console.sender._timeout_s = 1.0
        async with console.client.get("/api/errors/notify/0/0") as answer:
            await problem_of(answer, 503)


async def test_the_console_continues_after_an_outage_of_the_broker(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await create_topics(bootstrap)
    await write(bootstrap, sagas_of_now("before"))
    async with running(bootstrap, index, embedded=False) as console:
        await console.wait_until_ready()
        cursor = (await console.get("/api/sagas"))["cursor_event"]
        await asyncio.to_thread(own_kafka.kill)
        async with console.listen(trace="off", last_event_id=cursor) as line:
            assert (await console.get("/api/sagas/before"))["state"] == "completed"
            await asyncio.to_thread(own_kafka.start)
            await write(bootstrap, sagas_of_now("after"))
            kind, _, data = await line.next("saga", "reset", within_s=40)
        assert (kind, data["id"]) == ("saga", "after")


async def test_recreated_topics_are_indexed_from_their_beginning(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await create_topics(bootstrap)
    await write(bootstrap, sagas_of_now("one", "two", "three"))
    async with running(bootstrap, index, embedded=False) as console:
        await console.wait_until_ready()
        await console.wait_for_counts({"completed": 3})
    await delete_topics(bootstrap)
    await create_topics(bootstrap)
    await write(bootstrap, sagas_of_now("four"))
    async with running(bootstrap, index, embedded=False) as console:
        await console.wait_until_ready()
        await console.wait_for_counts({"completed": 1})


async def test_workers_and_lag_of_each_service_are_shown(own_kafka: RealKafka, index: str) -> None:
    bootstrap = own_kafka.bootstrap
    await create_topics(bootstrap)
    await write(bootstrap, sagas_of_now(*(f"s{number}" for number in range(10))))
    worker = AIOKafkaConsumer(
        "notify",
        bootstrap_servers=bootstrap,
        group_id="notifier",
        group_instance_id="notifier-one",  # a static member, like a service with SAGA_INSTANCE, does not leave
        session_timeout_ms=6000,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    async with running(bootstrap, index, embedded=False) as console:

        async def wait_for(**expected: Any) -> None:
            async def are_shown() -> bool:
                figures = (await console.get("/api/stats"))["services"]["notifier"]
                return {name: figures[name] for name in expected} == expected

            await eventually(are_shown, 30, f"the console does not show the Notifier with {expected}", every_s=0.5)

        await wait_for(up=False, workers=0, lag=10)
        await worker.start()
        await wait_for(up=True, workers=1, lag=10)
        while (await asyncio.wait_for(worker.getmany(timeout_ms=500), 10)) or not worker.assignment():
            pass
        await worker.commit()
        await wait_for(up=True, workers=1, lag=0)
        await worker.stop()
        await wait_for(up=False, workers=0)
