"""The console's Prometheus metrics, in particular for values that are unknown."""

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from saga_app.console import gauges
from saga_app.console.index.counters import Figures


def figures(up: bool, lag: int | None, delay: float | None, fill: float | None) -> dict[str, Any]:
    """The fields of /api/stats that the gauges use, with one service and the embedded broker if `fill` is given."""
    service = {"up": up, "workers": 1 if up else None, "lag": lag, "reason": None}
    return Figures({}).snapshot(0.0) | {
        "services": {"notifier": service},
        "broker": {"up": up, "embedded": fill is not None, "fill": fill},
        "delay": {"p50": delay, "p99": delay},
        "errors": 0,
    }


def metric(name: str, **labels: str) -> float | None:
    """The current value of a metric; None if it is absent."""
    return REGISTRY.get_sample_value(name, labels)


@pytest.mark.field(24)
def test_a_value_that_is_no_longer_known_is_absent_or_nan(now: Callable[[str], None]) -> None:
    gauges.show(figures(True, 300, 0.02, 0.1), 0, 0)
    assert metric("saga_service_lag", service="notifier") == 300
    assert metric("saga_console_delay_seconds", percentile="99") == 0.02
    for _ in range(2):
        gauges.show(figures(False, None, None, None), 0, 0)
    assert metric("saga_service_lag", service="notifier") is None
    assert metric("saga_service_workers", service="notifier") is None
    assert metric("saga_console_delay_seconds", percentile="50") is None
    for name in ("saga_ended_per_second", "saga_embedded_broker_fill"):
        value = metric(name)
        assert value != value, f"{name} is not NaN"  # noqa: PLR0124
    now("lag, workers and delay absent, rate NaN")
    gauges.show(figures(True, 0, 0.0, None), 0, 0)
    assert metric("saga_service_lag", service="notifier") == 0
    assert metric("saga_console_delay_seconds", percentile="99") == 0


@pytest.mark.field(24)
def test_promtool_accepts_the_metrics() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is needed: Debian's prometheus")
    gauges.show(figures(True, 300, 0.02, 0.1), 0, 0)
    result = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(), capture_output=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
