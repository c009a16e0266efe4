"""Ridge regression with many more features than points: exact risk in the limit, and when it is benign.

One setting throughout. Points x (n, p) with independent rows N(0, diag(l)), labels y = x theta + noise * z
with z standard normal, and

    theta_hat = the minimiser of ||y - x theta||^2 + ridge ||theta||^2 = (x^T x + ridge I)^{-1} x^T y ,

where the sum is not divided by n. The excess risk is E (x_new theta_hat - x_new theta)^2: the label noise of
the new point is left out. Covariances that are not diagonal are first turned onto their eigenvectors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar

from minigrok.theory._checks import number


@dataclass(frozen=True, eq=False)
class RidgeRisk:
    """Excess risk of a regression, cut in two; both are squares of the label's unit.

    One number each, or arrays where the ridge (or the width) was an array.

    Attributes:
        bias: what is left without label noise.
        variance: what the label noise adds.
        kappa: the effective ridge: directions with l far above kappa are learnt, those far below are not.
    """

    bias: float | np.ndarray
    variance: float | np.ndarray
    kappa: float | np.ndarray

    @property
    def total(self) -> float | np.ndarray:
        """bias + variance."""
        return self.bias + self.variance


@dataclass(frozen=True)
class RidgeBounds:
    """Bias and variance up to constant factors, and the number k of directions that count as learnt."""

    k: int
    bias: float
    variance: float

    @property
    def total(self) -> float:
        """bias + variance."""
        return self.bias + self.variance


def effective_rank(spectrum: ArrayLike, k: int, ridge: float = 0.0, *, order: int = 1) -> float:
    """How many directions the tail of a spectrum is worth, behind its k largest eigenvalues.

        r_k = (ridge + sum_{i > k} l_i) / l_{k+1}                          (order 1)
        R_k = (ridge + sum_{i > k} l_i)^2 / sum_{i > k} l_i^2              (order 2)

    A tail of m equal eigenvalues has r_k = R_k = m (ridge 0). Where r_k is far above n, the tail seen through
    n points looks like one more ridge, of size sum_{i > k} l_i. Where R_k is far above n, the label noise
    that the tail fits is spread so thin that it does little harm.

    Args:
        spectrum: (p,), the eigenvalues l, in any order; they are sorted here, the largest first.
        k: how many of the largest stay outside the tail, 0 to p - 1.
        ridge: counted to the tail.
        order: 1 for r_k, 2 for R_k.

    Returns:
        r_k or R_k, a number of directions.

    Raises:
        ValueError: k or order out of range, an eigenvalue that is negative or no number, l_{k+1} = 0.

    Source: Tsigler & Bartlett 2020 (arXiv 2009.14286), whose rho_k is r_k / n; r_k with ridge 0 is Bartlett,
    Long, Lugosi & Tsigler 2020.

    Example:
        >>> spectrum = [20.0] * 10 + [0.1] * 5000
        >>> round(effective_rank(spectrum, 10)), round(effective_rank(spectrum, 0))
        (5000, 35)

    Used in lesson 15.
    """
    spectrum, ridge = np.sort(_check_spectrum(spectrum))[::-1], number("ridge", ridge)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 (r_k) or 2 (R_k), got {order}")
    if not 0 <= k < len(spectrum):
        raise ValueError(f"k must be from 0 to {len(spectrum) - 1} (a tail has one eigenvalue), got {k}")
    if spectrum[k] == 0:
        raise ValueError(f"beyond k={k} all eigenvalues are 0: there is no tail. Choose a smaller k.")
    weight = ridge + spectrum[k:].sum()
    return float(weight / spectrum[k] if order == 1 else weight**2 / (spectrum[k:] ** 2).sum())


def smallest_ridge(spectrum: ArrayLike, n: int) -> float:
    """The (negative) ridge at which the regression blows up; every ridge above it has a finite risk.

    x x^T + ridge I stops being positive where -ridge is the smallest eigenvalue of x x^T (for p < n: the
    smallest of x^T x). For many points and features that eigenvalue is sharp, at -h(kappa*) with

        h(kappa) = n kappa - sum_i l_i kappa / (l_i + kappa)
        h'(kappa*) = n - sum_i (l_i / (l_i + kappa*))^2 = 0

    h is convex for kappa above -min(l), and its lowest value is the edge. With all l = 1 this is
    -(sqrt(p) - sqrt(n))^2, the lower edge of the Marchenko-Pastur law. A sample's own smallest eigenvalue
    scatters a little about it: stay a few per cent above.

    Args:
        spectrum: (p,), the eigenvalues l of the covariance; zeros do not count.
        n: number of points.

    Returns:
        A number below 0, or 0 for p = n.

    Raises:
        ValueError: a spectrum without a positive eigenvalue, n below 1.

    Source: derived here from the equation of `ridge_risk`; the edge as a turning point is Silverstein &
    Choi 1995.

    Example:
        >>> round(smallest_ridge(np.ones(400), 100), 6)
        -100.0

    Used in lesson 15.
    """
    spectrum, _ = _check(spectrum, 0.0, n)
    return float(_ridge_of(_lowest_kappa(spectrum, n), spectrum, n))


def ridge_risk(
    spectrum: ArrayLike, theta: ArrayLike, n: int, ridge: ArrayLike = 0.0, noise: float = 0.0
) -> RidgeRisk:
    """Bias and variance of ridge regression on Gaussian points: what the average over samples tends to.

        n = sum_i l_i / (l_i + kappa) + ridge / kappa                                (the effective ridge)
        bias = kappa^2 sum_i l_i theta_i^2 / (l_i + kappa)^2 / (1 - gamma)
        variance = noise^2 gamma / (1 - gamma) ,    gamma = sum_i (l_i / (l_i + kappa))^2 / n

    Derivation. Feature by feature x x^T = sum_i l_i u_i u_i^T, with u_i standard normal in n dimensions.
    Let Q = (x x^T + ridge I)^{-1} and kappa = 1 / tr Q. Leave feature i out of Q: u_i^T Q_{-i} u_i ~ tr Q,
    so that l_i u_i^T Q u_i ~ l_i / (l_i + kappa). The trace of Q (x x^T + ridge I) = I is then the first
    equation, and l_i u_i^T Q u_i is the share of theta_i that theta_hat_i finds; the rest of it, the share
    kappa / (l_i + kappa), is missing. The other features and the noise leak into theta_hat_i too:

        total = kappa^2 sum_i l_i theta_i^2 / (l_i + kappa)^2 + gamma (total + noise^2) .

    The last term: their leak is sqrt(l_i) u_i^T Q y without feature i, of square l_i (kappa / (l_i +
    kappa))^2 |Q y|^2, and leaving point j out shows its error to be (Q y)_j / Q_jj, so n kappa^2 |Q y|^2 ~
    total + noise^2.

    A negative ridge. ridge = h(kappa) has two solutions on kappa > -min(l), left and right of the lowest
    point kappa* of h (see `smallest_ridge`). The right one is the regression's: there 1 - gamma =
    h'(kappa) / n > 0, and kappa grows with the ridge. At kappa* 1 - gamma is 0 and the risk infinite. For
    p < n kappa* is negative.

    Without ridge (0, or the limit to it): p < n has kappa = 0, bias 0 and variance noise^2 p / (n - p); p > n
    interpolates, kappa > 0; p = n has bias 0 and infinite variance.

    How close: a sample's mean differs by a few n-ths of the value, by more beside the edge or p = n. For
    p < n without ridge it is known exactly, noise^2 p / (n - p - 1), and shows the size of what is left out.

    Args:
        spectrum: (p,), the eigenvalues l of the covariance, in the order of theta; zeros are allowed.
        theta: (p,), or one number for all: the true coefficients along the eigenvectors.
        n: number of points.
        ridge: any number above `smallest_ridge`, or an array of them.
        noise: standard deviation of the label noise.

    Returns:
        A `RidgeRisk`, with arrays in the shape of ridge.

    Raises:
        ValueError: a ridge at or below the edge; lengths that differ; NaN, a negative eigenvalue or noise.

    Source: Tsigler & Bartlett 2020 (arXiv 2009.14286) for the question and the setting; the deterministic
    equivalent in this form is known from Dobriban & Wager 2018 and Hastie et al. 2022.

    Example:
        >>> spectrum, theta = np.repeat([20.0, 0.1], [10, 5000]), np.repeat([1.0, 0.0], [10, 5000])
        >>> ridge_risk(spectrum, theta, n=50, ridge=[-350, 0, 1000], noise=0.5).total.round(1).tolist()
        [5.2, 28.8, 78.9]

    Used in lessons 15 and 16.
    """
    spectrum, theta = _check(spectrum, theta, n, noise)
    lowest = _lowest_kappa(spectrum, n)
    edge = _ridge_of(lowest, spectrum, n)
    ridges = np.asarray(ridge, dtype=np.float64)
    at_edge = len(spectrum) == n and ridges == 0  # the one edge at which the bias is known to be 0
    if not (np.isfinite(ridges) & ((ridges > edge) | at_edge)).all():
        raise ValueError(
            f"expected ridges above {edge:.6g}, where x x^T + ridge I stops being positive and the risk "
            f"becomes infinite; got {ridges.min():g}. smallest_ridge(spectrum, n) is this edge."
        )
    kappas = [_kappa_of(r, lowest, spectrum, n) for r in ridges.ravel()]
    risks = [_risk_of(kappa, spectrum, theta, n, noise) for kappa in kappas]
    return RidgeRisk(
        *(_shaped(column, ridges) for column in zip(*risks, strict=True)), _shaped(kappas, ridges)
    )


def best_ridge(spectrum: ArrayLike, theta: ArrayLike, n: int, noise: float = 0.0) -> float:
    """The ridge with the smallest excess risk; it is negative where the tail regularises too much already.

    The total of `ridge_risk` is minimised over kappa, of which ridge = h(kappa) is an increasing function:
    first on 400 values from the edge outwards, evenly in the logarithm, then between the neighbours of the
    best. For theta of equal size in all directions (isotropic, all l alike) the best ridge is
    noise^2 / theta_i^2.

    Args:
        spectrum, theta, n, noise: as in `ridge_risk`.

    Returns:
        The ridge, above `smallest_ridge`.

    Raises:
        ValueError: theta is 0 wherever the spectrum is not: no ridge is large enough then.

    Source: that it can be negative is in Tsigler & Bartlett 2020 (arXiv 2009.14286), and before that in
    Kobak, Lomond & Sanchez 2020; the minimisation is numerical.

    Example:
        >>> spectrum, theta = np.repeat([20.0, 0.1], [10, 5000]), np.repeat([1.0, 0.0], [10, 5000])
        >>> round(best_ridge(np.ones(30), np.full(30, 2.0), n=50, noise=3.0), 4)
        2.25
        >>> best_ridge(spectrum, theta, n=50, noise=0.5) < -300
        True

    Used in lesson 15.
    """
    spectrum, theta = _check(spectrum, theta, n, noise)
    if not (spectrum * theta**2).any():
        raise ValueError("theta is 0 in every direction that x has: the best ridge is infinite")
    lowest = _lowest_kappa(spectrum, n)
    scale = spectrum.max() + spectrum.sum() / n

    def total(log_above: float) -> float:
        return float(sum(_risk_of(lowest + scale * np.exp(log_above), spectrum, theta, n, noise)))

    grid = np.linspace(np.log(1e-9), np.log(1e9), 400)
    at = int(np.argmin([total(g) for g in grid]))
    ends = grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)]
    found = minimize_scalar(total, bounds=ends, method="bounded", options={"xatol": 1e-10}).x
    return float(_ridge_of(lowest + scale * np.exp(found), spectrum, n))


def ridge_bounds(
    spectrum: ArrayLike, theta: ArrayLike, n: int, ridge: float = 0.0, noise: float = 0.0, b: float = 1.0
) -> RidgeBounds:
    """Tsigler and Bartlett's bias and variance: the right sizes up to constants, and readable.

        bias = sum_{i > k} l_i theta_i^2 + sum_{i <= k} theta_i^2 / l_i ((ridge + sum_{i > k} l_i) / n)^2
        variance = noise^2 (k / n + n sum_{i > k} l_i^2 / (ridge + sum_{i > k} l_i)^2)

    with k the first number for which the tail's `effective_rank` is at least b n. Why: such a tail acts on n
    points like the ridge S = sum_{i > k} l_i. The k directions before it are then learnt with the total ridge
    ridge + S, the tail itself is not learnt at all, and noise spreads over k + n^2 / (effective number of
    tail directions).

    These are no bounds with constant 1: compare their shape, not their height, with `ridge_risk`.

    Args:
        spectrum, theta, n, ridge, noise: as in `ridge_risk`; sorted here, the largest eigenvalue first.
        b: how far above n the effective rank has to be, above 0.

    Returns:
        A `RidgeBounds`.

    Raises:
        ValueError: no k reaches b n (the tail is not benign); ridge + tail is not positive.

    Source: Tsigler & Bartlett 2020 (arXiv 2009.14286), the main result; constants left out.

    Example:
        >>> spectrum, theta = np.repeat([20.0, 0.1], [10, 5000]), np.repeat([1.0, 0.0], [10, 5000])
        >>> ridge_bounds(spectrum, theta, n=50, noise=0.5).k
        10

    Used in lesson 15.
    """
    spectrum, theta = _check(spectrum, theta, n, noise)
    if not b > 0:
        raise ValueError(f"b must be above 0, got {b}")
    order = np.argsort(-spectrum, kind="stable")
    spectrum, theta = spectrum[order], theta[order]
    tails = ridge + np.cumsum(spectrum[::-1])[::-1]  # of k = 0, 1, ...
    enough = tails >= b * n * spectrum
    if not enough.any():
        raise ValueError(
            f"no k has an effective rank of b n = {b * n:g} (the largest is {(tails / spectrum).max():.3g}): "
            "the bounds do not speak about this spectrum. Take fewer points, a larger ridge or a longer tail."
        )
    k = int(np.argmax(enough))
    head, tail = slice(None, k), slice(k, None)
    bias = (spectrum * theta**2)[tail].sum() + (theta**2 / spectrum)[head].sum() * (tails[k] / n) ** 2
    variance = noise**2 * (k / n + n * (spectrum[tail] ** 2).sum() / tails[k] ** 2)
    return RidgeBounds(k, float(bias), float(variance))


# --- the effective ridge ------------------------------------------------------------------------------------


def _ridge_of(kappa: float, spectrum: np.ndarray, n: int) -> float:
    """h(kappa): the ridge that has this effective ridge."""
    return kappa * n - (spectrum * (kappa / (spectrum + kappa))).sum()


def _lowest_kappa(spectrum: np.ndarray, n: int) -> float:
    """Where h turns: sum (l / (l + kappa))^2 = n, on kappa > -min(l). The sum falls from infinity to 0."""
    if len(spectrum) == n:
        return 0.0
    if len(spectrum) < n:  # at the left end the smallest eigenvalue alone gives 4 n
        ends = -spectrum.min() * (1 - 0.5 * n**-0.5), 0.0
    else:  # at the right end the sum is at most n
        ends = 0.0, np.sqrt((spectrum**2).sum() / n)
    return _root(lambda kappa: ((spectrum / (spectrum + kappa)) ** 2).sum() - n, *ends)


def _kappa_of(ridge: float, lowest: float, spectrum: np.ndarray, n: int) -> float:
    """The solution of h(kappa) = ridge to the right of the lowest point, where h grows."""
    if ridge == 0 and len(spectrum) <= n:
        return 0.0
    highest = 2 * (max(ridge, 0.0) + spectrum.sum()) / n  # h(kappa) >= n kappa - sum(l)
    return _root(lambda kappa: _ridge_of(kappa, spectrum, n) - ridge, lowest, highest)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return brentq(function, low, high, xtol=1e-300, maxiter=1000)


def _risk_of(
    kappa: float, spectrum: np.ndarray, theta: np.ndarray, n: int, noise: float
) -> tuple[float, float]:
    if kappa == 0 and len(spectrum) == n:
        return 0.0, np.inf if noise else 0.0
    gamma = ((spectrum / (spectrum + kappa)) ** 2).sum() / n
    missing = (spectrum * (theta * kappa / (spectrum + kappa)) ** 2).sum()
    return missing / (1 - gamma), noise**2 * gamma / (1 - gamma)


def _shaped(values: list[float] | tuple[float, ...], like: np.ndarray) -> float | np.ndarray:
    """One number for a number, an array of the same shape for an array."""
    return np.array(values, dtype=np.float64).reshape(like.shape) if like.ndim else float(values[0])


def _check_spectrum(spectrum: ArrayLike) -> np.ndarray:
    spectrum = np.asarray(spectrum, dtype=np.float64)
    if spectrum.ndim != 1 or not np.isfinite(spectrum).all() or not (spectrum >= 0).all():
        raise ValueError(
            "expected the eigenvalues of a covariance: one axis, finite, none negative; got shape "
            f"{spectrum.shape} with values from {spectrum.min(initial=0)} to {spectrum.max(initial=0)}"
        )
    return spectrum


def _check(
    spectrum: ArrayLike, theta: ArrayLike, n: int, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Spectrum and theta of one length, without the directions in which x does not move."""
    spectrum, theta = _check_spectrum(spectrum), np.asarray(theta, dtype=np.float64)
    if theta.shape not in ((), spectrum.shape) or not np.isfinite(theta).all():
        raise ValueError(
            f"expected theta as one finite number, or one for each of the {len(spectrum)} eigenvalues; got "
            f"shape {theta.shape}"
        )
    if not (n >= 1 and noise >= 0 and np.isfinite(noise)):
        raise ValueError(
            f"expected n of at least 1 and a finite noise of at least 0, got n={n}, noise={noise}"
        )
    moves = spectrum > 0
    if not moves.any():
        raise ValueError("expected at least one positive eigenvalue: all points are 0 otherwise")
    return spectrum[moves], np.broadcast_to(theta, spectrum.shape)[moves]
