"""Who may see whom. Three sentences of the architecture, read from the imports themselves."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: A room may import the rooms named here, and nothing else of ours. `cli`, `settings`, `addresses`
#: and `environment` are a file each.
ALLOWED = {
    "saga": set(),
    "audit": {"saga", "terminal"},  # and of it the wire alone: see test_audit_house.py
    "stream": set(),
    "addresses": set(),
    "environment": set(),
    "terminal": set(),
    "settings": {"saga"},  # what an address is
    "service": {"saga", "stream", "addresses", "environment", "settings", "terminal"},
    "web": {"saga", "stream", "service", "addresses", "environment", "settings", "terminal"},
    "tables": {"stream"},
    "console": {"saga", "stream", "service", "web", "addresses", "environment", "settings"},
    "workers": {"saga", "stream", "service", "web", "console", "tables", "environment", "settings"},
    "agents": {"saga", "stream", "service", "web", "tables", "console", "workers", "environment", "settings"},
    "local": {"saga", "service", "addresses", "environment", "settings", "terminal"},
    "commands": {"audit", "service", "web", "local", "addresses", "environment", "settings", "terminal"},
    "cli": {"environment", "commands"},
    "top": {"cli"},
}


def room(module: str) -> str | None:
    """The room of a module of ours; None for somebody else's."""
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


def seen() -> dict[str, set[str]]:
    """Which rooms each room sees."""
    views: defaultdict[str, set[str]] = defaultdict(set)
    for folder in ("saga_app", "agents", "tables"):
        for path in (ROOT / folder).rglob("*.py"):
            mine = room(".".join(path.relative_to(ROOT).with_suffix("").parts))
            views[mine or ""] |= {other for module in imports(path) if (other := room(module)) and other != mine}
    return views


@pytest.mark.parametrize("name", ALLOWED)
def test_a_room_sees_only_what_lies_below_it(name: str) -> None:
    views = seen()[name]
    print(f"{name} sees {', '.join(sorted(views)) or 'nothing'}")
    assert views <= ALLOWED[name]


def test_the_pure_room_knows_no_kafka_no_network_and_no_clock() -> None:
    outside = {"aiokafka", "confluent_kafka", "faust", "mode", "aiohttp", "asyncio", "time", "random", "socket"}
    for path in (ROOT / "saga_app/saga").glob("*.py"):
        assert not {module.split(".")[0] for module in imports(path)} & outside, path
