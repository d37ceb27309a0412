"""What has happened in a run, to be counted: a simulation in which nothing happens proves nothing."""

from collections import Counter
from collections.abc import Iterable

from tests.simulation.oracle import Case

#: What must have occurred when many seeds were run.
WHAT = (
    "cancelled by a rebalance",
    "dead letters",
    "dropped for good",
    "duplicates of a waiting request absorbed",
    "duplicates of new-user absorbed",
    "ended: completed",
    "ended: rollback-incomplete",
    "ended: rolled-back",
    "follow-up mails",
    "killed",
    "late messages absorbed",
    "mails sent twice",
    "mails that could not be noted",
    "orders: cancelled",
    "orders: redriven",
    "orders heeded: cancelled",
    "orders heeded: redriven",
    "published again",
    "rebalanced",
    "records sent twice",
    "said to be overdue",
    "stopped by a tombstone",
    "strays",
    "turned round while a step acted",
)


def count(happened: Counter[str], cases: Iterable[Case]) -> None:
    """Of the sagas, at the end."""
    for case in cases:
        happened[f"ended: {case.last.state}"] += 1
        happened["dead letters"] += len(case.letters)
        happened["mails sent twice"] += case.sent("notify") > 1
        happened["follow-up mails"] += case.sent("retract")
        happened["said to be overdue"] += case.last.overdue
        for order in case.orders:
            happened[f"orders: {order.kind}"] += 1
        heeded = {(row.order.kind, row.order.at, row.order.by) for row in case.rows if row.order}
        for kind, _, _ in heeded:
            happened[f"orders heeded: {kind}"] += 1
