"""Plans: what is derived from the steps, and the reasons for which an inconsistent plan is refused."""

from dataclasses import replace
from typing import Any

import pytest

from saga_app.saga import Done, Fact, Message, Outcome, Plan, Retry, Step, Words
from saga_app.saga.onboarding import ONBOARDING


async def act(_request: Message, _world: Any) -> Outcome:
    return Done()


def step(name: str, service: str = "first", **changes: Any) -> Step:
    return Step(name, changes.pop("topic", name), service, act, **changes)


def plan(*steps: Step, compensations: tuple[Step, ...] = ()) -> Plan:
    return Plan("trip", steps, compensations)


FLIGHT, HOTEL, BOOKED = step("flight", undo="no-flight"), step("hotel", "hotels", undo="no-hotel"), step("booked")
NO_FLIGHT, NO_HOTEL = step("no-flight"), step("no-hotel", "hotels")
TRIP = plan(FLIGHT, HOTEL, BOOKED, compensations=(NO_FLIGHT, NO_HOTEL))


def test_services_topics_and_slip_follow_from_the_steps() -> None:
    assert TRIP.services == ("first", "hotels")
    assert TRIP.initiator == "first"
    assert TRIP.topics == ("flight", "hotel", "booked", "no-flight", "no-hotel")
    assert [each.name for each in TRIP.of("hotels")] == ["hotel", "no-hotel"]
    assert TRIP.compensated_by("no-hotel") == (HOTEL,)
    assert (TRIP.slip().ahead, TRIP.slip().back) == (["hotel", "booked"], [])


def test_the_onboarding_lists_the_fact_of_each_step() -> None:
    assert [fact.name for fact in ONBOARDING.facts] == ["device_id", "authorizations", "notified_at"]
    assert ONBOARDING.services == ("provisioner", "authorizer", "notifier")


def test_omitted_words_are_derived_from_the_name() -> None:
    booking = step("book-hotel", "travel-agent")
    assert (booking.label, booking.requested, booking.done) == (
        "Travel agent",
        "Book hotel requested",
        "Book hotel done",
    )


LONG_RETRY = Retry(attempts=3, delays=(600.0,))


@pytest.mark.parametrize(
    ("steps", "compensations", "problem"),
    [
        ((FLIGHT,), (), "it has 1 steps; allowed are 2 to 8"),
        (tuple(step(f"s{n}") for n in range(9)), (), "it has 9 steps; allowed are 2 to 8"),
        ((step("a"), step("a", topic="b")), (), "two steps have the name a"),
        ((step("a"), step("b", topic="a")), (), "two steps have the topic a"),
        ((step("a"), step("b", "other")), (), "step b ends the saga, so its service has to be first"),
        ((step("a", undo="x"), step("b")), (), "step a names the compensation x, which is not in the plan"),
        ((step("a", undo="x"), step("b")), (step("x", "other"),), "step a needs a compensation by first"),
        ((step("a", undo="x"), step("b")), (step("x"), step("y")), "compensation y compensates no step"),
        ((step("a", topic="dlq"), step("b")), (), "the topic name dlq is not allowed"),
        ((step("a", topic="a-changelog"), step("b")), (), "the topic name a-changelog is not allowed"),
        ((step("A"), step("b")), (), "names are lower-case letters"),
        ((step("a", "console"), step("b", "console")), (), "console is reserved"),
        ((step("a", retry=LONG_RETRY), step("b")), (), "retry of step a: at first the longest delay"),
        ((step("a", fact=Fact("state", "state")), step("b")), (), "the fact name state is not allowed"),
        ((step("a", fact=Fact("x", "x")), step("b", fact=Fact("x", "y"))), (), "two steps have the fact x"),
        ((step("a", words=Words(icon="cat")), step("b")), (), "unknown icon cat; allowed are"),  # type: ignore[arg-type]
    ],
)
def test_an_inconsistent_plan_is_refused(
    steps: tuple[Step, ...], compensations: tuple[Step, ...], problem: str
) -> None:
    with pytest.raises(ValueError, match="saga trip: ") as error:
        Plan("trip", steps, compensations)
    assert problem in str(error.value)


def test_a_plan_of_eight_steps_is_possible() -> None:
    eight = plan(*(replace(FLIGHT, name=f"s{n}", topic=f"s{n}", undo=None) for n in range(8)))
    assert len(eight.slip().ahead) == 7
