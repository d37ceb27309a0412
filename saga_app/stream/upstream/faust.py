"""Private names of Faust and mode, written against faust-streaming 0.15.3 (pinned in setup.cfg) and mode-streaming 0.7.

A `…Hooks` class is Faust's class with public names for the private methods and attributes that this project overrides
or reads. Unless a docstring says otherwise, a name that Faust renames raises AttributeError at start or at first use.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer
from faust.assignor.partition_assignor import PartitionAssignor
from faust.stores import rocksdb
from faust.transport.drivers import aiokafka as driver
from faust.types import TP


class ConsumerHooks(driver.Consumer):
    """Faust's consumer, which delegates to a thread."""

    thread: Any

    def new_thread(self) -> Any:
        """Create the consumer's thread. Faust: `_new_consumer_thread`, called by the constructor."""
        return super()._new_consumer_thread()

    def _new_consumer_thread(self) -> Any:
        self.thread = self.new_thread()
        return self.thread

    @property
    def readable_partitions(self) -> set[TP]:
        """Assigned partitions that are not paused, and those that a recovery reads.

        Faust: `_active_partitions` and `_buffered_partitions`.
        """
        return self._active_partitions | self._buffered_partitions

    async def fetch_records(self, partitions: set[TP], timeout_s: float) -> Any:
        """Fetch in the thread: records by partition. Faust: `_getmany`."""
        return await self._getmany(partitions, timeout_s)

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> bool:
        """Commit in the thread; False if the broker refused. Faust: `_commit`."""
        return await self._commit(offsets)

    def accept_lower_offsets(self, tp: TP) -> None:
        """Let the next message of this partition have any offset.

        Faust drops a message whose offset is lower than the highest it has seen, kept in `_read_offset`: after a topic
        was recreated that would drop all of its first records.
        """
        self._read_offset.pop(tp, None)

    #: A fetched record as Faust's message. An alias, so that a record costs no further call.
    to_message = driver.Consumer._to_message

    def stop_tracking(self, message: Any) -> None:
        """Do not wait for this message any more before partitions are given back. Faust: `_unacked_messages`."""
        self._unacked_messages.discard(message)

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: `Ledger` derives committable offsets from batches, not from ranges of acknowledged offsets."""


class ConsumerThreadHooks(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, which owns aiokafka's consumer."""

    @property
    def aiokafka_consumer(self) -> Any:
        """aiokafka's consumer; None before the thread has started. Faust: `_consumer`."""
        return self._consumer

    async def fetch(
        self, consumer: AIOKafkaConsumer, partitions: set[TP], timeout_s: float | None, max_records: int | None
    ) -> Any:
        """Fetch records by partition. Faust: `_fetch_records`, called by `getmany`; if it is not called any more,
        Faust reads from aiokafka's fetcher, whose fetching is disabled.
        """
        return await super()._fetch_records(consumer, partitions, timeout_s, max_records)

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = 0.0,
        max_records: int | None = None,
    ) -> Any:
        return await self.fetch(consumer, active_partitions, timeout, max_records)


class ProducerHooks(driver.Producer):
    """Faust's own producer."""

    @property
    def network_client(self) -> Any:
        """The `AIOKafkaClient` of a started producer. Faust: `_producer`."""
        producer: Any = self._producer
        return producer.client


class AssignorHooks(PartitionAssignor):
    """Faust's partition assignor. A hook that Faust does not call any more has no effect: partitions are then assigned
    as Faust would assign them.
    """

    def visible_cluster(self, cluster: Any) -> Any:
        """The cluster metadata that partitions are assigned from. Faust: `_perform_assignment`."""
        return cluster

    def adjust_previous(self, actives: MutableMapping[str, list[int]]) -> None:
        """Change, in place, the partitions by topic that one worker had before. Faust: `_get_client_metadata`."""

    def adjust_assignments(self, assignments: dict[str, Any]) -> None:
        """Change, in place, the assignment of each worker before it is encoded.

        Faust: `_global_table_standby_assignments`, the last step.
        """

    @property
    def changelog_topics(self) -> set[str]:
        """The changelog topics of all tables. Faust: `_table_manager`."""
        return self._table_manager.changelog_topics

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        return super()._perform_assignment(self.visible_cluster(cluster), member_metadata)

    def _get_client_metadata(self, metadata: Any) -> Any:  # type: ignore[override]  # called on the instance only
        found = super()._get_client_metadata(metadata)
        self.adjust_previous(found.assignment.actives)
        return found

    def _global_table_standby_assignments(self, assignments: Any, partitions_by_topic: Any) -> Any:
        self.adjust_assignments(assignments)
        return super()._global_table_standby_assignments(assignments, partitions_by_topic)


class TableHooks(faust.Table[bytes, bytes]):
    """Faust's table."""

    def new_store(self, url: Any) -> Any:
        """Create the store for this URL. Faust: `_new_store_by_url`; if it is not called, stores are Faust's own."""
        return super()._new_store_by_url(url)

    def _new_store_by_url(self, url: Any) -> Any:
        return self.new_store(url)


class RocksDBStoreHooks(rocksdb.Store):
    """Faust's RocksDB store: one database for each partition."""

    dbs: Mapping[int, Any]  #: the open databases by partition

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Faust's dictionary itself, which Faust changes and never replaces: a property would cost a call per row.
        self.dbs = self._dbs

    def close_partition(self, partition: int) -> None:
        """Close the database of a partition that is open. Faust: `_dbs`."""
        db: Any = self._dbs.pop(partition)
        db.close()

    #: The database of a partition, opened if it is not. An alias, so that a batch of rows costs no further call.
    db_for_partition = rocksdb.Store._db_for_partition

    def open_partition(self, partition: int) -> Any:
        """Open the database of a partition. Faust: `_open_for_partition`, also called by `db_for_partition`."""
        return super()._open_for_partition(partition)

    def _open_for_partition(self, partition: int) -> Any:
        return self.open_partition(partition)


def changelog_table(app: Any, topic: str) -> Any:
    """The table whose changelog is this topic, or None.

    Faust: `_changelogs` of the table manager, by topic name.
    """
    return app.tables._changelogs.get(topic)


def is_next_event_current(app: Any, queue: Any) -> bool:
    """Whether the head of a stream's queue, which is not empty, is an event of the current assignment.

    False while the flow is suspended or an error is to be raised: only Faust's own loop handles these.

    mode: `_errors` of ThrowableQueue; asyncio: `_queue` of Queue. Called for each event: a rename crashes the worker
    at its first batch.
    """
    if queue._errors or not app.flow_control.is_active():
        return False
    current: bool = queue._queue[0].message.generation_id == app.consumer_generation_id
    return current


def use_web_runner(server: Any, runner: Any) -> None:
    """Let Faust's web server, before it starts, run its application with this aiohttp `AppRunner`.

    Faust: `_runner` of the aiohttp driver. After a rename Faust's own runner is used.
    """
    server._runner = runner
