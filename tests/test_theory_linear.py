"""theory's linear estimator: against quadrature, Bessel functions, sampled covariances, gradient descent."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erf, hyp0f1, ive
from scipy.stats import kstest, ncx2

from minigrok import theory

RATIOS = [1e-8, 0.1, 0.5, 0.97, 1.0, 1.03, 2.0, 30.0]
ratios = st.floats(1e-9, 50) | st.floats(0.999999, 1.000001)


def integral(f, ratio):
    """By adaptive quadrature over the angle, where the density has no corners."""
    low, high = theory.marchenko_pastur_edges(ratio)
    middle, half = (low + high) / 2, (high - low) / 2

    def at(angle):
        nu = middle + half * math.cos(angle)
        return float(theory.marchenko_pastur(nu, ratio)) * half * math.sin(angle) * f(nu)

    return quad(at, 0, math.pi, epsabs=0, epsrel=1e-10, limit=500, points=[3.0, 3.1])[0]


def sample(ratio, d, seed):
    """Eigenvalues of one sample covariance, and how much of the first difference lies along each."""
    g = np.random.default_rng(seed)
    x = g.normal(size=(round(d / ratio), d))
    nu, vectors = np.linalg.eigh(x.T @ x / len(x))
    return np.maximum(nu, 0), (g.normal(size=d) @ vectors) ** 2 / d


# --- the law of the eigenvalues -----------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [1e-4, 0.1, 0.5, 0.9, 1.1, 2.0, 30.0])
def test_the_law_has_the_moments_of_a_sample_covariance(ratio):
    moments = [integral(lambda nu, k=k: nu**k, ratio) for k in range(4)]
    np.testing.assert_allclose(
        moments, [min(1, 1 / ratio), 1, 1 + ratio, 1 + 3 * ratio + ratio**2], rtol=1e-8
    )


def test_the_law_is_that_of_sampled_eigenvalues():
    for ratio in (0.3, 2.0):
        nu, _ = sample(ratio, 600, seed=0)
        seen = nu[nu > 1e-9]
        assert len(seen) == round(600 * min(1, 1 / ratio))  # the others are the atom at 0
        low, high = theory.marchenko_pastur_edges(ratio)
        grid = np.linspace(low, high, 4001)
        density = theory.marchenko_pastur(grid, ratio)
        cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
        assert kstest(seen, lambda v, x=grid, c=cdf: np.interp(v, x, c / c[-1])).statistic < 0.02


@given(ratios)
def test_the_density_lives_between_its_edges(ratio):
    low, high = theory.marchenko_pastur_edges(ratio)
    assert 0 <= low < high and math.sqrt(low * high) == pytest.approx(abs(1 - ratio), abs=1e-9)
    outside = theory.marchenko_pastur([low * 0.999 - 1e-9, low, high, high * 1.001, -1.0], ratio)
    assert (outside == 0).all()
    assert (theory.marchenko_pastur(np.linspace(low, high, 12)[1:-1], ratio) > 0).all()


# --- losses -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_train_loss_is_a_bessel_function(ratio):
    s = np.geomspace(1e-6, 1e9, 400)
    z = 2 * s * math.sqrt(ratio)
    expected = np.exp(-s * (1 - math.sqrt(ratio)) ** 2) * 2 * ive(1, z) / z
    keep = expected > 1e-280
    found = theory.linear_losses(s / 4, ratio, eta=1.0).train
    np.testing.assert_allclose(found[keep], expected[keep], rtol=1e-11)


def test_the_train_loss_is_the_papers_hypergeometric_function():
    t, ratio, eta = np.array([1.0, 30.0, 300.0]), 0.5, 0.01
    expected = np.exp(-4 * eta * (1 + ratio) * t) * hyp0f1(2, 16 * eta**2 * t**2 * ratio)
    np.testing.assert_allclose(theory.linear_losses(t, ratio, eta).train, expected, rtol=1e-12)


@pytest.mark.parametrize("ratio", RATIOS)
def test_both_losses_are_integrals_over_the_density(ratio):
    for s in (0.0, 0.3, 4.0, 60.0):
        losses = theory.linear_losses(s / 4, ratio, eta=1.0)
        train = integral(lambda nu, s=s: nu * math.exp(-s * nu), ratio)
        test = integral(lambda nu, s=s: math.exp(-s * nu), ratio) + max(0, 1 - 1 / ratio)
        np.testing.assert_allclose([losses.train, losses.test], [train, test], rtol=1e-7)


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.999, 1.001, 3.0])
def test_the_test_loss_is_a_sum_of_marcums_q_functions(ratio):
    """E exp(-s nu) in closed form, by Rice's integral of exp(-u) I_0: it shares nothing with a quadrature."""
    s, root = np.geomspace(0.01, 30, 20), math.sqrt(ratio)
    q = [ncx2.sf(2 * s * b, 2, 2 * s * a) for a, b in ((max(1, ratio), min(1, ratio)),
                                                       (min(1, ratio), max(1, ratio)))]  # fmt: skip
    rest = (1 - q[0] + q[1]) * abs(1 - ratio)
    z = 2 * s * root
    i0, i1 = (ive(k, z) * np.exp(-s * (1 - root) ** 2) for k in (0, 1))
    expected = ((1 + ratio) * i0 + 2 * root * i1 - rest) / (2 * ratio) + max(0, 1 - 1 / ratio)
    np.testing.assert_allclose(theory.linear_losses(s / 4, ratio, 1.0).test, expected, rtol=1e-6, atol=1e-12)


@settings(max_examples=50)
@given(ratios, st.floats(0, 1e7), st.floats(1e-4, 0.2))
@example(1.0, 0.0, 0.01)
@example(1e-9, 1e7, 0.2)
def test_losses_start_at_one_fall_and_keep_their_bounds(ratio, t, eta):
    at = np.array([0.0, t, 1.5 * t + 1])
    losses = theory.linear_losses(at, ratio, eta)
    never, (low, high) = max(0, 1 - 1 / ratio), theory.marchenko_pastur_edges(ratio)
    assert losses.train[0] == pytest.approx(1, rel=1e-9) and losses.test[0] == pytest.approx(1, rel=1e-9)
    assert (np.diff(losses.train) <= 0).all() and (np.diff(losses.test) <= 0).all()
    moving = np.maximum(losses.test - never, 0)
    slack = 1e-9 * (losses.test + losses.train) + 1e-300
    assert (low * moving <= losses.train + slack).all() and (
        losses.train <= high * moving + slack * high
    ).all()


def test_few_dimensions_to_many_inputs_fall_as_one_exponential():
    t = np.array([0.0, 10.0, 100.0])
    losses = theory.linear_losses(t, 1e-12, 0.01)
    np.testing.assert_allclose(losses.train, np.exp(-0.04 * t), rtol=1e-4)
    np.testing.assert_allclose(losses.test, np.exp(-0.04 * t), rtol=1e-4)


def test_at_the_edge_the_test_loss_falls_as_a_power():
    t = np.array([1e6, 1e12, 1e25])
    expected = 1 / np.sqrt(4 * math.pi * 0.01 * t)
    np.testing.assert_allclose(theory.linear_losses(t, 1.0, 0.01).test, expected, rtol=1e-4)


def test_losses_come_in_the_shape_of_the_times():
    assert theory.linear_losses(3, 0.5, 0.01).test.shape == ()
    assert theory.linear_losses(np.ones((2, 3)), 0.5, 0.01).train.shape == (2, 3)
    assert theory.linear_losses([], 0.5, 0.01).train.shape == (0,)


@pytest.mark.parametrize("ratio", [0.2, 0.8, 1.5])
def test_gradient_descent_on_sampled_inputs_follows_them(ratio):
    """Not along eigenvectors: steps as one would take them, with the factor 2 of a square's gradient."""
    d, eta, times = 200, 0.05, [0, 1, 5, 30, 150]
    runs = []
    for seed in range(30):
        g = np.random.default_rng(seed)
        x = g.normal(size=(round(d / ratio), d))
        student, teacher = g.normal(size=(2, d)) / math.sqrt(2 * d)
        rows = []
        for step in range(times[-1] + 1):
            error = x @ (student - teacher)
            if step in times:
                rows.append([(error**2).mean(), ((student - teacher) ** 2).sum()])
            student = student - eta * 2 * x.T @ error / len(x)
        runs.append(np.ravel(rows))
    expected = theory.linear_losses(times, ratio, eta, discrete=True)
    low, high = theory.simultaneous_band(runs, level=0.99)
    line = np.ravel(np.column_stack([expected.train, expected.test]))
    assert ((low <= line) & (line <= high)).all()


@pytest.mark.parametrize("ratio, eta", [(0.5, 0.01), (0.5, 0.33), (1.0, 0.2), (4.0, 0.1)])
def test_discrete_steps_are_powers(ratio, eta):
    for t in (0, 1, 7, 40):
        losses = theory.linear_losses(t, ratio, eta, discrete=True)
        train = integral(lambda nu, t=t: nu * (1 - 2 * eta * nu) ** (2 * t), ratio)
        test = integral(lambda nu, t=t: (1 - 2 * eta * nu) ** (2 * t), ratio) + max(0, 1 - 1 / ratio)
        np.testing.assert_allclose([losses.train, losses.test], [train, test], rtol=1e-7)


def test_flow_is_the_limit_of_small_steps_from_above():
    for eta in (1e-2, 1e-3):
        t = np.round(np.array([1.0, 5.0, 20.0]) / eta)
        flow, steps = (theory.linear_losses(t, 0.5, eta, discrete=d) for d in (False, True))
        high = theory.marchenko_pastur_edges(0.5)[1]
        assert (steps.test < flow.test).all()
        later = theory.linear_losses(t * (1 + 1.1 * eta * high), 0.5, eta)
        assert (later.test < steps.test).all() and (
            later.train < steps.train
        ).all()  # what the docstring says


def test_discrete_refuses_what_gradient_descent_cannot_do():
    with pytest.raises(ValueError, match=r"diverges for eta >= 1 / nu_high = 0.343; got eta = 0.5"):
        theory.linear_losses([1], 0.5, 0.5, discrete=True)
    with pytest.raises(ValueError, match="whole numbers of steps"):
        theory.linear_losses([0.5], 0.5, 0.01, discrete=True)


# --- accuracy -----------------------------------------------------------------------------------------------


def test_accuracy_is_the_share_of_gaussian_errors_within_eps():
    g = np.random.default_rng(0).normal(size=400_000)
    for loss in (1e-4, 1e-2, 1.0):
        measured = (loss * g**2 <= 0.003).mean()
        assert theory.linear_accuracy(loss, 0.003) == pytest.approx(measured, abs=0.003)


@given(st.floats(0, 1e3), st.floats(0, 1e3))
@example(0.0, 0.0)
@example(0.0, 1.0)
@example(1.0, 0.0)
def test_accuracy_is_a_share_and_falls_with_the_loss(loss, eps):
    value, worse = theory.linear_accuracy([loss, loss + 1], eps)
    assert 0 <= worse <= value <= 1
    assert value == 1 if loss == 0 else eps > 0 or value == 0


# --- the delay ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-4, 0.99), st.floats(-12, 0), st.floats(1e-4, 1), st.floats(0.05, 0.99))
@example(1.0, -8, 0.01, 0.95)
@example(1.02, -0.6, 0.01, 0.95)
def test_at_its_two_times_the_accuracies_are_at_the_level(ratio, log_eps, eta, level):
    eps = 10**log_eps
    found = theory.linear_delay(ratio, eps, eta, level)
    for time, part in ((found.train, "train"), (found.test, "test")):
        value = theory.linear_accuracy(getattr(theory.linear_losses(time, ratio, eta), part), eps)
        assert value == pytest.approx(level, rel=1e-6) if time > 0 else value >= level
    assert found.delay == found.test - found.train >= -1e-9 * found.test


def test_times_are_proportional_to_the_inverse_rate():
    slow, fast = (theory.linear_delay(0.7, 1e-3, eta) for eta in (0.001, 0.01))
    assert slow.train == pytest.approx(10 * fast.train) and slow.delay == pytest.approx(10 * fast.delay)


def test_the_delay_is_that_of_one_sampled_student():
    """From d eigenvalues instead of the law, by stepping: the measure that the theory is for."""
    d, ratio, eps, eta = 800, 0.5, 1e-3, 0.01
    delays = []
    for seed in range(3):
        nu, share = sample(ratio, d, seed)
        left = share * np.exp(-4 * eta * nu * np.arange(3000)[:, None])
        train, test = (erf(np.sqrt(eps / (2 * x))) for x in ((left * nu).sum(1), left.sum(1)))
        delays.append((test >= 0.95).argmax() - (train >= 0.95).argmax())
    assert np.mean(delays) == pytest.approx(theory.linear_delay(ratio, eps, eta).delay, rel=0.1)


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_the_limit_is_approached_from_below_as_the_docstring_says(ratio):
    limit, low = theory.linear_delay_limit(ratio, 0.01), theory.marchenko_pastur_edges(ratio)[0]
    shares = []
    for eps in (1e-3, 1e-12, 1e-30, 1e-100):
        found = theory.linear_delay(ratio, eps, 0.01)
        shares.append(1 - found.delay / limit)
        expected = 1.5 * (1 + 1 / math.log(1 / low)) / (0.04 * low * found.train)
        if expected < 0.1:
            assert shares[-1] == pytest.approx(expected, rel=0.15)
    assert (np.diff(shares) < 0).all() and 0 < shares[-1] < 0.02 < shares[0]


def test_the_shares_of_the_limit_in_the_docstring():
    limit = theory.linear_delay_limit(0.5, 0.01)
    shares = [theory.linear_delay(0.5, eps, 0.01).delay / limit for eps in (1e-3, 1e-12, 1e-30)]
    assert [round(share, 2) for share in shares] == [0.6, 0.91, 0.97]


@pytest.mark.parametrize("ratio", [0.1, 0.5, 0.9])
def test_late_the_losses_have_the_ratio_of_equation_11(ratio):
    low = theory.marchenko_pastur_edges(ratio)[0]
    losses = theory.linear_losses(600 / (4 * low), ratio, 1.0)
    late = low + 3 / (2 * 600 / low)  # the mean eigenvalue that is left
    assert losses.test / losses.train == pytest.approx(1 / late, rel=1e-4)
    assert losses.test / losses.train == pytest.approx((1 - math.sqrt(ratio)) ** -2, rel=0.01)


# --- refusals -----------------------------------------------------------------------------------------------


def test_a_test_accuracy_that_never_comes_is_refused_with_the_best_there_is():
    words = (
        r"ratio = 1.5 the test loss stays above 1 - 1/ratio = 0.333.* stays below 0.0437 and never reaches"
    )
    with pytest.raises(ValueError, match=words):
        theory.linear_delay(1.5, 1e-3, 0.01)
    assert theory.linear_delay(1.5, 1e-3, 0.01, level=0.04).test > 0


def test_no_limit_without_a_gap_below_the_eigenvalues():
    for ratio in (1.0, 1.5):
        with pytest.raises(ValueError, match="no limit as eps -> 0"):
            theory.linear_delay_limit(ratio, 0.01)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: theory.marchenko_pastur_edges(0), "ratio = d / N must be above 0 and finite; got 0"),
        (lambda: theory.marchenko_pastur(1.0, -1), "ratio = d / N must be above 0 and finite; got -1"),
        (lambda: theory.marchenko_pastur(math.nan, 0.5), "nu must be a number; got nan"),
        (lambda: theory.marchenko_pastur_edges([0.1, 0.2]), r"must be one number; got the shape \(2,\)"),
        (lambda: theory.linear_losses(1, math.inf, 0.1), "above 0 and finite; got inf"),
        (lambda: theory.linear_losses([1, -2], 0.5, 0.1), "t must be at least 0; got -2"),
        (lambda: theory.linear_losses(1, 0.5, 0), "eta must be above 0; got 0"),
        (lambda: theory.linear_accuracy(-1, 0.1), "loss must be at least 0; got -1"),
        (lambda: theory.linear_accuracy(1, -0.1), "eps must be at least 0"),
        (lambda: theory.linear_delay(0.5, 0, 0.1), "eps must be above 0 and finite; got 0"),
        (lambda: theory.linear_delay(0.5, math.inf, 0.1), "eps must be above 0 and finite; got inf"),
        (lambda: theory.linear_delay(0.5, 0.1, 0.1, level=1), "level must be above 0 and below 1; got 1"),
        (lambda: theory.linear_delay_limit(0.5, -1), "eta must be above 0; got -1"),
        (lambda: theory.linear_delay_limit(0, 1), "ratio = d / N must be above 0"),
    ],
)
def test_values_out_of_their_range_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
