"""A threshold that learns a local rule: there is a gap between two classes, and it must come to rest in it.

Inputs are numbers. Class +1 has x = eps + e and class -1 has x = -eps - e, where e >= 0 comes from Exp(1);
the gap is 2 eps wide and holds no input. The answer is sign(x - b), and the threshold b minimises half the
mean of ((x - b) - y)^2 over the training set, plus l1 |b| + l2 b^2 / 2. With n examples of each class the
labels cancel, and gradient flow is

    db/dt = mean - b - l2 b - l1 sign(b) ,   mean = mean of the 2 n training inputs.

The training error is 0 once b is below the smallest positive example, the test error once b < eps: in between
lies the delay. The mean of e is 1, the unit of eps, b and l1; time is in steps times learning rate.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, gammainc, gammaln

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True)
class RuleTimes:
    """When a threshold is right on the training set, and when it is right on all; see `grokking_time`.

    Attributes:
        train: the time at which the training error gets 0.
        test: the time at which the test error gets 0.
    """

    train: np.ndarray
    test: np.ndarray

    @property
    def delay(self) -> np.ndarray:
        """The time in between."""
        return self.test - self.train


def rule_threshold(
    t: np.ndarray, start: np.ndarray, mean: np.ndarray, l2: float = 0.0, l1: float = 0.0
) -> np.ndarray:
    """Where the threshold is after time t of gradient flow.

        b(t) = rest + (start - rest) exp(-(1 + l2) t) ,   rest = (mean - l1) / (1 + l2)   as long as b > 0

    Derivation: for b > 0 the flow is db/dt = (mean - l1) - (1 + l2) b, linear. For b < 0 l1 changes its sign.
    At b = 0 it holds b back if |mean| <= l1; if not, b goes on from there towards (mean + l1) / (1 + l2).

    Args:
        t: times, any shape, not negative. Gradient descent with a small rate eta is at t = eta * steps.
        start, mean: b at t = 0, and the mean of the training inputs; they broadcast with t.
        l2, l1: the weights of b^2 / 2 and of |b|, not negative.

    Returns:
        Thresholds, in the common shape.

    Raises:
        ValueError: a value out of its range.

    Source: the one-dimensional model of Zunkovic & Ilievski 2022 (arXiv 2210.15435), with their mean of
    lambda, xbar_lambda, for rest. The passage through 0 with l1 > 0: derived here.

    Example:
        >>> rule_threshold([0.0, 1.0, 10.0], start=2.0, mean=0.1).round(3)
        array([2.   , 0.799, 0.1  ])

    Used in lesson 05.
    """
    t, start, mean = np.broadcast_arrays(numbers("t", t, 0), numbers("start", start), numbers("mean", mean))
    l1, rate = number("l1", l1, 0), 1 + number("l2", l2, 0)
    side = np.where(start != 0, np.sign(start), np.sign(mean))  # by symmetry: come from above
    start, mean = side * start, side * mean
    rest, beyond = (mean - l1) / rate, np.minimum(mean + l1, 0) / rate
    above = rest + (start - rest) * np.exp(-rate * t)
    # At 0 when exp(rate t) = 1 - start / rest; how much of exp(-rate t) is left from then on.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        left = (1 - start / np.where(rest < 0, rest, np.nan)) * np.exp(-rate * t)
    return (side * np.where(left < 1, beyond * (1 - left), above))[()]


def rule_error(threshold: np.ndarray, eps: float) -> np.ndarray:
    """The test error of a threshold b: exactly 0 anywhere in the gap.

        error = (1 - exp(eps - |b|)) / 2   for |b| > eps ,   0 otherwise

    Derivation: a b above eps has on its wrong side the positive inputs with e < b - eps. They are a share
    1 - exp(eps - b) of the half that is positive. Close to eps this is (b - eps) / 2, and b passes eps at a
    finite speed, so the error vanishes like (t_eps - t)^1: a critical exponent of 1 (`critical_exponent`).

    Args:
        threshold: any shape.
        eps: half the width of the gap, not negative.

    Returns:
        Errors from 0 to 1/2, in the shape of threshold.

    Raises:
        ValueError: a negative eps, or NaN.

    Source: the one-dimensional model of Zunkovic & Ilievski 2022 (arXiv 2210.15435).

    Example:
        >>> rule_error([0.2, 0.3, 1.0, 9.0], eps=0.3).round(3)
        array([0.   , 0.   , 0.252, 0.5  ])

    Used in lesson 05.
    """
    return -np.expm1(-_beyond(threshold, eps)) / 2


def grokking_probability(n: int, eps: np.ndarray, l1: float = 0.0, l2: float = 0.0) -> np.ndarray:
    """The chance that a threshold trained on n examples of each class comes to rest within the gap.

        P = sum_{k < n} C(n - 1 + k, k) 2^(1 - n - k) Q(n - k, 2 n e) ,   e = eps (1 + l2) + l1
        n = 2:   1 - (1 + 2 e) exp(-4 e)

    with Q(j, u) the chance that a sum of j numbers from Exp(1) is below u. Weight decay and l1 widen the gap
    that the mean has to hit, from eps to e: the one multiplies, the other adds.

    Derivation: b rests within the gap if |mean| < e (see `rule_threshold`). The eps of the two classes
    cancel in the mean, which is (A - B) / (2 n) with A and B sums of n numbers from Exp(1). Read both as
    clocks that must tick n times, each at rate 1. When the first is through, the other has ticked k < n
    times: the next n + k - 1 tosses of a coin decide, which gives the weights. From then on, since Exp(1)
    has no memory, it needs a sum of n - k more numbers: that is |A - B|. For large n the mean is nearly
    normal with variance 1 / (2 n), and P is near erf(e sqrt(n)).

    n counts the examples of each class, drawn in equal numbers, 2 n in all. (With labels by a coin the mean
    of the labels would not cancel, and the formulas would not hold: in particular n = 2 is two of each.)

    Args:
        n: a whole number, at least 1.
        eps: half the width of the gap, any shape, not negative.
        l1, l2: the weights of |b| and of b^2 / 2, not negative.

    Returns:
        Chances, in the shape of eps.

    Raises:
        ValueError: n that is not whole, or a value out of its range.

    Source: Zunkovic & Ilievski 2022 (arXiv 2210.15435), grokking probability, for n = 2. Other n: derived
    here.

    Example:
        >>> grokking_probability(2, 0.4).round(4), grokking_probability(20, 0.4).round(4)
        (np.float64(0.6366), np.float64(0.9869))

    Used in lessons 05 and 16.
    """
    if np.ndim(n) != 0 or n != int(n) or n < 1:
        raise ValueError(f"n must be one whole number of examples of each class, at least 1; got {n}")
    reach = numbers("eps", eps, 0) * (1 + number("l2", l2, 0)) + number("l1", l1, 0)
    k = np.arange(n)
    weight = np.exp(gammaln(n + k) - gammaln(n) - gammaln(k + 1) - (n + k - 1) * np.log(2))
    return gammainc(n - k, 2 * n * reach[..., None]) @ weight


def grokking_time(
    start: np.ndarray, mean: np.ndarray, nearest: np.ndarray, eps: float, l1: float = 0.0, l2: float = 0.0
) -> RuleTimes:
    """When a threshold from above has passed the last example there is, and the last there could be.

        b(train) = nearest ,  b(test) = eps
        delay = log( (nearest - rest) / (eps - rest) ) / (1 + l2) ,   rest = (mean - l1) / (1 + l2)

    Derivation: solve b(t) of `rule_threshold` for t at both places and subtract: the start drops out. What
    is left is how far the last example stands from the gap's edge, in units of how far b still has to go.
    The delay is longest where b comes to rest just inside the gap.

    Args:
        start: b at t = 0, not negative; above `nearest` for the formula, below it .train is 0.
        mean: of the training inputs. All of these broadcast, one for each training set.
        nearest: the positive training example nearest to the gap, at least eps.
        eps: half the width of the gap, above 0.
        l1, l2: the weights of |b| and of b^2 / 2, not negative.

    Returns:
        `RuleTimes`, with .train, .test and .delay.

    Raises:
        ValueError: a training set with which b comes to rest outside the gap, so that it never groks; a
            value out of its range.

    Source: the grokking time of Zunkovic & Ilievski 2022 (arXiv 2210.15435), with their xmin = nearest - eps.

    Example:
        >>> times = grokking_time(start=3.0, mean=0.1, nearest=0.6, eps=0.3)
        >>> times.train.round(3), times.delay.round(3)
        (np.float64(1.758), np.float64(0.916))

    Used in lesson 05.
    """
    start, mean, eps = numbers("start", start, 0), numbers("mean", mean), number("eps", eps, 0, open="low")
    nearest, l1, rate = numbers("nearest", nearest, eps), number("l1", l1, 0), 1 + number("l2", l2, 0)
    lost = np.abs(mean) >= eps * rate + l1
    if lost.any():
        raise ValueError(
            f"{lost.sum()} of {lost.size} thresholds come to rest outside the gap and never grok: "
            f"ask only for those with |mean| < eps (1 + l2) + l1 = {eps * rate + l1:g}"
        )
    rest = (mean - l1) / rate

    def passes(place: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(start - rest, place - rest) / (place - rest)) / rate

    return RuleTimes(passes(nearest), passes(eps))


def ball_error(threshold: np.ndarray, eps: float, dim: int) -> np.ndarray:
    """The test error of the plane x_1 = b between two balls, the same rule with classes in D dimensions.

        error = I_{h (2 - h)}((D + 1) / 2, 1/2) / 4 ,   h = |b| - eps from 0 to 1   (1/2 - the same for 2 - h)

    Class +1 is uniform in the ball of radius 1 around (1 + eps, 0, ...), class -1 in its mirror image, and
    only the threshold along x_1 is learnt. The mean of x_1 over the training set moves it as in one
    dimension.

    Derivation: the wrong inputs are half of a cap of height h. At distance z from its tip the ball's slice
    has the radius r = sqrt(z (2 - z)), so the cap is the integral of r^(D - 1) over z from 0 to h, over the
    same up to 2; with u = z (2 - z) both are beta integrals. For small h r^2 is near 2 z, and the cap grows
    like h^((D + 1) / 2).

    Args:
        threshold: b, any shape.
        eps: half the width of the gap, not negative.
        dim: D, a whole number, at least 1.

    Returns:
        Errors from 0 to 1/2, in the shape of threshold.

    Raises:
        ValueError: a value out of its range.

    Source: Zunkovic & Ilievski 2022 (arXiv 2210.15435) for the exponent; the error itself: derived here.

    Example:
        >>> ball_error([0.3, 0.4, 1.3], eps=0.3, dim=3).round(4)
        array([0.    , 0.0036, 0.25  ])

    Used in lesson 05.
    """
    h, dim = np.minimum(_beyond(threshold, eps), 2), _dimension(dim)
    cap = betainc((dim + 1) / 2, 0.5, h * (2 - h)) / 2
    return np.where(h <= 1, cap, 1 - cap)[()] / 2


def critical_exponent(dim: int) -> float:
    """With which power of the time that is left the test error vanishes: (D + 1) / 2 for balls.

        error ~ (t_eps - t)^((D + 1) / 2) ,   b(t_eps) = eps

    Derivation: b passes eps at the speed (1 + l2) (eps - rest), so b - eps is proportional to t_eps - t,
    and `ball_error` to its power (D + 1) / 2. D = 1 gives 1, as does Exp(1): what counts is that the inputs
    have a finite density at the edge of the gap. (A b that comes to
    rest at eps itself has no such time.)

    Args:
        dim: D, a whole number, at least 1.

    Returns:
        The exponent.

    Raises:
        ValueError: a value out of its range.

    Source: Zunkovic & Ilievski 2022 (arXiv 2210.15435), the critical exponents.

    Example:
        >>> critical_exponent(1), critical_exponent(4)
        (1.0, 2.5)

    Used in lesson 05.
    """
    return (_dimension(dim) + 1) / 2


def _beyond(threshold: np.ndarray, eps: float) -> np.ndarray:
    """How far thresholds are outside the gap; 0 within."""
    return np.maximum(np.abs(numbers("threshold", threshold)) - number("eps", eps, 0), 0)


def _dimension(dim: int) -> int:
    if np.ndim(dim) != 0 or dim != int(dim) or dim < 1:
        raise ValueError(f"dim must be one whole number, at least 1; got {dim}")
    return int(dim)
