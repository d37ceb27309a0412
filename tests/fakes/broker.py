"""A minimal Kafka broker: it speaks the protocol on a socket and serves one consumer of the topic "in"."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.admin import ApiVersionRequest_v0
from aiokafka.protocol.commit import OffsetCommitRequest_v2, OffsetFetchRequest_v1
from aiokafka.protocol.coordination import FindCoordinatorRequest_v0
from aiokafka.protocol.fetch import FetchRequest_v4
from aiokafka.protocol.group import HeartbeatRequest_v0, JoinGroupRequest_v1, LeaveGroupRequest_v0, SyncGroupRequest_v0
from aiokafka.protocol.metadata import MetadataRequest_v1
from aiokafka.protocol.offset import OffsetRequest_v1
from aiokafka.record.default_records import DefaultRecordBatchBuilder

#: The supported requests, by API key.
APIS = {
    each.API_KEY: each
    for each in (
        ApiVersionRequest_v0,
        MetadataRequest_v1,
        FindCoordinatorRequest_v0,
        JoinGroupRequest_v1,
        SyncGroupRequest_v0,
        HeartbeatRequest_v0,
        LeaveGroupRequest_v0,
        OffsetFetchRequest_v1,
        OffsetCommitRequest_v2,
        OffsetRequest_v1,
        FetchRequest_v4,
    )
}

#: Kafka's error codes.
NOT_COORDINATOR, NOT_A_MEMBER, REBALANCING, NOT_AUTHORIZED = 16, 25, 27, 30

#: The partitions of the topic "in".
PARTITIONS = (0, 1)


def record_batch(*values: bytes, first: int = 0, headers: Any = (), compression: int = 0) -> bytes:
    """An encoded record batch (format version 2) whose first record has the offset `first`."""
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 100_000)
    for index, value in enumerate(values):
        builder.append(index, 1_700_000_000_000, b"key", value, list(headers))
    data = bytearray(builder.build())
    data[:8] = first.to_bytes(8)
    return bytes(data)


class Received(NamedTuple):
    """A request and its time of arrival (seconds of the monotonic clock)."""

    at: float
    request: Any


class FakeBroker:
    """`async with FakeBroker() as broker` listens; `broker.bootstrap` is its address.

    Request types are classes of `aiokafka.protocol`. Each is answered by the method `on_` plus its name in lower case.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.to_fetch: dict[int, bytes] = {}  #: the record batch that the next fetch of a partition returns
        self.errors: dict[type, int] = {}  #: error codes of the responses, by request type
        self.silent: set[type] = set()  #: request types that are not answered
        self.on_request: Callable[[Any], None] = lambda _request: None  #: called before a request is answered
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> "FakeBroker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 5)

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def received(self, kind: type) -> list[Received]:
        """The requests of this type so far."""
        return [each for each in self.requests if isinstance(each.request, kind)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                data = await reader.readexactly(int.from_bytes(await reader.readexactly(4)))
                client_id_end = 10 + int.from_bytes(data[8:10])
                request = APIS[int.from_bytes(data[:2])].decode(data[client_id_end:])
                self.requests.append(Received(monotonic(), request))
                self.on_request(request)
                if type(request) in self.silent:
                    continue
                response = data[4:8] + (await self._response_to(request)).encode()
                writer.write(len(response).to_bytes(4) + response)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _response_to(self, request: Any) -> Any:
        kind = type(request)
        handler: Callable[[Any, int], Any] = getattr(self, "on_" + kind.__name__.partition("Request")[0].lower())
        result = handler(request, self.errors.get(kind, 0))
        fields = await result if asyncio.iscoroutine(result) else result
        return kind.RESPONSE_TYPE(*fields)

    # -- the fields of the responses, by request type

    def on_apiversion(self, _request: Any, error: int) -> Any:
        return error, [(key, each.API_VERSION, each.API_VERSION) for key, each in APIS.items()]

    def on_metadata(self, _request: Any, error: int) -> Any:
        partitions = [(0, number, 1, [1], [1]) for number in PARTITIONS]
        return [(1, "127.0.0.1", self.port, None)], 1, [(error, "in", False, partitions)]

    def on_findcoordinator(self, _request: Any, error: int) -> Any:
        return error, 1, "127.0.0.1", self.port

    def on_joingroup(self, request: Any, error: int) -> Any:
        name, metadata = request.group_protocols[0]
        return error, 7, name, "member", "member", [("member", metadata)]

    def on_syncgroup(self, request: Any, error: int) -> Any:
        return error, dict(request.group_assignment)["member"]

    def on_heartbeat(self, _request: Any, error: int) -> Any:
        return (error,)

    def on_leavegroup(self, _request: Any, error: int) -> Any:
        return (error,)

    def on_offsetfetch(self, request: Any, error: int) -> Any:
        return ([(topic, [(number, -1, "", error) for number in numbers]) for topic, numbers in request.topics],)

    def on_offsetcommit(self, request: Any, error: int) -> Any:
        return ([(topic, [(each[0], error) for each in partitions]) for topic, partitions in request.topics],)

    def on_offset(self, request: Any, error: int) -> Any:
        return ([(topic, [(each[0], error, -1, 0) for each in partitions]) for topic, partitions in request.topics],)

    async def on_fetch(self, request: Any, error: int) -> Any:
        numbers = [each[0] for _topic, partitions in request.topics for each in partitions]
        if not any(number in self.to_fetch for number in numbers):
            await asyncio.sleep(0.01)
        return 0, [("in", [(n, error, 0, 0, [], self.to_fetch.pop(n, b"")) for n in numbers])]


@asynccontextmanager
async def consumer_in_group(broker: FakeBroker) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer that has joined a group. Afterwards all requests are answered again, so that it can stop."""
    consumer = AIOKafkaConsumer(
        "in",
        bootstrap_servers=broker.bootstrap,
        group_id="group",
        heartbeat_interval_ms=20,
        retry_backoff_ms=20,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    yield consumer
    broker.silent.clear()
    await consumer.stop()
