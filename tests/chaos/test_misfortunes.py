"""The schedule of misfortunes."""

from collections import Counter

from tests.chaos.faults import SERVICES, WORKERS, schedule


def test_the_same_seed_brings_the_same_misfortunes_and_another_one_others() -> None:
    assert schedule(1, 300) == schedule(1, 300)
    assert schedule(1, 300) != schedule(2, 300)


def test_every_worker_of_every_service_meets_something_and_the_broker_goes_away_once() -> None:
    met = Counter(each.who for seed in range(5) for each in schedule(seed, 300))
    assert met["broker"] == 5
    workers = {f"{service}-{n}" for service in SERVICES if service != "console" for n in range(1, WORKERS + 1)}
    assert met.keys() == workers | {"console-1", "broker"}


def test_everything_is_over_when_the_storm_is() -> None:
    storm = schedule(3, 120)
    assert [each.after_s for each in storm] == sorted(each.after_s for each in storm)
    assert all(each.after_s < 120 for each in storm)
    assert all(each.after_s + each.lasts_s <= 120 for each in storm if each.service)
