"""What the console shows to Prometheus; set once a second from the same figures as the page's."""

import math
from typing import Any

from prometheus_client import Gauge

SAGAS = Gauge("saga_sagas", "Sagas by state", ["state"])
RATE = Gauge("saga_ended_per_second", "Sagas that ended, a second, over the last 10 s")
OVERDUE = Gauge("saga_overdue", "Sagas under way that are overdue")
ERRORS = Gauge("saga_dead_letters_open", "Dead letters that wait for somebody")
WAITING = Gauge("saga_step_waiting", "Sagas that wait for a step", ["step"])
LAG = Gauge("saga_service_lag", "Records that a service has not dealt with", ["service"])
WORKERS = Gauge("saga_service_workers", "Workers of a service", ["service"])
DELAY = Gauge("saga_console_delay_seconds", "From the broker's log to the console", ["percentile"])
CLIENTS = Gauge("saga_console_stream_clients", "Clients that listen to the stream")
RECORDS = Gauge("saga_console_records", "Records read since the start")
FILL = Gauge("saga_embedded_broker_fill", "How full the embedded broker is, from 0 to 1")


def show(figures: dict[str, Any], clients: int, records: int) -> None:
    """The body of `/api/stats`, and what only we know."""
    for state, count in figures["counts"].items():
        SAGAS.labels(state).set(count)
    for step, waiting in figures["steps"].items():
        WAITING.labels(step).set(waiting["waiting"])
    for service, seen in figures["services"].items():
        _set(WORKERS, service, seen["workers"])
        _set(LAG, service, seen["lag"])
    for percentile in ("50", "99"):
        _set(DELAY, percentile, figures["delay"][f"p{percentile}"])
    _set(RATE, "", figures["rate"] if figures["broker"]["up"] else None)
    _set(FILL, "", figures["broker"]["fill"])
    for gauge, value in ((OVERDUE, figures["overdue"]), (ERRORS, figures["errors"])):
        gauge.set(value)
    for gauge, value in ((CLIENTS, clients), (RECORDS, records)):
        gauge.set(value)


def _set(gauge: Gauge, label: str, value: float | None) -> None:
    """A value that is not known has no sample; a gauge without labels has a single one and shows it as NaN."""
    if not label:
        gauge.set(math.nan if value is None else value)
    elif value is None:
        gauge.remove(label)
    else:
        gauge.labels(label).set(value)
