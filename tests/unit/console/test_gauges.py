"""What the console shows to Prometheus when something is not known."""

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

from saga_app.console import gauges
from saga_app.console.index.counters import Figures

Now = Callable[[str], None]


def figures(up: bool, lag: int | None, delay: float | None, fill: float | None) -> dict[str, Any]:
    """The body of /api/stats as far as the gauges read it."""
    service = {"up": up, "workers": 1 if up else None, "lag": lag, "reason": None}
    return Figures({}).snapshot(0.0) | {
        "services": {"notifier": service},
        "broker": {"up": up, "embedded": fill is not None, "fill": fill},
        "delay": {"p50": delay, "p99": delay},
        "errors": 0,
    }


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.mark.field(24)
def test_a_value_that_is_not_known_any_more_is_absent(now: Now) -> None:
    gauges.show(figures(True, 300, 0.02, 0.1), 0, 0)
    assert sample("saga_service_lag", service="notifier") == 300
    assert sample("saga_console_delay_seconds", percentile="99") == 0.02
    for _ in range(2):
        gauges.show(figures(False, None, None, None), 0, 0)
    assert sample("saga_service_lag", service="notifier") is None
    assert sample("saga_service_workers", service="notifier") is None
    assert sample("saga_console_delay_seconds", percentile="50") is None
    for name in ("saga_ended_per_second", "saga_embedded_broker_fill"):
        value = sample(name)
        assert value != value, f"{name} is not NaN"  # noqa: PLR0124
    now("lag, workers and delay absent, rate NaN")
    gauges.show(figures(True, 0, 0.0, None), 0, 0)
    assert sample("saga_service_lag", service="notifier") == 0
    assert sample("saga_console_delay_seconds", percentile="99") == 0


@pytest.mark.field(24)
def test_promtool_accepts_the_metrics_of_this_process() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is needed: Debian's prometheus")
    gauges.show(figures(True, 300, 0.02, 0.1), 0, 0)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(), capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
