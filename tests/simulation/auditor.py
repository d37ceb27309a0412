"""Runs `saga audit` as a second oracle over the records and committed offsets of a run."""

from collections.abc import Iterator

from saga_app.audit import audit_records
from tests.simulation.system import PARTITIONS, System


def audit_violations(system: System) -> Iterator[str]:
    """The audit's findings as sentences."""
    committed = {
        group.name: {(tp.topic, tp.partition): offset for tp, offset in group.committed.items()}
        for group in system.groups
    }
    for finding in audit_records(system.bus.records, committed, partitions=PARTITIONS).findings:
        if not _is_unrecorded_mail(system, finding.kind, finding.saga):
            yield f"{finding.saga}: audit: {finding.kind}: {finding.sentence} ({', '.join(finding.proof)})"


def _is_unrecorded_mail(system: System, kind: str, id: str | None) -> bool:
    """Whether the finding is an expected one: the mail was sent, its result was lost, and the repeat was refused."""
    return kind == "mail-after-rollback" and id in system.fake_world.mail.randomly_refused
