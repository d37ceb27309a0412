"""Percentiles, medians, ratios, goals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all are not above (nearest rank). NaN of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def middle(values: Sequence[float | None]) -> float | None:
    """The median of what there is, or None."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Ours over theirs."""
    return None if ours is None or not theirs else ours / theirs


def ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """The median of the ratios of each round: what the machine was busy with otherwise then, it was for both."""
    return middle([ratio(mine, other) for mine, other in zip(ours, theirs, strict=False)])


@dataclass(frozen=True)
class Goal:
    """A limit that is to be kept."""

    limit: float
    least: bool  #: at least the limit, or at most
    relative: bool = False  #: of the ratio to the rival, or of our own value
    unit: str = ""

    def met(self, ours: float | None, ratio: float | None) -> bool:
        """False, too, when nothing was measured."""
        value = ratio if self.relative else ours
        if value is None or math.isnan(value):
            return False
        return value >= self.limit if self.least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.least else '≤'} {self.limit:g} {'×' if self.relative else self.unit}".rstrip()


def at_least(limit: float, unit: str = "") -> Goal:
    """Of our own value."""
    return Goal(limit, True, unit=unit)


def at_most(limit: float, unit: str = "") -> Goal:
    """Of our own value."""
    return Goal(limit, False, unit=unit)


def times_at_least(limit: float) -> Goal:
    """Of the ratio to the rival."""
    return Goal(limit, True, relative=True)


def times_at_most(limit: float) -> Goal:
    """Of the ratio to the rival."""
    return Goal(limit, False, relative=True)
