"""theory: random ReLU features, against quadrature, exact kernels and regressions on drawn features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import comb, eval_gegenbauer, eval_legendre

from minigrok import theory


def sphere(rng, n, d, radius=1.0):
    x = rng.standard_normal((n, d))
    return radius * x / np.linalg.norm(x, axis=1, keepdims=True)


def kernel(t):
    """E relu(w . x) relu(w . x') for w on the unit sphere, |x| = |x'| = sqrt(d), t = cos(x, x')."""
    t = np.clip(t, -1, 1)
    return (np.sqrt(1 - t**2) + (np.pi - np.arccos(t)) * t) / (2 * np.pi)


def simulate(d, n, widths, noise, seeds, ridge=0.0, draw=sphere, centred=False):
    """Excess risk (seeds, widths) on fresh points, weights and labels."""
    rows, mean = [], centred * theory.relu_spectrum(d).values[0] ** 0.5
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x, fresh = (draw(rng, m, d, np.sqrt(d)) for m in (n, 1000))
        beta = sphere(rng, 1, d)[0]
        y = x @ beta + noise * rng.standard_normal(n)
        row = []
        for width in widths:
            w = sphere(rng, width, d)
            features = np.maximum(x @ w.T, 0) - mean
            a = regression(features, y, ridge)
            row.append(np.mean(((np.maximum(fresh @ w.T, 0) - mean) @ a - fresh @ beta) ** 2))
        rows.append(row)
    return np.array(rows)


def regression(features, y, ridge):
    if ridge == 0:
        return np.linalg.lstsq(features, y, rcond=None)[0]
    return features.T @ np.linalg.solve(features @ features.T + ridge * np.eye(len(y)), y)


# --- the spectrum -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 60), st.integers(0, 9))
def test_eigenvalues_are_the_integrals_of_funk_and_hecke(d, k):
    def legendre(u):
        return eval_gegenbauer(k, d / 2 - 1, u) / eval_gegenbauer(k, d / 2 - 1, 1.0)

    def density(u):
        return (1 - u * u) ** ((d - 3) / 2)

    xi = quad(lambda u: np.sqrt(d) * u * legendre(u) * density(u), 0, 1, epsabs=1e-13)[0]
    xi /= 2 * quad(density, 0, 1, epsabs=1e-13)[0]
    spectrum = theory.relu_spectrum(d)
    assert np.isclose(spectrum.values[k], xi**2, rtol=1e-6, atol=1e-18)
    harmonics = comb(d + k - 1, k, exact=True) - (comb(d + k - 3, k - 2, exact=True) if k > 1 else 0)
    assert np.isclose(spectrum.counts[k], harmonics, rtol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 10, 1000])
def test_all_degrees_together_are_the_mean_square_of_a_feature(d):
    spectrum = theory.relu_spectrum(d)
    assert np.isclose(spectrum.values @ spectrum.counts + spectrum.rest, 0.5)
    assert 0 <= spectrum.rest < 5e-4 and (spectrum.values >= 0).all()
    fewer = theory.relu_spectrum(d, degrees=1)
    assert len(fewer.values) == 2 and np.isclose(fewer.rest, 0.25 - fewer.values[0])


def test_in_three_dimensions_the_sum_over_degrees_is_the_kernel():
    spectrum, t = theory.relu_spectrum(3, degrees=200), np.linspace(-1, 1, 21)
    terms = [
        v * c * eval_legendre(k, t)
        for k, (v, c) in enumerate(zip(spectrum.values, spectrum.counts, strict=True))
    ]
    assert np.allclose(sum(terms), kernel(t), atol=1e-5)


# --- the risk -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ridge, centred", [(0.0, False), (0.0, True), (10.0, False)])
def test_the_curve_lies_in_the_band_of_twenty_seeds(ridge, centred):
    d, n, widths = 50, 100, [10, 30, 60, 70, 130, 160, 250, 500, 1500]  # the window about the peak left out
    runs = simulate(d, n, widths, 0.5, 20, ridge, centred=centred)
    low, high = theory.simultaneous_band(runs)
    risk = theory.features_risk(widths, n, d, ridge, 0.5, centred=centred)
    assert ((low <= risk.total) & (risk.total <= high)).all()
    assert ((high - low) < 0.6 * risk.total).all(), "else the band says little"
    assert np.isclose(risk.total, runs.mean(axis=0), rtol=0.15).all()


def test_beside_the_peak_the_median_follows():
    widths = [85, 115]
    median = np.median(simulate(50, 100, widths, 0.5, 80), axis=0)
    assert np.allclose(median, theory.features_risk(widths, 100, 50, 0.0, 0.5).total, rtol=0.2)


def test_gaussian_points_have_nearly_the_same_risk():
    def draw(rng, n, d, radius):
        return radius / np.sqrt(d) * rng.standard_normal((n, d))

    widths = [30, 60, 200, 1000]
    mean = simulate(50, 100, widths, 0.5, 40, draw=draw).mean(axis=0)
    assert np.allclose(mean, theory.features_risk(widths, 100, 50, 0.0, 0.5).total, rtol=0.15)


def risk_of_drawn_features(w, n, ridge, noise):
    """`ridge_risk` with the exact covariance of the features of these weights; |beta| = 1, all directions."""
    width, d = w.shape
    values, vectors = np.linalg.eigh(kernel(w @ w.T))
    half = vectors.T @ w / 2  # E feature x^T, in the eigenvectors' frame
    bias = 0.0
    for beta in np.eye(d)[:20]:
        best = half @ beta / values  # the linear function of the features nearest to x . beta
        left = 1 - values @ best**2
        risk = theory.ridge_risk(values, best, n, ridge, np.sqrt(left))
        bias += risk.total + left
    variance = theory.ridge_risk(values, 0.0, n, ridge, noise).variance
    return bias / 20, variance


@pytest.mark.parametrize("width, ridge", [(150, 0.0), (450, 0.0), (450, 30.0), (150, 30.0), (300, 3.0)])
def test_averaging_over_the_points_first_gives_the_same(width, ridge):
    d, n, noise = 100, 300, 0.7
    drawn = [
        risk_of_drawn_features(sphere(np.random.default_rng(seed), width, d), n, ridge, noise)
        for seed in range(2)
    ]
    risk = theory.features_risk(width, n, d, ridge, noise)
    assert np.allclose(np.mean(drawn, axis=0), [risk.bias, risk.variance], rtol=0.05)


@pytest.mark.parametrize("n, ridge", [(20, 0.1), (20, 1e-4), (300, 1e-3), (300, 1.0)])
def test_infinite_width_is_the_regression_of_the_kernel(n, ridge):
    d, width = 3, 1e9
    spectrum = theory.relu_spectrum(d, degrees=40)
    values = np.repeat(spectrum.values, spectrum.counts.astype(int))
    theta = np.zeros(len(values))
    theta[1:4] = 2 / np.sqrt(3) / np.sqrt(values[1:4])  # of length 2 in the label's unit
    kernel_risk = theory.ridge_risk(values, theta, n, ridge, 0.5)
    risk = theory.features_risk(width, n, d, ridge * width, 0.5, signal=2.0)
    assert np.isclose(risk.bias, kernel_risk.bias, rtol=5e-3)
    assert np.isclose(risk.variance, kernel_risk.variance, rtol=5e-3)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 400), st.integers(2, 400), st.integers(2, 100), st.floats(0.01, 100), st.floats(0, 2))
def test_what_holds_for_every_ridge(width, n, d, ridge, noise):
    risk = theory.features_risk(width, n, d, ridge, noise, signal=1.5)
    assert 0 < risk.bias < np.inf and 0 <= risk.variance < np.inf
    assert np.isclose(theory.features_risk(width, n, d, ridge, 0, signal=3.0).total, 4 * risk.bias)
    assert theory.features_risk(width, n, d, ridge, 2 * noise, 1.5).variance == pytest.approx(
        4 * risk.variance
    )
    stiff = theory.features_risk(width, n, d, 1e12, noise, 1.5)
    assert np.isclose(stiff.bias, 1.5**2, rtol=1e-3) and stiff.variance < 1e-6


def test_the_peak_and_the_way_down():
    widths = np.array([80, 90, 99, 100, 101, 110, 1000])
    plain, ridge = (theory.features_risk(widths, 100, 50, r, 0.5) for r in (0.0, 10.0))
    assert plain.bias[3] == plain.variance[3] == np.inf and np.isfinite(np.delete(plain.total, 3)).all()
    assert (np.diff(plain.total[:4]) > 0).all() and (np.diff(plain.total[3:]) < 0).all()
    assert (np.diff(ridge.total) < 0).all(), "a ridge of 10 takes the peak away"
    assert plain.total.shape == plain.kappa.shape == (7,)
    assert isinstance(theory.features_risk(80, 100, 50).total, float)
    assert theory.features_risk(100, 100, 50, 0.0, noise=0.5, signal=0.0).bias == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.features_risk(10, 10, 5, ridge=-1.0), "ridge must be at least 0; got -1"),
        (lambda: theory.features_risk([10, 0], 10, 5), "width must be at least 1; got 0"),
        (lambda: theory.features_risk(10, 0, 5), "n must be at least 1; got 0"),
        (lambda: theory.features_risk(10, 10, 1), "d must be at least 2; got 1"),
        (lambda: theory.features_risk(10, 10, 5, noise=-1), "noise must be at least 0; got -1"),
        (lambda: theory.features_risk(10, 10, 5, signal=np.nan), "signal must be at least 0; got nan"),
        (lambda: theory.relu_spectrum(5, degrees=0), "degrees must be at least 1; got 0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
