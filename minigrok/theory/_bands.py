"""A band over seeds that a theory's line must lie in."""

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student_t

from minigrok.theory._checks import number


class Band(NamedTuple):
    """A band for a mean curve: low and high, both (points,)."""

    low: np.ndarray
    high: np.ndarray


def simultaneous_band(samples: np.ndarray, level: float = 0.95) -> Band:
    """A band for the mean curve over all seeds there could be, which holds at all points at once.

        mean +- q s / sqrt(S) ,   q = Student's t quantile at 1 - (1 - level) / (2 P)

    Used in lesson 05.
    """
    level = number("level", level, 0, 1, open="low high")
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 2 or len(samples) < 2 or not samples.shape[1]:
        raise ValueError(f"expected samples (seeds, points), at least 2 seeds; got the shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("samples hold NaN or infinite values: a mean over seeds needs all of them")
    seeds, points = samples.shape
    quantile = student_t.isf((1 - level) / (2 * points), seeds - 1)
    middle, error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(seeds)
    return Band(middle - quantile * error, middle + quantile * error)
