"""The console on the embedded broker, end to end: lists, traces, event streams, outages and invalid records."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import time
from typing import Any

import aiohttp
import pytest

from devtools.wait import eventually, free_port
from saga_app.console.kafka.source import Stale
from saga_app.local.broker import Broker
from saga_app.service.kafka.topics import TOPICS
from tests.builders import NO
from tests.console_server import running, write
from tests.fakes.record import FakeRecord
from tests.fakes.topics import PARTITIONS, FakeTopics
from tests.web_server import problem_of

PARTITION_COUNTS = dict.fromkeys(TOPICS, PARTITIONS)
USER = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}


@pytest.fixture
def broker() -> Iterator[Broker]:
    """An embedded broker for one test."""
    with Broker(topics=PARTITION_COUNTS) as running:
        yield running


@pytest.fixture
def index(tmp_path: Path) -> str:
    """The URL of an index that several consoles of a test open in turn."""
    return f"sqlite:///{tmp_path}/index.sqlite"


def sagas_of_now(*ids: str, **options: Any) -> FakeTopics:
    """Records of one saga for each id, with current timestamps. `options` are those of `FakeTopics.run_saga`."""
    logs = FakeTopics(time())
    for id in ids:
        logs.run_saga(id, **{"pace": 0.01, **options})
    return logs


def delete_index(folder: Path) -> None:
    """Delete the files of the index, as an operator does to rebuild it."""
    for file in folder.glob("index.sqlite*"):
        file.unlink()


async def test_sagas_in_the_topics_are_listed_and_traced_with_their_offsets(broker: Broker) -> None:
    logs = sagas_of_now("ada", "bob")
    logs.run_saga("denied", outcomes={"authorize": NO}, pace=0.01)
    await write(broker.bootstrap, logs)
    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        await console.wait_for_counts({"completed": 2, "rolled-back": 1})
        entries = (await console.get("/api/sagas/bob/trace"))["entries"]
        places = {(raw.topic, raw.partition, raw.offset) for raw in logs.records if raw.key == b"bob"}
        assert {(e["topic"], e["partition"], e["offset"]) for e in entries} <= places
        assert [e["kind"] for e in entries] == ["requested", *["done", "requested"] * 3, "completed"]
        assert (await console.get("/api/sagas/bob/trace"))["entries"] == entries
        denied = (await console.get("/api/sagas/denied/trace"))["entries"]
        assert denied[-1]["kind"] == "rolled-back"


async def test_a_posted_user_is_read_back_from_the_topics(broker: Broker) -> None:
    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        async with console.listen(trace="on") as line, console.client.post("/api/users", json=USER) as answer:
            assert answer.status == 202
            url = (await answer.json())["url"]
            _, _, data = await line.next("step")
        assert (data["entry"]["topic"], data["entry"]["kind"]) == ("new-user", "requested")
        shown = await console.get(url)
        assert shown["state"] == "running"
        assert shown["why"].startswith("waits for the Provisioner")


async def test_a_client_misses_no_event_while_the_console_restarts(broker: Broker, index: str) -> None:
    ids = [f"s{number}" for number in range(60)]
    await write(broker.bootstrap, sagas_of_now(*ids[:20]))
    async with running(broker.bootstrap, index) as console:
        await console.wait_until_ready()
        cursor = (await console.get("/api/sagas?limit=1"))["cursor_event"]
        async with console.listen(trace="off", last_event_id=cursor) as line:
            await write(broker.bootstrap, sagas_of_now(*ids[20:40]))
            events = [await line.next("saga", "reset") for _ in range(10)]
    await write(broker.bootstrap, sagas_of_now(*ids[40:]))
    async with running(broker.bootstrap, index) as console:
        async with console.listen(trace="off", last_event_id=events[-1][1]) as line:
            events += [await line.next("saga", "reset") for _ in range(30)]
    assert [kind for kind, _, _ in events] == ["saga"] * 40
    assert sorted(data["id"] for _, _, data in events) == sorted(ids[20:])


async def test_an_index_deleted_at_run_time_is_rebuilt_and_streams_are_reset(
    broker: Broker, index: str, tmp_path: Path
) -> None:
    await write(broker.bootstrap, sagas_of_now("ada", "bob"))
    async with running(broker.bootstrap, index) as console:
        await console.wait_until_ready()
        async with console.listen() as line:
            delete_index(tmp_path)
            assert (await line.next("reset"))[0] == "reset"
        await console.wait_until_ready()
        await console.wait_for_counts({"completed": 2})


async def test_another_broker_at_the_same_address_starts_a_new_index(index: str) -> None:
    port = free_port()
    async with running(f"127.0.0.1:{port}", index) as console:
        with Broker(port, PARTITION_COUNTS):
            await write(f"127.0.0.1:{port}", sagas_of_now("ada", "bob"))
            await console.wait_until_ready()
            await console.wait_for_counts({"completed": 2})
            epoch = console.console.index.epoch
        with Broker(port, PARTITION_COUNTS):
            await write(f"127.0.0.1:{port}", sagas_of_now(*(f"s{number}" for number in range(30))))

            async def is_new_epoch() -> bool:
                return console.console.index.epoch != epoch

            await eventually(is_new_epoch, 30, "the console did not start a new index")
            await console.wait_for_counts({"completed": 30}, within_s=30)


async def test_without_a_broker_the_console_is_not_ready_and_accepts_no_user(index: str) -> None:
    port = free_port()
    async with running(f"127.0.0.1:{port}", index) as console:
        console.console.sender._timeout_s = 1.0

        async def names_the_broker() -> bool:
            return "broker" in (console.console.not_ready() or "")

        await eventually(names_the_broker, 10, "the console did not report the missing broker")
        async with console.client.post("/api/users", json=USER) as answer:
            assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
        with Broker(port, PARTITION_COUNTS):
            await console.wait_until_ready(30)


async def test_a_missing_topic_is_named_while_the_console_waits_for_it(index: str) -> None:
    topics = {topic: count for topic, count in PARTITION_COUNTS.items() if topic != "revoke"}
    with Broker(topics=topics) as broker:
        async with running(broker.bootstrap, index) as console:

            async def names_the_topic() -> bool:
                return "revoke" in (console.console.not_ready() or "")

            await eventually(names_the_topic, 10, "the console did not name the missing topic")


async def test_new_users_are_refused_while_the_broker_is_nearly_full(broker: Broker) -> None:
    large = [FakeRecord("notify", 0, n, 0, b"k", b"x" * 900_000) for n in range(5)]
    await write(broker.bootstrap, large)
    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        async with console.client.post("/api/users", json=USER) as answer:
            assert "memory" in (await problem_of(answer, 503))["detail"]

        async def is_shown() -> bool:
            return bool((await console.get("/api/stats"))["broker"]["fill"] > 0.8)

        await eventually(is_shown, 5, "the statistics do not show how full the broker is")


@pytest.mark.field(16)
@pytest.mark.parametrize("own_ids", [False, True], ids=["ids from the key", "own ids"])
async def test_an_idempotency_key_belongs_to_its_body_after_an_index_is_lost(
    broker: Broker, own_ids: bool, now: Callable[[str], None]
) -> None:
    users = [USER | {"name": name} | ({"id": name.lower()} if own_ids else {}) for name in ("Ada", "Bob")]
    key = {"Idempotency-Key": "k"}
    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        async with console.client.post("/api/users", json=users, headers=key) as answer:
            first = await answer.json()
    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        for other in (users[:1], [*users, USER], [USER | {"id": "cem"}], USER):
            async with console.client.post("/api/users", json=other, headers=key) as answer:
                refused = await problem_of(answer, 422)
        async with console.client.post("/api/users", json=users, headers=key) as answer:
            assert (answer.status, await answer.json()) == (202, first)
        assert (await console.get("/api/sagas?limit=1"))["total"] == 2
        now(f"{refused['status']} after a restart: {refused['detail'][:40]}")


async def test_the_console_reads_on_after_invalid_records_in_every_topic(broker: Broker) -> None:
    garbage = [
        FakeRecord(topic, 0, 0, 0, key, value)
        for topic in TOPICS
        for key in (None, b"", b"\xff", b"ada")
        for value in (None, b"", b"\xff\x00", b"{}", b'{"v":9}')
    ]
    await write(broker.bootstrap, garbage)
    await write(broker.bootstrap, sagas_of_now("ada"))
    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        await console.wait_for_counts({"completed": 1})


async def test_a_console_process_serves_the_page_and_stops_with_open_streams(broker: Broker, tmp_path: Path) -> None:
    port = free_port()
    settings = {"BROKER": f"kafka://{broker.bootstrap}", "EMBEDDED": "1", "PARTITIONS": str(PARTITIONS)}
    settings |= {"CONSOLE_PORT": str(port), "DATADIR": str(tmp_path), "STORE": "memory://"}
    environment = {**os.environ, **{f"SAGA_{name}": value for name, value in settings.items()}}
    command = [sys.executable, "-m", "faust", "-A", "agents.console", "worker", "-l", "info"]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

            async def is_ready() -> bool:
                try:
                    async with http.get("/health/ready") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await eventually(is_ready, 30, "the console is not ready", every_s=0.2)
            for path in ("/", "/health/live", "/metrics", "/openapi.json", "/api/stats"):
                async with http.get(path) as answer:
                    assert answer.status == 200
            for length, status in ((9_000, 422), (70_000, 414)):
                async with http.get("/api/sagas", params={"q": "a" * length}) as answer:
                    await problem_of(answer, status)

            async def are_counted() -> bool:
                async with http.get("/metrics") as answer:
                    return 'saga_sagas{state="running"} 0.0' in await answer.text()

            await eventually(are_counted, 5, "the metrics do not contain the number of sagas")
            async with http.get("/api/stream") as answer:
                await answer.content.readuntil(b"\n\n")
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_console_crashes_with_its_reader_to_be_restarted(broker: Broker) -> None:
    def fail() -> Any:
        raise asyncio.CancelledError

    async with running(broker.bootstrap) as console:
        await console.wait_until_ready()
        console.console.reader.make_source = fail
        console.console.reader.interrupt(Stale("a different Kafka cluster is at the broker's address"))

        async def has_crashed() -> bool:
            return bool(console.console.crashed)

        await eventually(has_crashed, 10, "the console did not crash")
        assert "crashed" in (console.console.not_ready() or "")
