"""Regression on random ReLU features: the test error against the width, with its peak and second descent."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import gammaln

from minigrok.theory._checks import number, numbers
from minigrok.theory._ridge import RidgeRisk, _shaped

# The degrees that are kept one by one; what is above them is less than 1e-3 of the sum for every d.
_DEGREES = 40


@dataclass(frozen=True, eq=False)
class ReluSpectrum:
    """How the expected kernel of random ReLU features divides over polynomials on the sphere.

    Attributes:
        values: (K + 1,), the eigenvalue of every degree 0, 1, .. K.
        counts: (K + 1,), how many directions (spherical harmonics) the degree has.
        rest: the summed eigenvalues of all degrees above K.
    """

    values: np.ndarray
    counts: np.ndarray
    rest: float


def relu_spectrum(d: int, degrees: int = _DEGREES) -> ReluSpectrum:
    """Eigenvalues of the kernel E_w relu(w . x) relu(w . x') on the sphere |x| = sqrt(d), w of length 1.

        relu(w . x) = sum_k xi_k sum_s Y_ks(w) Y_ks(x) ,    values_k = xi_k^2
        xi_1 = 1 / (2 sqrt d) ,   xi_k = 0 for odd k > 1 ,   |xi_k| = sqrt(d / pi) Gamma(d/2) (k - 2)! /
                                            (2^k (k/2 - 1)! Gamma((k + d + 1) / 2))      for even k >= 2

    with Y_ks the counts_k harmonics of degree k, orthonormal under the uniform law on the sphere. For k = 0
    it is the mean feature, xi_0 = sqrt(d / pi) Gamma(d/2) / (2 Gamma((d + 1) / 2)), near 1 / sqrt(2 pi). All
    together sum_k counts_k values_k = E relu(w . x)^2 = 1/2.

    Derivation. By Funk and Hecke xi_k = E sqrt(d) max(u, 0) P_k(u), where u is one coordinate of a unit
    vector and P_k the Legendre polynomial in d dimensions, P_k(1) = 1. Write P_k times the density of u as
    the k-th derivative of (1 - u^2)^{k + (d - 3) / 2} (Rodrigues) and integrate by parts twice.

    The same numbers hold for Gaussian x or w: relu(c u) = c relu(u) for c > 0, so the harmonics are only
    multiplied by |x| / sqrt(d), whose mean square is 1.

    Args:
        d: dimension of x, at least 2.
        degrees: K.

    Returns:
        A `ReluSpectrum`.

    Raises:
        ValueError: a value out of its range.

    Source: derived here; the eigenvalues of such kernels are in Bach 2017 (arXiv 1412.8690).

    Example:
        >>> spectrum = relu_spectrum(50, degrees=3)
        >>> (spectrum.values * spectrum.counts).round(3).tolist(), round(spectrum.rest, 3)
        ([0.161, 0.25, 0.079, 0.0], 0.011)

    Used in lessons 15 and 16, through `features_risk`.
    """
    number("d", d, 2)
    number("degrees", degrees, 1)
    k = np.arange(degrees + 1.0)
    values = np.zeros(degrees + 1)
    even = k[2::2]
    log_xi = (
        gammaln(d / 2)
        + gammaln(even - 1)
        - even * np.log(2)
        - gammaln(even / 2)
        - gammaln((even + d + 1) / 2)
    )
    values[2::2] = d / np.pi * np.exp(2 * log_xi)
    values[0] = d / np.pi * np.exp(2 * (gammaln(d / 2) - gammaln((d + 1) / 2))) / 4
    values[1] = 1 / (4 * d)
    # (2 k + d - 2) (k + d - 3)! / (k! (d - 2)!)
    log_counts = gammaln(k[1:] + d - 2) - gammaln(k[1:] + 1) - gammaln(d - 1) + np.log(2 * k[1:] + d - 2)
    counts = np.concatenate([[1.0], np.exp(log_counts).round()])
    return ReluSpectrum(values, counts, max(0.0, 0.5 - float(values @ counts)))


def features_risk(
    width: ArrayLike,
    n: int,
    d: int,
    ridge: float = 0.0,
    noise: float = 0.0,
    signal: float = 1.0,
    *,
    centred: bool = False,
) -> RidgeRisk:
    """Test error of (ridge or minimum-norm) regression on random ReLU features, averaged over everything.

        f(x) = sum_j a_j relu(w_j . x) ,    a = the minimiser of sum_i (y_i - f(x_i))^2 + ridge |a|^2

    with `width` weights w_j uniform on the unit sphere, n points x_i uniform on the sphere of radius sqrt(d),
    y = x . beta + noise z, |beta| = signal, z standard normal. ridge 0 is the interpolator (or least squares)
    of smallest |a|. The excess risk E (f(x) - x . beta)^2 is taken over points, labels, weights and a new x:

        ridge = kappa (n - t) (width - t) ,   t = df1(kappa)           (ridge 0: t is the smaller of the two)
        bias = signal^2 kappa^2 (1 + chi v_1) / (v_1 + kappa)^2 / (1 - U)
        variance = noise^2 U / (1 - U)
        U = (t^2 + (width - t)^2 df2 / (width - df2)) / (n width)
        chi = sum_k counts_k v_k / (v_k + kappa)^2 / (width - df2)
        df1 = sum_k counts_k v_k / (v_k + kappa) ,   df2 = sum_k counts_k (v_k / (v_k + kappa))^2

    over the degrees k of `relu_spectrum`, v = values (its rest counts as infinitely many directions of next
    to no weight). x . beta is all of degree 1. t counts the directions learnt, and it can exceed neither n
    nor the width: where the two meet, nothing is left over to average the noise away, 1 - U = 0 and the
    risk is infinite. That is the peak of the double descent. For width to infinity it is `ridge_risk` with
    the spectrum v (the kernel's own regression).

    Derivation. The features of a point are sums over harmonics, sum_i sqrt(v_i) Y_i(w_j) Y_i(x). Take the
    harmonics Y_i as independent of each other (they are only uncorrelated). First hold w fixed and average
    over the points: by `ridge_risk`, with the features' covariance O, ridge = kappa_1 (n - t) with
    t = tr O (O + kappa_1)^{-1}. Then average over w: O is itself a sum over harmonics, and leaving one out
    gives t = df1(kappa) with kappa = 1 / tr (O + kappa_1)^{-1}, so width = t + kappa_1 / kappa. U is gamma
    averaged over w, (1 - U) bias what is missing averaged over w.

    Where to trust it. Measured on the sphere (d = 50, n = 100; d = 100, n = 300; noise .5): the mean of 300
    runs is within 3 % of the total for |width - n| > n / 2 and within 7 % from n / 4 on. Closer to the peak
    runs scatter by as much as their mean, which lies 10 to 25 % above the formula (infinitely far for
    |width - n| <= 1); their median stays within 10 % down to |width - n| = n / 10. Inputs N(0, I) and
    weights N(0, I / d) have the same formula, as `relu_spectrum` says, but their lengths vary too: a few
    per cent more at d = 50, 10 to 15 at d = 20.

    Args:
        width: number of features, one or an array of them.
        n: number of points.
        d: dimension of x, at least 2.
        ridge: at least 0, on the features as they stand above (not divided by width or n).
        noise: standard deviation of the label noise.
        signal: |beta|, in the unit of noise.
        centred: take the mean over x away from every feature.

    Returns:
        A `RidgeRisk`; infinite for width = n without ridge.

    Raises:
        ValueError: a negative ridge or noise, width or n below 1, d below 2.

    Source: Defilippis, Loureiro & Misiakiewicz 2024 (arXiv 2405.15699), section 3, with the exact spectrum of
    ReLU; its limit for d, n and width growing together is Mei & Montanari 2022 (arXiv 1908.05355). The
    experiment is that of Li, Zhou & Gretton 2021 (arXiv 2106.03212) made small.

    Example:
        >>> features_risk([20, 90, 100, 110, 1000], n=100, d=50, noise=0.5).total.round(2).tolist()
        [0.99, 4.76, inf, 4.92, 0.25]

    Used in lessons 15 and 16.
    """
    number("n", n, 1)
    number("ridge", ridge, 0)
    number("noise", noise, 0)
    number("signal", signal, 0)
    widths = numbers("width", width, 1)
    spectrum = relu_spectrum(d)
    if centred:
        spectrum = replace(spectrum, values=np.append(0.0, spectrum.values[1:]))
    risks = [_risk(w, n, ridge, noise, signal, spectrum) for w in widths.ravel()]
    return RidgeRisk(*(_shaped(column, widths) for column in zip(*risks, strict=True)))


def _risk(
    width: float, n: int, ridge: float, noise: float, signal: float, spectrum: ReluSpectrum
) -> tuple[float, float, float]:
    v, counts = spectrum.values, spectrum.counts
    kappa = _kappa(width, n, ridge, spectrum)
    if width == n and ridge == 0:
        return np.inf if signal else 0.0, np.inf if noise else 0.0, kappa
    t, df2 = _df1(kappa, spectrum), counts @ (v / (v + kappa)) ** 2
    u = (t**2 + (width - t) ** 2 * df2 / (width - df2)) / (n * width)
    chi = (counts @ (v / (v + kappa) ** 2) + spectrum.rest / kappa**2) / (width - df2)
    bias = (signal * kappa / (v[1] + kappa)) ** 2 * (1 + chi * v[1]) / (1 - u)
    return bias, noise**2 * u / (1 - u), kappa


def _df1(kappa: float, spectrum: ReluSpectrum) -> float:
    """The rest is infinitely many directions, each learnt next to nothing of."""
    return float(spectrum.counts @ (spectrum.values / (spectrum.values + kappa)) + spectrum.rest / kappa)


def _kappa(width: float, n: int, ridge: float, spectrum: ReluSpectrum) -> float:
    """kappa (n - t) (width - t) = ridge, on the side where t is below both."""
    most = min(n, width)
    low = high = 1 / most  # at least twice the kappa of ridge 0, as t kappa <= 1/2
    while _df1(low, spectrum) < most:
        low /= 10
    low = brentq(lambda kappa: _df1(kappa, spectrum) - most, low, high, xtol=1e-300)
    if ridge == 0:
        return low

    def excess(kappa: float) -> float:
        t = _df1(kappa, spectrum)
        return kappa * (n - t) * (width - t) - ridge

    while excess(high) < 0:
        high *= 10
    return brentq(excess, low, high, xtol=1e-300)
