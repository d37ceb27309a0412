"""The auditor as a second oracle: what `saga audit` would say of the topics and offsets of a run."""

from collections.abc import Iterator

from saga_app.audit import audit_records
from tests.simulation.system import PARTITIONS, System


def audited(system: System) -> Iterator[str]:
    """Its findings; rubbish apart, which concerns no saga."""
    committed = {group.name: group.committed for group in system.groups}
    for finding in audit_records(system.bus.records, committed, partitions=PARTITIONS).findings:
        if not _is_cut_mail(system, finding.kind, finding.saga):
            yield f"{finding.saga}: audit: {finding.kind}: {finding.sentence} ({', '.join(finding.proof)})"


def _is_cut_mail(system: System, kind: str, id: str | None) -> bool:
    """A mail that could not be noted, and was refused when it was tried again."""
    return kind == "mail-after-rollback" and id in system.outside.mail.moody
