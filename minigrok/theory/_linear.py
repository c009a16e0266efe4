"""A linear student of a linear teacher: losses, accuracies and the delay between them, as d -> infinity."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf, erfinv, expit

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True)
class LinearLosses:
    """Mean squared errors of the student, in the shape of the times asked for; both are 1 at the start.

    Attributes:
        train: on the N examples.
        test: on fresh ones.
    """

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class LinearDelay:
    """Steps until an accuracy is reached.

    Attributes:
        train: on the N examples.
        test: on fresh ones.
    """

    train: float
    test: float

    @property
    def delay(self) -> float:
        """Steps from the one to the other."""
        return self.test - self.train


def marchenko_pastur_edges(ratio: float) -> tuple[float, float]:
    """The smallest and the largest positive eigenvalue of the covariance of N Gaussian samples.

        nu_low, nu_high = (1 -+ sqrt(ratio))^2 ,   ratio = d / N ,   for d -> infinity

    Used in lesson 05.
    """
    ratio = number("ratio = d / N", ratio, 0, open="low")
    return (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2


def marchenko_pastur(nu: np.ndarray, ratio: float) -> np.ndarray:
    """How dense the eigenvalues of a sample covariance lie: the law of Marchenko and Pastur.

        p(nu) = sqrt((nu_high - nu) (nu - nu_low)) / (2 pi ratio nu)   between the edges, 0 elsewhere

    Used in lesson 05.
    """
    low, high = marchenko_pastur_edges(ratio)
    nu = numbers("nu", nu)
    inside = (nu > low) & (nu < high)
    safe = np.where(inside, nu, high)
    return np.where(inside, np.sqrt((high - safe) * (safe - low)) / (2 * math.pi * ratio * safe), 0.0)


def linear_losses(t: np.ndarray, ratio: float, eta: float, *, discrete: bool = False) -> LinearLosses:
    """Train and test loss of a linear student after t steps, averaged over the eigenvalues' law.

        train(t) = E[ nu exp(-4 eta nu t) ] ,   test(t) = E[ exp(-4 eta nu t) ]  (+ 1 - 1/ratio above 1)

    Used in lesson 05.
    """
    t = numbers("t", t, 0)
    eta = number("eta", eta, 0, open="low")
    nu, weight = _law(ratio)
    log_share = _log_shrink(nu, eta, discrete)
    shrink = np.exp(2 * t[..., None] * log_share)
    never = max(0.0, 1 - 1 / ratio)
    return LinearLosses(shrink @ (weight * nu), shrink @ weight + never)


def _log_shrink(nu: np.ndarray, eta: float, discrete: bool) -> np.ndarray:
    return np.log(np.abs(1 - 2 * eta * nu)) if discrete else -2 * eta * nu


def _law(ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and weights: sum(weight * f(nu)) is the integral of f over the law without its atom."""
    low, high = marchenko_pastur_edges(ratio)
    w = np.arange(-160, 40, 0.25)
    x, rest = expit(w), expit(-w)
    nu = low + (high - low) * x
    return nu, 0.25 * (8 / math.pi) * (x * rest) ** 1.5 / nu


def linear_accuracy(loss: np.ndarray, eps: float) -> np.ndarray:
    """The share of outputs whose squared error is at most eps, when the mean squared error is `loss`.

        accuracy = erf( sqrt( eps / (2 loss) ) )

    Used in lesson 05.
    """
    loss = numbers("loss", loss, 0)
    eps = number("eps", eps, 0)
    with np.errstate(divide="ignore"):
        return np.where(loss > 0, erf(np.sqrt(eps / (2 * np.where(loss > 0, loss, 1.0)))), 1.0)


def linear_delay(ratio: float, eps: float, eta: float, level: float = 0.95) -> LinearDelay:
    """How long the test accuracy needs, and how much longer than the train accuracy.

    Used in lesson 05.
    """
    eps = number("eps", eps, 0, open="low")
    level = number("level", level, 0, 1, open="low high")
    target = eps / (2 * erfinv(level) ** 2)
    never = 1 - 1 / ratio
    if target <= never:
        best = float(linear_accuracy(never, eps))
        raise ValueError(
            f"with ratio = {ratio:g} the test loss stays above 1 - 1/ratio = {never:g}, so the test "
            f"accuracy stays below {best:.3g} and never reaches {level:g}: take more samples, a larger eps or a lower level"
        )

    def when(part: str) -> float:
        def excess(t: float) -> float:
            return math.log(float(getattr(linear_losses(t, ratio, eta), part)) / target)

        if excess(0.0) <= 0:
            return 0.0
        end = 1 / eta
        while excess(end) > 0:
            end *= 2
        return brentq(excess, 0.0, end, rtol=1e-12)

    return LinearDelay(when("train"), when("test"))


def linear_delay_limit(ratio: float, eta: float) -> float:
    """The delay as eps -> 0, for ratio < 1.

        delay -> log(1 / (1 - sqrt(ratio))) / (2 eta (1 - sqrt(ratio))^2)

    Used in lesson 05.
    """
    ratio = number("ratio = d / N", ratio, 0, 1, open="low high")
    eta = number("eta", eta, 0, open="low")
    gap = 1 - math.sqrt(ratio)
    return -math.log(gap) / (2 * eta * gap**2)
