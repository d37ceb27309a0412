"""Which layer may import which: three statements of the architecture, checked against the imports themselves."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: A layer may import the layers named here, and nothing else of ours. `active_plan`, `settings`, `addresses`,
#: `environment`, `terminal`, `workers` and `cli` are a file each.
ALLOWED = {
    "saga": set(),
    "active_plan": {"saga"},
    "audit": {"saga", "active_plan", "terminal"},  # and of the saga the wire format alone: see test_audit_layers.py
    "stream": set(),
    "addresses": set(),
    "environment": set(),
    "terminal": set(),
    "settings": {"saga", "active_plan"},
    "service": {"saga", "active_plan", "stream", "addresses", "environment", "settings", "terminal"},
    "web": {"saga", "active_plan", "stream", "service", "addresses", "environment", "settings", "terminal"},
    "tables": {"stream"},
    "console": {"saga", "active_plan", "stream", "service", "web", "addresses", "environment", "settings"},
    "workers": {"saga", "active_plan", "stream", "service", "web", "console", "tables", "settings"},
    "agents": {"workers", "environment"},
    "local": {"saga", "active_plan", "service", "addresses", "environment", "settings", "terminal"},
    "commands": {
        "audit",
        "saga",
        "active_plan",
        "service",
        "web",
        "local",
        "addresses",
        "environment",
        "settings",
        "terminal",
    },
    "cli": {"environment", "commands"},
    "top": {"cli"},
}


def layer(module: str) -> str | None:
    """The layer of a module of ours; None for other packages."""
    parts = module.split(".")
    if parts[0] in ("agents", "tables"):
        return parts[0]
    if parts[0] != "saga_app":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED else "top"


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_layers() -> dict[str, set[str]]:
    """Which layers each layer imports from."""
    views: defaultdict[str, set[str]] = defaultdict(set)
    for folder in ("saga_app", "agents", "tables"):
        for path in (ROOT / folder).rglob("*.py"):
            mine = layer(".".join(path.relative_to(ROOT).with_suffix("").parts))
            views[mine or ""] |= {other for module in imports(path) if (other := layer(module)) and other != mine}
    return views


@pytest.mark.parametrize("name", ALLOWED)
def test_a_layer_imports_only_from_layers_below(name: str) -> None:
    views = imported_layers()[name]
    print(f"{name} imports from {', '.join(sorted(views)) or 'nothing'}")
    assert views <= ALLOWED[name], views - ALLOWED[name]


def test_the_saga_layer_imports_no_kafka_no_network_and_no_clock() -> None:
    outside = {"aiokafka", "confluent_kafka", "faust", "mode", "aiohttp", "asyncio", "time", "random", "socket"}
    for path in (ROOT / "saga_app/saga").glob("*.py"):
        assert not {module.split(".")[0] for module in imports(path)} & outside, path
