"""theory: optimal transport against SciPy, brute force and its axioms; the bound against real networks."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance, wasserstein_distance_nd

from minigrok import models, regions, theory

SAMPLES = st.lists(st.floats(-5, 5), min_size=1, max_size=8)


def cloud(seed, n, d=2):
    return np.random.default_rng(seed).standard_normal((n, d))


# --- the distance -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_one_dimension_is_scipys_and_that_of_any_dimension(x, y):
    distance = theory.wasserstein(x, y)
    assert np.isclose(distance, wasserstein_distance(x, y), atol=1e-9)
    padded = [np.stack([s, np.zeros(len(s))], axis=1) for s in (x, y)]
    assert np.isclose(distance, theory.wasserstein(*padded), atol=1e-7)
    if len(x) == len(y):
        assert np.isclose(distance, np.abs(np.sort(x) - np.sort(y)).mean(), atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
def test_equal_sizes_are_the_best_of_all_permutations(n, d, seed):
    x, y = cloud(seed, n, d), cloud(seed + 100, n, d)
    ways = [np.linalg.norm(x - y[list(p)], axis=1).mean() for p in itertools.permutations(range(n))]
    assert np.isclose(theory.wasserstein(x, y), min(ways))


@pytest.mark.parametrize("n, m", [(3, 5), (6, 4), (1, 4), (20, 30)])
def test_unequal_sizes_are_the_distance_of_repeated_points(n, m):
    x, y = cloud(0, n), cloud(1, m)
    common = np.lcm(n, m)
    repeated = theory.wasserstein(np.repeat(x, common // n, axis=0), np.repeat(y, common // m, axis=0))
    assert np.isclose(theory.wasserstein(x, y), repeated)
    assert np.isclose(theory.wasserstein(x, y), wasserstein_distance_nd(x, y))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 9), st.floats(-3, 3))
def test_the_axioms_of_a_distance(seed, n, m, shift):
    x, y, z = cloud(seed, n), cloud(seed + 100, m), cloud(seed + 200, n)
    assert np.isclose(theory.wasserstein(x, y), theory.wasserstein(y, x))
    assert theory.wasserstein(x, x[::-1]) == 0
    assert theory.wasserstein(x, y) <= theory.wasserstein(x, z) + theory.wasserstein(z, y) + 1e-9
    assert np.isclose(theory.wasserstein(x, x + [shift, 0]), abs(shift))


def test_a_table_of_costs():
    cost = np.array([[1.0, 2.0, 9.0], [5.0, 1.0, 1.0]])
    # Weights 1/2 to weights 1/3: the first gives 1/3 and 1/6, the second 1/6 and 1/3.
    assert np.isclose(theory.transport_cost(cost), 1 / 3 + 2 / 6 + 1 / 6 + 1 / 3)
    assert theory.transport_cost([[3.0]]) == 3


# --- slopes and the bound -----------------------------------------------------------------------------------


def net(seed, outputs=1):
    return models.mlp([2, 12, 12, outputs], generator=torch.Generator().manual_seed(seed)).double()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(1, 3))
def test_the_slope_bounds_every_difference_and_is_reached(seed, outputs):
    model, rng = net(seed, outputs), np.random.default_rng(seed)
    cut = regions.partition(model)
    slope = theory.lipschitz(cut)
    p, q = torch.from_numpy(rng.uniform(-1, 1, (2, 3000, 2)))
    with torch.no_grad():
        moved = (model(p) - model(q)).norm(dim=1)
        assert (moved <= slope * (p - q).norm(dim=1) * (1 + 1e-9)).all()
        # A tiny step in the steepest region, along its steepest direction.
        steepest = np.linalg.norm(cut.slopes, ord=2, axis=(1, 2)).argmax()
        inside = torch.from_numpy(cut.interior_points[steepest])
        step = (
            1e-3 * np.sqrt(cut.areas[steepest]) * torch.from_numpy(np.linalg.svd(cut.slopes[steepest])[2][0])
        )
        reached = (model(inside + step) - model(inside)).norm() / step.norm()
    assert np.isclose(reached, slope, rtol=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.integers(2, 40), st.integers(2, 40), st.integers(1, 2))
def test_no_difference_of_mean_losses_exceeds_the_bound(seed, n, m, outputs):
    model, rng = net(seed, outputs), np.random.default_rng(seed)
    slope = theory.lipschitz(regions.partition(model))
    (x, y), (x_new, y_new) = [(rng.uniform(-1, 1, (k, 2)), rng.standard_normal((k, outputs))) for k in (n, m)]

    def mean_loss(x, y):
        with torch.no_grad():
            return np.linalg.norm(model(torch.from_numpy(x)).numpy() - y, axis=1).mean()

    gap = abs(mean_loss(x, y) - mean_loss(x_new, y_new))
    assert gap <= theory.transport_bound(x, y, x_new, y_new, slope) + 1e-12
    assert theory.transport_bound(x, y, x, y, slope) == 0


def test_the_bound_is_tight_for_a_line_and_grows_with_the_slope():
    # f(x) = 3 x and y = 0 on positive points: the loss is 3 x, and the transport shifts all to the right.
    x, y = np.array([0.1, 0.5, 0.9]), np.zeros(3)
    assert np.isclose(theory.transport_bound(x, y, x + 0.4, y, slope=3.0), 3 * 0.4)
    assert np.isclose(theory.transport_bound(x, y, x, y + 0.5, slope=3.0), 0.5)  # the labels' own part
    x, y, x_new, y_new = cloud(0, 9), cloud(1, 9, 1), cloud(2, 9), cloud(3, 9, 1)
    bounds = [theory.transport_bound(x, y, x_new, y_new, slope) for slope in (0.0, 1.0, 2.0)]
    assert np.isclose(bounds[0], theory.wasserstein(y, y_new)) and bounds[0] < bounds[1] < bounds[2]
    assert bounds[1] <= bounds[0] + 1.0 * np.linalg.norm(x[:, None] - x_new, axis=2).max()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: theory.wasserstein([], [1.0]), r"expected x as finite points .* got shape \(0,\)"),
        (lambda: theory.wasserstein([1.0], [np.inf]), "expected y as finite points"),
        (lambda: theory.wasserstein(cloud(0, 3), cloud(0, 3, 3)), "points of one dimension, got 2 and 3"),
        (lambda: theory.transport_cost([1.0, 2.0]), r"table of costs \(n, m\), got the shape \(2,\)"),
        (lambda: theory.transport_cost([[np.nan]]), "expected a finite table of costs"),
        (lambda: theory.transport_bound([1.0], [1.0], [1.0], [1.0], -1), "slope must be at least 0; got -1"),
        (lambda: theory.transport_bound([1.0, 2], [1.0], [1.0], [1.0], 1), "inputs in x and y, got 2 and 1"),
        (lambda: theory.transport_bound([1.0], [1.0], [1.0], [1.0, 2], 1), "in x_new and y_new, got 1 and 2"),
        (
            lambda: theory.transport_bound(cloud(0, 1), [1.0], [1.0], [1.0], 1),
            "expected inputs of one dimension, got 2 and 1",
        ),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_partition_is_expected():
    with pytest.raises(TypeError, match="expected a partition .* got ndarray"):
        theory.lipschitz(np.ones((3, 1, 2)))
