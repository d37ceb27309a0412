"""Reads all topics and says, saga by saga, what does not add up.

It shares no code with the services but the wire (`saga/messages.py`): what ought to be is written down here a second
time (`plan.py`), so that a mistake of theirs is not a mistake of ours.

    plan.py        what ought to be: the steps in order, what undoes them, who reads what
    evidence.py    what the records say of one saga, compact
    gather.py      from records, in any order, to the evidence
    case.py        the evidence of one saga, put in order for the checks
    checks.py, changelog.py, rollback.py, unfinished.py      small pure functions, one for each thing that may be wrong
    judge.py       all checks over all sagas: the report
    reader.py      everything that stands on the topics now, without a group, and what the groups have committed
    show.py        the report and the progress, for people and for programs
    run.py         `saga audit`
"""

from saga_app.audit.case import Finding, Seen
from saga_app.audit.judge import Report, audit_records

__all__ = ["Finding", "Report", "Seen", "audit_records"]
