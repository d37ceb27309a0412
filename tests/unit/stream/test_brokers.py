"""`BrokerProbe` finds a librdkafka client that has lost all brokers, and does not mistake an outage for one."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from faust.types import TP

from saga_app.stream.brokers import WARM_UP_TIMEOUT_S, BrokerProbe, Brokers


class FakeClient:
    """A client, and its `Brokers`, that are reachable or not."""

    def __init__(self) -> None:
        self.reachable = True
        self.brokers = self

    async def probe(self, topic: str) -> bool:
        assert topic == "new-user"
        return not self.reachable


@pytest.fixture
def worker() -> Any:
    """A healthy consumer, as far as the probe uses it."""
    return SimpleNamespace(
        thread=SimpleNamespace(fetcher=FakeClient()),
        assignment=lambda: {TP("new-user", 3)},
        transport=SimpleNamespace(
            sending={"rows": FakeClient(), "outputs": FakeClient()}, lease=SimpleNamespace(silent_s=1.0, age_s=4.0)
        ),
    )


@pytest.fixture
def silent_address() -> Iterator[str]:
    """HOST:PORT of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


async def test_a_healthy_worker_has_no_problem(worker: Any) -> None:
    probe = BrokerProbe(worker)
    assert [await probe.problem() for _ in range(5)] == [None] * 5


@pytest.mark.parametrize("name", ["records", "rows", "outputs"])
async def test_a_client_that_has_lost_its_brokers_is_found_by_two_probes(worker: Any, name: str) -> None:
    probe = BrokerProbe(worker)
    clients = {"records": worker.thread.fetcher, **worker.transport.sending}
    clients[name].reachable = False
    assert await probe.problem() is None
    assert f"librdkafka's client for {name} has lost all brokers" in str(await probe.problem())


async def test_a_successful_probe_resets_the_count_of_failed_ones(worker: Any) -> None:
    probe = BrokerProbe(worker)
    for reachable in (False, True, False, True):
        worker.thread.fetcher.reachable = reachable
        assert await probe.problem() is None


async def test_an_outage_in_which_the_coordinator_is_silent_is_no_problem(worker: Any) -> None:
    probe = BrokerProbe(worker)
    worker.thread.fetcher.reachable = False
    assert await probe.problem() is None
    worker.transport.lease.silent_s = 5.0
    assert [await probe.problem() for _ in range(5)] == [None] * 5
    worker.transport.lease.silent_s = 1.0
    assert await probe.problem() is None, "a probe that failed before the outage still counted"


async def test_a_worker_without_assignment_or_not_started_has_no_problem(worker: Any) -> None:
    worker.thread.fetcher.reachable = False
    worker.assignment = set
    probe = BrokerProbe(worker)
    assert [await probe.problem() for _ in range(3)] == [None] * 3
    worker.thread.fetcher = worker.assignment = None
    assert await probe.problem() is None


def test_brokers_are_unreachable_until_the_client_is_closed(silent_address: str) -> None:
    client = Producer({"bootstrap.servers": silent_address, "log_level": 0})
    brokers = Brokers(client)
    assert brokers.are_unreachable("new-user", 0.5)
    brokers.close()
    began = time.monotonic()
    assert not brokers.are_unreachable("new-user")
    assert time.monotonic() - began < 1


async def test_a_closed_client_and_executor_are_not_unreachable(silent_address: str) -> None:
    client = Producer({"bootstrap.servers": silent_address, "log_level": 0})
    with ThreadPoolExecutor(1) as executor:
        brokers = Brokers(client, executor)
        brokers.close()
    assert not await brokers.probe("new-user")


async def test_a_consumer_is_probed_in_the_thread_that_polls_it() -> None:
    threads: list[str] = []

    def list_topics(_topic: str, _timeout_s: float) -> None:
        threads.append(threading.current_thread().name)

    with ThreadPoolExecutor(1, "fetcher") as executor:
        assert not await Brokers(SimpleNamespace(list_topics=list_topics), executor).probe("new-user")
    assert threads == ["fetcher_0"]


def test_warming_up_stops_after_one_failed_request() -> None:
    timeouts_s: list[float] = []

    def list_topics(_topic: str, timeout_s: float) -> None:
        timeouts_s.append(timeout_s)
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    Brokers(SimpleNamespace(list_topics=list_topics)).warm_up("new-user")
    assert timeouts_s == [WARM_UP_TIMEOUT_S]
