"""Logistic regression with one label: whether the samples lie on one side of the origin decides its fate."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import betainc, expit, ndtr

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True)
class TwoPoint:
    """A weight and a bias on their way, in the shape of the times asked for.

    Attributes:
        weight: S, which multiplies the points.
        bias: b, which falls from 0.
    """

    weight: np.ndarray
    bias: np.ndarray


def separable_probability(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The chance that n random points in d dimensions lie on one side of some plane through the origin.

        P(n, d) = 2^(1-n) sum_{k < d} C(n - 1, k)

    Used in lesson 05.
    """
    n, d = numbers("n", n, 1), numbers("d", d, 1)
    return np.asarray(np.where(d >= n, 1.0, betainc(np.maximum(n - d, 0.5), d, 0.5)))


def constant_accuracy(spread: np.ndarray) -> np.ndarray:
    """The test accuracy of a classifier of one label, from how widely its output spreads.

        accuracy = (1 + erf(1 / (spread sqrt 2))) / 2 ,   spread = sigma |S| / |b|

    Used in lesson 05.
    """
    spread = numbers("spread", spread, 0)
    with np.errstate(divide="ignore"):
        return ndtr(1 / spread)


def two_point_flow(t: np.ndarray, lam: float, sigma: float = 1.0) -> TwoPoint:
    """Logistic regression on the two points -sigma and sigma (1 - 2 lam), both of label 0, from S = b = 0.

    Used in lesson 05.
    """
    t = numbers("t", t, 0)
    x = _points(lam, sigma)
    order = np.unique(np.log1p(t.ravel()))

    def slope(s: float, state: np.ndarray) -> np.ndarray:
        p = expit(state[0] * x + state[1])
        return -math.exp(s) * np.array([(x * p).mean(), p.mean()])

    span = (0.0, max(order[-1], 1e-12))
    run = solve_ivp(slope, span, [0.0, 0.0], method="LSODA", t_eval=order, rtol=1e-10, atol=1e-12)
    if not run.success:
        raise RuntimeError(f"the differential equation was not solved: {run.message}")
    at = np.searchsorted(order, np.log1p(t))
    return TwoPoint(run.y[0][at], run.y[1][at])


def two_point_limit(lam: float, sigma: float = 1.0) -> float:
    """Where the weight comes to rest, for lam < 1/2.

        S -> log(1 / (1 - 2 lam)) / (2 sigma (1 - lam))

    Used in lesson 05.
    """
    near, far = sorted(abs(_points(lam, sigma)))
    if lam >= 0.5:
        raise ValueError(f"for lam >= 1/2 the weight grows without end and has no limit; got lam = {lam:g}")
    return math.log(far / near) / (far + near)


def two_point_bias(t: np.ndarray, lam: float, sigma: float = 1.0) -> np.ndarray:
    """How the bias falls in the long run.

        b ~ -log t  for lam <= 1/2 ,   b ~ -log t / (1 + M^2)  for lam > 1/2, with M = sigma (2 lam - 1)

    Used in lesson 05.
    """
    t = numbers("t", t, 0, open="low")
    x = _points(lam, sigma)
    return -np.log(t) / (1 + max(0.0, -x[1]) ** 2)


def _points(lam: float, sigma: float) -> np.ndarray:
    lam = number("lam", lam, 0, 1, open="high")
    sigma = number("sigma", sigma, 0, open="low")
    return np.array([-sigma, sigma * (1 - 2 * lam)])
