"""Keeps the rows true when something is wrong: what stands in the `dlq` and the `saga-signals` is noted.

What an operator wants is an event, too: it is decided here, where each saga's row is, whether it still applies. So of
two who redrive the same saga the first is heard, and nobody redrives what somebody has rolled back.
"""

from typing import Any

import structlog

from saga_app.saga import machine
from saga_app.saga.messages import BadMessage, Parked, Row, Signal, encode, parse
from saga_app.saga.steps import Plan
from saga_app.service.headers import headers_for
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
        if news is None or misplaced(receipt, record, news.id, self.partitions):
            return
        row = self.rows.note(receipt, record.partition, news)
        if row.trouble and row.trouble.kind == "redriven":  # it has been read before its dead letter
            self.direct(receipt, record, row, row.trouble)

    def signalled(self, receipt: Receipt, record: Record, signal: Signal) -> None:
        """Something was said about a saga; one that is not known yet is not made by it."""
        if misplaced(receipt, record, signal.id, self.partitions):
            return
        row = self.rows.get(record.partition, signal.id)
        if row is None or self.direct(receipt, record, row, signal):
            return
        self.rows.mark(receipt, record.partition, row, machine.mark(row, signal))

    def direct(self, receipt: Receipt, record: Record, row: Row, signal: Signal) -> bool:
        """Do what an operator wants; False if it does not apply."""
        turn = machine.directed(self.plan, row, signal)
        if turn is None:
            return False
        self.rows.note(receipt, record.partition, turn.row)
        if turn.onward is not None:
            topic, message = turn.onward.topic, turn.onward.message
            headers = headers_for(message, topic, self.plan.steps[0].service, signal.at)
            receipt.send(topic, row.id.encode(), encode(message), headers)
        log.info("turned", saga=row.id, step=row.step, kind=signal.kind, attempt=signal.attempt)
        return True
