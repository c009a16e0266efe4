"""A threshold that learns a local rule: right for ever once it rests in the gap."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammainc
from scipy.stats import nbinom

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True)
class RuleTimes:
    """When the threshold has passed the last example of the training set, and the last one there can be.

    Attributes:
        train: the time at which the training error is 0.
        test: the time at which the test error is 0.
    """

    train: np.ndarray
    test: np.ndarray

    @property
    def delay(self) -> np.ndarray:
        """The time in between, the paper's t_G."""
        return self.test - self.train


def rule_threshold(t: np.ndarray, start: float, mean: float, l2: float = 0.0, l1: float = 0.0) -> np.ndarray:
    """The threshold after time t of gradient flow on the squared error.

        b(t) = rest - (rest - start) exp(-(1 + l2) t) ,   rest = (mean - l1) / (1 + l2)   while b > 0

    Used in lesson 05.
    """
    t = numbers("t", t, 0)
    start, mean = number("start", start), number("mean", mean)
    l1, l2 = number("l1", l1, 0), number("l2", l2, 0)
    if start < 0 or (start == 0 and mean < 0):
        return -rule_threshold(t, -start, -mean, l2, l1)
    rate = 1 + l2
    rest = (mean - l1) / rate
    b = rest + (start - rest) * np.exp(-rate * t)
    if rest >= 0:
        return b
    at_zero = math.log((start - rest) / -rest) / rate
    below = min((mean + l1) / rate, 0.0)
    return np.where(t < at_zero, b, below - below * np.exp(-rate * np.maximum(t - at_zero, 0)))


def rule_error(threshold: np.ndarray, eps: float) -> np.ndarray:
    """The test error of a threshold b: 0 within the gap.

        error = (1 - exp(eps - |b|)) / 2   for |b| > eps, 0 otherwise

    Used in lesson 05.
    """
    beyond = np.maximum(np.abs(numbers("threshold", threshold)) - number("eps", eps, 0), 0)
    return -np.expm1(-beyond) / 2


def grokking_probability(n: int, eps: np.ndarray, l1: float = 0.0, l2: float = 0.0) -> np.ndarray:
    """The chance that a threshold trained on n examples of each class comes to rest in the gap.

    For n = 2: 1 - (1 + 2 e) exp(-4 e) with e = eps (1 + l2) + l1.

    Used in lesson 05.
    """
    if n != int(n) or n < 1:
        raise ValueError(f"n must be a whole number of examples of each class, at least 1; got {n}")
    reach = numbers("eps", eps, 0) * (1 + number("l2", l2, 0)) + number("l1", l1, 0)
    k = np.arange(n)
    share = 2 * nbinom.pmf(k, n, 0.5)
    return gammainc(n - k, 2 * n * reach[..., None]) @ share


def grokking_time(
    start: np.ndarray, mean: np.ndarray, nearest: np.ndarray, eps: float, l1: float = 0.0, l2: float = 0.0
) -> RuleTimes:
    """When a threshold that comes from above has fitted the training set, and when it is right for ever.

        delay = log( (nearest - rest) / (eps - rest) ) / (1 + l2) ,   rest = (mean - l1) / (1 + l2)

    Used in lesson 05.
    """
    start, mean = numbers("start", start, 0), numbers("mean", mean)
    eps, l1, l2 = number("eps", eps, 0, open="low"), number("l1", l1, 0), number("l2", l2, 0)
    nearest = numbers("nearest", nearest, eps)
    lost = np.abs(mean) - l1 >= eps * (1 + l2)
    if lost.any():
        raise ValueError(
            f"{int(lost.sum())} of {lost.size} thresholds come to rest outside the gap, |rest| >= eps = {eps:g}, "
            "and never grok: keep those with |mean| < eps (1 + l2) + l1"
        )
    rest = (mean - l1) / (1 + l2)

    def passes(place: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(start - rest, place - rest) / (place - rest)) / (1 + l2)

    return RuleTimes(passes(nearest), passes(eps))


def ball_error(threshold: np.ndarray, eps: float, dim: int) -> np.ndarray:
    """The test error of the plane x_1 = b between two uniform balls of radius 1, whose gap is 2 eps wide.

    Used in lesson 05.
    """
    beyond = np.clip(np.abs(numbers("threshold", threshold)) - number("eps", eps, 0), 0, 2)
    cap = betainc((dim + 1) / 2, 0.5, beyond * (2 - beyond)) / 2
    return np.where(beyond <= 1, cap, 1 - cap) / 2


def critical_exponent(dim: int) -> float:
    """(D + 1) / 2: how the test error vanishes with the time that is left.

    Used in lesson 05.
    """
    return (number("dim", dim, 1) + 1) / 2
