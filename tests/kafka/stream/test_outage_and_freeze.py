"""A worker survives an outage of its broker, and overwrites nothing after a freeze."""

import signal
import time
from pathlib import Path

import pytest

from devtools.real_kafka import RealKafka
from tests.kafka.stream.relay_harness import Load, RelayHarness, relay_harness

OUTAGE_S = 20
FREEZE_S = 25

#: How long it may take until records are relayed again after an outage (seconds). Usually it is a second or two. A
#: request that the broker received and never answered times out after 30 s (broker_request_timeout), and a client that
#: has lost its brokers is noticed after 10 to 16 s.
RECOVERY_TIMEOUT_S = 60


class Supervisor:
    """Starts a worker again that has exited because one of its clients lost all brokers (decision 11)."""

    def __init__(self, relay: RelayHarness) -> None:
        self._relay = relay
        self.worker = relay.start_worker().ready()

    def supervise(self) -> None:
        """Restart the worker if it has exited for that reason; fail if it has exited for another one."""
        if not self.worker.is_alive:
            assert self.worker.count_in_log("has lost all brokers"), f"the worker has exited, see {self.worker.log}"
            self.worker = self._relay.start_worker()

    def relays_more_than(self, count: int) -> bool:
        """Whether there are more than this many outgoing records; the worker is supervised meanwhile."""
        self.supervise()
        return self._relay.record_count(self._relay.outgoing) > count


@pytest.mark.timeout(240)
def test_after_an_outage_under_load_work_continues(own_kafka: RealKafka, tmp_path: Path) -> None:
    """The worker continues, or exits because a client lost its brokers and is restarted; its log is not flooded."""
    with relay_harness(own_kafka.bootstrap, "outage", tmp_path) as relay:
        supervisor = Supervisor(relay)
        load = Load(relay, per_s=500, keys=200)
        relay.until(lambda: relay.committed_count() > 500, 20, "the worker has not committed the first records")
        lines_before = supervisor.worker.log_lines

        own_kafka.stop()
        stopped_at = time.monotonic()
        time.sleep(OUTAGE_S)
        own_kafka.start()
        relay.reconnect()
        relayed = relay.record_count(relay.outgoing)
        relay.until(
            lambda: supervisor.relays_more_than(relayed + 500),
            RECOVERY_TIMEOUT_S,
            "nothing is relayed after the outage",
        )
        relayed_after_s = time.monotonic() - stopped_at
        new_lines = sum(worker.log_lines for worker in relay.workers) - lines_before

        load.stop()
        relay.wait_until_committed()
        records = relay.assert_all_relayed()
        supervisor.supervise()
        print(
            f"\n{records} records; outage of {OUTAGE_S} s: relayed again after {relayed_after_s:.1f} s by "
            f"{len(relay.workers)} workers one after the other, {new_lines} log lines"
        )
        assert new_lines < 300 * len(relay.workers)

        own_kafka.stop()
        print(f"stopped during an outage: exited after {supervisor.worker.stop(within_s=12):.1f} s")


def test_a_thawed_worker_leaves_no_stale_row(relay: RelayHarness) -> None:
    """A worker is frozen for so long that another one takes its partitions over."""
    frozen = relay.start_worker("frozen", inline=1).ready()
    other = relay.start_worker("other", inline=1).ready()
    load = Load(relay, per_s=1500, keys=400)
    relay.until(lambda: relay.partitions_of(frozen) and relay.partitions_of(other), 20, "a worker has relayed nothing")

    load.send_burst(4000)  # so that it has many unacknowledged rows
    frozen.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    ends = relay.end_offsets(relay.outgoing)
    relay.until(
        lambda: all(now > before + 100 for now, before in zip(relay.end_offsets(relay.outgoing), ends, strict=True)),
        20,
        "the other worker did not take over",
    )
    time.sleep(max(0.0, frozen_at + FREEZE_S - time.monotonic()))
    frozen.send_signal(signal.SIGCONT)

    relay.until(
        lambda: frozen.count_in_log("(Re-)joining") > 1 or not frozen.is_alive,
        20,
        "the thawed worker has neither joined its group again nor exited",
    )
    time.sleep(3)  # under load
    sent = load.stop()
    relay.wait_until_committed()
    relay.assert_nothing_missing(sent)
    versions = relay.row_versions()
    overwritten = [key for key, found in versions.items() if found != sorted(found)]
    print(
        f"\n{len(sent)} records, {sum(map(len, versions.values()))} rows written, "
        f"{len(overwritten)} of {len(versions)} keys with an older row after a newer one; "
        f"the thawed worker runs: {frozen.is_alive}"
    )
    # Only a request that was built before the freeze passes the lease, and changelog repair corrects its rows.
    assert not overwritten or other.count_in_log("foreign rows in the changelog, rewriting ours"), overwritten
