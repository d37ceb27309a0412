"""So many a second: what is due by now, and when to look again. Pure."""

#: Sent at once at most, and seconds between two portions at least.
PORTION, TICK_S = 500, 0.1


def due(total: int, sent: int, rate: float | None, elapsed: float) -> int:
    """How many of all are to be sent by now, no more than a portion beyond those that are. The first is due at once."""
    reached = total if rate is None else min(total, 1 + int(elapsed * rate))
    return max(sent, min(reached, sent + PORTION))


def pause(sent: int, rate: float, elapsed: float) -> float:
    """Seconds until the next is due, or a little longer, so that many do not go one by one."""
    return max(TICK_S, sent / rate - elapsed)
