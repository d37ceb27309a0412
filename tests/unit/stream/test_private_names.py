"""The layer leans on these private names of aiokafka, Faust and mode.  When one of these tests fails after an
upgrade, read the place in saga_app/stream that it names, and the library, before changing the pin."""

import asyncio
import inspect
import re
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from aiokafka.consumer.subscription_state import Assignment, SubscriptionState, TopicPartitionState
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v2
from faust.stores import memory, rocksdb
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.transport import consumer as transport_consumer
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import ConsumerMessage
from mode import Service

from saga_app.stream import Table, Transport, embedded


def source(thing: Any) -> str:
    return inspect.getsource(thing)


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.fixture
def app() -> faust.App:
    made = faust.App("names", broker="kafka://127.0.0.1:1", consumer_group_instance_id="me")
    Transport.install(made)
    return made


# -- aiokafka


async def test_aiokafka_client_updates_its_metadata_there() -> None:
    """calm.py replaces the instance's `_metadata_update`; the others must call it through the instance."""
    assert parameters(AIOKafkaClient._metadata_update) == ["self", "cluster_metadata", "topics"]
    assert "self._metadata_update(" in source(AIOKafkaClient)
    assert inspect.iscoroutinefunction(AIOKafkaClient._metadata_update)


def test_aiokafka_learns_of_topics_all_at_once_or_with_a_pause_for_each() -> None:
    """console/opening.py tells it all."""
    assert parameters(AIOKafkaClient.set_topics) == ["self", "topics"]
    assert "self._client.add_topic(partition.topic)" in source(Fetcher._proc_offset_requests)


def test_aiokafka_describes_groups_with_their_members_last() -> None:
    """console/services.py counts them, and asks for one group at a time because the answer is read as that of v2."""
    assert DescribeGroupsRequest_v3.RESPONSE_TYPE is DescribeGroupsResponse_v2
    assert DescribeGroupsResponse_v2.SCHEMA.fields[1].array_of.names[-1] == "members"


def test_aiokafka_consumer_and_producer_show_their_client() -> None:
    """thread.py and producer.py make it calm."""
    assert "self._client = AIOKafkaClient(" in source(aiokafka.AIOKafkaConsumer.__init__)
    assert "self.client = AIOKafkaClient(" in source(aiokafka.AIOKafkaProducer.__init__)


def test_aiokafka_fetches_nothing_if_it_is_given_no_requests_and_still_resets_positions() -> None:
    """thread.py takes the requests, which come first, out of what `_get_actions_per_node` returns."""
    assert "self._fetcher = Fetcher(" in source(aiokafka.AIOKafkaConsumer.start)
    assert "return (\n            fetch_requests,\n            awaiting_reset," in source(Fetcher._get_actions_per_node)
    routine = source(Fetcher._fetch_requests_routine)
    assert "for node_id, request in fetch_requests:" in routine
    assert "for node_id, tps in reset_requests.items():" in routine


def test_aiokafka_fetcher_reads_what_it_waits_for_at_each_fetch() -> None:
    """gather.py changes both under way, for the console's own consumer."""
    fetch = source(Fetcher._get_actions_per_node)
    assert "self._fetch_max_wait_ms" in fetch
    assert "self._fetch_min_bytes" in fetch


def test_aiokafka_fetches_no_more_for_a_while_after_it_has_fetched_for_a_partition_that_is_not_read_yet() -> None:
    """source.py ends that while, for the console's own consumer."""
    assert "backoff=self._prefetch_backoff" in source(Fetcher)
    assert "backoff = record.calculate_backoff()" in source(Fetcher._get_actions_per_node)


def test_aiokafka_keeps_a_position_for_each_assigned_partition() -> None:
    """thread.py finds them, fetcher.py reads and moves them."""
    assert "self._subscriptions = subscriptions" in source(Fetcher.__init__)
    assert parameters(Assignment.state_value) == ["self", "tp"]
    for name in ("position", "has_valid_position", "consumed_to", "await_reset"):
        assert hasattr(TopicPartitionState, name)
    for name in ("reassignment_in_progress", "subscription", "fetch_context"):
        assert hasattr(SubscriptionState, name)


def test_aiokafka_consumer_shows_its_coordinator() -> None:
    """thread.py gives it to the lease, watchdog.py asks it."""
    assert "self._coordinator = GroupCoordinator(" in source(aiokafka.AIOKafkaConsumer.start)


def test_aiokafka_coordinator_sends_heartbeats_there() -> None:
    """lease.py wraps `_do_heartbeat`: True is an acknowledged one, also while the group is rebalancing."""
    assert parameters(GroupCoordinator._do_heartbeat) == ["self"]
    assert inspect.iscoroutinefunction(GroupCoordinator._do_heartbeat)
    assert "await self._do_heartbeat()" in source(GroupCoordinator._heartbeat_routine)
    assert source(GroupCoordinator._do_heartbeat).count("return True") == 2


def test_aiokafka_has_a_connection_of_its_own_for_the_coordinator() -> None:
    """lease.py closes it when a heartbeat is not answered; what waits there fails, and the next opens it anew."""
    assert "group=ConnectionGroup.COORDINATION" in source(GroupCoordinator._send_req)
    assert "self._conns[(node_id, group)].send(" in source(AIOKafkaClient.send)
    assert "conn_id = (node_id, group)" in source(AIOKafkaClient._get_conn)
    assert "if not conn.connected()" in source(AIOKafkaClient._get_conn)
    assert "fut.set_exception(error)" in source(AIOKafkaConnection.close)
    routine = source(GroupCoordinator._coordination_routine) + source(GroupCoordinator.ensure_active_group)
    assert "await self._stop_heartbeat_task()" in routine, "a join may take long, and nobody beats meanwhile"


def test_aiokafka_coordinator_forgets_its_membership_there() -> None:
    """lease.py wraps `reset_generation`: called on every answer that says we are no member any more."""
    assert parameters(GroupCoordinator.reset_generation) == ["self"]
    assert source(GroupCoordinator._do_heartbeat).count("self.reset_generation()") == 2
    assert "self.reset_generation()" in source(GroupCoordinator._do_commit_offsets)


def test_aiokafka_coordinator_parks_its_errors_there() -> None:
    """watchdog.py looks for them."""
    body = source(GroupCoordinator.__init__)
    for name in ("_pending_exception", "_coordination_task", "_closing"):
        assert f"self.{name} = " in body, name
    assert "self._pending_exception = exc" in source(GroupCoordinator._push_error_to_user)


def test_aiokafka_leader_joins_there() -> None:
    """embedded.py lets it wait for the followers."""
    assert parameters(CoordinatorGroupRebalance._on_join_leader) == ["self", "response"]
    embedded.let_followers_first()
    embedded.let_followers_first()
    assert "follows" in vars(CoordinatorGroupRebalance._on_join_leader), "wrapped, and only once"


def test_aiokafka_static_members_do_not_leave_the_group() -> None:
    """SAGA_INSTANCE: a restart within the session goes unnoticed."""
    assert "self._group_instance_id is None" in source(GroupCoordinator._maybe_leave_group)


# -- Faust


def test_faust_passes_the_instance_id_on(app: faust.App) -> None:
    assert app.conf.consumer_group_instance_id == "me"
    assert "group_instance_id=conf.consumer_group_instance_id" in source(
        driver.AIOKafkaConsumerThread._create_worker_consumer
    )


def test_faust_makes_its_parts_by_these_names(app: faust.App) -> None:
    """transport.py and consumer.py put ours in their place."""
    assert parameters(driver.Consumer._new_consumer_thread) == ["self"]
    assert parameters(driver.AIOKafkaConsumerThread._create_worker_consumer) == ["self", "transport"]
    assert {"Consumer", "Producer"} <= vars(driver.Transport).keys()
    assert isinstance(app.transport, Transport)
    assert app.transport is app.producer_transport
    assert parameters(driver.server_list) == ["urls", "default_port"]


def test_faust_fetches_there() -> None:
    """thread.py limits `_fetch_records` and puts back what came too late; consumer.py calls `_getmany`."""
    names = ["self", "consumer", "active_partitions", "timeout", "max_records"]
    assert parameters(driver.AIOKafkaConsumerThread._fetch_records) == names
    assert "self._fetch_records," in source(driver.AIOKafkaConsumerThread.getmany)
    assert parameters(transport_consumer.ThreadDelegateConsumer._getmany) == ["self", "active_partitions", "timeout"]
    draining = source(transport_consumer.Consumer._drain_messages)
    assert "getmany = self.getmany" in draining
    assert re.search(r"self\.wait_first\(\s*callback\(message\), self\.suspend_flow\.wait\(\)\s*\)", draining)
    assert parameters(Service.wait_first) == ["self", "coros", "timeout"]


def test_faust_consumer_has_these_hooks() -> None:
    """consumer.py overrides them."""
    base = transport_consumer.Consumer
    assert parameters(base.getmany) == ["self", "timeout"]
    assert parameters(base.ack) == ["self", "message"]
    assert parameters(base.commit) == ["self", "topics", "start_new_transaction"]
    assert parameters(base._add_gap) == ["self", "tp", "offset_from", "offset_to"]
    assert parameters(base.on_partitions_revoked) == ["self", "revoked"]
    assert parameters(base.on_partitions_assigned) == ["self", "assigned", "generation_id"]
    assert parameters(base.seek) == ["self", "partition", "offset"]
    for name in ("wait_empty", "perform_seek", "resume_flow", "verify_all_partitions_active"):
        assert parameters(getattr(base, name)) == ["self"], name


def test_faust_consumer_keeps_its_partitions_there() -> None:
    """consumer.py: what may be fetched."""
    body = source(transport_consumer.Consumer._reset_state)
    for name in ("_active_partitions", "_buffered_partitions", "can_resume_flow", "flow_active"):
        assert f"self.{name}" in body, name
    assert "self._unacked_messages = WeakSet()" in source(transport_consumer.Consumer.__init__)


def test_faust_consumer_commits_there() -> None:
    """commits.py calls `_commit`, and asks whether `_thread` is ending."""
    assert parameters(transport_consumer.ThreadDelegateConsumer._commit) == ["self", "offsets"]
    assert "self._thread = self._new_consumer_thread()" in source(transport_consumer.ThreadDelegateConsumer)


def test_faust_waits_for_streams_before_partitions_are_given_back() -> None:
    """consumer.py drains in `wait_empty`."""
    assert "await consumer.wait_empty()" in source(faust.App._consumer_wait_empty)
    assert "self._consumer_wait_empty)(consumer" in source(faust.App._on_partitions_revoked)


def test_faust_recovery_goes_through_these_steps_in_this_order() -> None:
    """phase.py: a seek to the committed offsets, then the flow; phases change on both."""
    for ending in (Recovery._resume_streams, Recovery.on_recovery_completed):
        body = source(ending)
        assert body.index("consumer.perform_seek()") < body.index("consumer.resume_flow()")
        assert body.count("resume_flow()") == 1


def test_faust_tables_are_known_by_their_changelogs(app: faust.App) -> None:
    """consumer.py asks the manager's `_changelogs`."""
    table = Table(app, name="rows", partitions=4)
    manager: Any = app.tables
    assert isinstance(manager, TableManager)
    assert manager._changelogs == {"names-rows-changelog": table}
    assert "self._changelogs[table.changelog_topic.get_topic_name()] = table" in source(TableManager)
    assert table.changelog_topic_name == "names-rows-changelog"


def test_faust_tables_have_these_hooks() -> None:
    """table.py overrides them."""
    assert parameters(faust.Table._new_store_by_url) == ["self", "url"]
    assert parameters(faust.Table.on_key_set) == ["self", "key", "value"]
    assert parameters(faust.Table.on_key_del) == ["self", "key"]
    assert parameters(faust.Table.apply_changelog_batch) == ["self", "batch"]
    names = ["self", "assigned", "revoked", "newly_assigned", "generation_id"]
    assert parameters(faust.Table.on_rebalance) == names
    assert parameters(memory.Store.on_rebalance) == names
    assert parameters(rocksdb.Store.on_rebalance) == names


def test_faust_rocksdb_keeps_its_partitions_there() -> None:
    """rocks_store.py reads `_dbs`, writes through `_db_for_partition`, with the offset under `offset_key`."""
    assert parameters(rocksdb.Store._db_for_partition) == ["self", "partition"]
    assert "self._dbs = {}" in source(rocksdb.Store.__init__)
    assert rocksdb.Store.offset_key == b"__faust\0offset__"


def test_faust_streams_take_a_turn_of_the_loop_for_each_event_and_have_their_queue_there() -> None:
    """intake.py takes from it what waits; needless once Faust does not `sleep(0)` any more."""
    loop = source(Stream._py_aiter)
    assert "await sleep(0)" in loop
    assert "chan_queue = chan.queue" in loop
    assert "chan_errors = chan_queue._errors" in loop
    assert "message.generation_id != self.app.consumer_generation_id" in loop
    assert "not self.app.flow_control.is_active()" in loop
    assert "self._queue" in source(asyncio.Queue._get)


def test_faust_streams_acknowledge_there() -> None:
    """pool.py takes `noack().events()` and acknowledges with `ack`."""
    assert parameters(Stream.noack) == ["self"]
    assert parameters(Stream.events) == ["self"]
    assert parameters(Stream.ack) == ["self", "event"]


def test_faust_messages_count_their_agents_and_know_their_generation() -> None:
    """batch.py is one; pool.py looks at `refcount`; the stream drops what is of another generation."""
    assert {"generation_id", "refcount"} <= set(ConsumerMessage.__slots__ + ConsumerMessage.__mro__[1].__slots__)
    assert "generation_id" in parameters(ConsumerMessage.__init__)


def test_faust_drops_messages_with_offsets_that_it_has_seen_unless_it_has_forgotten_them() -> None:
    """consumer.py makes it forget: a topic that was created again begins at 0."""
    loop = source(transport_consumer.Consumer._drain_messages)
    assert "self._read_offset.__getitem__" in loop
    assert "r_offset is None or" in loop
    assert "self._read_offset = defaultdict(lambda: None)" in source(transport_consumer.Consumer.__init__)


# -- mode


def test_mode_services_have_tasks_and_can_crash() -> None:
    """consumer.py: the watchdog."""
    assert callable(Service.task)
    assert inspect.iscoroutinefunction(Service.crash)
    assert parameters(driver.AIOKafkaConsumerThread.on_thread_stop) == ["self"]
