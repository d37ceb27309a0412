"""What the topics and the mailbox say in the end, held against what was asked and what was done. Pure."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from saga_app.saga.messages import Row
from saga_app.saga.times import epoch
from tests.chaos.fault_log import FOREVER, Fault
from tests.chaos.mailbox import Copy, message_id

Place = tuple[str, int, int]

#: How much later than its deadline a saga may be marked: its Provisioner may be the one that is frozen (seconds).
GRACE_S = 30.0

#: A note that a mail is sent is acknowledged within this time, unless something happens (seconds).
SOON_S = 3.0
#: After so long without a heartbeat the group goes on without a worker, and whoever is left drains for so long.
SESSION_S, DRAIN_S = 10.0, 5.0
#: After an outage: until groups and connections are as they were.
RECOVERY_S = 10.0


@dataclass(frozen=True)
class Evidence:
    """Everything that is known when all is over."""

    accepted: Mapping[str, float]
    versions: Mapping[str, Sequence[Row]]  #: Every version of each row, in the order of the changelog.
    copies: Mapping[str, Sequence[Copy]]
    garbage: frozenset[Place]
    letters: frozenset[Place]  #: The originals' places of all dead letters.
    entries: Sequence[Fault]
    deadline_s: float
    over_at: float


@dataclass(frozen=True)
class RepeatedMail:
    """A mail that came twice."""

    saga: str
    step: str
    at: tuple[float, float]
    why: str | None  #: None if nothing explains it.


@dataclass
class Verdict:
    """Ids of sagas; all but `twice` and `told_late` should be empty."""

    lost: list[str] = field(default_factory=list)
    ended_twice: list[str] = field(default_factory=list)
    unflagged: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    never_mailed: list[str] = field(default_factory=list)
    never_told: list[str] = field(default_factory=list)
    told_wrong: list[str] = field(default_factory=list)
    told_late: dict[str, str] = field(default_factory=dict)  #: As told_wrong, with what explains it.
    garbage_lost: list[Place] = field(default_factory=list)
    twice: list[RepeatedMail] = field(default_factory=list)
    states: dict[str, int] = field(default_factory=dict)
    by_chance: float = 0.0

    @property
    def reasons(self) -> dict[str, int]:
        """How many mails came twice, by what explains it; who it was left out."""
        whys = (re.sub(r"notifier-\d", "a notifier", each.why or "unexplained") for each in self.twice)
        return dict(Counter(whys).most_common())

    @property
    def unexplained(self) -> list[RepeatedMail]:
        return [each for each in self.twice if each.why is None]


def judge(evidence: Evidence) -> Verdict:
    """The count."""
    found = Verdict()
    for id in evidence.accepted:
        _reckon_saga(found, evidence, id, evidence.versions.get(id, ()))
    found.unasked = [id for id in evidence.versions if id not in evidence.accepted]
    found.garbage_lost = sorted(evidence.garbage - evidence.letters)
    found.by_chance = by_chance(evidence.entries)
    return found


def _reckon_saga(found: Verdict, evidence: Evidence, id: str, versions: Sequence[Row]) -> None:
    last = versions[-1] if versions else None
    state = last.state if last else "lost"
    found.states[state] = found.states.get(state, 0) + 1
    if last is None or not last.ended:
        found.lost.append(id)
    if ended_twice(versions):
        found.ended_twice.append(id)
    if versions and unflagged(versions, evidence.deadline_s, evidence.over_at):
        found.unflagged.append(id)
    welcome, void = (evidence.copies.get(message_id(id, step), ()) for step in ("notify", "retract"))
    for step, copies in (("notify", welcome), ("retract", void)):
        for first, second in pairwise(copies):
            why = explanation(first, second, evidence.entries)
            found.twice.append(RepeatedMail(id, step, (first.at, second.at), why))
    if last is not None:
        _reckon_mail(found, evidence.entries, last, welcome, void)


def _reckon_mail(
    found: Verdict, entries: Sequence[Fault], last: Row, welcome: Sequence[Copy], void: Sequence[Copy]
) -> None:
    """A user who is onboarded has a welcome; one who had it and is not onboarded was told so, and after it."""
    if last.state == "completed":
        if not welcome:
            found.never_mailed.append(last.id)
        if void:
            found.told_wrong.append(last.id)
    elif last.ended and welcome and not void and not _could_not_tell(last):
        found.never_told.append(last.id)
    elif void and welcome and welcome[-1].at > void[-1].at:
        why = next((entry for entry in entries if _has_woken(entry, welcome[-1].at)), None)
        if why is None:
            found.told_wrong.append(last.id)
        else:
            found.told_late[last.id] = f"{why.who} woke up with the welcome in its hands"


def _could_not_tell(row: Row) -> bool:
    """The undo itself has failed for good, which the row says."""
    return any(line.step == "retract" and line.outcome != "done" for line in row.history)


def ended_twice(versions: Sequence[Row]) -> bool:
    """Two different endings, or one that was taken back."""
    endings = {(row.state, row.ended_at) for row in versions if row.ended}
    return len(endings) > 1 or (bool(endings) and not versions[-1].ended)


def unflagged(versions: Sequence[Row], deadline_s: float, now: float) -> bool:
    """Later than its deadline, and never said to be overdue, retrying, parked or rolling back."""
    last = versions[-1]
    over = epoch(last.ended_at) if last.ended_at else now
    if over - epoch(last.started_at) <= deadline_s + GRACE_S:
        return False
    return not any(row.overdue or row.trouble or row.state in ("parked", "rolling-back") for row in versions)


def explanation(first: Copy, second: Copy, entries: Iterable[Fault]) -> str | None:
    """Why a mail came twice, or None if nothing that was done explains it."""
    if first.unanswered:
        return "the answer to the first was lost"
    return next((why for entry in entries if (why := _because(entry, first.at, second.at))), None)


def _because(entry: Fault, first: float, second: float) -> str | None:
    """A mail is sent again if its sender ends before the note of it is acknowledged."""
    if entry.who == "broker":
        away = entry.at - SOON_S <= first <= entry.until + RECOVERY_S
        return f"{entry.kind}: the note of it was not acknowledged" if away else None
    if not entry.who.startswith("notifier"):
        return None
    if first - 0.5 <= entry.at <= min(second, first + SOON_S):
        return f"{entry.kind} of {entry.who} before the note of it was acknowledged"
    if entry.kind == "freeze":
        return _because_frozen(entry, first, second)
    return None


def _has_woken(entry: Fault, at: float) -> bool:
    """Whether a mail came from a Notifier that had just woken up: SMTP knows no fence."""
    frozen = entry.kind == "freeze" and entry.who.startswith("notifier")
    return frozen and entry.until - 0.5 <= at <= entry.until + SOON_S


def _because_frozen(entry: Fault, first: float, second: float) -> str | None:
    if _has_woken(entry, second):
        return f"{entry.who} woke up and went on with what it had begun"
    drained = entry.at + SESSION_S - 2, max(entry.at + SESSION_S, entry.until) + SESSION_S + DRAIN_S
    if entry.until - entry.at > SESSION_S - 2 and drained[0] <= first <= drained[1]:
        return f"the group went on without {entry.who}: what was in flight was begun again"
    return None


def by_chance(entries: Sequence[Fault]) -> float:
    """How probable it is that two mails a second apart would be explained, whenever; the smaller, the more it means."""
    times = [at for entry in entries for at in (entry.at, entry.until) if at < FOREVER]
    if not times:
        return 0.0
    dice = random.Random(0)
    tries = [dice.uniform(min(times), max(times)) for _ in range(2000)]
    return sum(any(_because(entry, at, at + 1) for entry in entries) for at in tries) / len(tries)
