"""The onboarding of a user, as a choreographed saga. Read this first.

  New User ─► new-user ─► PROVISIONER ─► authorize ─► AUTHORIZER ─► notify ─► NOTIFIER ─► notified ─► PROVISIONER (complete)
                                ▲                         │ ▲                    │ ▲                      │
                                └────── deprovision ◄─────┘ └───── revoke ◄──────┘ └────── retract ◄──────┘

A step gets the request and the world, and returns `Done` with facts, or `Denied` with a reason. It raises an error only
if it could not determine the result. It may be called again for the same saga: the idempotency key makes that safe.
"""

from saga_app.saga.messages import Message
from saga_app.saga.plan import Denied, Done, Fact, Outcome, Plan, Step, Words
from saga_app.saga.retry import Retry
from saga_app.saga.times import iso
from saga_app.saga.world import World


async def provision(request: Message, world: World) -> Outcome:
    """Assign a device to a new user, and start the saga."""
    return Done({"device_id": await world.stock.assign(request.key("provision"), request.user.department)})


async def authorize(request: Message, world: World) -> Outcome:
    """Grant the authorizations of the department's policy."""
    granted = await world.policy.grant(request.key("authorize"), request.user.department)
    if granted is None:
        return Denied(f"no policy for the department {request.user.department}")
    return Done({"authorizations": granted})


async def notify(request: Message, world: World) -> Outcome:
    """Tell the user by e-mail which device and which authorizations are waiting."""
    text = "Your device: {device_id}\nYou may use: {authorizations}\n".format_map(request.facts)
    refused = await world.mail.send(request.key("notify"), request.user.email, f"Welcome, {request.user.name}", text)
    return Denied(f"the mail was refused: {refused}") if refused else Done({"notified_at": iso(world.now())})


async def complete(request: Message, world: World) -> Outcome:
    """Record that the saga is complete."""
    return Done()


async def retract(request: Message, world: World) -> Outcome:
    """Send a follow-up e-mail that revokes the first one, because a mail cannot be unsent."""
    text = "Your onboarding was cancelled. Please disregard our earlier mail.\n"
    refused = await world.mail.send(request.key("retract"), request.user.email, "Your onboarding was cancelled", text)
    return Denied(f"the mail was refused: {refused}") if refused else Done()


async def revoke(request: Message, world: World) -> Outcome:
    """Revoke the authorizations."""
    await world.policy.revoke(request.key("authorize"))
    return Done()


async def deprovision(request: Message, world: World) -> Outcome:
    """Return the device to stock."""
    await world.stock.take_back(request.key("provision"), request.facts.get("device_id"))
    return Done()


#: Retries of a mail follow a mail server's queue: a few attempts within seconds, then over six hours
#: (RFC 5321 4.5.4.1). Greylisting defers the first mail to a recipient for 1 to 15 minutes, on some servers for an hour.
#: The timeout is long because a server may scan a mail before it answers. See docs/how-to/send-mail.md.
MAIL = Retry(attempts=16, timeout=20.0, delays=(1, 2, 5, 15, 60, 240, 300, 600, 1200, 1800, 3600), jitter=0.25)
#: The follow-up mail is retried for half an hour only, because the authorizations are revoked after it.
FOLLOW_UP = Retry(attempts=9, timeout=20.0, delays=(1, 2, 5, 15, 60, 240, 600, 900), jitter=0.25)
#: Concurrent connections to the mail server.
MAIL_CONNECTIONS = 8

ONBOARDING = Plan(
    "onboarding",
    steps=(
        Step("provision", "new-user", "provisioner", provision, undo="deprovision",
             fact=Fact("device_id", "device"),
             words=Words("assigns a device", "Device requested", "Device assigned", icon="device")),
        Step("authorize", "authorize", "authorizer", authorize, undo="revoke", retry=Retry(attempts=5),
             fact=Fact("authorizations", "authorizations", "list"),
             words=Words("grants access", "Access requested", "Access granted", icon="key")),
        Step("notify", "notify", "notifier", notify, undo="retract", recorded=True, retry=MAIL,
             at_once=MAIL_CONNECTIONS, fact=Fact("notified_at", "e-mail sent", "time"),
             words=Words("sends the e-mail", "E-mail requested", "E-mail sent", icon="mail")),
        Step("complete", "notified", "provisioner", complete, lag=False,
             words=Words("records completion", "Completion requested", "Completion recorded", icon="flag")),
    ),
    compensations=(
        Step("deprovision", "deprovision", "provisioner", deprovision, retry=Retry(attempts=8),
             words=Words("takes the device back", "Return of the device requested", "Device returned", icon="device")),
        Step("revoke", "revoke", "authorizer", revoke, retry=Retry(attempts=8),
             words=Words("revokes access", "Revocation requested", "Access revoked", icon="key")),
        Step("retract", "retract", "notifier", retract, recorded=True, retry=FOLLOW_UP, at_once=MAIL_CONNECTIONS,
             words=Words("sends a follow-up e-mail", "Follow-up e-mail requested", "Follow-up e-mail sent",
                         "No follow-up e-mail needed", icon="mail")),
    ),
)  # fmt: skip
