"""Workers that are killed, stopped or slow lose no record."""

import time
from operator import gt

import pytest

from tests.kafka.stream.relay_harness import SESSION_TIMEOUT_S, Load, RelayHarness, key_of


def test_records_fetched_after_a_slow_one_survive_a_kill(relay: RelayHarness) -> None:
    worker = relay.start_worker(instance="one").ready()
    slow = {(key_of(0, partition=0), 0)}
    fast = {(key_of(1 + n % 500, partition=n % 4), n) for n in range(1, 4001)}
    relay.send((key, {"n": n, "delay": 6}) for key, n in slow)
    relay.send((key, {"n": n}) for key, n in sorted(fast, key=lambda record: record[1]))
    relay.until(lambda: relay.record_count(relay.outgoing) >= 4000, 15, "the fast records were not relayed")
    relay.until(lambda: relay.committed_count() >= 3000, 5, "partitions without the slow record were not committed")
    assert relay.committed_offsets()[0] == 0, "an offset after the unfinished slow record was committed"
    worker.kill()

    relay.start_worker(instance="one").ready()
    relay.wait_until_committed()
    relay.assert_nothing_missing(slow | fast)


@pytest.mark.parametrize("store", ["memory://", "rocksdb://"])
def test_the_partitions_of_a_killed_worker_are_consumed_again(relay: RelayHarness, store: str) -> None:
    """A worker that is restarted under its instance id gets them back; otherwise the other worker takes them over."""
    first = relay.start_worker("first", instance="first", store=store).ready()
    second = relay.start_worker("second", instance="second", store=store).ready()
    load = Load(relay, per_s=500, keys=200, delay_s=0.05)
    relay.until(lambda: relay.partitions_of(first) and relay.partitions_of(second), 20, "a worker has relayed nothing")

    first.kill()
    killed_at = time.monotonic()
    first = relay.start_worker("first", instance="first", store=store)
    relay.until(
        lambda: relay.partitions_of(first),
        SESSION_TIMEOUT_S,
        "the restarted worker has relayed nothing before its session could expire",
    )
    print(f"\nrestarted under its instance id: consumed again after {time.monotonic() - killed_at:.1f} s")

    second.kill()
    killed_at = time.monotonic()
    ends = relay.end_offsets(relay.outgoing)
    relay.until(lambda: all(map(gt, relay.end_offsets(relay.outgoing), ends)), 20, "the other worker did not take over")
    print(f"not restarted: its partitions were consumed again after {time.monotonic() - killed_at:.1f} s")

    sent = load.stop()
    relay.wait_until_committed()
    relay.assert_nothing_missing(sent)


def test_a_worker_stopped_with_a_thousand_records_in_flight_loses_none(relay: RelayHarness) -> None:
    worker = relay.start_worker().ready()
    sent = {(key_of(n), n) for n in range(1000)}
    relay.send((key, {"n": n, "delay": 2 if n % 2 else 7}) for key, n in sent)
    relay.until(lambda: worker.count_in_log("1000 in flight"), 10, "not all records are in flight")
    took_s = worker.stop(within_s=12)
    print(f"\n1,000 records in flight: stopped after {took_s:.1f} s")
    assert worker.process.returncode == 0

    relay.start_worker().ready()
    relay.wait_until_committed()
    relay.assert_nothing_missing(sent)
