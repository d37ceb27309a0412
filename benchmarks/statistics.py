"""Percentiles, medians and ratios of measured values, of which some may be missing (None)."""

import math
from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile by the nearest-rank method: always one of the values. NaN if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else math.nan


def median_of_known(values: Sequence[float | None]) -> float | None:
    """The median of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """`ours` divided by `theirs`; None if either is missing or `theirs` is 0."""
    return None if ours is None or not theirs else ours / theirs


def median_ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """The median of the ratios of each round. Other load on the machine affects both values of a round."""
    return median_of_known([ratio(mine, other) for mine, other in zip(ours, theirs, strict=False)])
