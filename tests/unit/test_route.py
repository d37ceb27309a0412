"""The route of a saga, reconstructed by the audit from the routing slips of its messages."""

from saga_app.audit.evidence import SeenRequest, SeenRow, SlipSeen
from saga_app.audit.route import CURRENT_ROUTE, route_of

COMPLETED_STEPS = tuple((name, "done") for name in ("provision", "authorize", "train", "notify"))
TOPICS = ("new-user", "authorize", "train", "notify", "notified")
COMPENSATIONS = ("deprovision", "revoke", "untrain", "retract")


def request_after(done: int, slip: bool = True) -> SeenRequest:
    """The request after `done` completed steps, in a saga of a plan with the additional step `train`."""
    back = tuple(reversed(COMPENSATIONS[:done]))
    request = SeenRequest(TOPICS[done], 0, done, done, history=COMPLETED_STEPS[:done])
    request.slip = SlipSeen(TOPICS[done + 1 :], back, False) if slip else None
    return request


def test_without_a_slip_the_route_is_the_current_plan() -> None:
    assert route_of([request_after(0, slip=False)], []) is CURRENT_ROUTE


def test_the_slips_of_another_plan_give_its_steps_and_compensations() -> None:
    route = route_of([request_after(n) for n in range(1, 5)], [])
    assert route.topics == TOPICS
    assert route.names == ("provision", "authorize", "train", "notify", "complete")
    assert route.compensations == ("retract", "untrain", "revoke", "deprovision")
    assert route.undo_of("train") == "untrain"
    assert route.is_proven


def test_one_message_gives_the_steps_ahead_of_it() -> None:
    route = route_of([request_after(1)], [])
    assert route.topics == TOPICS
    assert route.step_of("train") == "train"


def test_a_slip_of_the_current_plan_gives_the_current_route() -> None:
    message = SeenRequest("authorize", 0, 1, 1, history=COMPLETED_STEPS[:1])
    message.slip = SlipSeen(("notify", "notified"), ("deprovision",), False)
    route = route_of([message], [])
    assert (route.names, route.topics, route.undos) == (CURRENT_ROUTE.names, CURRENT_ROUTE.topics, CURRENT_ROUTE.undos)


def test_a_row_that_waits_for_an_unsent_request_gives_the_current_route() -> None:
    waiting = SeenRow("sagas", 0, 0, 1, "running", False, "authorize", history=COMPLETED_STEPS[:1])
    waiting.slip = SlipSeen(("notify", "notified"), ("deprovision",), False)
    cancelled = SeenRequest("retract", 0, 0, 2, history=(*COMPLETED_STEPS[:1], ("authorize", "cancelled")))
    cancelled.slip = SlipSeen((), ("revoke", "deprovision"), True)
    route = route_of([cancelled], [waiting])
    assert (route.names, route.topics) == (CURRENT_ROUTE.names, CURRENT_ROUTE.topics)
