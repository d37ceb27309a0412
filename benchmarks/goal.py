"""Goals: limits for a measured value, or for its ratio to the rival's value."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """A lower or an upper limit."""

    limit: float
    is_lower: bool  #: a lower limit, otherwise an upper limit
    is_relative: bool = False  #: for the ratio to the rival, otherwise for our own value
    unit: str = ""

    def is_met(self, ours: float | None, ratio: float | None) -> bool:
        """Whether the limit is kept; False if nothing was measured."""
        value = ratio if self.is_relative else ours
        if value is None or math.isnan(value):
            return False
        return value >= self.limit if self.is_lower else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_lower else '≤'} {self.limit:g} {'×' if self.is_relative else self.unit}".rstrip()


def at_least(limit: float, unit: str = "") -> Goal:
    """A lower limit for our own value."""
    return Goal(limit, True, unit=unit)


def at_most(limit: float, unit: str = "") -> Goal:
    """An upper limit for our own value."""
    return Goal(limit, False, unit=unit)


def times_at_least(limit: float) -> Goal:
    """A lower limit for the ratio of our value to the rival's."""
    return Goal(limit, True, is_relative=True)


def times_at_most(limit: float) -> Goal:
    """An upper limit for the ratio of our value to the rival's."""
    return Goal(limit, False, is_relative=True)
