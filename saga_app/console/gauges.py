"""Prometheus gauges of the console, set once a second from the statistics of `/api/stats`."""

import math
from typing import Any

from prometheus_client import Gauge

SAGAS = Gauge("saga_sagas", "Sagas by state", ["state"])
RATE = Gauge("saga_ended_per_second", "Sagas ended per second, average of the last 10 s")
OVERDUE = Gauge("saga_overdue", "Unfinished sagas that are overdue")
ERRORS = Gauge("saga_dead_letters_open", "Open dead letters")
WAITING = Gauge("saga_step_waiting", "Sagas waiting for a step", ["step"])
LAG = Gauge("saga_service_lag", "Consumer lag of a service, in records", ["service"])
WORKERS = Gauge("saga_service_workers", "Active workers of a service", ["service"])
DELAY = Gauge("saga_console_delay_seconds", "Time from the broker's log to the console", ["percentile"])
CLIENTS = Gauge("saga_console_stream_clients", "Connected clients of the event stream")
RECORDS = Gauge("saga_console_records", "Records read since start-up")
FILL = Gauge("saga_embedded_broker_fill", "Fill level of the embedded broker, from 0 to 1")


def show(figures: dict[str, Any], clients: int, records: int) -> None:
    """Set all gauges from the statistics, the number of stream clients, and the number of records read."""
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
    """Set or remove a sample. An unknown value has no sample; in a gauge without labels it is NaN."""
    if not label:
        gauge.set(math.nan if value is None else value)
    elif value is None:
        gauge.remove(label)
    else:
        gauge.labels(label).set(value)
