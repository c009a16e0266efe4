"""theory's local rules: against steps of gradient descent, random training sets and random inputs."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.special import erf

from minigrok import theory

places = st.floats(-5, 5)
weights = st.sampled_from([0.0, 0.3, 2.0])


def training_means(n, sets, seed, eps=0.0):
    """The mean of n examples of either class, for many training sets, and the nearest positive example."""
    positive, negative = eps + np.random.default_rng(seed).exponential(size=(2, sets, n))
    return (positive - negative).mean(axis=1) / 2, positive.min(axis=1)


def descend(start, mean, l1, l2, time, dt=1e-3):
    """Proximal gradient descent: it can stand still at 0, where |b| has no slope."""
    b, path = np.asarray(start, float), [start]
    for _ in range(round(time / dt)):
        b = b - dt * ((1 + l2) * b - mean)
        b = np.sign(b) * np.maximum(np.abs(b) - dt * l1, 0)
        path.append(b)
    return np.array(path)


# --- the threshold ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l1, l2", [(0.0, 0.0), (0.0, 0.7), (0.2, 0.0), (0.3, 0.5)])
def test_the_threshold_moves_as_in_gradient_descent(l1, l2):
    """From above, from below and from 0; to rest above 0, at 0, and beyond it."""
    start = np.array([2.0, 2.0, 2.0, -2.0, -2.0, 0.0, 0.0, 0.0, 0.01])
    mean = np.array([0.9, 0.1, -0.9, 0.9, -0.9, 0.9, -0.1, 0.0, -3.0])
    path = descend(start, mean, l1, l2, time=5)
    t = np.arange(len(path))[:, None] * 1e-3
    np.testing.assert_allclose(theory.rule_threshold(t, start, mean, l2, l1), path, atol=2e-3)


def test_without_l1_it_solves_the_differential_equation():
    t = np.linspace(0, 4, 9)
    run = solve_ivp(lambda _, b: -1.3 - 1.7 * b, (0, 4), [2.0], t_eval=t, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(theory.rule_threshold(t, 2.0, -1.3, l2=0.7), run.y[0], atol=1e-8)


@given(places, places, weights, weights, st.floats(0, 50))
@example(0.0, -0.0, 0.3, 0.0, 1.0)
@example(1.0, -5e-324, 0.0, 0.0, 50.0)
@example(5.0, 0.3, 0.3, 0.0, 50.0)
def test_it_starts_at_the_start_stays_between_start_and_rest_and_mirrors(start, mean, l1, l2, t):
    path = theory.rule_threshold([0.0, t, 1e4], start, mean, l2, l1)
    rest = math.copysign(max(abs(mean) - l1, 0), mean) / (1 + l2)
    assert path[0] == pytest.approx(start, abs=1e-12) and path[2] == pytest.approx(rest, abs=1e-9)
    assert min(start, rest) - 1e-12 <= path[1] <= max(start, rest) + 1e-12
    np.testing.assert_allclose(theory.rule_threshold([0.0, t, 1e4], -start, -mean, l2, l1), -path, atol=0)


# --- errors -------------------------------------------------------------------------------------------------


def test_the_error_is_the_share_of_inputs_on_the_wrong_side():
    g, eps = np.random.default_rng(0), 0.3
    label = g.integers(0, 2, 200_000) * 2 - 1
    x = label * (eps + g.exponential(size=len(label)))
    for b in (-2.0, -0.31, 0.0, 0.29, 0.4, 1.0, 3.0):
        assert theory.rule_error(b, eps) == pytest.approx((np.sign(x - b) != label).mean(), abs=0.004)


@given(places, st.floats(0, 3))
@example(0.0, 0.0)
def test_the_error_is_zero_exactly_in_the_gap(b, eps):
    error = theory.rule_error(b, eps)
    assert 0 <= error <= 0.5 and (error == 0) == (abs(b) <= eps)
    assert error == theory.rule_error(-b, eps)


@pytest.mark.parametrize("dim", [1, 2, 3, 8])
def test_the_error_of_balls_is_the_share_of_inputs_on_the_wrong_side(dim):
    g, eps, n = np.random.default_rng(dim), 0.3, 200_000
    direction = g.normal(size=(n, dim))
    first = direction[:, 0] / np.linalg.norm(direction, axis=1) * g.random(n) ** (1 / dim)
    label = g.integers(0, 2, n) * 2 - 1
    x = label * (1 + eps) + first
    for b in (0.0, 0.3, -0.5, 0.9, 1.3, -1.9, 2.3, 3.0):
        assert theory.ball_error(b, eps, dim) == pytest.approx((np.sign(x - b) != label).mean(), abs=0.004)


@pytest.mark.parametrize("dim", [1, 2, 5, 30])
def test_the_error_of_balls_is_an_integral_over_slices(dim):
    def slices(h):
        return quad(lambda z: (z * (2 - z)) ** ((dim - 1) / 2), 0, h)[0]

    for h in (0.01, 0.5, 1.0, 1.7, 2.0):
        assert theory.ball_error(0.2 + h, 0.2, dim) == pytest.approx(slices(h) / slices(2) / 2, rel=1e-7)


@pytest.mark.parametrize("dim", [1, 2, 4, 9])
def test_the_error_vanishes_with_the_critical_exponent_of_the_time_left(dim):
    start, mean, eps = 3.0, -0.1, 0.2
    end = theory.grokking_time(start, mean, 1.0, eps).test
    left = np.array([1e-4, 1e-5])
    b = theory.rule_threshold(end - left, start, mean)
    slope = np.diff(np.log(theory.ball_error(b, eps, dim))) / np.diff(np.log(left))
    assert slope == pytest.approx(theory.critical_exponent(dim), rel=1e-3)
    exponential = np.diff(np.log(theory.rule_error(b, eps))) / np.diff(np.log(left))
    assert exponential == pytest.approx(1, rel=1e-3) == theory.critical_exponent(1)


def test_the_exponent_by_simulation_alone():
    """Random inputs in a ball of 3 dimensions, no formula but the time: counts against the time left."""
    g, start, mean, eps = np.random.default_rng(0), 3.0, -0.1, 0.2
    radius = g.random(2_000_000) ** (1 / 3)
    cosine = g.uniform(-1, 1, len(radius))  # Archimedes: what a uniform direction has along x_1
    x = 1 + eps + radius * cosine
    end = theory.grokking_time(start, mean, 1.0, eps).test
    left = np.geomspace(0.03, 0.12, 6)
    errors = [
        (x < b).mean() for b in descend(start, mean, 0, 0, end, 1e-4)[-1 - np.round(left * 1e4).astype(int)]
    ]
    slope, _ = np.polyfit(np.log(left), np.log(errors), 1)
    assert slope == pytest.approx(2, abs=0.2)


# --- will it grok? ------------------------------------------------------------------------------------------


def test_two_examples_of_each_class_give_the_papers_formula():
    eps = np.geomspace(1e-3, 10, 50)
    for l1, l2 in ((0, 0), (0.3, 0), (0, 2), (0.1, 0.5)):
        e = eps * (1 + l2) + l1
        expected = 1 - (1 + 2 * e) * np.exp(-4 * e)
        np.testing.assert_allclose(theory.grokking_probability(2, eps, l1, l2), expected, rtol=1e-9)


def test_one_of_each_class_is_the_law_of_laplace():
    e = np.array([0.0, 0.1, 1.0, 4.0])
    np.testing.assert_allclose(theory.grokking_probability(1, e), 1 - np.exp(-2 * e), rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 40])
def test_the_probability_is_the_share_of_training_sets(n):
    means, _ = training_means(n, 100_000, seed=n, eps=0.15)
    for l1, l2 in ((0.0, 0.0), (0.1, 0.5)):
        rest = theory.rule_threshold(100.0, 3.0, means, l2, l1)
        measured = (np.abs(rest) < 0.15).mean()
        assert theory.grokking_probability(n, 0.15, l1, l2) == pytest.approx(measured, abs=0.006)


def test_two_examples_in_all_are_not_the_papers_formula():
    """Why the docstring insists on n of each class: other readings of N = 2 give other numbers."""
    g, eps = np.random.default_rng(0), 0.4
    e = g.exponential(size=(100_000, 2))
    of_each = np.abs(e[:, 0] - e[:, 1]) / 2  # one of each class
    label = g.integers(0, 2, (100_000, 2)) * 2 - 1
    by_coin = np.abs((label * (eps + e)).mean(axis=1) - label.mean(axis=1))
    paper = 1 - (1 + 2 * eps) * math.exp(-4 * eps)
    assert abs((of_each < eps).mean() - paper) > 0.05 and abs((by_coin < eps).mean() - paper) > 0.05


@pytest.mark.parametrize("n", [500, 20_000])
def test_many_examples_make_a_normal_mean(n):
    e = np.array([0.5, 1.0, 2.0]) / math.sqrt(2 * n)
    np.testing.assert_allclose(theory.grokking_probability(n, e), erf(e * math.sqrt(n)), atol=2 / n)


@given(st.integers(1, 300), st.floats(0, 20), weights, weights)
@example(1, 0.0, 0.0, 0.0)
def test_it_is_a_chance_that_a_wider_gap_and_weight_decay_raise(n, eps, l1, l2):
    chance = float(theory.grokking_probability(n, eps, l1, l2))
    assert 0 <= chance <= 1 + 1e-12 and (chance == 0) == (eps * (1 + l2) + l1 == 0)
    more = [
        theory.grokking_probability(n, *c)
        for c in ((eps + 0.1, l1, l2), (eps, l1 + 0.1, l2), (eps, l1, l2 + 1))
    ]
    assert (np.array(more) >= chance - 1e-12).all()


# --- when? --------------------------------------------------------------------------------------------------


def test_times_are_those_of_gradient_descent():
    eps, l1, l2 = 0.4, 0.05, 0.3
    mean, nearest = training_means(5, 300, seed=0, eps=eps)
    groks = np.abs(mean) < 0.95 * (eps * (1 + l2) + l1)  # away from the edge, where times grow without bound
    mean, nearest = mean[groks], nearest[groks]
    times = theory.grokking_time(3.0, mean, nearest, eps, l1, l2)
    path = descend(np.full(len(mean), 3.0), mean, l1, l2, time=times.test.max() + 1)
    np.testing.assert_allclose(times.train, (path <= nearest).argmax(0) * 1e-3, atol=5e-3)
    np.testing.assert_allclose(times.test, (path <= eps).argmax(0) * 1e-3, atol=2e-2)
    np.testing.assert_allclose(times.delay, times.test - times.train)


@settings(max_examples=60)
@given(st.floats(0, 6), st.floats(-2, 2), st.floats(0, 3), st.floats(0.01, 2), weights, weights)
def test_the_thresholds_at_the_times_are_the_places(start, mean, further, eps, l1, l2):
    assume(abs(mean) < 0.99 * (eps * (1 + l2) + l1))
    nearest = eps + further
    times = theory.grokking_time(start, mean, nearest, eps, l1, l2)
    assert 0 <= times.train <= times.test
    for time, place in ((times.train, nearest), (times.test, eps)):
        b = theory.rule_threshold(time, start, mean, l2, l1)
        assert b == pytest.approx(place if time > 0 else start, abs=1e-6)
        assert time > 0 or start <= place


def test_the_delay_has_no_start_in_it_and_is_longest_at_the_edge():
    near, far = (theory.grokking_time(start, 0.1, 0.6, 0.3).delay for start in (1.0, 50.0))
    assert near == pytest.approx(far) == pytest.approx(math.log(0.5 / 0.2))
    delays = theory.grokking_time(3.0, [0.0, 0.2, 0.29, 0.2999], 0.6, 0.3).delay
    assert (np.diff(delays) > 0).all()


def test_training_sets_that_never_grok_are_refused_and_counted():
    with pytest.raises(ValueError, match=r"^2 of 3 thresholds .* never grok: .* l1 = 0.3$"):
        theory.grokking_time(3.0, [0.1, 0.3, -0.5], 0.6, 0.3)
    assert theory.grokking_time(3.0, [0.3], 0.6, 0.3, l1=0.1).delay > 0  # l1 makes room


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: theory.rule_threshold(-1, 1, 0), "t must be at least 0; got -1"),
        (lambda: theory.rule_threshold(1, math.nan, 0), "start must be a number; got nan"),
        (lambda: theory.rule_threshold(1, 1, 0, l2=-1), "l2 must be at least 0; got -1"),
        (lambda: theory.rule_threshold(1, 1, 0, l1=-1), "l1 must be at least 0; got -1"),
        (lambda: theory.rule_error(1, -0.1), "eps must be at least 0; got -0.1"),
        (lambda: theory.grokking_probability(0, 0.1), "n must be one whole number .* at least 1; got 0"),
        (lambda: theory.grokking_probability(2.5, 0.1), "examples of each class, at least 1; got 2.5"),
        (lambda: theory.grokking_probability(2, -0.1), "eps must be at least 0"),
        (lambda: theory.grokking_time(1, 0, 0.5, 0), "eps must be above 0; got 0"),
        (lambda: theory.grokking_time(-1, 0, 0.5, 0.1), "start must be at least 0; got -1"),
        (lambda: theory.grokking_time(1, 0, 0.05, 0.1), "nearest must be at least 0.1; got 0.05"),
        (lambda: theory.ball_error(1, 0.1, 0), "dim must be one whole number, at least 1; got 0"),
        (lambda: theory.critical_exponent(1.5), "dim must be one whole number, at least 1; got 1.5"),
    ],
)
def test_values_out_of_their_range_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
