"""The auditor shares no code with what it audits, except the wire format and the plan."""

from pathlib import Path

from tests.unit.test_layers import ROOT, imports, layer


def test_the_audit_imports_only_the_wire_format_and_the_plan() -> None:
    files = [*Path(ROOT / "saga_app/audit").glob("*.py")]
    seen = {module for path in files for module in imports(path) if layer(module) not in (None, "audit")}
    assert files
    assert seen
    assert all(
        module.startswith(("saga_app.saga.messages.", "saga_app.active_plan.", "saga_app.terminal")) for module in seen
    ), seen
