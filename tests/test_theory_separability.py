"""theory of one label: against exact fractions, linear programs, random inputs and plain gradient descent."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import linprog, nnls
from scipy.special import expit

from minigrok import theory

lams = st.floats(0, 0.98) | st.floats(0.4999, 0.5001)
sigmas = st.floats(0.05, 20)


def separable(x):
    """Whether some S has S.x >= 1 for all rows: a linear program without an aim."""
    free = [(None, None)] * x.shape[1]
    return linprog(np.zeros(x.shape[1]), A_ub=-x, b_ub=-np.ones(len(x)), bounds=free).status == 0


def margin(x):
    """The distance of the origin from the convex hull of the rows, by non-negative least squares."""
    _, rest = nnls(np.vstack([x.T, np.ones(len(x))]), np.r_[np.zeros(x.shape[1]), 1.0])
    return rest / math.sqrt(1 - rest**2) if rest > 1e-7 else 0.0


# --- separable? ---------------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(1, 400))
@example(1, 1)
@example(2, 1)
@example(400, 200)
def test_the_chance_is_wendels_sum_in_exact_fractions(n, d):
    exact = Fraction(sum(math.comb(n - 1, k) for k in range(min(n, d))), 2 ** (n - 1))
    assert float(theory.separable_probability(n, d)) == pytest.approx(float(exact), rel=1e-11)


def test_the_chance_is_that_of_random_inputs():
    g = np.random.default_rng(0)
    for n, d in ((6, 2), (12, 4), (12, 6), (12, 8)):
        seen = np.mean([margin(g.normal(size=(n, d))) > 0 for _ in range(400)])
        assert theory.separable_probability(n, d) == pytest.approx(seen, abs=0.08)


def test_it_needs_no_normal_inputs_only_symmetric_ones():
    g = np.random.default_rng(1)
    drawn = [g.uniform(-1, 1, (12, 5)) ** 3 for _ in range(200)]
    seen = [separable(x) for x in drawn]
    assert seen == [margin(x) > 0 for x in drawn]
    assert theory.separable_probability(12, 5) == pytest.approx(np.mean(seen), abs=0.12)


def test_the_edge_gets_sharp_at_one_half():
    for d in (10, 1000, 10**6):
        assert theory.separable_probability(2 * d, d) == pytest.approx(0.5, rel=1e-9)
    assert theory.separable_probability(10**6, 498_000) < 1e-4
    assert theory.separable_probability(10**6, 502_000) > 1 - 1e-4
    assert theory.separable_probability(10**6, 100) == 0  # below 1e-308


@given(st.integers(2, 2000), st.integers(2, 2000))
def test_it_obeys_pascals_triangle(n, d):
    p = theory.separable_probability
    assert p(n + 1, d) == pytest.approx((p(n, d) + p(n, d - 1)) / 2, rel=1e-9, abs=1e-300)


def test_it_broadcasts():
    assert theory.separable_probability([[4], [5]], [1, 2, 3]).shape == (2, 3)
    assert theory.separable_probability(3, 3) == 1 == theory.separable_probability(3, 10)


# --- the accuracy of one label ------------------------------------------------------------------------------


def test_the_accuracy_is_that_of_fresh_inputs():
    g, sigma = np.random.default_rng(0), 3.0
    weight, bias = g.normal(size=7), -2.5
    x = sigma * g.normal(size=(200_000, 7))
    expected = theory.constant_accuracy(sigma * np.linalg.norm(weight) / -bias)
    assert expected == pytest.approx((x @ weight + bias < 0).mean(), abs=0.004)


@given(st.floats(0, allow_infinity=True))
@example(0.0)
@example(math.inf)
@example(5e-324)
def test_the_accuracy_is_between_a_half_and_one(spread):
    assert 0.5 <= theory.constant_accuracy(spread) <= 1
    assert theory.constant_accuracy(spread) >= theory.constant_accuracy(spread + 1)


def test_the_largest_margin_has_the_bias_that_the_docstring_says():
    """The solution of least norm with z <= -1, as a small quadratic problem solved by its dual."""
    g = np.random.default_rng(0)
    x = 2.0 * g.normal(size=(12, 10))
    m, rows = margin(x), np.c_[x, np.ones(12)]
    dual, _ = nnls(np.vstack([rows.T * 1e-4, np.ones(12)]), np.r_[np.zeros(11), 1.0])
    w = rows.T @ dual
    w = -w / (rows @ w).min()
    assert np.linalg.norm(w[:-1]) == pytest.approx(m / (1 + m**2), rel=1e-3)
    assert w[-1] == pytest.approx(-1 / (1 + m**2), rel=1e-3)


@pytest.mark.parametrize("ratio", [0.55, 0.7, 1.0, 2.0, 5.0])
def test_the_margin_is_that_of_random_inputs(ratio):
    n = 150
    found = [margin(np.random.default_rng(seed).normal(size=(n, round(ratio * n)))) for seed in range(8)]
    assert theory.constant_margin(ratio) == pytest.approx(np.mean(found), abs=0.05)


@given(st.floats(0.5, 1e6))
@example(0.5)
def test_the_margin_solves_its_equation(ratio):
    kappa = theory.constant_margin(ratio)
    assert kappa >= 0
    if ratio < 30:
        mass = quad(lambda g: (kappa + g) ** 2 * math.exp(-g * g / 2), -kappa, 12)[0] / math.sqrt(2 * math.pi)
        assert mass == pytest.approx(ratio, rel=1e-7)
    else:
        assert kappa == pytest.approx(math.sqrt(ratio - 1), rel=1e-4)


def test_near_the_edge_the_margin_is_linear():
    assert (theory.constant_margin(0.5 + 1e-5) / 1e-5) == pytest.approx(math.sqrt(math.pi / 2), rel=1e-3)


def test_a_stuck_classifier_has_the_accuracy_of_its_margin():
    """Gradient flow on separable inputs, in growing steps, towards Phi(1 / (sigma M))."""
    g, sigma, ratio = np.random.default_rng(3), 2.0, 0.8
    x = sigma * g.normal(size=(50, 40))
    rows, w = np.c_[x, np.ones(50)], np.zeros(41)
    steepest = np.linalg.eigvalsh(rows.T @ rows / 50)[-1]
    for _ in range(20_000):
        p = expit(rows @ w)
        w -= rows.T @ p / 50 / (steepest * p.max())  # the loss is flatter where all p are small
    assert (rows @ w).max() < 0
    reached = theory.constant_accuracy(sigma * np.linalg.norm(w[:-1]) / -w[-1])
    assert reached == pytest.approx(theory.constant_accuracy(sigma * margin(x)), abs=0.01)
    assert reached == pytest.approx(
        theory.constant_accuracy(sigma**2 * theory.constant_margin(ratio)), abs=0.06
    )


# --- two points ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam, sigma", [(0.0, 1.0), (0.2, 5.0), (0.48, 3.0), (0.5, 1.0), (0.7, 2.0)])
def test_the_flow_is_gradient_descent_with_small_steps(lam, sigma):
    x, eta = np.array([-sigma, sigma * (1 - 2 * lam)]), 1e-3
    state, path = np.zeros(2), [np.zeros(2)]
    for _ in range(20_000):
        p = expit(x * state[0] + state[1])
        state = state - eta * np.array([(x * p).mean(), p.mean()])
        path.append(state)
    t = np.array([0, 10, 1000, 20_000])
    run = theory.two_point_flow(t * eta, lam, sigma)
    np.testing.assert_allclose(np.c_[run.weight, run.bias], np.array(path)[t], atol=5e-3)


def test_the_flow_obeys_its_equations_to_many_digits():
    t, x = np.array([0.5, 50.0, 5e5]), np.array([-4.0, 0.4])
    h = 1e-4 * t
    before, at, after = (theory.two_point_flow(t + k * h, 0.45, 4.0) for k in (-1, 0, 1))
    p = expit(x[:, None] * at.weight + at.bias)
    np.testing.assert_allclose((after.weight - before.weight) / (2 * h), -x @ p / 2, rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose((after.bias - before.bias) / (2 * h), -p.mean(axis=0), rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(lams, sigmas, st.floats(0, 1e9))
@example(0.0, 0.05, 0.0)
@example(0.5, 20.0, 1e9)
def test_weight_and_bias_keep_their_signs_and_the_loss_falls(lam, sigma, t):
    run = theory.two_point_flow([0.0, t, 2 * t + 1], lam, sigma)
    assert run.weight[0] == run.bias[0] == 0
    assert (run.weight >= -1e-7).all() and (np.diff(run.bias) <= 1e-9).all()
    x = np.array([-sigma, sigma * (1 - 2 * lam)])
    loss = np.logaddexp(0, x[:, None] * run.weight + run.bias).mean(axis=0)
    assert (np.diff(loss) <= 1e-9).all()


def test_times_may_come_in_any_order_and_shape():
    t = np.array([[5.0, 0.0], [1e6, 5.0]])
    run = theory.two_point_flow(t, 0.3)
    assert run.weight.shape == (2, 2) and run.bias[0, 0] == run.bias[1, 1] != run.bias[1, 0]
    assert theory.two_point_flow(3.0, 0.3).bias.shape == () and run.bias[0, 1] == 0
    assert theory.two_point_flow([], 0.3).bias.shape == (0,)


@given(st.floats(0, 0.499), sigmas)
def test_the_limit_is_where_the_two_points_balance(lam, sigma):
    s, x = theory.two_point_limit(lam, sigma), np.array([-sigma, sigma * (1 - 2 * lam)])
    pull = x * np.exp(x * s)
    assert abs(pull.sum()) <= 1e-9 * abs(pull).sum()


@pytest.mark.parametrize("lam", [0.1, 0.3, 0.45])
def test_below_the_edge_the_flow_comes_to_its_limits(lam):
    run = theory.two_point_flow(1e8, lam, 3.0)
    assert run.weight == pytest.approx(theory.two_point_limit(lam, 3.0), rel=1e-4)
    assert run.bias == pytest.approx(theory.two_point_bias(1e8, lam, 3.0), abs=1e-3)


def test_at_the_edge_the_weight_grows_like_log_log():
    t, sigma = np.array([1e6, 1e20, 1e100]), 5.0
    run = theory.two_point_flow(t, 0.5, sigma)
    np.testing.assert_allclose(run.weight, np.log(sigma**2 * np.log(t)) / sigma, atol=0.01)
    error = np.abs(run.bias - theory.two_point_bias(t, 0.5, sigma))
    assert (np.diff(error) < 0).all() and error[-1] < 1e-3
    assert (np.diff(run.weight / -run.bias) < 0).all()


@pytest.mark.parametrize("lam, sigma", [(0.6, 5.0), (0.75, 1.0), (0.9, 2.0)])
def test_above_the_edge_neither_wins(lam, sigma):
    t, m = np.array([1e10, 1e20, 1e40]), sigma * (2 * lam - 1)
    run = theory.two_point_flow(t, lam, sigma)
    slopes = [np.diff(values) / np.diff(np.log(t)) for values in (run.weight, run.bias)]
    np.testing.assert_allclose(slopes[0], m / (1 + m**2), rtol=3e-3)
    np.testing.assert_allclose(slopes[1], -1 / (1 + m**2), rtol=3e-3)
    assert run.bias[-1] / theory.two_point_bias(t[-1], lam, sigma) == pytest.approx(1, abs=0.1)
    assert run.weight[-1] / -run.bias[-1] == pytest.approx(m, rel=0.1)


def test_near_the_edge_and_with_large_points_accuracy_comes_late():
    def time(lam, sigma):
        t = np.geomspace(0.1, 1e12, 500)
        run = theory.two_point_flow(t, lam, sigma)
        return t[(theory.constant_accuracy(sigma * run.weight / -run.bias) >= 0.95).argmax()]

    assert time(0.3, 5.0) < time(0.45, 5.0) < time(0.49, 5.0)
    assert time(0.49, 1.0) < time(0.49, 3.0) < time(0.49, 10.0)


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: theory.separable_probability(0, 1), "n must be at least 1; got 0"),
        (lambda: theory.separable_probability(4, [1, 2.5]), "d must be whole numbers; got 2.5"),
        (lambda: theory.constant_accuracy(-1), "spread must be at least 0; got -1"),
        (lambda: theory.constant_accuracy([0.1, math.nan]), "spread must be at least 0; got nan"),
        (lambda: theory.constant_margin(0.3), "ratio < 1/2 the inputs surround the origin .* got 0.3"),
        (lambda: theory.two_point_flow(-1, 0.3), "t must be at least 0 and finite; got -1"),
        (lambda: theory.two_point_flow(1, 1.0), "lam must be at least 0 and below 1; got 1"),
        (lambda: theory.two_point_flow(1, 0.3, 0), "sigma must be above 0 and finite; got 0"),
        (
            lambda: theory.two_point_limit(0.5, 2),
            r"no limit: at lam = 0.5 it grows like log\(sigma\^2 log t\)",
        ),
        (
            lambda: theory.two_point_limit(0.8),
            r"no limit: at lam = 0.8 it grows like M log t / \(1 \+ M\^2\)",
        ),
        (lambda: theory.two_point_limit(-0.1), "lam must be at least 0"),
        (lambda: theory.two_point_bias(0, 0.3), "t must be above 0; got 0"),
    ],
)
def test_values_out_of_their_range_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
