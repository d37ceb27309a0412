"""What the console shows to Prometheus; set once a second from the same figures as the page's."""

from typing import Any

from prometheus_client import Gauge

SAGAS = Gauge("saga_sagas", "Sagas by state", ["state"])
RATE = Gauge("saga_ended_per_second", "Sagas that ended, a second, over the last 10 s")
OVERDUE = Gauge("saga_overdue", "Sagas under way that are overdue")
ERRORS = Gauge("saga_dead_letters_open", "Dead letters that wait for somebody")
WAITING = Gauge("saga_step_waiting", "Sagas that wait for a step", ["step"])
LAG = Gauge("saga_service_lag", "Records that a service has not dealt with", ["service"])
WORKERS = Gauge("saga_service_workers", "Workers of a service", ["service"])
DELAY = Gauge("saga_console_delay_seconds", "From the broker's log to the console", ["quantile"])
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
        WORKERS.labels(service).set(seen["workers"])
        if seen["lag"] is not None:
            LAG.labels(service).set(seen["lag"])
    for quantile, name in (("0.5", "p50"), ("0.99", "p99")):
        DELAY.labels(quantile).set(figures["delay"][name] or 0)
    for gauge, value in ((RATE, figures["rate"]), (OVERDUE, figures["overdue"]), (ERRORS, figures["errors"])):
        gauge.set(value)
    for gauge, value in ((CLIENTS, clients), (RECORDS, records), (FILL, figures["broker"]["fill"] or 0)):
        gauge.set(value)
