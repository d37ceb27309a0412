"""The auditor shares no decisions with the services that it audits."""

from tests.unit.layers import ROOT, imported_modules, layer_of

#: The wire format with its vocabulary, the plan, and the output to a terminal. None of them decides anything.
ALLOWED_MODULES = (
    "saga_app.saga.codec",
    "saga_app.saga.messages",
    "saga_app.saga.record",
    "saga_app.saga.record_id",
    "saga_app.saga.states",
    "saga_app.active_plan",
    "saga_app.terminal",
)


def test_the_auditor_imports_only_the_wire_format_and_the_plan() -> None:
    files = [*(ROOT / "saga_app/audit").glob("*.py")]
    found = {module for path in files for module in imported_modules(path) if layer_of(module) not in (None, "audit")}
    assert files
    assert found
    allowed = tuple(f"{module}." for module in ALLOWED_MODULES)
    assert [module for module in sorted(found) if not module.startswith(allowed)] == []
