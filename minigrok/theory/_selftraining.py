"""Self-training on two Gaussians: what is left of an error when a classifier teaches itself.

One setting throughout. A point is x = y mu + sigma z in d dimensions, y = +1 or -1 with equal odds, |mu| =
1, z standard normal. A classifier sign(w . x) has an angle to mu, and c = cos(w, mu) says all about its
error. One round of self-training gives fresh unlabelled points the labels that the classifier thinks they
have, and makes their mean the new one:

    w' = mean of sign(w . x) x
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import erf, gammaincinv, ndtr

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True, eq=False)
class SelfTraining:
    """Rounds of self-training, the start first; every array is (rounds + 1, *shape of the start).

    Attributes:
        cosine: of the angle between the classifier and mu.
        error: the share of new points that it takes for the wrong class, as in `gaussian_error`.
    """

    cosine: np.ndarray
    error: np.ndarray


def gaussian_error(cosine: ArrayLike, sigma: float) -> np.ndarray:
    """The test error of a linear classifier on the two Gaussians: Q(cos / sigma).

    w . x / |w| = y cos + sigma z' with z' standard normal, and the sign is wrong where sigma z' < -cos. The
    best is cos = 1, Q(1 / sigma); Q is the upper tail of the normal law.

    Args:
        cosine: in [-1, 1], any shape.
        sigma: standard deviation of either Gaussian in units of |mu|, above 0.

    Returns:
        Errors in the shape of cosine.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> gaussian_error([1.0, 0.0], sigma=0.6).round(4).tolist()
        [0.0478, 0.5]

    Used in lesson 16.
    """
    sigma = number("sigma", sigma, 0, open="low")
    return ndtr(-numbers("cosine", cosine, -1, 1) / sigma)


def selftraining_cosine(cosine: ArrayLike, sigma: float, dim_per_point: float = 0.0) -> np.ndarray:
    """One round of self-training: from the cosine of the teacher to that of its pupil.

        cos' = J / sqrt(J^2 + K^2 + sigma^2 dim_per_point)
        J = e + g cos ,   K = g sin ,   e = 1 - 2 Q(cos / sigma) ,   g = 2 sigma phi(cos / sigma)

    Derivation. With u the teacher's direction, u . x = y cos + sigma z. The labels agree with y on average
    e = E sign(u . x) y, and E sign(u . x) sigma z = g (Stein's lemma: the sign jumps by 2 where u . x = 0).
    Noise across u does not enter the label and averages out. So w' = e mu + g u on infinitely many points:
    what the labels know of the truth, and what the teacher repeats to itself. J and K are the parts of w'
    along mu and across. m points add noise, of square sigma^2 / m in each of d - 1 directions across mu.
    (Exact where m and d are large; in few dimensions it is a first correction.)

    Args:
        cosine: in [-1, 1], any shape.
        sigma: above 0.
        dim_per_point: (d - 1) / m, 0 for infinitely many points. Every round takes new ones.

    Returns:
        Cosines in the shape of cosine.

    Raises:
        ValueError: a value out of its range.

    Source: He, Yan & Tan 2021 (arXiv 2110.00926), whose function F_sigma is this with dim_per_point = 0; the
    term of finitely many points is derived here.

    Example:
        >>> float(selftraining_cosine(0.5, sigma=0.6).round(4))
        0.9338

    Used in lesson 16, through `selftraining_error`.
    """
    along, across = _student(cosine, sigma)
    noise = sigma**2 * number("dim_per_point", dim_per_point, 0)
    return along / np.sqrt(along**2 + across**2 + noise)


def _student(cosine: ArrayLike, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """The parts of E sign(w . x) x along mu and across it (J and K)."""
    sigma = number("sigma", sigma, 0, open="low")
    cosine = numbers("cosine", cosine, -1, 1)
    knows = erf(cosine / sigma / np.sqrt(2))  # 1 - 2 Q, without loss of digits at small cosines
    repeats = sigma * np.sqrt(2 / np.pi) * np.exp(-((cosine / sigma) ** 2) / 2)
    return knows + repeats * cosine, repeats * np.sqrt(1 - cosine**2)


def selftraining_error(
    start: ArrayLike, sigma: float, rounds: int, dim_per_point: float = 0.0
) -> SelfTraining:
    """The test error, round by round.

    `selftraining_cosine` again and again, and the `gaussian_error` of each. With infinitely many points it
    ends at cos = 1 from every start with cos > 0, at cos = -1 from every start below 0. Near the end the
    sine shrinks by g / (e + g) a round (at cos = 1): at once where the Gaussians lie apart, by a factor
    near sigma^2 / (1 + sigma^2) where they overlap much. With finitely many the error stops above the best,
    at `selftraining_limit`.

    Args:
        start: the cosine before the first round, any shape.
        sigma, dim_per_point: as in `selftraining_cosine`.
        rounds: at least 0.

    Returns:
        A `SelfTraining`.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> selftraining_error(0.5, sigma=1.0, rounds=3).error.round(3).tolist()
        [0.309, 0.221, 0.174, 0.162]

    Used in lesson 16.
    """
    number("rounds", rounds, 0)
    cosines = [numbers("start", start, -1, 1)]
    for _ in range(rounds):
        cosines.append(selftraining_cosine(cosines[-1], sigma, dim_per_point))
    cosine = np.stack(cosines)
    return SelfTraining(cosine, gaussian_error(cosine, sigma))


def selftraining_limit(sigma: float, dim_per_point: float = 0.0) -> float:
    """The cosine at which self-training from a start above 0 comes to rest; 0 where it forgets everything.

    The fixed point of `selftraining_cosine`. With dim_per_point = 0 it is 1. Beyond `selftraining_threshold`
    0 is the only one, and it attracts: the teacher's own noise, repeated, drowns what the labels knew.

    Args:
        sigma, dim_per_point: as in `selftraining_cosine`.

    Returns:
        The cosine.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> round(selftraining_limit(0.6, 0.05), 3), selftraining_limit(3.0, 0.5)
        (0.991, 0.0)

    Used in lesson 16.
    """
    sigma = number("sigma", sigma, 0, open="low")
    if dim_per_point == 0:
        return 1.0

    def growth(cosine: float) -> float:  # falls all the way from cos = 0 to 1, where it is below 0
        return float(selftraining_cosine(cosine, sigma, dim_per_point)) / cosine - 1

    return brentq(growth, 1e-9, 1.0) if growth(1e-9) > 0 else 0.0


def selftraining_threshold(dim_per_point: float) -> float:
    """The overlap sigma from which on self-training ends at a coin's toss.

        (1 + 1 / sigma^2)^2 = 1 + (pi / 2) dim_per_point

    Derivation. Near cos = 0: J ~ sqrt(2 / pi) (sigma + 1 / sigma) cos, K ~ sqrt(2 / pi) sigma, so that a
    round multiplies a small cosine by (1 + 1 / sigma^2) / sqrt(1 + (pi / 2) dim_per_point). Below 1 it
    shrinks to 0.

    Args:
        dim_per_point: as in `selftraining_cosine`.

    Returns:
        sigma; infinity for dim_per_point = 0: with infinitely many points nothing is ever forgotten.

    Source: derived here.

    Example:
        >>> round(selftraining_threshold(0.5), 3), selftraining_threshold(0.0)
        (1.725, inf)

    Used in lesson 16.
    """
    ratio = number("dim_per_point", dim_per_point, 0)
    if ratio == 0:
        return np.inf
    spread = np.pi / 2 * ratio
    return float(np.sqrt((np.sqrt(1 + spread) + 1) / spread))


def selftraining_gap(cosine: ArrayLike, sigma: float, d: int, points: float = np.inf) -> np.ndarray:
    """The generalisation gap of one round: population risk minus the risk on the round's own pseudo-labels.

        gap = (J^2 + K^2 - J + (1 + d sigma^2 - J^2 - K^2) / points) / sigma^2

    for the loss |x - y w|^2 / (2 sigma^2), the negative log-likelihood that the mean w' of `points` points
    minimises. This is the quantity of the paper, and it is no test error: it can grow while the
    `gaussian_error` falls, and be below 0. Averaged over the points it is exact, in any dimension.

    Derivation. On its own points the loss of w' uses their labels s = sign(w . x), in the population the
    true y. |x|^2 and |w'|^2 occur in both, and what is left is (E w' . w' - E w' . mu) / sigma^2, because
    w' is the mean of s x. With m = E s x of length^2 J^2 + K^2 and m . mu = J (see `selftraining_cosine`),
    E |w'|^2 = |m|^2 + (E |x|^2 - |m|^2) / points and E |x|^2 = 1 + d sigma^2.

    Where the Gaussians overlap the teacher's labels fit the points better than the truth would: s x has a
    mean longer than mu. With infinitely many points and cos = 1 the gap is J (J - 1) / sigma^2, near 0 for
    small sigma and 2 / pi for large. A mean of n points with true labels has the gap d / n. A penalty (l2 /
    2) |w|^2 shortens w' by the factor 1 / (1 + l2 sigma^2), and the gap by the same; the test error does
    not notice, as the direction stays.

    Args:
        cosine: of the teacher, in [-1, 1], any shape.
        sigma: above 0.
        d: dimension, at least 1.
        points: number of unlabelled points in the round, infinity for the limit.

    Returns:
        Gaps in the shape of cosine, in nats.

    Raises:
        ValueError: a value out of its range.

    Source: the setting and the question are He, Yan & Tan 2021 (arXiv 2110.00926); derived here.

    Example:
        >>> [selftraining_gap(1.0, sigma, d=2).round(2).item() for sigma in (0.6, 1.0, 3.0)]
        [0.07, 0.19, 0.43]

    Used in lesson 16.
    """
    number("d", d, 1)
    number("points", points, 1)
    along, across = _student(cosine, sigma)
    square = along**2 + across**2
    return (square - along + (1 + d * sigma**2 - square) / points) / sigma**2


def mean_selftraining_error(
    labels: int, d: int, sigma: float, rounds: int, dim_per_point: float = 0.0
) -> np.ndarray:
    """`selftraining_error` averaged over the start: a classifier made from a few labelled points.

        w_0 = mean of y x over `labels` points ,   cos_0 = (1 + s a) / sqrt((1 + s a)^2 + s^2 b)
        s = sigma / sqrt(labels) ,   a standard normal,   b chi-square with d - 1 degrees of freedom

    a and b are independent, and the average is a quadrature over both, cut at 1 + s a = 0: a start on the
    wrong side (probability Q(sqrt(labels) / sigma)) is led away from mu, not towards it. So with infinitely
    many unlabelled points the average ends at

        Q(1 / sigma) + Q(sqrt(labels) / sigma) (1 - 2 Q(1 / sigma)) ,

    above the best error Q(1 / sigma), and no further round changes that.

    Args:
        labels: number of labelled points, at least 1.
        d: dimension, at least 2.
        sigma, rounds, dim_per_point: as in `selftraining_error`.

    Returns:
        (rounds + 1,)

    Raises:
        ValueError: a value out of its range.

    Source: derived here.

    Example:
        >>> mean_selftraining_error(labels=10, d=2, sigma=1.0, rounds=3).round(4).tolist()
        [0.1734, 0.1628, 0.16, 0.1594]

    Used in lesson 16.
    """
    number("labels", labels, 1)
    number("d", d, 2)
    s = number("sigma", sigma, 0, open="low") / np.sqrt(labels)
    a, weight_a = _normal_nodes(-1 / s)
    quantile, weight_b = _legendre_nodes(0.0, 1.0, 60)
    b = 2 * gammaincinv((d - 1) / 2, quantile)
    along, across = (1 + s * a)[:, None], s * np.sqrt(b)
    start = along / np.hypot(along, across)
    error = selftraining_error(start, sigma, rounds, dim_per_point).error
    return np.einsum("rab,a,b->r", error, weight_a, weight_b)


def _legendre_nodes(low: float, high: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    x, weight = np.polynomial.legendre.leggauss(n)
    return (low + high) / 2 + (high - low) / 2 * x, (high - low) / 2 * weight


def _normal_nodes(cut: float) -> tuple[np.ndarray, np.ndarray]:
    """A quadrature for standard normal averages of functions that jump at `cut`."""
    ends = [-9.0, min(max(cut, -9.0), 9.0), 9.0]
    pieces = [_legendre_nodes(low, high, 80) for low, high in zip(ends[:-1], ends[1:], strict=True)]
    a, weight = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    weight = weight * np.exp(-(a**2) / 2)
    return a, weight / weight.sum()
