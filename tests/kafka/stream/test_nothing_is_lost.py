"""What is killed, stopped or slow loses nothing."""

import time
from operator import gt

import pytest

from tests.kafka.stream.relay_harness import SESSION_S, RelayHarness, Load, key_of


def test_killed_behind_a_slow_record_everything_comes_out_after_the_restart(relay: RelayHarness) -> None:
    worker = relay.worker(instance="one").ready()
    slow = {(key_of(0, partition=0), 0)}
    quick = {(key_of(1 + n % 500, partition=n % 4), n) for n in range(1, 4001)}
    relay.load((key, {"n": n, "delay": 6}) for key, n in slow)
    relay.load((key, {"n": n}) for key, n in sorted(quick, key=lambda record: record[1]))
    relay.until(lambda: relay.reached(relay.outgoing) >= 4000, 15, "all but the slow one came out")
    relay.until(lambda: relay.committed() >= 3000, 5, "the partitions without a slow record are committed")
    assert relay.commits()[0] == 0, "nothing is committed past the slow record"
    worker.kill()

    relay.worker(instance="one").ready()
    relay.all_committed()
    relay.nothing_missing(slow | quick)


@pytest.mark.parametrize("store", ["memory://", "rocksdb://"])
def test_of_two_workers_one_is_killed_and_its_partitions_go_on(relay: RelayHarness, store: str) -> None:
    first = relay.worker("first", instance="first", store=store).ready()
    second = relay.worker("second", instance="second", store=store).ready()
    load = Load(relay, per_s=500, keys=200, delay_s=0.05)
    relay.until(lambda: relay.partitions_of(first) and relay.partitions_of(second), 20, "both work")

    first.kill()
    killed = time.monotonic()
    first = relay.worker("first", instance="first", store=store)
    relay.until(lambda: relay.partitions_of(first), SESSION_S, "under its own name it goes on before its session ends")
    print(f"\nrestarted under its name: its partitions went on after {time.monotonic() - killed:.1f} s")

    second.kill()
    killed = time.monotonic()
    behind = relay.ends(relay.outgoing)
    relay.until(lambda: all(map(gt, relay.ends(relay.outgoing), behind)), 20, "the other one takes over")
    print(f"stayed dead: its partitions went on after {time.monotonic() - killed:.1f} s")

    sent = load.stop()
    relay.all_committed()
    relay.nothing_missing(sent)


def test_told_to_stop_with_a_thousand_in_flight_it_ends_soon_and_nothing_is_missing(relay: RelayHarness) -> None:
    worker = relay.worker().ready()
    sent = {(key_of(n), n) for n in range(1000)}
    relay.load((key, {"n": n, "delay": 2 if n % 2 else 7}) for key, n in sent)
    relay.until(lambda: worker.said("1000 in flight"), 10, "all are in flight")
    took = worker.stop(within_s=12)
    print(f"\n1,000 in flight: ended after {took:.1f} s")
    assert worker.process.returncode == 0

    relay.worker().ready()
    relay.all_committed()
    relay.nothing_missing(sent)
