"""Where a worker stands between two assignments."""

import enum


class Phase(enum.Enum):
    """What may be fetched.

    Faust resumes the streams before it seeks, and clears the agents' queues after that, so that what
    is fetched in between is lost until the next seek; and it can finish one rebalance in the middle of
    the next.  Hence the phases.
    """

    REVOKED = "nothing: between two assignments"
    RESTORING = "changelogs"
    SOUGHT = "changelogs: the streams are at their committed offsets, the agents' queues not yet cleared"
    STREAMING = "everything"
