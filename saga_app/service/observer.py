"""Keeps the rows true when something is wrong: what stands in the `dlq` and the `saga-signals` is noted."""

from typing import Any

import structlog

from saga_app.saga import machine
from saga_app.saga.messages import BadMessage, Parked, Signal, parse
from saga_app.saga.steps import Plan
from saga_app.service.placement import misplaced
from saga_app.service.record import Receipt, Record
from saga_app.service.rows import Rows

log = structlog.get_logger()


class Observer:
    """Reads the `dlq` and the `saga-signals` for the rows: what is parked, overdue or tried again is marked."""

    def __init__(self, plan: Plan, rows: Rows, partitions: int) -> None:
        self.plan, self.rows, self.partitions = plan, rows, partitions

    def handle(self, receipt: Receipt, _batch: Any, record: Record) -> None:
        """One record of either topic; what cannot be read concerns no row."""
        try:
            body = parse(record.topic, record.value, record.headers)
        except BadMessage as error:
            log.warning(
                "ignored", topic=record.topic, partition=record.partition, offset=record.offset, problem=str(error)
            )
            return
        if isinstance(body, Parked):
            self.parked(receipt, record, body)
        elif isinstance(body, Signal):
            self.signalled(receipt, record, body)

    def parked(self, receipt: Receipt, record: Record, letter: Parked) -> None:
        """A saga waits for somebody."""
        news = machine.parked(self.plan, letter)
        if news is not None and not misplaced(receipt, record, news.id, self.partitions):
            self.rows.note(receipt, record.partition, news)

    def signalled(self, receipt: Receipt, record: Record, signal: Signal) -> None:
        """Something was said about a saga; one that is not known yet is not made by it."""
        if misplaced(receipt, record, signal.id, self.partitions):
            return
        row = self.rows.get(record.partition, signal.id)
        if row is not None:
            self.rows.mark(receipt, record.partition, row, machine.mark(row, signal))
