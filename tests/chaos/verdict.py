"""Judges a run: compares the topics and the mailbox with the accepted users and the injected faults. Pure functions."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from saga_app.saga.messages import Row
from tests.chaos.fault_log import FOREVER, Fault
from tests.chaos.mailbox import Copy, message_id

#: Topic, partition, offset.
Place = tuple[str, int, int]

#: How long after its deadline a saga may be marked as overdue: its Provisioner may be frozen (seconds).
OVERDUE_GRACE_S = 30.0

#: The longest time from a mail to the acknowledgement of its result, without a fault (seconds).
MAX_ACKNOWLEDGEMENT_S = 3.0
#: The session timeout of a group, and how long a rebalance waits for work in flight (seconds).
SESSION_S, DRAIN_S = 10.0, 5.0
#: How much earlier than `SESSION_S` a frozen worker may be expelled, as its last heartbeat was before (seconds).
HEARTBEAT_S = 2.0
#: How long groups and connections are disturbed after an outage of the broker (seconds).
RECOVERY_S = 10.0
#: The tolerance when the times of mails and faults are compared (seconds).
TOLERANCE_S = 0.5


@dataclass(frozen=True)
class Evidence:
    """What a run has left behind. Times are seconds since 1970."""

    accepted: Mapping[str, float]  #: when each user was accepted, by saga id
    versions: Mapping[str, Sequence[Row]]  #: all versions of each saga row, oldest first
    copies: Mapping[str, Sequence[Copy]]  #: the accepted copies of each mail, by Message-ID
    garbage: frozenset[Place]
    dead_letters: frozenset[Place]  #: the positions of the original records
    faults: Sequence[Fault]
    deadline_s: float
    checked_at: float


@dataclass(frozen=True)
class RepeatedMail:
    """Two copies of a mail. `reason`: the fault that explains the second one, or None."""

    saga: str
    step: str
    sent_at: tuple[float, float]
    reason: str | None


@dataclass
class Verdict:
    """The ids of the sagas with each problem. In a good run, all lists are empty except for explained repeats."""

    lost: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    unflagged: list[str] = field(default_factory=list)  #: late, and never overdue, retrying, parked or rolling back
    not_requested: list[str] = field(default_factory=list)
    without_welcome: list[str] = field(default_factory=list)
    without_follow_up: list[str] = field(default_factory=list)
    wrong_last_mail: list[str] = field(default_factory=list)
    #: Sagas with a welcome mail after the follow-up, with the fault that explains it.
    late_welcome: dict[str, str] = field(default_factory=dict)
    garbage_without_letter: list[Place] = field(default_factory=list)
    repeated_mails: list[RepeatedMail] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)  #: the number of sagas by final state
    chance_of_explanation: float = 0.0  #: see `chance_of_explanation()`

    @property
    def repeats_by_reason(self) -> dict[str, int]:
        """The number of repeated mails by reason, without the number of the worker."""
        reasons = (re.sub(r"notifier-\d", "a notifier", each.reason or "unexplained") for each in self.repeated_mails)
        return dict(Counter(reasons).most_common())

    @property
    def unexplained_repeats(self) -> list[RepeatedMail]:
        return [each for each in self.repeated_mails if each.reason is None]


def judge(evidence: Evidence) -> Verdict:
    """Check every saga."""
    verdict = Verdict()
    for id in evidence.accepted:
        _judge_saga(verdict, evidence, id, evidence.versions.get(id, ()))
    verdict.not_requested = [id for id in evidence.versions if id not in evidence.accepted]
    verdict.garbage_without_letter = sorted(evidence.garbage - evidence.dead_letters)
    verdict.chance_of_explanation = chance_of_explanation(evidence.faults)
    return verdict


def _judge_saga(verdict: Verdict, evidence: Evidence, id: str, versions: Sequence[Row]) -> None:
    last = versions[-1] if versions else None
    state = last.state if last else "lost"
    verdict.states[state] = verdict.states.get(state, 0) + 1
    if last is None or not last.ended:
        verdict.lost.append(id)
    if has_ended_twice(versions):
        verdict.ended_twice.append(id)
    if versions and is_unflagged(versions, evidence.deadline_s, evidence.checked_at):
        verdict.unflagged.append(id)
    welcomes, follow_ups = (evidence.copies.get(message_id(id, step), ()) for step in ("notify", "retract"))
    for step, copies in (("notify", welcomes), ("retract", follow_ups)):
        for first, second in pairwise(copies):
            reason = reason_for_repeat(first, second, evidence.faults)
            verdict.repeated_mails.append(RepeatedMail(id, step, (first.at, second.at), reason))
    if last is not None:
        _judge_mails(verdict, evidence.faults, last, welcomes, follow_ups)


def _judge_mails(
    verdict: Verdict, faults: Sequence[Fault], last: Row, welcomes: Sequence[Copy], follow_ups: Sequence[Copy]
) -> None:
    """An onboarded user has a welcome mail; any other user with a welcome mail has a follow-up after it."""
    if last.state == "completed":
        if not welcomes:
            verdict.without_welcome.append(last.id)
        if follow_ups:
            verdict.wrong_last_mail.append(last.id)
    elif last.ended and welcomes and not follow_ups and not _has_follow_up_failed(last):
        verdict.without_follow_up.append(last.id)
    elif follow_ups and welcomes and welcomes[-1].at > follow_ups[-1].at:
        sent_at = welcomes[-1].at
        freeze = next((fault for fault in faults if _is_end_of_freeze(fault, sent_at)), None)
        if freeze is None:
            verdict.wrong_last_mail.append(last.id)
        else:
            verdict.late_welcome[last.id] = f"{freeze.target} sent the welcome mail after a freeze"


def _has_follow_up_failed(row: Row) -> bool:
    """Whether the row shows that the compensation failed permanently."""
    return any(line.step == "retract" and line.outcome != "done" for line in row.history)


def has_ended_twice(versions: Sequence[Row]) -> bool:
    """Whether a saga has two different ends, or continued after its end."""
    ends = {(row.state, row.ended_at) for row in versions if row.ended}
    return len(ends) > 1 or (bool(ends) and not versions[-1].ended)


def is_unflagged(versions: Sequence[Row], deadline_s: float, now: float) -> bool:
    """Whether a saga missed its deadline without being marked as overdue, retrying, parked or rolling back."""
    last = versions[-1]
    ended_at = last.ended_at.timestamp() if last.ended_at else now
    if ended_at - last.started_at.timestamp() <= deadline_s + OVERDUE_GRACE_S:
        return False
    return not any(row.overdue or row.trouble or row.state in ("parked", "rolling-back") for row in versions)


def reason_for_repeat(first: Copy, second: Copy, faults: Iterable[Fault]) -> str | None:
    """Why a mail was sent twice, or None if no fault explains it."""
    if first.reply_lost:
        return "the reply to the first copy was lost"
    return next((reason for fault in faults if (reason := _reason(fault, first.at, second.at))), None)


def _reason(fault: Fault, first: float, second: float) -> str | None:
    """How this fault explains two copies, sent at these times: it kept the result of the first from being recorded."""
    if fault.target == "broker":
        is_near = fault.began_at - MAX_ACKNOWLEDGEMENT_S <= first <= fault.ended_at + RECOVERY_S
        return f"{fault.kind}: the result was not acknowledged" if is_near else None
    if not fault.target.startswith("notifier"):
        return None
    if first - TOLERANCE_S <= fault.began_at <= min(second, first + MAX_ACKNOWLEDGEMENT_S):
        return f"{fault.kind} of {fault.target} before the result was acknowledged"
    if fault.kind == "freeze":
        return _reason_of_freeze(fault, first, second)
    return None


def _is_end_of_freeze(fault: Fault, at: float) -> bool:
    """Whether a Notifier resumed at this time: it sends a mail that it had begun, because mail cannot be fenced."""
    is_freeze = fault.kind == "freeze" and fault.target.startswith("notifier")
    return is_freeze and fault.ended_at - TOLERANCE_S <= at <= fault.ended_at + MAX_ACKNOWLEDGEMENT_S


def _reason_of_freeze(fault: Fault, first: float, second: float) -> str | None:
    if _is_end_of_freeze(fault, second):
        return f"{fault.target} resumed its work after a freeze"
    min_session_s = SESSION_S - HEARTBEAT_S
    earliest = fault.began_at + min_session_s
    latest = max(fault.began_at + SESSION_S, fault.ended_at) + SESSION_S + DRAIN_S
    if fault.ended_at - fault.began_at > min_session_s and earliest <= first <= latest:
        return f"requests in flight were repeated after the group expelled {fault.target}"
    return None


def chance_of_explanation(faults: Sequence[Fault]) -> float:
    """The probability that two copies sent at a random time, one second apart, would be explained by a fault.

    The smaller it is, the more an explanation means.
    """
    times = [at for fault in faults for at in (fault.began_at, fault.ended_at) if at < FOREVER]
    if not times:
        return 0.0
    dice = random.Random(0)
    samples = [dice.uniform(min(times), max(times)) for _ in range(2000)]
    return sum(any(_reason(fault, at, at + 1) for fault in faults) for at in samples) / len(samples)
