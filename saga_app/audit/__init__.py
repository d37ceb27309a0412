"""Reads all topics and reports inconsistencies, saga by saga.

It shares only the plan, the message format, and the names of records and states with the services, so that an error in
their logic is not repeated here.

    route.py       the route of a saga: steps, topics and compensations
    evidence.py    compact data about the records of one saga
    collector.py   collects the evidence from records in any order
    case.py        the evidence of one saga, prepared for the checks
    checks.py, changelog.py, rollback.py, unfinished.py      the checks: small pure functions
    judge.py       runs all checks over all sagas; the report
    reader.py      reads all topics and committed offsets without joining a group
    show.py        prints the report and the progress
    run.py         `saga audit`
"""

from saga_app.audit.case import Finding, LogState
from saga_app.audit.judge import Report, audit_records

__all__ = ["Finding", "LogState", "Report", "audit_records"]
