"""What ought to be: the onboarding as the auditor knows it by itself."""

from collections.abc import Mapping

from saga_app.saga.messages import CHANGELOG, DLQ, SIGNALS

FIRST = "new-user"

#: The steps in their order, and the undos in theirs: newest first.
STEPS = ("provision", "authorize", "notify", "complete")
UNDOS = ("retract", "revoke", "deprovision")

#: What takes back what.
UNDO_OF: Mapping[str, str] = {"provision": "deprovision", "authorize": "revoke", "notify": "retract"}

#: The topic on which each is asked for.
TOPIC_OF: Mapping[str, str] = {
    "provision": FIRST,
    "authorize": "authorize",
    "notify": "notify",
    "complete": "notified",
    **{undo: undo for undo in UNDOS},
}
STEP_OF: Mapping[str, str] = {topic: step for step, topic in TOPIC_OF.items()}

#: Everything that is read. What a later one holds follows from the earlier ones, but for the way back.
TOPICS = (*TOPIC_OF.values(), SIGNALS, DLQ, CHANGELOG)

#: The consumer groups, and the topics whose offsets each of them commits.
READS: Mapping[str, tuple[str, ...]] = {
    "provisioner": (FIRST, "notified", "deprovision", DLQ, SIGNALS),
    "authorizer": ("authorize", "revoke"),
    "notifier": ("notify", "retract"),
}
GROUP_OF: Mapping[str, str] = {topic: group for group, topics in READS.items() for topic in topics}

#: Whoever asks for a step to be undone has turned the saga round: its row says one of these.
TURNED = frozenset({"rolling-back", "rolled-back", "rollback-incomplete"})
