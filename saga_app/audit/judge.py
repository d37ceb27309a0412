"""Runs all checks over all sagas and creates the report."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from saga_app.active_plan import TOPICS
from saga_app.audit import changelog, checks, rollback, unfinished
from saga_app.audit.case import Case, Finding, LogState, iso
from saga_app.audit.collector import EvidenceCollector
from saga_app.saga.messages import DLQ
from saga_app.saga.record import Record

CHECKS = (
    checks.never_ended,
    checks.ended_twice,
    checks.two_devices,
    checks.no_predecessor,
    rollback.mail_after_rollback,
    rollback.undo_missing,
    changelog.row_disagrees,
    checks.unrecorded_dead_letter,
    unfinished.find_unfinished,
    unfinished.ignored_actions,
)


@dataclass(slots=True)
class Report:
    """The result of an audit: what was read, the findings, counts, and what could not be checked."""

    sagas: int
    records: int
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether there are no findings."""
        return not self.findings


def audit_records(
    records: Iterable[Record],
    committed: Mapping[str, Mapping[tuple[str, int], int]] | None = None,
    *,
    partitions: int | None = None,
    now: int | None = None,
    settle_s: float = 0.0,
) -> Report:
    """Audit records of any source, in any order; records of other topics are ignored.

    `committed`: by consumer group (provisioner, authorizer, notifier), the committed offset by topic and partition.
    `partitions`: of a topic; without it, the partition of a saga is not checked. `now`: milliseconds
    since 1970 (default: the time of the newest record).
    """
    collector = EvidenceCollector()
    collector.take_all(records)
    at = collector.newest if now is None else now
    return judge(collector, LogState(at, partitions, committed or {}, settle=int(settle_s * 1000)))


def judge(
    collector: EvidenceCollector, seen: LogState, on_progress: Callable[[int], None] = lambda _done: None
) -> Report:
    """Check all sagas. `on_progress` is called repeatedly with the number of sagas checked."""
    seen = replace(seen, buried=collector.buried, refused=collector.refused)
    report = Report(0, collector.records, left_out=[*left_out(seen)])
    counts: Counter[str] = Counter()
    for number, saga in enumerate(collector.sagas.values()):
        if not number % 1000:
            on_progress(number)
        case = Case(saga, seen)
        if case:
            report.findings += () if case.under_way else judge_saga(case)
            counts.update(_counted(case))
    report.findings += unfinished.lost_records(collector.unreadable, seen)
    report.findings += unfinished.beyond_the_end(seen)
    report.sagas = counts.pop("sagas", 0)
    signals = {kind: collector.signals.get(kind, 0) for kind in ("failed", "overdue", "redriven", "cancelled")}
    letters = len(collector.buried) + sum(place.topic == DLQ for place in collector.unreadable)
    report.counts = {**counts, **{f"signals_{kind}": count for kind, count in signals.items() if count}}
    if letters:
        report.counts["dead_letters"] = letters
    return report


def judge_saga(case: Case) -> list[Finding]:
    """The findings of one saga."""
    return [finding for check in CHECKS for finding in check(case)]


def _counted(case: Case) -> dict[str, int]:
    """The counts of one saga for the summary."""
    saga, asked = case.saga, case.requests
    requests = {(each.topic, each.history, each.attempt) for each in asked}
    found = {
        "sagas": 1,
        case.state: 1,
        "under_way": case.under_way and not (case.last and case.last.ended),
        "overdue": case.last is not None and case.last.overdue,
        "redriven": len({action.attempt for action in case.actions if action.kind == "redriven"}),
        "cancelled": any(outcome == "cancelled" for _, outcome in case.visits),
        "retrying": case.is_retrying,
        "duplicates": max(
            0, len(asked) - len(saga.planned) - len(requests)
        ),  # a planned attempt is published once more
        "mails": len(saga.mails),
        "mails_again": max(0, len(saga.mails) - 1),
        "repaired_rows": case.repaired,
        "seen_in_part": _is_seen_in_part(case),
    }
    return {name: int(count) for name, count in found.items() if count}


def _is_seen_in_part(case: Case) -> bool:
    """Whether records of the saga may have been deleted."""
    if not case.seen.lost:
        return False
    partitions = {each.partition for each in case.saga.requests} | {each.partition for each in case.saga.rows}
    return any(not case.whole(*place) for place in case.seen.lost if place[1] in partitions)


def left_out(seen: LogState) -> Iterator[str]:
    """A line for each topic from which records were deleted."""
    for topic in TOPICS:
        if until := [at for (name, _), at in seen.lost.items() if name == topic]:
            newest = max((at for at in until if at < math.inf), default=None)
            gone = f"records until {iso(newest)}" if newest is not None else "all old records"
            yield (
                f"{topic}: {gone} were deleted from {len(until)} of {seen.partitions} partitions; "
                "for sagas that began earlier, checks that need them were skipped"
            )
