"""Rate limiting: how many messages are due, and how long to pause. Pure functions."""

#: Maximum size of a batch, and minimum pause between batches (seconds).
BATCH_SIZE, MIN_PAUSE_S = 500, 0.1


def due(total: int, sent: int, rate: float | None, elapsed: float) -> int:
    """How many of `total` should have been sent after `elapsed` seconds; at most one batch more than `sent`.

    `rate`: per second, None for no limit. The first message is due immediately.
    """
    reached = total if rate is None else min(total, 1 + int(elapsed * rate))
    return max(sent, min(reached, sent + BATCH_SIZE))


def pause(sent: int, rate: float, elapsed: float) -> float:
    """Seconds until the next message is due; at least `MIN_PAUSE_S`, so that messages are sent in batches."""
    return max(MIN_PAUSE_S, sent / rate - elapsed)
