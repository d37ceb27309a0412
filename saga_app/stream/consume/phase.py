"""The phases of a worker between two assignments."""

import enum


class Phase(enum.Enum):
    """What may be fetched.

    Faust resumes the streams before it seeks and clears the queues of the agents afterwards, so records that are
    fetched in between would be lost until the next seek. It can also complete one rebalance during the next.
    """

    REVOKED = "nothing"
    RESTORING = "changelogs"
    POSITIONED = "changelogs, streams are about to resume"  # sought, and the agents' queues are not cleared yet
    STREAMING = "changelogs and streams"
