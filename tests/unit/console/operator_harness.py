"""An operator's desk: a real index, topics in memory, a sender that can fail, and a clock that jumps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saga_app.console.index.query import Queries
from saga_app.console.operator.action_request import ActionRequest
from saga_app.console.operator.operator import Operator
from saga_app.console.record_id import Place
from saga_app.saga import machine
from saga_app.saga.messages import SIGNALS, Signal, decode, encode
from saga_app.saga.onboarding import ONBOARDING
from saga_app.saga.times import iso
from saga_app.stream import NotAcknowledged
from saga_app.stream.produce.sender import Message as Outgoing
from tests.fakes.record import FakeRecord
from tests.fakes.topics import FakeTopics
from tests.unit.console.filled_index import FilledIndex


class OperatorHarness:
    """What is ordered here is in `sent`; `provisioner` then does what it would do with it."""

    def __init__(self, reading: FilledIndex, logs: FakeTopics) -> None:
        self.reading, self.logs = reading, logs
        self.sent: list[Outgoing] = []
        self.times: list[float] = []  #: when each of them was sent
        self.takes = 10**9  #: the broker is away after so many
        self.waits_for: str | None = None
        self.full: str | None = None
        self.accepted: set[str] = set()
        self.now_s, self.asleep = 100.0, 0.0
        self.queries = Queries(reading.index, self.iso)
        self.operator = Operator(
            queries=self.queries,
            sender=self,
            lookup=self,
            not_ready=lambda: self.waits_for,
            accepted=self.accepted,
            room=lambda _count: self.full,
            now=self.iso,
            clock=lambda: self.now_s,
            sleep=self.sleep,
        )

    def iso(self) -> str:
        """The time."""
        return iso(self.logs.start + self.now_s)

    async def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds
        self.asleep += seconds
        self.arrive()

    def arrive(self) -> None:
        """Accepted users come back from the topics."""
        for id in list(self.accepted):
            self.accepted.discard(id)
            self.write(lambda id=id: self.logs.saga(id, steps=1))  # type: ignore[misc]

    def write(self, something: Any) -> None:
        """Something is written to the topics, and read."""
        mark = len(self.logs.written)
        something()
        self.reading.read(self.logs.written[mark:])

    async def send_all(self, messages: Sequence[Outgoing]) -> None:
        """The sender."""
        taken = messages[: max(0, self.takes - len(self.sent))]
        self.sent += taken
        self.times += [self.now_s] * len(taken)
        if len(taken) < len(messages):
            raise NotAcknowledged(range(len(taken), len(messages)), len(messages), "no broker")

    async def records(self, places: Iterable[Place]) -> Mapping[Place, FakeRecord]:
        """The lookup in Kafka."""
        there = {Place(raw.topic, raw.partition, raw.offset): raw for raw in self.logs.written}
        return {place: there[place] for place in places if place in there}

    async def redrive(self, **order: Any) -> dict[str, Any]:
        """As it is asked for over HTTP."""
        return await self.operator.redrive(ActionRequest.model_validate(order))

    async def roll_back(self, **order: Any) -> dict[str, Any]:
        """As it is asked for over HTTP."""
        return await self.operator.roll_back(ActionRequest.model_validate(order))

    def signals(self) -> list[Signal]:
        """Those that were sent."""
        return [decode(Signal, message.value) for message in self.sent if message.topic == SIGNALS]

    async def provisioner(self) -> None:
        """All that was sent is in the topics; the Provisioner does what the signals say."""
        self.now_s += 1
        for message in self.sent:
            self.write(lambda: self.append(message))  # noqa: B023
            if message.topic == SIGNALS:
                await self.direct(decode(Signal, message.value))
        self.sent = []

    async def direct(self, signal: Signal) -> None:
        """One signal, as the owner of the row sees it."""
        row = (await self.queries.rows([signal.id]))[signal.id]
        turn = machine.apply_operator_signal(ONBOARDING, row, signal)
        if turn is not None and turn.onward is not None:
            onward = Outgoing(turn.onward.topic, row.id.encode(), encode(turn.onward.message))
            self.write(lambda: self.append(onward))

    def append(self, message: Outgoing) -> None:
        """As a record."""
        id = message.key.decode() if message.key else None
        self.logs.write(message.topic, id, message.value or b"", self.now_s, message.headers or ())


def parked(logs: FakeTopics, *ids: str, error: str = "Permanent", at: float = 5.0) -> None:
    """Sagas that wait for somebody."""
    for number, id in enumerate(ids):
        logs.saga(id, steps=1)
        logs.park(logs.written[-2], at + number, error=error)


def garbage(logs: FakeTopics, at: float = 5.0, topic: str = "notify", headers: Any = ()) -> FakeRecord:
    """A record that nobody can read, and its dead letter."""
    raw = logs.write(topic, None, b"\xff\x00 no message", at, headers)
    logs.park(raw, at, step=topic, error="BadMessage")
    return raw
