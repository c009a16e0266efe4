"""theory: self-training on two Gaussians, against quadrature and classifiers that teach themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from minigrok import theory

COSINES, SIGMAS = st.floats(-1, 1), st.floats(0.1, 6)


def points(rng, n, d, sigma):
    """Unlabelled points; mu is the first unit vector."""
    x = sigma * rng.standard_normal((n, d))
    x[:, 0] += rng.choice([-1.0, 1.0], n)
    return x


def direction(cosine, d):
    return np.concatenate([[cosine, np.sqrt(1 - cosine**2)], np.zeros(d - 2)])


def simulate(rng, w, sigma, rounds, n):
    """Cosines before every round and after the last, with n new points in each."""
    cosines = []
    for _ in range(rounds + 1):
        cosines.append(w[0] / np.linalg.norm(w))
        x = points(rng, n, len(w), sigma)
        w = np.sign(x @ w) @ x / n
    return np.array(cosines)


# --- one round ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(COSINES, SIGMAS)
def test_one_round_on_infinitely_many_points_by_quadrature(cosine, sigma):
    # In the teacher's frame: u . x = y cos + sigma z, across it y sin + sigma z', and the label sees no z'.
    def mean(function):
        ends = sorted({-9.0, min(max(-cosine / sigma, -9.0), 9.0), 9.0})
        pairs = zip(ends[:-1], ends[1:], strict=True)
        return sum(
            quad(lambda z: function(z) * norm.pdf(z), low, high, epsabs=1e-12)[0] for low, high in pairs
        )

    along_teacher = mean(lambda z: abs(cosine + sigma * z))  # y = -1 gives the same, by symmetry
    across = np.sqrt(1 - cosine**2) * mean(lambda z: np.sign(cosine + sigma * z))
    w = np.array([along_teacher, across])  # in the frame (u, what mu has across u)
    mu = np.array([cosine, np.sqrt(1 - cosine**2)])
    expected = w @ mu / np.linalg.norm(w)
    assert np.isclose(theory.selftraining_cosine(cosine, sigma), expected, atol=1e-8)


@settings(deadline=None)
@given(COSINES, SIGMAS, st.floats(0, 3))
def test_what_holds_for_every_round(cosine, sigma, ratio):
    after = theory.selftraining_cosine(cosine, sigma, ratio)
    assert np.isclose(theory.selftraining_cosine(-cosine, sigma, ratio), -after)  # mirrored
    assert abs(after) <= theory.selftraining_cosine(abs(cosine), sigma) + 1e-12 <= 1 + 2e-12
    if 0 < cosine < 1:
        assert theory.selftraining_cosine(cosine, sigma) >= cosine * (
            1 - 1e-12
        )  # without noise it never forgets


def test_the_error_of_a_direction():
    rng = np.random.default_rng(0)
    x = 0.8 * rng.standard_normal((400_000, 3)) + [1.0, 0, 0]  # the class y = +1
    wrong = np.mean(x @ direction(0.6, 3) < 0)
    assert abs(theory.gaussian_error(0.6, 0.8) - wrong) < 4 * np.sqrt(0.25 / 400_000)
    assert theory.gaussian_error(0.0, 2.0) == 0.5 and theory.gaussian_error([1, -1], 1.0).sum() == 1


# --- many rounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma, start", [(0.6, 0.3), (1.0, 0.3), (1.5, 0.5), (2.2, 0.6)])
def test_many_rounds_with_as_many_points_as_twice_the_dimension(sigma, start):
    d, n = 400, 800
    runs = [
        simulate(np.random.default_rng(seed), direction(start, d), sigma, rounds=5, n=n) for seed in range(20)
    ]
    theirs = theory.selftraining_error(start, sigma, 5, (d - 1) / n)
    for ours, theory_line in (
        (np.array(runs), theirs.cosine),
        (theory.gaussian_error(runs, sigma), theirs.error),
    ):
        low, high = theory.simultaneous_band(ours[:, 1:])
        assert ((low <= theory_line[1:]) & (theory_line[1:] <= high)).all()
        assert (high - low < 0.15).all(), "else the band says little"
    assert theirs.cosine[0] == start


def test_with_very_many_points_in_two_dimensions():
    run = simulate(np.random.default_rng(0), direction(0.4, 2), 1.0, rounds=5, n=400_000)
    assert np.allclose(run, theory.selftraining_error(0.4, 1.0, 5).cosine, atol=0.01)


@settings(deadline=None, max_examples=25)
@given(st.floats(0.2, 4), st.floats(0.01, 2), st.floats(0.05, 1))
def test_the_limit_is_where_it_ends(sigma, ratio, start):
    limit = theory.selftraining_limit(sigma, ratio)
    assert np.isclose(theory.selftraining_cosine(limit, sigma, ratio), limit, atol=1e-9)
    here = abs(theory.selftraining_cosine(start, sigma, ratio) - limit)
    assert here <= abs(start - limit) + 1e-9  # every round is a step towards it
    apart = abs(sigma / theory.selftraining_threshold(ratio) - 1)
    if apart > 0.1:  # near the threshold it takes very long
        end = theory.selftraining_error(start, sigma, 1000, ratio).cosine[-1]
        assert abs(end - limit) < 1e-3


@settings(deadline=None)
@given(st.floats(0.01, 5))
def test_at_the_threshold_a_small_cosine_neither_grows_nor_shrinks(ratio):
    sigma, small = theory.selftraining_threshold(ratio), 1e-5
    growth = [theory.selftraining_cosine(small, s * sigma, ratio) / small for s in (0.99, 1.0, 1.01)]
    assert growth[0] > 1 > growth[2] and np.isclose(growth[1], 1, atol=1e-8)
    assert (
        theory.selftraining_limit(1.01 * sigma, ratio) == 0 < theory.selftraining_limit(0.99 * sigma, ratio)
    )


@pytest.mark.parametrize("ratio", [1e-10, 1e-6, 0.3, 10.0])
@pytest.mark.parametrize("share", [0.5, 1 - 1e-7, 1 - 1e-15, 1.0, 1 + 1e-15])
def test_the_limit_at_the_edges_of_its_domain(ratio, share):
    sigma = share * theory.selftraining_threshold(ratio)
    limit = theory.selftraining_limit(sigma, ratio)
    assert 0 <= limit <= 1 and np.isclose(theory.selftraining_cosine(limit, sigma, ratio), limit, atol=1e-8)
    assert limit < 0.01 if share > 0.99 else limit > 0.3


def test_without_noise_it_ends_at_the_best_error():
    assert theory.selftraining_limit(3.0) == 1 and theory.selftraining_threshold(0) == np.inf
    ends = theory.selftraining_error([0.01, -0.01, 0.0], 1.0, 200).error[-1]
    best = norm.sf(1)
    assert np.allclose(ends, [best, 1 - best, 0.5])


# --- the start from labels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("labels, d, sigma", [(3, 2, 0.8), (10, 20, 1.0), (4, 5, 2.5)])
def test_the_average_over_the_start(labels, d, sigma):
    rng = np.random.default_rng(0)
    w = sigma / np.sqrt(labels) * rng.standard_normal((40_000, d))
    w[:, 0] += 1
    starts = w[:, 0] / np.linalg.norm(w, axis=1)
    errors = theory.selftraining_error(starts, sigma, 4, 0.05).error
    formula = theory.mean_selftraining_error(labels, d, sigma, 4, 0.05)
    assert (np.abs(errors.mean(axis=1) - formula) < 4 * errors.std(axis=1) / 200 + 1e-12).all()


@settings(deadline=None, max_examples=10)
@given(st.integers(1, 30), st.integers(2, 30), st.floats(0.3, 1.2))
def test_the_average_ends_above_the_best_by_the_starts_on_the_wrong_side(labels, d, sigma):
    end = theory.mean_selftraining_error(labels, d, sigma, 120)[-1]
    best, wrong_side = norm.sf(1 / sigma), norm.sf(np.sqrt(labels) / sigma)
    assert np.isclose(end, best + wrong_side * (1 - 2 * best), rtol=2e-3)


# --- the gap of the paper -----------------------------------------------------------------------------------


@pytest.mark.parametrize("d, n, sigma, cosine", [(3, 20, 0.6, 0.5), (3, 20, 3.0, 0.5), (2, 5, 1.0, -0.3)])
def test_the_gap_is_population_risk_minus_risk_on_the_pseudo_labels(d, n, sigma, cosine):
    rng, teacher, gaps = np.random.default_rng(0), direction(cosine, d), []
    for _ in range(4000):
        x = points(rng, n, d, sigma)
        labels = np.sign(x @ teacher)
        w = labels @ x / n
        own = np.mean(np.sum((x - labels[:, None] * w) ** 2, axis=1))
        population = np.sum((w - np.eye(d)[0]) ** 2) + d * sigma**2  # |x - y w|^2 = |mu + sigma z - w|^2
        gaps.append((population - own) / (2 * sigma**2))
    formula = theory.selftraining_gap(cosine, sigma, d, n)
    assert abs(np.mean(gaps) - formula) < 4 * np.std(gaps) / np.sqrt(4000)


def test_the_gap_saturates_low_for_little_overlap_and_rises_for_much():
    labels, d = 10, 2
    for sigma, falls in ((0.4, True), (3.0, False)):
        cosines = theory.selftraining_error(0.7, sigma, 6).cosine
        gaps = theory.selftraining_gap(cosines, sigma, d)
        assert (gaps[-1] < d / labels) == falls and abs(gaps[-1] - gaps[-2]) < 0.02
    assert np.isclose(theory.selftraining_gap(1.0, 1e5, d), 2 / np.pi, rtol=1e-3)
    assert abs(theory.selftraining_gap(1.0, 0.2, d)) < 1e-4


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.gaussian_error(1.1, 1.0), "cosine must be at least -1 and at most 1; got 1.1"),
        (lambda: theory.gaussian_error(0.5, 0.0), "sigma must be above 0; got 0"),
        (lambda: theory.selftraining_cosine(0.5, np.nan), "sigma must be above 0; got nan"),
        (lambda: theory.selftraining_cosine(0.5, 1.0, -1), "dim_per_point must be at least 0; got -1"),
        (lambda: theory.selftraining_error(2.0, 1.0, 3), "start must be at least -1 and at most 1; got 2"),
        (lambda: theory.selftraining_error(0.5, 1.0, -1), "rounds must be at least 0; got -1"),
        (lambda: theory.selftraining_limit(0.0, 0.5), "sigma must be above 0; got 0"),
        (lambda: theory.selftraining_gap(0.5, 1.0, 0), "d must be at least 1; got 0"),
        (lambda: theory.selftraining_gap(0.5, 1.0, 2, 0), "points must be at least 1; got 0"),
        (lambda: theory.mean_selftraining_error(0, 2, 1.0, 3), "labels must be at least 1; got 0"),
        (lambda: theory.mean_selftraining_error(3, 1, 1.0, 3), "d must be at least 2; got 1"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
