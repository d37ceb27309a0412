"""The auditor shares no code with what it audits, but for the wire."""

from pathlib import Path

from tests.unit.test_house import ROOT, imports, room


def test_the_auditor_sees_of_ours_only_itself_and_the_wire() -> None:
    files = [*Path(ROOT / "saga_app/audit").glob("*.py")]
    seen = {module for path in files for module in imports(path) if room(module) not in (None, "audit")}
    assert files
    assert seen
    assert all(module.startswith(("saga_app.saga.messages.", "saga_app.terminal")) for module in seen), seen
