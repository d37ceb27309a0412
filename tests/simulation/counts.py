"""Counts what occurs in the runs. A simulation in which an event never occurs does not test how it is handled."""

from collections import Counter
from collections.abc import Iterable

from tests.simulation.oracle import Case

#: The events that must occur at least once when many seeds are run.
EXPECTED_EVENTS = (
    "cancelled by a rebalance",
    "cancelled while a step acted",
    "dead letters",
    "delayed requests published",
    "duplicates of a delayed request absorbed",
    "duplicates of new-user absorbed",
    "ended: completed",
    "ended: rollback-incomplete",
    "ended: rolled-back",
    "follow-up mails",
    "late messages absorbed",
    "mails sent twice",
    "mails sent without a recorded result",
    "misplaced requests",
    "operator signals applied: cancelled",
    "operator signals applied: redriven",
    "operator signals: cancelled",
    "operator signals: redriven",
    "overdue sagas",
    "rebalances",
    "records duplicated",
    "stopped by a tombstone",
    "workers killed",
    "workers removed",
)


def count_outcomes(events: Counter[str], cases: Iterable[Case]) -> None:
    """Add the outcomes of all sagas at the end of a run to `events`."""
    for case in cases:
        events[f"ended: {case.last.state}"] += 1
        events["dead letters"] += len(case.dead_letters)
        events["mails sent twice"] += case.mails_sent("notify") > 1
        events["follow-up mails"] += case.mails_sent("retract")
        events["overdue sagas"] += case.last.overdue
        for signal in case.signals:
            events[f"operator signals: {signal.kind}"] += 1
        applied = {(row.order.kind, row.order.at, row.order.by) for row in case.rows if row.order}
        for kind, _, _ in applied:
            events[f"operator signals applied: {kind}"] += 1
