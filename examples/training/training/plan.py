"""The plan: provision, authorize, train, notify, complete, and their compensations.

    SAGA_PLAN=training.plan:TRAINING SAGA_WORLD=training.world:make_world saga up

A module that holds a plan imports nothing of saga_app but saga_app.saga.
"""

from saga_app.saga import Denied, Done, Fact, Message, Outcome, Plan, Retry, Step, Words
from saga_app.saga.onboarding import FOLLOW_UP, MAIL, authorize, complete, notify, retract, revoke
from training.adapters import TrainingAdapters


async def provision(request: Message, world: TrainingAdapters) -> Outcome:
    """Reserve a device in the inventory, and start the saga."""
    device_id = await world.stock.reserve(request.key("provision"), request.user.department)
    return Done({"device_id": device_id}) if device_id else Denied(f"no device left for {request.user.department}")


async def train(request: Message, world: TrainingAdapters) -> Outcome:
    """Book the department's first course."""
    course = await world.courses.book(request.key("train"), request.user.department)
    return Done({"course": course}) if course else Denied(f"no course for the department {request.user.department}")


async def untrain(request: Message, world: TrainingAdapters) -> Outcome:
    """Cancel the course."""
    await world.courses.cancel(request.key("train"))
    return Done()


async def deprovision(request: Message, world: TrainingAdapters) -> Outcome:
    """Return the device to the inventory."""
    await world.stock.release(request.key("provision"))
    return Done()


TRAINING = Plan(
    "training",
    steps=(
        Step("provision", "new-user", "provisioner", provision, undo="deprovision", retry=Retry(attempts=8),
             fact=Fact("device_id", "device"),
             words=Words("reserves a device", "Device requested", "Device reserved", icon="device")),
        Step("authorize", "authorize", "authorizer", authorize, undo="revoke", retry=Retry(attempts=5),
             fact=Fact("authorizations", "authorizations", "list"),
             words=Words("grants access", "Access requested", "Access granted", icon="key")),
        Step("train", "train", "trainer", train, undo="untrain", retry=Retry(attempts=5),
             fact=Fact("course", "course"),
             words=Words("books a course", "Course requested", "Course booked", icon="book")),
        Step("notify", "notify", "notifier", notify, undo="retract", recorded=True, retry=MAIL, at_once=8,
             fact=Fact("notified_at", "e-mail sent", "time"),
             words=Words("sends the e-mail", "E-mail requested", "E-mail sent", icon="mail")),
        Step("complete", "notified", "provisioner", complete, lag=False,
             words=Words("records completion", "Completion requested", "Completion recorded", icon="flag")),
    ),
    compensations=(
        Step("deprovision", "deprovision", "provisioner", deprovision, retry=Retry(attempts=8),
             words=Words("returns the device", "Return of the device requested", "Device returned", icon="device")),
        Step("revoke", "revoke", "authorizer", revoke, retry=Retry(attempts=8),
             words=Words("revokes access", "Revocation requested", "Access revoked", icon="key")),
        Step("untrain", "untrain", "trainer", untrain, retry=Retry(attempts=8),
             words=Words("cancels the course", "Cancellation requested", "Course cancelled", icon="book")),
        Step("retract", "retract", "notifier", retract, recorded=True, retry=FOLLOW_UP, at_once=8,
             words=Words("sends a follow-up e-mail", "Follow-up e-mail requested", "Follow-up e-mail sent",
                         "No follow-up e-mail needed", icon="mail")),
    ),
)  # fmt: skip
