"""Logistic regression where all labels are the same: whether the inputs surround the origin decides its fate.

The inputs x come from N(0, sigma^2 I) in d dimensions, all of one class. The output is z = S.x + b, and the
loss the mean of log(1 + exp(z)), which asks for z -> -infinity. The right answer needs no x: b -> -infinity
is enough. But if some direction S has S.x < 0 for all N inputs, the loss can be lowered with S as well as
with b, and the largest margin, to which gradient descent turns, uses both; then fresh inputs with a large
S.x go wrong for ever.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq
from scipy.special import betainc, expit, ndtr

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True)
class TwoPoint:
    """A weight and a bias on their way, in the shape of the times asked for; see `two_point_flow`.

    Attributes:
        weight: S, which multiplies the points.
        bias: b, which falls from 0.
    """

    weight: np.ndarray
    bias: np.ndarray


def separable_probability(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The chance that n random inputs in d dimensions lie on one side of some plane through the origin.

        P(n, d) = 2^(1 - n) sum_{k < d} C(n - 1, k)

    This is the chance of fewer than d heads in n - 1 tosses of a coin: 1 for n <= d, exactly 1/2 for n = 2 d.
    Around there it changes within about sqrt(n) inputs, so with growing d the edge at d / n = 1/2 gets sharp.

    Derivation (Wendel, Schlaefli): turn each input to -x with a coin. That leaves their law as it is, and
    asks which of 2^n sign patterns a vector S can make. The n planes S.x_i = 0 cut the space of all S into
    R(n, d) cones, one for each pattern that can be made, and P = R / 2^n. A further plane cuts in two those
    cones that it passes through, as many as n planes make cones within it: R(n + 1, d) = R(n, d) +
    R(n, d - 1), with R(1, d) = 2. That is Pascal's triangle. The sum is an incomplete beta function,
    I_{1/2}(n - d, d), good for n = 2 and n = 10^6 alike (chances below 1e-308 come as 0).

    Args:
        n, d: whole numbers, at least 1; arrays of shapes that broadcast.

    Returns:
        Chances, in the common shape.

    Raises:
        ValueError: numbers that are not whole, or below 1.

    Source: Wendel 1962; in Beck, Levi & Bar-Sinai 2024 (arXiv 2410.04489) as the edge of separability. Holds
    for every law of x that is symmetric about the origin and puts no chance on a plane.

    Example:
        >>> separable_probability(40, [16, 20, 24, 40]).round(3)
        array([0.1, 0.5, 0.9, 1. ])

    Used in lessons 05 and 16.
    """
    n, d = _whole("n", n), _whole("d", d)
    return np.where(n <= d, 1.0, betainc(np.maximum(n - d, 1), d, 0.5))[()]


def constant_accuracy(spread: np.ndarray) -> np.ndarray:
    """The test accuracy of a classifier with bias b < 0 and weights S where all labels are the same.

        accuracy = (1 + erf(1 / (spread sqrt 2))) / 2 ,   spread = sigma |S| / |b|

    Derivation: z = S.x + b for x from N(0, sigma^2 I) is Gaussian with mean b and standard deviation sigma
    |S|, and it is right where z < 0.

    Where inputs are separable from the origin, this does not go to 1. Gradient descent on them turns towards
    the least |S|^2 + b^2 with z_i <= -1 for all i. Let M be their margin, the distance of the origin from the
    inputs' convex hull: then S can bring |S| M and b the rest, and the least is |S| = M / (1 + M^2),
    |b| = 1 / (1 + M^2). So |S| / |b| -> M, and spread -> sigma M. For N(0, sigma^2 I) in the limit of many
    dimensions M is sigma times `constant_margin`.

    Args:
        spread: not negative; 0 is a classifier without weights, infinity one without bias.

    Returns:
        Accuracies in the shape of spread, from 1 down to 1/2.

    Raises:
        ValueError: a negative spread, or NaN.

    Source: Beck, Levi & Bar-Sinai 2024 (arXiv 2410.04489), A_gen of separable inputs, with spread = sigma M.

    Example:
        >>> constant_accuracy([0.0, 0.5, 3.0]).round(3)
        array([1.   , 0.977, 0.631])

    Used in lesson 05.
    """
    with np.errstate(divide="ignore", over="ignore"):
        return ndtr(1 / numbers("spread", spread, 0))


def constant_margin(ratio: float) -> float:
    """How far N Gaussian inputs of variance 1 stay from the origin, for d, N -> infinity and ratio = d / N.

        E max(kappa + g, 0)^2 = (1 + kappa^2) Phi(kappa) + kappa phi(kappa) = ratio ,   g ~ N(0, 1)

    kappa is the largest k for which some unit vector S has S.x >= k for all N inputs: the margin, or the
    distance of their convex hull from the origin. It is 0 at ratio = 1/2, where E max(g, 0)^2 = 1/2, and
    about 1.25 (ratio - 1/2) just above. `constant_accuracy(sigma**2 * constant_margin(ratio))` is then the
    accuracy at which a classifier gets stuck: sigma comes in once by the inputs' margin and once by the
    spread.

    Derivation: by Gordon's comparison of Gaussian processes the products S.x_i may be replaced by numbers
    g_i drawn by themselves, and the freedom to choose S by a budget of d. A margin k can be had as long as
    the sum of the squares of what is missing, N E max(k + g, 0)^2, stays below the budget; kappa uses it
    up.

    Args:
        ratio: d / N, at least 1/2.

    Returns:
        kappa, for inputs of variance 1; that of N(0, sigma^2 I) is sigma times as large.

    Raises:
        ValueError: ratio < 1/2, where the inputs surround the origin and there is no margin.

    Source: Gardner 1988, the capacity of the perceptron at margin kappa. Holds in the limit; with N = 200 the
    margin of one draw scatters by about .05.

    Example:
        >>> round(constant_margin(0.6), 3), constant_margin(0.5)
        (0.117, 0.0)

    Used in lesson 05.
    """
    ratio = number("ratio = d / N", ratio, 0, math.inf, open="low high")
    if ratio < 0.5:
        raise ValueError(f"for ratio < 1/2 the inputs surround the origin and have no margin; got {ratio:g}")

    def excess(kappa: float) -> float:
        density = math.exp(-(kappa**2) / 2) / math.sqrt(2 * math.pi)
        return (1 + kappa**2) * ndtr(kappa) + kappa * density - ratio

    return brentq(excess, 0.0, 1 + math.sqrt(2 * ratio), xtol=1e-15) if ratio > 0.5 else 0.0


def two_point_flow(t: np.ndarray, lam: float, sigma: float = 1.0) -> TwoPoint:
    """Logistic regression on two points in one dimension, from S = b = 0: the whole story, made small.

        x_1 = -sigma ,  x_2 = sigma (1 - 2 lam)
        dS/dt = - mean of x_i p_i ,   db/dt = - mean of p_i ,   p_i = 1 / (1 + exp(-(S x_i + b)))

    This is gradient flow on the mean of log(1 + exp(S x_i + b)). lam plays the part of d / N, and where x_2
    lies decides as separability does in d dimensions:

        lam < 1/2   x_2 on the other side of the origin: S comes to rest (`two_point_limit`), b falls on like
                    -log t. It generalises, the later the closer lam is to 1/2.
        lam = 1/2   x_2 at the origin: S still grows, like log(sigma^2 log t) / sigma, and b wins.
        lam > 1/2   both on one side: S grows like M log t / (1 + M^2), M = sigma (2 lam - 1), b like
                    -log t / (1 + M^2). Neither wins: |S| / |b| -> M.

    Solved numerically in log(1 + t), to about 8 digits.

    Args:
        t: times, any shape, not negative. Gradient descent with a small rate eta is at t = eta * steps.
        lam: from 0 to below 1.
        sigma: how large the points are, above 0.

    Returns:
        `TwoPoint`, with .weight and .bias in the shape of t.

    Raises:
        ValueError: a value out of its range.

    Source: the two-point model of Beck, Levi & Bar-Sinai 2024 (arXiv 2410.04489). lam = 1/2: derived here.

    Example:
        >>> run = two_point_flow([1.0, 1e3, 1e9], lam=0.4, sigma=5.0)
        >>> constant_accuracy(5.0 * run.weight / -run.bias).round(2)
        array([0.59, 1.  , 1.  ])

    Used in lesson 05.
    """
    t, x = numbers("t", t, 0, math.inf, open="high"), _points(lam, sigma)
    clock = np.log1p(t)
    order, place = np.unique(clock, return_inverse=True)
    if not len(order):
        return TwoPoint(t, t)

    def slope(log_t: float, state: np.ndarray) -> np.ndarray:
        p = expit(state[0] * x + state[1])
        return -math.exp(log_t) * np.array([(x * p).mean(), p.mean()])

    span = (0.0, max(order[-1], 1e-9))
    run = solve_ivp(slope, span, [0.0, 0.0], method="LSODA", t_eval=order, rtol=1e-10, atol=1e-12)
    if not run.success:
        raise RuntimeError(f"the two equations could not be solved up to t = {t.max():g}: {run.message}")
    weight, bias = run.y[:, place].reshape(2, *t.shape)
    return TwoPoint(weight, bias)


def two_point_limit(lam: float, sigma: float = 1.0) -> float:
    """Where the weight of the two-point model comes to rest, for lam < 1/2.

        S -> log(1 / (1 - 2 lam)) / (2 sigma (1 - lam))

    Derivation: once b is far below 0 the loss is exp(b) (exp(S x_1) + exp(S x_2)) / 2, and S moves to where
    x_1 exp(S x_1) + x_2 exp(S x_2) = 0, whatever b does. It is reached early next to b, which falls for ever.

    Args:
        lam: from 0 to below 1/2.
        sigma: how large the points are, above 0.

    Returns:
        The weight S.

    Raises:
        ValueError: lam >= 1/2, where S grows without bound; a value out of its range.

    Source: the two-point model of Beck, Levi & Bar-Sinai 2024 (arXiv 2410.04489), S_infinity, with sigma.

    Example:
        >>> round(two_point_limit(0.4), 3), round(two_point_limit(0.4, sigma=5.0), 3)
        (1.341, 0.268)

    Used in lesson 05.
    """
    x = _points(lam, sigma)
    if lam >= 0.5:
        how = "like log(sigma^2 log t) / sigma" if lam == 0.5 else "like M log t / (1 + M^2)"
        raise ValueError(f"for lam >= 1/2 the weight has no limit: at lam = {lam:g} it grows {how}")
    return float(np.log(-x[0] / x[1]) / (x[1] - x[0]))


def two_point_bias(t: np.ndarray, lam: float, sigma: float = 1.0) -> np.ndarray:
    """How the bias of the two-point model falls in the long run, t -> infinity.

        lam <= 1/2   b ~ -log(c t) ,   c = (1 + r) r^(-r / (1 + r)) / 2 ,  r = 1 - 2 lam
        lam > 1/2    b ~ -log t / (1 + M^2) ,   M = sigma (2 lam - 1)

    Derivation: for lam < 1/2 the loss with S at its limit is c exp(b), so db/dt = -c exp(b) and exp(-b)
    grows like c t; the error goes to 0 (at lam = 1/2, where c = 1/2, only like 1 / (sigma^2 log t)). For
    lam > 1/2 the nearer point x_2 = -M governs: its z = b - M S has dz/dt = -(1 + M^2) exp(z) / 2, so that
    exp(-z) grows like t, and b has the share 1 / (1 + M^2) of it. There the error stays bounded but does
    not go to 0: what x_1 did early stays for ever.

    Args:
        t: times, any shape, above 0.
        lam: from 0 to below 1.
        sigma: how large the points are, above 0; it matters for lam > 1/2 only.

    Returns:
        The asymptote, in the shape of t.

    Raises:
        ValueError: a value out of its range.

    Source: the two-point model of Beck, Levi & Bar-Sinai 2024 (arXiv 2410.04489), b ~ -log t; the constant
    c is derived here.

    Example:
        >>> two_point_bias(1e9, 0.4).round(3), two_point_flow(1e9, 0.4).bias.round(3)
        (np.float64(-20.481), np.float64(-20.481))

    Used in lesson 05.
    """
    t, x = numbers("t", t, 0, open="low"), _points(lam, sigma)
    if lam > 0.5:
        return -np.log(t) / (1 + x[1] ** 2)
    r = 1 - 2 * lam
    return -np.log(t * (1 + r) * r ** (-r / (1 + r)) / 2)


def _points(lam: float, sigma: float) -> np.ndarray:
    lam = number("lam", lam, 0, 1, open="high")
    sigma = number("sigma", sigma, 0, math.inf, open="low high")
    return np.array([-sigma, sigma * (1 - 2 * lam)])


def _whole(name: str, values: object) -> np.ndarray:
    array = numbers(name, values, 1)
    if (array != np.floor(array)).any():
        raise ValueError(f"{name} must be whole numbers; got {array[array != np.floor(array)].flat[0]:g}")
    return array
