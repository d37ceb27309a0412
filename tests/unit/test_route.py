"""The route of a saga, as the audit reads it from its routing slip."""

from saga_app.audit.evidence import SeenRequest, SlipSeen
from saga_app.audit.route import CURRENT_ROUTE, route_of

DONE = tuple((name, "done") for name in ("provision", "authorize", "train", "notify"))
TOPICS = ("new-user", "authorize", "train", "notify", "notified")
BACK = ("deprovision", "revoke", "untrain", "retract")


def asked(done: int, slip: bool = True) -> SeenRequest:
    """The request to the step after so many, of a saga with the step train."""
    back = tuple(reversed(BACK[:done]))
    found = SeenRequest(TOPICS[done], 0, done, done, history=DONE[:done])
    found.slip = SlipSeen(TOPICS[done + 1 :], back, False) if slip else None
    return found


def test_without_a_slip_it_is_todays_plan() -> None:
    assert route_of([asked(0, slip=False)], []) is CURRENT_ROUTE


def test_a_slip_of_another_plan_says_its_steps_and_compensations() -> None:
    route = route_of([asked(n) for n in range(1, 5)], [])
    assert route.topics == TOPICS
    assert route.names == ("provision", "authorize", "train", "notify", "complete")
    assert route.compensations == ("retract", "untrain", "revoke", "deprovision")
    assert route.undo_of("train") == "untrain"
    assert route.is_proven


def test_one_message_says_what_is_ahead_of_it() -> None:
    route = route_of([asked(1)], [])
    assert route.topics == TOPICS
    assert route.step_of("train") == "train"


def test_a_slip_of_todays_plan_gives_todays_route() -> None:
    message = SeenRequest("authorize", 0, 1, 1, history=DONE[:1])
    message.slip = SlipSeen(("notify", "notified"), ("deprovision",), False)
    route = route_of([message], [])
    assert (route.names, route.topics, route.undos) == (CURRENT_ROUTE.names, CURRENT_ROUTE.topics, CURRENT_ROUTE.undos)
