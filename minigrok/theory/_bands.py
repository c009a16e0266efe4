"""A band over seeds that a theory's line must lie in."""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from minigrok.theory._checks import number


class Band(NamedTuple):
    """A band for a mean curve; see `simultaneous_band`.

    Attributes:
        low, high: its edges, (P,).
    """

    low: np.ndarray
    high: np.ndarray


def simultaneous_band(samples: np.ndarray, level: float = 0.95) -> Band:
    """A band for the mean over all seeds there could be, which holds at all points of a curve at once.

        mean +- q s / sqrt(S) ,   q = Student's t quantile with S - 1 degrees at 1 - (1 - level) / (2 P)

    S seeds have been measured, at P points. A band that holds with 95 % at each point by itself leaves out
    the true mean at one of 20 points on average, and a theory that is right would seem to fail there.

    Derivation (Bonferroni): allow each of the P points an error of (1 - level) / P, half of it on either
    side. The chance of an error somewhere is at most the sum, 1 - level, however the points hang together.
    The more they do, the more the band is on the safe side: a curve that goes up and down as a whole errs in
    one place only. For 24 seeds and 24 points q is 3.5, where one point by itself has 2.07.

    The t quantile supposes that the values of one point are about normal over seeds, or that the seeds are
    many. Losses that spread over powers of ten are not: their mean is made by few seeds, and the band misses
    it more often. Take quantities of one scale, or more seeds, or compare logarithms if the theory has a mean
    of logarithms. A band contains the mean over seeds, not the seeds.

    Args:
        samples: (S, P), one row for each of at least 2 independent seeds.
        level: the chance with which the band contains the whole mean curve, between 0 and 1.

    Returns:
        `Band(low, high)`, each (P,). Where all seeds agree it has no width, and rounding
        may put even the right theory outside.

    Raises:
        ValueError: another shape, fewer than 2 seeds, NaN or infinite values, a level out of its range.

    Source: Bonferroni's inequality; Dunn 1961 for intervals around means.

    Example:
        >>> low, high = simultaneous_band([[1.0, 10.0], [2.0, 10.0], [3.0, 10.0]])
        >>> low.round(2), high.round(2)
        (array([-1.58, 10.  ]), array([ 5.58, 10.  ]))

    Used in lessons 05, 15 and 16.
    """
    level = number("level", level, 0, 1, open="low high")
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 2 or len(samples) < 2 or not samples.shape[1]:
        raise ValueError(f"expected samples (seeds, points), at least 2 seeds; got the shape {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError(
            f"samples hold NaN or infinite values in {np.sum(~np.isfinite(samples).all(axis=1))} of "
            f"{len(samples)} seeds: a mean over seeds needs all of them"
        )
    seeds, points = samples.shape
    quantile = -stdtrit(seeds - 1, (1 - level) / (2 * points))
    mean, error = samples.mean(axis=0), samples.std(axis=0, ddof=1) / np.sqrt(seeds)
    return Band(mean - quantile * error, mean + quantile * error)
