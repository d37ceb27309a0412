"""The schedule of faults."""

from collections import Counter

from tests.chaos.faults import SERVICES, WORKERS, schedule


def test_the_schedule_depends_only_on_the_seed() -> None:
    assert schedule(1, 300) == schedule(1, 300)
    assert schedule(1, 300) != schedule(2, 300)


def test_every_worker_has_faults_and_the_broker_has_one() -> None:
    targets = Counter(fault.target for seed in range(5) for fault in schedule(seed, 300))
    assert targets["broker"] == 5
    workers = {f"{service}-{n}" for service in SERVICES if service != "console" for n in range(1, WORKERS + 1)}
    assert targets.keys() == workers | {"console-1", "broker"}


def test_faults_of_workers_end_with_the_fault_phase() -> None:
    faults = schedule(3, 120)
    assert [fault.after_s for fault in faults] == sorted(fault.after_s for fault in faults)
    assert all(fault.after_s < 120 for fault in faults)
    assert all(fault.after_s + fault.duration_s <= 120 for fault in faults if fault.service)
