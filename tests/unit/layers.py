"""The layers of the program, which of them may import which, and what a file imports."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: For each layer, the other layers that it may import. `active_plan`, `settings`, `addresses`, `environment`,
#: `terminal`, `workers` and `cli` are single files.
ALLOWED_IMPORTS: dict[str, set[str]] = {
    "saga": set(),
    "active_plan": {"saga"},
    "audit": {"saga", "active_plan", "terminal"},  # of the saga only the wire format: see test_audit_layers.py
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


def layer_of(module: str) -> str | None:
    """The layer of a module; None if the module belongs to another package."""
    parts = module.split(".")
    if parts[0] in ("agents", "tables"):
        return parts[0]
    if parts[0] != "saga_app":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ALLOWED_IMPORTS else "top"


def imported_modules(path: Path) -> set[str]:
    """The modules and names that a file imports, at any place in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found
