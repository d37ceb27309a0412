"""The Faust transport of the stream layer: call `Transport.install(app)` before the app starts."""

from collections.abc import Callable, Mapping
from typing import Any, Self

from faust.transport.drivers import aiokafka as driver
from faust.types import AppT

from saga_app.stream import log_throttle
from saga_app.stream.consume.consumer import Consumer
from saga_app.stream.consume.fetcher import Loss
from saga_app.stream.consume.lease import Lease
from saga_app.stream.produce.batching_producer import BatchingProducer
from saga_app.stream.produce.outputs import Outputs
from saga_app.stream.produce.producer import Producer


class Transport(driver.Transport):
    """Creates consumer and producers, and holds their settings.

    max_inflight: the most records that are fetched and not finished
    fetch_wait_ms: how long the broker may hold an empty fetch (long polling)
    drain_s: how long a rebalance or a stop waits for work in flight (well under broker_rebalance_timeout)
    stall_s: how long the fetch loop may make no progress before the worker crashes
    send_s: delivery timeout of outputs: the longest broker outage that a worker survives without a restart (less than
        the pool's ack_s)
    partitions: how many partitions of each topic are used (None: all), see `Assignor`
    librdkafka: further settings of the librdkafka clients (security and the like)

    Rows are sent by a producer of their own, because librdkafka's Python client has one delivery timeout for all
    topics, and that of rows is part of the fencing (see `Lease`).
    """

    Consumer = Consumer
    Producer = Producer

    def __init__(
        self,
        app: AppT,
        *,
        max_inflight: int = 4000,
        fetch_wait_ms: int = 500,
        drain_s: float = 5.0,
        stall_s: float = 60.0,
        send_s: float = 55.0,
        partitions: int | None = None,
        librdkafka: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(app.conf.broker_consumer, app)
        self.max_inflight = max_inflight
        self.fetch_wait_ms = fetch_wait_ms
        self.drain_s = drain_s
        self.stall_s = stall_s
        self.send_s = send_s
        self.partitions = partitions
        self.librdkafka = dict(librdkafka or {})
        self.lease = Lease(app.conf.broker_session_timeout, app.conf.broker_heartbeat_interval)
        self.messages: BatchingProducer
        self.rows: BatchingProducer
        self.on_loss: Callable[[Loss], None] | None = (
            None  #: called for records that were deleted before they were read
        )
        self.sending: dict[str, BatchingProducer] = {}  #: the open producers, by what they send

    @classmethod
    def install(cls, app: AppT, **settings: Any) -> Self:
        """Make this the transport of the app."""
        transport = cls(app, **settings)
        app.transport = app.producer_transport = transport
        log_throttle.install()
        return transport

    @property
    def bootstrap(self) -> str:
        """`host:port,…` for librdkafka."""
        return ",".join(driver.server_list(self.app.conf.broker, self.default_port))

    def open_producers(self) -> None:
        """Create the batching producers; call it inside the running loop."""
        self.messages = BatchingProducer(self.bootstrap, self.send_s, partitions=self.partitions, **self.librdkafka)
        self.rows = BatchingProducer(self.bootstrap, self.lease.row_timeout_s, self.lease.holds, **self.librdkafka)
        self.sending = {"rows": self.rows, "outputs": self.messages}

    async def close_producers(self) -> None:
        """Close those that are open, rows first: no output of a row may be sent if the row is not."""
        for batching_producer in self.sending.values():
            await batching_producer.close()

    def new_outputs(self) -> Outputs:
        """For a batch, or for one call of a coroutine handler."""
        return Outputs(self.messages)

    @property
    def inflight(self) -> int:
        """How many records are fetched and not finished."""
        consumer: Any = self.app.consumer
        inflight: int = consumer.ledger.inflight
        return inflight

    @property
    def full(self) -> bool:
        """Whether messages wait for room in librdkafka's queue: then no new batch is started."""
        return self.messages.full or self.rows.full
