"""A broker that goes away and comes back; a worker that sleeps while another one takes over."""

import signal
import time
from pathlib import Path

from tests.kafka.stream.relay_harness import RelayHarness, Load, lane
from devtools.real_kafka import RealKafka

OUTAGE_S = 20
FREEZE_S = 25

#: From when the broker serves again: another request that it took and never answered is given up on after 30 s
#: (broker_request_timeout), a heartbeat after a session; without one it is a second or two.
GO_ON_S = 40


def test_broker_away_under_load_the_worker_goes_on_by_itself_and_does_not_flood_its_log(
    own_kafka: RealKafka, tmp_path: Path
) -> None:
    with lane(own_kafka.bootstrap, "outage", tmp_path) as relay:
        worker = relay.worker().ready()
        load = Load(relay, per_s=500, keys=200)
        relay.until(lambda: relay.committed() > 500, 20, "under load")
        lines, cpu = worker.lines, worker.cpu_s

        own_kafka.stop()
        away = time.monotonic()
        relay.until(lambda: time.monotonic() - away > OUTAGE_S, OUTAGE_S + 1, "the outage")
        own_kafka.start()
        behind = relay.ends(relay.outgoing)
        relay.until(lambda: sum(relay.ends(relay.outgoing)) > sum(behind) + 500, GO_ON_S, "it goes on")
        went_on = time.monotonic() - away
        said = worker.lines - lines

        sent = load.stop()
        relay.all_committed()
        relay.nothing_missing(sent)
        print(
            f"\n{len(sent)} records; an outage of {OUTAGE_S} s: worked again after {went_on:.1f} s, {said} log lines, "
            f"{worker.cpu_s - cpu:.1f} s of CPU"
        )
        assert worker.alive, "it has not been restarted"
        assert said < 300

        own_kafka.stop()
        print(f"told to stop while the broker is away: ended after {worker.stop(within_s=12):.1f} s")


def test_after_a_frozen_worker_woke_every_row_is_the_newest(relay: RelayHarness) -> None:
    sleeper = relay.worker("sleeper", inline=1).ready()
    other = relay.worker("other", inline=1).ready()
    load = Load(relay, per_s=1500, keys=400)
    relay.until(lambda: relay.partitions_of(sleeper) and relay.partitions_of(other), 20, "both work")

    load.burst(4000)  # so that it has many rows under way
    sleeper.signal(signal.SIGSTOP)
    frozen = time.monotonic()
    behind = relay.ends(relay.outgoing)
    relay.until(
        lambda: all(a > b + 100 for a, b in zip(relay.ends(relay.outgoing), behind, strict=True)), 20, "taken over"
    )
    relay.until(lambda: time.monotonic() - frozen > FREEZE_S, FREEZE_S, "the freeze")
    sleeper.signal(signal.SIGCONT)

    thawed = time.monotonic()
    relay.until(lambda: sleeper.said("(Re-)joining") > 1 or not sleeper.alive, 20, "it knows what has happened")
    relay.until(lambda: time.monotonic() - thawed > 3, 5, "a little of its second life under load")
    sent = load.stop()
    relay.all_committed()
    relay.nothing_missing(sent)
    versions = relay.versions()
    through = [key for key, found in versions.items() if found != sorted(found)]
    print(
        f"\n{len(sent)} records, {sum(map(len, versions.values()))} rows written, "
        f"{len(through)} of {len(versions)} keys with an older row behind a newer one; the sleeper lives: {sleeper.alive}"
    )
    # The lease lets nothing through but a request that was built when it froze; whose rows they hit has mended them.
    assert not through or other.said("foreign rows in the changelog, rewriting ours"), through
