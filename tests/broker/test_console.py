"""The console on the embedded broker, end to end: what the services write is listed, traced and streamed."""

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

HELD = dict.fromkeys(TOPICS, PARTITIONS)
USER = {"name": "Ada", "email": "ada@example.com", "department": "Sales"}


@pytest.fixture
def broker() -> Iterator[Broker]:
    """An embedded broker of this test alone, with few partitions."""
    with Broker(topics=HELD) as running:
        yield running


@pytest.fixture
def index(tmp_path: Path) -> str:
    """Kept over restarts of the console."""
    return f"sqlite:///{tmp_path}/index.sqlite"


def crowd(*ids: str, **how: Any) -> FakeTopics:
    """Sagas of now."""
    logs = FakeTopics(time())
    for id in ids:
        logs.saga(id, **{"pace": 0.01, **how})
    return logs


def delete(folder: Path) -> None:
    """What somebody does who wants the index to be read anew."""
    for file in folder.glob("index.sqlite*"):
        file.unlink()


async def test_what_stands_in_the_topics_is_listed_and_traced_with_its_place(broker: Broker) -> None:
    logs = crowd("ada", "bob")
    logs.saga("denied", outcomes={"authorize": NO}, pace=0.01)
    await write(broker.bootstrap, logs)
    async with running(broker.bootstrap) as console:
        await console.ready()
        await console.counts({"completed": 2, "rolled-back": 1})
        entries = (await console.get("/api/sagas/bob/trace"))["entries"]
        places = {(raw.topic, raw.partition, raw.offset) for raw in logs.written if raw.key == b"bob"}
        assert {(e["topic"], e["partition"], e["offset"]) for e in entries} <= places
        assert [e["kind"] for e in entries] == ["requested", *["done", "requested"] * 3, "completed"]
        again = (await console.get("/api/sagas/bob/trace"))["entries"]
        assert again == entries
        denied = (await console.get("/api/sagas/denied/trace"))["entries"]
        assert denied[-1]["kind"] == "rolled-back"


async def test_a_posted_user_comes_back_from_the_topics(broker: Broker) -> None:
    async with running(broker.bootstrap) as console:
        await console.ready()
        async with console.listen(trace="on") as line, console.client.post("/api/users", json=USER) as answer:
            assert answer.status == 202
            url = (await answer.json())["url"]
            _, _, data = await line.next("step")
        assert (data["entry"]["topic"], data["entry"]["kind"]) == ("new-user", "requested")
        shown = await console.get(url)
        assert shown["state"] == "running"
        assert shown["why"].startswith("waits for the Provisioner")


async def test_a_client_misses_nothing_while_the_console_is_restarted(broker: Broker, index: str) -> None:
    ids = [f"s{number}" for number in range(60)]
    await write(broker.bootstrap, crowd(*ids[:20]))
    async with running(broker.bootstrap, index) as console:
        await console.ready()
        cursor = (await console.get("/api/sagas?limit=1"))["cursor_event"]
        async with console.listen(trace="off", last_event_id=cursor) as line:
            await write(broker.bootstrap, crowd(*ids[20:40]))
            heard = [await line.next("saga", "reset") for _ in range(10)]
    await write(broker.bootstrap, crowd(*ids[40:]))
    async with running(broker.bootstrap, index) as console:
        async with console.listen(trace="off", last_event_id=heard[-1][1]) as line:
            heard += [await line.next("saga", "reset") for _ in range(30)]
    assert [kind for kind, _, _ in heard] == ["saga"] * 40
    assert sorted(data["id"] for _, _, data in heard) == sorted(ids[20:])


async def test_an_index_that_is_deleted_under_way_is_read_anew_and_the_page_is_told(
    broker: Broker, index: str, tmp_path: Path
) -> None:
    await write(broker.bootstrap, crowd("ada", "bob"))
    async with running(broker.bootstrap, index) as console:
        await console.ready()
        async with console.listen() as line:
            delete(tmp_path)
            assert (await line.next("reset"))[0] == "reset"
        await console.ready()
        await console.counts({"completed": 2})


async def test_another_broker_at_the_same_address_is_another_world(index: str) -> None:
    port = free_port()
    async with running(f"127.0.0.1:{port}", index) as console:
        with Broker(port, HELD):
            await write(f"127.0.0.1:{port}", crowd("ada", "bob"))
            await console.ready()
            await console.counts({"completed": 2})
            epoch = console.console.index.epoch
        with Broker(port, HELD):
            await write(f"127.0.0.1:{port}", crowd(*(f"s{number}" for number in range(30))))

            async def is_another() -> bool:
                return console.console.index.epoch != epoch

            await eventually(is_another, 30, "it has begun anew")
            await console.counts({"completed": 30}, within_s=30)


async def test_without_a_broker_it_says_so_and_accepts_nobody(index: str) -> None:
    port = free_port()
    async with running(f"127.0.0.1:{port}", index) as console:
        console.console.sender._timeout_s = 1.0

        async def says_so() -> bool:
            return "broker" in (console.console.not_ready() or "")

        await eventually(says_so, 10, "it says that the broker is away")
        async with console.client.post("/api/users", json=USER) as answer:
            assert "nothing was accepted" in (await problem_of(answer, 503))["detail"]
        with Broker(port, HELD):
            await console.ready(30)


async def test_a_topic_that_is_missing_is_waited_for_by_name(index: str) -> None:
    held = {topic: count for topic, count in HELD.items() if topic != "revoke"}
    with Broker(topics=held) as broker:
        async with running(broker.bootstrap, index) as console:

            async def names_it() -> bool:
                return "revoke" in (console.console.not_ready() or "")

            await eventually(names_it, 10, "it names the missing topic")


async def test_a_broker_that_is_nearly_full_gets_no_new_users(broker: Broker) -> None:
    big = [FakeRecord("notify", 0, n, 0, b"k", b"x" * 900_000) for n in range(5)]
    await write(broker.bootstrap, big)
    async with running(broker.bootstrap) as console:
        await console.ready()
        async with console.client.post("/api/users", json=USER) as answer:
            assert "memory" in (await problem_of(answer, 503))["detail"]

        async def is_shown() -> bool:
            return bool((await console.get("/api/stats"))["broker"]["fill"] > 0.8)

        await eventually(is_shown, 5, "the page is told how full it is")


@pytest.mark.field(16)
@pytest.mark.parametrize("own_ids", [False, True], ids=["ids from the key", "own ids"])
async def test_a_key_belongs_to_its_body_after_a_console_has_lost_its_index(
    broker: Broker, own_ids: bool, now: Callable[[str], None]
) -> None:
    users = [USER | {"name": name} | ({"id": name.lower()} if own_ids else {}) for name in ("Ada", "Bob")]
    key = {"Idempotency-Key": "k"}
    async with running(broker.bootstrap) as console:
        await console.ready()
        async with console.client.post("/api/users", json=users, headers=key) as answer:
            first = await answer.json()
    async with running(broker.bootstrap) as console:
        await console.ready()
        for other in (users[:1], [*users, USER], [USER | {"id": "cem"}], USER):
            async with console.client.post("/api/users", json=other, headers=key) as answer:
                refused = await problem_of(answer, 422)
        async with console.client.post("/api/users", json=users, headers=key) as answer:
            assert (answer.status, await answer.json()) == (202, first)
        assert (await console.get("/api/sagas?limit=1"))["total"] == 2
        now(f"{refused['status']} after a restart: {refused['detail'][:40]}")


async def test_garbage_in_every_topic_stops_nothing(broker: Broker) -> None:
    garbage = [
        FakeRecord(topic, 0, 0, 0, key, value)
        for topic in TOPICS
        for key in (None, b"", b"\xff", b"ada")
        for value in (None, b"", b"\xff\x00", b"{}", b'{"v":9}')
    ]
    await write(broker.bootstrap, garbage)
    await write(broker.bootstrap, crowd("ada"))
    async with running(broker.bootstrap) as console:
        await console.ready()
        await console.counts({"completed": 1})


async def test_as_a_service_of_its_own_it_serves_the_page_and_stops_with_clients_listening(
    broker: Broker, tmp_path: Path
) -> None:
    port = free_port()
    named = {"BROKER": f"kafka://{broker.bootstrap}", "EMBEDDED": "1", "PARTITIONS": str(PARTITIONS)}
    named |= {"CONSOLE_PORT": str(port), "DATADIR": str(tmp_path), "STORE": "memory://"}
    environment = {**os.environ, **{f"SAGA_{name}": value for name, value in named.items()}}
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

            await eventually(is_ready, 30, "the console is ready", every_s=0.2)
            for path in ("/", "/health/live", "/metrics", "/openapi.json", "/api/stats"):
                async with http.get(path) as answer:
                    assert answer.status == 200
            for length, status in ((9_000, 422), (70_000, 414)):
                async with http.get("/api/sagas", params={"q": "a" * length}) as answer:
                    await problem_of(answer, status)

            async def are_counted() -> bool:
                async with http.get("/metrics") as answer:
                    return 'saga_sagas{state="running"} 0.0' in await answer.text()

            await eventually(are_counted, 5, "Prometheus is told how many sagas there are")
            async with http.get("/api/stream") as answer:
                await answer.content.readuntil(b"\n\n")
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), 10) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_reader_that_dies_takes_the_console_with_it_to_be_started_again(broker: Broker) -> None:
    def dies() -> Any:
        raise asyncio.CancelledError

    async with running(broker.bootstrap) as console:
        await console.ready()
        console.console.reader.make_source = dies
        console.console.reader.interrupt(Stale("a different Kafka cluster is at the broker's address"))

        async def has_crashed() -> bool:
            return bool(console.console.crashed)

        await eventually(has_crashed, 10, "the console ends")
        assert "crashed" in (console.console.not_ready() or "")
