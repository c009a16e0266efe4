"""theory: ridge regression, against integrals over the Marchenko-Pastur law and against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from minigrok import theory

SPECTRA = st.lists(st.floats(0.05, 20), min_size=1, max_size=12)
# Ten strong directions, which carry the signal, and a long flat tail.
SPIKES, SIGNAL = np.repeat([20.0, 0.1], [10, 5000]), np.repeat([1.0, 0.0], [10, 5000])


def simulate(spectrum, theta, n, ridges, noise, seeds):
    """Excess risk (bias, variance) of each ridge, (seeds, ridges, 2), by solving the equations as written."""
    rows = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((n, len(spectrum))) * np.sqrt(spectrum)
        y = np.stack([x @ theta, noise * rng.standard_normal(n)], axis=1)
        target = np.stack([theta, np.zeros_like(theta)], axis=1)
        rows.append([spectrum @ (solve(x, y, ridge) - target) ** 2 for ridge in ridges])
    return np.array(rows)


def solve(x, y, ridge):
    n, p = x.shape
    if p < n:
        return np.linalg.solve(x.T @ x + ridge * np.eye(p), x.T @ y)
    return x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(n), y)


# --- all eigenvalues alike: integrals over the Marchenko-Pastur law -----------------------------------------


def average(function, n, p):
    """The mean over the p eigenvalues of x^T x (spectrum 1), p - n of them 0 if p > n."""
    low, high = (np.sqrt(p) - np.sqrt(n)) ** 2, (np.sqrt(p) + np.sqrt(n)) ** 2
    middle, half = (low + high) / 2, (high - low) / 2

    def integrand(angle):  # s = middle + half cos(angle) takes the square roots at the edges away
        s = middle + half * np.cos(angle)
        return function(s) * (half * np.sin(angle)) ** 2 / (2 * np.pi * p * s)

    return quad(integrand, 0, np.pi, epsabs=1e-12)[0] + max(0.0, 1 - n / p) * function(0.0)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.floats(-0.98, 3),
    st.floats(0, 3),
    st.floats(0.1, 3),
)
def test_equal_eigenvalues_give_the_integral_over_their_law(n, p, above, noise, length):
    edge = theory.smallest_ridge(np.ones(p), n)
    assert np.isclose(edge, -((np.sqrt(p) - np.sqrt(n)) ** 2), rtol=1e-8, atol=1e-9)
    ridge = above * -edge if above < 0 else above * n
    if abs(ridge) < 1e-3:
        return  # without ridge the zeros of x^T x need their own term: below
    theta = np.full(p, length / np.sqrt(p))
    risk = theory.ridge_risk(np.ones(p), theta, n, ridge, noise)
    bias = length**2 * average(lambda s: (ridge / (s + ridge)) ** 2, n, p)
    variance = noise**2 * p * average(lambda s: s / (s + ridge) ** 2, n, p)
    assert np.isclose(risk.bias, bias, rtol=1e-5) and np.isclose(risk.variance, variance, rtol=1e-5)
    assert risk.total == risk.bias + risk.variance


@pytest.mark.parametrize("n, p", [(100, 30), (100, 99), (100, 101), (100, 400)])
def test_without_ridge_equal_eigenvalues_give_the_known_double_descent(n, p):
    risk = theory.ridge_risk(np.ones(p), np.full(p, 2 / np.sqrt(p)), n, noise=0.5)
    assert np.isclose(risk.bias, 4 * max(0, 1 - n / p))
    assert np.isclose(risk.variance, 0.25 * min(n, p) / abs(n - p))


def test_the_value_without_ridge_is_the_limit_from_both_sides():
    for p in (30, 60):
        spectrum, theta = np.linspace(0.1, 3, p), np.linspace(-1, 1, p)
        middle = theory.ridge_risk(spectrum, theta, 40, 0.0, 0.7)
        for ridge in (1e-7, -1e-7):
            near = theory.ridge_risk(spectrum, theta, 40, ridge, 0.7)
            assert np.isclose(near.total, middle.total, rtol=1e-6)
            assert np.isclose(near.kappa, middle.kappa, rtol=1e-6, atol=1e-7)


def test_as_many_features_as_points():
    risk = theory.ridge_risk(np.ones(20), 1.0, 20, [0.0, 1e-6], 0.5)
    assert risk.bias[0] == 0 and risk.variance[0] == np.inf and risk.variance[1] > 100
    assert theory.ridge_risk(np.ones(20), 1.0, 20).total == 0  # no noise: found exactly
    assert theory.smallest_ridge([1.0, 2.0, 0.0], 2) == 0


# --- any eigenvalues ----------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SPECTRA, st.integers(1, 14), st.floats(0.01, 30), st.floats(0, 2))
def test_the_effective_ridge_solves_its_equation_on_the_rising_branch(spectrum, n, above, noise):
    spectrum = np.array(spectrum)
    edge = theory.smallest_ridge(spectrum, n)
    ridge = edge + above
    risk = theory.ridge_risk(spectrum, 1.0, n, ridge, noise)
    kappa = risk.kappa
    assert np.isclose(n * kappa, kappa * (spectrum / (spectrum + kappa)).sum() + ridge, rtol=1e-6, atol=1e-9)
    assert ((spectrum / (spectrum + kappa)) ** 2).sum() < n and kappa > -spectrum.min()
    assert 0 <= risk.bias and 0 <= risk.variance
    more = theory.ridge_risk(spectrum, 1.0, n, [ridge, ridge + 1, ridge + 1e9], noise)
    assert (np.diff(more.kappa) > 0).all() and (np.diff(more.variance) <= 1e-12).all()
    assert np.isclose(more.bias[-1], spectrum.sum(), rtol=1e-4)  # nothing is learnt


@settings(deadline=None)
@given(SPECTRA, st.integers(1, 14), st.floats(0.01, 30), st.floats(0.1, 10))
def test_units_do_not_matter_and_neither_do_directions_without_movement(spectrum, n, above, c):
    spectrum = np.array(spectrum)
    theta = np.cos(np.arange(len(spectrum)))
    ridge = theory.smallest_ridge(spectrum, n) + above
    here = theory.ridge_risk(spectrum, theta, n, ridge, 0.3)
    scaled = theory.ridge_risk(c * spectrum, theta / np.sqrt(c), n, c * ridge, 0.3)
    padded = theory.ridge_risk(np.append(spectrum, [0, 0]), np.append(theta, [5, 5]), n, ridge, 0.3)
    assert np.isclose(here.total, scaled.total, rtol=1e-6)
    assert np.isclose(here.total, padded.total, rtol=1e-9)


def test_arrays_of_ridges_keep_their_shape():
    ridges = np.array([[0.0, 1.0], [2.0, 3.0]])
    risk = theory.ridge_risk([1.0, 2.0, 3.0], 1.0, 2, ridges, 0.1)
    assert risk.total.shape == risk.kappa.shape == (2, 2)
    assert risk.bias[1, 0] == theory.ridge_risk([1.0, 2.0, 3.0], 1.0, 2, 2.0, 0.1).bias
    assert isinstance(theory.ridge_risk([1.0, 2.0, 3.0], 1.0, 2).total, float)


# --- simulation ---------------------------------------------------------------------------------------------


def test_negative_ridge_helps_in_simulation_as_much_as_in_the_formula():
    ridges = np.array([-350.0, -200, 0, 100, 1000])
    total = simulate(SPIKES, SIGNAL, 50, ridges, 0.5, seeds=20).sum(axis=2)
    low, high = theory.simultaneous_band(total)
    formula = theory.ridge_risk(SPIKES, SIGNAL, 50, ridges, 0.5).total
    assert ((low <= formula) & (formula <= high)).all()
    assert (np.diff(total, axis=1) > 0).all(), "in every sample the more negative ridge is the better one"


@pytest.mark.parametrize(
    "p, n, ridges", [(100, 400, [-8.0, -4, 0, 50]), (600, 200, [-8.0, -4, 0, 20]), (220, 200, [0.5, 5, 50])]
)
def test_bias_and_variance_are_those_of_a_simulation(p, n, ridges):
    spectrum, theta = 1 / np.arange(1, p + 1) ** 0.4, np.cos(np.arange(p))
    runs = simulate(spectrum, theta, n, ridges, 1.0, seeds=20)
    risk = theory.ridge_risk(spectrum, theta, n, ridges, 1.0)
    for k, formula in enumerate((risk.bias, risk.variance)):
        # The band of the seeds, and the 2 / n that the limit leaves out.
        low, high = theory.simultaneous_band(runs[:, :, k])
        assert (low <= formula * (1 + 2 / n) + 1e-20).all() and (formula * (1 - 2 / n) <= high).all()
        spread = runs[:, :, k].std(axis=0, ddof=1) / np.sqrt(20)
        assert (spread < 0.1 * formula + 1e-12).all(), "else the band says little"


@pytest.mark.parametrize("p, n", [(100, 400), (600, 200)])
def test_the_edge_is_the_smallest_eigenvalue_and_kappa_one_over_the_trace(p, n):
    spectrum = 1 / np.arange(1, p + 1) ** 0.4
    x = np.random.default_rng(1).standard_normal((n, p)) * np.sqrt(spectrum)
    eigenvalues = np.linalg.eigvalsh(x.T @ x if p < n else x @ x.T)
    edge = theory.smallest_ridge(spectrum, n)
    assert np.isclose(eigenvalues[0], -edge, rtol=0.08)
    kappa = theory.ridge_risk(spectrum, 1.0, n, 3.0).kappa
    trace = np.linalg.inv(x @ x.T + 3 * np.eye(n)).trace()
    assert np.isclose(1 / trace, kappa, rtol=0.01)


# --- the best ridge -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.1, 3), st.floats(0.05, 3))
def test_equal_directions_want_the_ridge_of_bayes(n, p, size, noise):
    assert np.isclose(
        theory.best_ridge(np.full(p, 2.0), size, n, noise), (noise / size) ** 2, rtol=1e-3, atol=1e-4
    )


@settings(deadline=None, max_examples=40)
@given(SPECTRA, st.integers(1, 14), st.floats(0.01, 2), st.integers(0, 100))
def test_no_other_ridge_is_better(spectrum, n, noise, seed):
    theta = np.random.default_rng(seed).standard_normal(len(spectrum))
    best, edge = theory.best_ridge(spectrum, theta, n, noise), theory.smallest_ridge(spectrum, n)
    others = edge + np.geomspace(1e-3, 1e5, 200)
    least = theory.ridge_risk(spectrum, theta, n, others, noise).total.min()
    assert best > edge and theory.ridge_risk(spectrum, theta, n, best, noise).total <= least * (1 + 1e-9)


def test_the_best_ridge_is_negative_under_a_long_tail_and_positive_without():
    assert theory.best_ridge(SPIKES, SIGNAL, 50, 0.5) < -300
    assert theory.best_ridge(SPIKES[:10], SIGNAL[:10], 50, 0.5) > 0


# --- effective rank and bounds ------------------------------------------------------------------------------


@settings(deadline=None)
@given(SPECTRA, st.floats(0, 5), st.data())
def test_effective_ranks(spectrum, ridge, data):
    k = data.draw(st.integers(0, len(spectrum) - 1))
    tail = sorted(spectrum, reverse=True)[k:]
    r, big_r = (theory.effective_rank(spectrum, k, ridge, order=order) for order in (1, 2))
    assert np.isclose(r, (ridge + sum(tail)) / max(tail))
    assert np.isclose(big_r, (ridge + sum(tail)) ** 2 / sum(v * v for v in tail))
    if ridge == 0:  # Bartlett et al. 2020
        assert 1 - 1e-9 <= r <= big_r * (1 + 1e-9) <= r**2 * (1 + 1e-8) and r <= len(tail) * (1 + 1e-9)


def test_bounds_are_the_right_size():
    ridges = np.array([-200.0, 0, 100, 1000, 10_000])
    risk = theory.ridge_risk(SPIKES, SIGNAL, 50, ridges, 0.5)
    bounds = [theory.ridge_bounds(SPIKES, SIGNAL, 50, ridge, 0.5) for ridge in ridges]
    assert [b.k for b in bounds] == [10, 10, 10, 0, 0]  # a ridge of 1000 hides the spikes too: 1700 / 20 > 50
    for b, bias, variance in zip(bounds, risk.bias, risk.variance, strict=True):
        assert 1 / 4 < b.bias / bias < 4 and 1 / 12 < b.variance / variance < 12
        assert b.total == b.bias + b.variance


def test_bounds_from_the_sums_as_written():
    rng = np.random.default_rng(0)
    spectrum, theta, n, ridge = rng.uniform(0, 1, 40) ** 6, rng.standard_normal(40), 5, 0.2
    bounds = theory.ridge_bounds(spectrum, theta, n, ridge, 0.5, b=2.0)
    order = np.argsort(spectrum)[::-1]
    v, t = spectrum[order], theta[order]
    k = next(k for k in range(40) if theory.effective_rank(spectrum, k, ridge) >= 2.0 * n)
    tail = ridge + sum(v[k:])
    bias = sum(v[k:] * t[k:] ** 2) + sum(t[:k] ** 2 / v[:k]) * (tail / n) ** 2
    assert bounds.k == k > 0 and np.isclose(bounds.bias, bias)
    assert np.isclose(bounds.variance, 0.25 * (k / n + n * sum(v[k:] ** 2) / tail**2))


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.ridge_risk(np.ones(400), 1.0, 100, -100.1), "expected ridges above -100, where"),
        (lambda: theory.ridge_risk(np.ones(4), 1.0, 2, [1.0, np.nan]), "expected ridges above"),
        (lambda: theory.ridge_risk(np.ones(4), 1.0, 4, -1e-9), "expected ridges above 0, where"),
        (
            lambda: theory.ridge_risk(np.ones(4), np.ones(3), 2),
            r"each of the 4 eigenvalues; got shape \(3,\)",
        ),
        (lambda: theory.ridge_risk([1.0, -1.0], 1.0, 2), "none negative; got shape .* from -1.0 to 1.0"),
        (lambda: theory.ridge_risk(np.ones((2, 2)), 1.0, 2), r"one axis, .* got shape \(2, 2\)"),
        (lambda: theory.ridge_risk([0.0], 1.0, 2), "at least one positive eigenvalue"),
        (lambda: theory.ridge_risk([1.0], 1.0, 0), "expected n of at least 1 .* got n=0"),
        (lambda: theory.ridge_risk([1.0], 1.0, 2, noise=-1.0), "noise of at least 0, got n=2, noise=-1.0"),
        (lambda: theory.best_ridge([1.0, 0.0], [0.0, 1.0], 2), "the best ridge is infinite"),
        (lambda: theory.effective_rank([1.0, 2.0], 0, np.nan), "ridge must be a number; got nan"),
        (lambda: theory.effective_rank([1.0, 2.0], 2), "k must be from 0 to 1 .* got 2"),
        (lambda: theory.effective_rank([1.0, 0.0], 1), "beyond k=1 all eigenvalues are 0"),
        (lambda: theory.effective_rank([1.0], 0, order=3), "order must be 1 .* or 2 .* got 3"),
        (
            lambda: theory.ridge_bounds(np.ones(5), 1.0, 10),
            r"no k has an effective rank of b n = 10 \(the lar",
        ),
        (lambda: theory.ridge_bounds(np.ones(5), 1.0, 3, b=0), "b must be above 0, got 0"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
