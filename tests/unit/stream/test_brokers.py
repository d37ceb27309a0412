"""A librdkafka client that has lost all brokers is found, and its worker ends; an outage is not mistaken for it."""

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from faust.types import TP

from saga_app.stream.brokers import WARM_UP_TIMEOUT_S, BrokerProbe, Brokers


class Client:
    """Answers, or does not."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers
        self.brokers = self

    def are_unreachable(self, topic: str) -> bool:
        assert topic == "new-user"
        return not self.answers


@pytest.fixture
def worker() -> Any:
    """A worker that is well."""
    return SimpleNamespace(
        thread=SimpleNamespace(fetcher=Client()),
        assignment=lambda: {TP("new-user", 3)},
        transport=SimpleNamespace(
            sending={"rows": Client(), "outputs": Client()}, lease=SimpleNamespace(silent_s=1.0, age_s=4.0)
        ),
    )


@pytest.fixture
def nobody() -> Iterator[str]:
    """The address of a broker that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"127.0.0.1:{silent.getsockname()[1]}"


async def test_a_worker_that_is_well_is_left_alone(worker: Any) -> None:
    probe = BrokerProbe(worker)
    assert [await probe.problem() for _ in range(5)] == [None] * 5


@pytest.mark.parametrize("name", ["records", "rows", "outputs"])
async def test_a_client_without_brokers_is_found_with_the_second_look(worker: Any, name: str) -> None:
    probe = BrokerProbe(worker)
    clients = {"records": worker.thread.fetcher, **worker.transport.sending}
    clients[name].answers = False
    assert await probe.problem() is None
    assert f"librdkafka's client for {name} has lost all brokers" in str(await probe.problem())


async def test_one_answer_that_was_late_is_forgotten(worker: Any) -> None:
    probe = BrokerProbe(worker)
    for answers in (False, True, False, True):
        worker.thread.fetcher.answers = answers
        assert await probe.problem() is None


async def test_in_an_outage_the_coordinator_is_silent_too_and_the_worker_waits(worker: Any) -> None:
    probe = BrokerProbe(worker)
    worker.thread.fetcher.answers = False
    assert await probe.problem() is None
    worker.transport.lease.silent_s = 5.0
    assert [await probe.problem() for _ in range(5)] == [None] * 5
    worker.transport.lease.silent_s = 1.0
    assert await probe.problem() is None, "what was missed before the outage does not count"


async def test_a_worker_that_has_nothing_assigned_or_has_not_started_is_left_alone(worker: Any) -> None:
    worker.thread.fetcher.answers = False
    worker.assignment = set
    probe = BrokerProbe(worker)
    assert [await probe.problem() for _ in range(3)] == [None] * 3
    worker.thread.fetcher = worker.assignment = None
    assert await probe.problem() is None


def test_a_real_client_that_gets_no_answer_is_lost_until_it_is_closed(nobody: str) -> None:
    client = Producer({"bootstrap.servers": nobody, "log_level": 0})
    brokers = Brokers(client)
    assert brokers.are_unreachable("new-user", 0.5)
    brokers.close()
    began = time.monotonic()
    assert not brokers.are_unreachable("new-user")
    assert time.monotonic() - began < 1


def test_a_new_client_that_gets_no_answer_is_asked_only_once() -> None:
    asked: list[float] = []
    client = SimpleNamespace(list_topics=lambda _topic, wait_s: asked.append(wait_s) or _no_answer())
    Brokers(client).warm_up("new-user")
    assert asked == [WARM_UP_TIMEOUT_S]


def _no_answer() -> None:
    raise KafkaException(KafkaError(KafkaError._TRANSPORT))
