"""data: every set is a function of its seed, balanced, inside its box, and separable in the way it says."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigrok import data

TOY = {"disc_and_ring": data.disc_and_ring, "spiral": data.spiral, "moons": data.moons}
sizes, seeds = st.integers(2, 300), st.integers(0, 2**31)
toy = pytest.mark.parametrize("make", TOY.values(), ids=TOY)


@toy
@given(sizes, seeds)
def test_toy_sets_are_balanced_inside_the_square_and_a_function_of_the_seed(make, n, seed):
    before = torch.get_rng_state()
    x, y = make(n, seed=seed)
    assert x.shape == (n, 2) and x.dtype == torch.float32
    assert y.shape == (n,) and y.dtype == torch.int64
    assert bool((x.abs() <= 1).all())
    counts = y.bincount(minlength=2)
    assert counts.sum() == n and len(counts) == 2 and abs(int(counts[0] - counts[1])) <= 1
    again, labels = make(n, seed=seed)
    assert torch.equal(x, again) and torch.equal(y, labels)
    assert not torch.equal(x, make(n, seed=seed + 1)[0])
    assert torch.equal(torch.get_rng_state(), before)


@toy
@pytest.mark.parametrize("bad", [1, 0, -3, 2.0, "5"])
def test_sizes_without_a_point_for_each_class_are_refused(make, bad):
    with pytest.raises(ValueError, match="n must be a whole number of at least 2, one point for each"):
        make(bad)


@given(sizes, seeds, st.floats(0, 0.79))
def test_disc_and_ring_are_where_they_say(n, seed, gap):
    x, y = data.disc_and_ring(n, seed=seed, gap=gap)
    radius = x.double().norm(dim=1)
    assert (radius[y == 0] <= 0.55 - gap / 2 + 1e-6).all()
    assert ((radius[y == 1] >= 0.55 + gap / 2 - 1e-6) & (radius[y == 1] <= 0.95 + 1e-6)).all()


def test_the_gap_moves_the_points_and_draws_no_others():
    for gap in (0.0, 0.2, 0.5):
        x, y = data.disc_and_ring(100, gap=gap)
        angles = torch.atan2(x[:, 1], x[:, 0])
        default, labels = data.disc_and_ring(100)
        assert torch.allclose(angles, torch.atan2(default[:, 1], default[:, 0]), atol=1e-5)
        assert torch.equal(y, labels)
    assert torch.equal(data.disc_and_ring(100, gap=0.2)[0], default)


@pytest.mark.parametrize("bad", [-0.1, 0.8, float("nan"), float("inf")])
def test_a_gap_without_room_for_both_classes_is_refused(bad):
    with pytest.raises(ValueError, match="gap must be at least 0 and below 0.8"):
        data.disc_and_ring(10, gap=bad)


def test_disc_and_ring_are_uniform_by_area():
    x, y = data.disc_and_ring(20_000)
    radius = x.norm(dim=1)
    inside = (radius[y == 0] < 0.45 / math.sqrt(2)).float().mean()  # half of the disc's area
    middle = (radius[y == 1] < math.sqrt((0.65**2 + 0.95**2) / 2)).float().mean()  # half of the ring's
    right = (x[:, 0] > 0).float().mean()
    for share in (inside, middle, right):
        assert abs(share - 0.5) < 0.02  # four standard deviations of a mean of 10,000 are 0.02


@given(sizes, seeds, st.floats(0.25, 4))
def test_the_arms_of_a_spiral_keep_their_distance(n, seed, turns):
    x, y = data.spiral(n, seed=seed, turns=turns)
    radius, angle = x.double().norm(dim=1), torch.atan2(x[:, 1], x[:, 0]).double()
    # Undo the winding: what is left of the angle is the arm the point lies on.
    rest = angle - 2 * math.pi * turns * (radius - 0.1) / 0.85
    assert torch.equal((rest.cos() < 0).long(), y)
    assert (rest.cos().abs() > 0.99).all()


@given(sizes, seeds)
def test_moons_without_noise_lie_on_two_half_circles(n, seed):
    x, y = data.moons(n, seed=seed, noise=0.0)
    x = 1.5 * x.double() + torch.tensor([0.5, 0.25])
    centre = torch.stack([y.double(), 0.5 * y], dim=1)  # of scikit-learn's moons: (0, 0) and (1, 0.5)
    assert (((x - centre).norm(dim=1) - 1).abs() < 1e-5).all()
    assert ((x - centre)[:, 1] * (1 - 2 * y) >= -1e-5).all()


@given(sizes, seeds, st.floats(0, 3))
def test_moons_stay_in_the_square_whatever_the_noise(n, seed, noise):
    assert data.moons(n, seed=seed, noise=noise)[0].abs().max() <= 1


def test_whole_numbers_may_be_those_of_numpy():
    n, p = np.int64(20), np.arange(12)[7]
    assert torch.equal(data.moons(n, seed=np.int64(3))[0], data.moons(20, seed=3)[0])
    assert torch.equal(data.digits(n).x_train, data.digits(20).x_train)
    assert torch.equal(data.table("divide", p)[1], data.table("divide", 7)[1])


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: data.spiral(5, turns=0), "turns must be above 0 and at most 10, got 0"),
        (lambda: data.spiral(5, turns=math.nan), "turns must be above 0 and at most 10, got nan"),
        (lambda: data.moons(5, noise=-0.1), "noise must be a finite number of at least 0, got -0.1"),
        (lambda: data.moons(5, noise=math.inf), "noise must be a finite number of at least 0, got inf"),
    ],
)
def test_shapes_that_cannot_be_are_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def images(x):
    return {row.numpy().tobytes() for row in x}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("n_train", [10, 57, 200, None])
def test_digits_are_split_by_class_without_overlap(seed, n_train):
    x_train, y_train, x_test, y_test = data.digits(n_train, seed=seed)
    n = 1200 if n_train is None else n_train
    assert x_train.shape == (n, 64) and x_test.shape == (597, 64) and x_train.dtype == torch.float32
    assert y_train.dtype == torch.int64 and y_train.shape == (n,) and y_test.shape == (597,)
    assert x_train.min() == 0 and x_train.max() == 1  # and no more: ink is 0 to 16 sixteenths
    assert not images(x_train) & images(x_test)
    shares = torch.tensor([178, 182, 177, 183, 181, 182, 181, 179, 174, 180]) / 1797  # of all digits
    for y in (y_train, y_test):
        assert ((y.bincount(minlength=10) - len(y) * shares).abs() <= 2).all()


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    labels = {(row / 16).astype("float32").tobytes(): int(label) for row, label in zip(x, y, strict=True)}
    x_train, y_train, x_test, y_test = data.digits()
    assert len(labels) == 1797  # all different, so an image finds its label
    for images, found in [(x_train, y_train), (x_test, y_test)]:
        assert [labels[row.numpy().tobytes()] for row in images] == found.tolist()


def test_a_smaller_training_set_begins_a_larger_one_and_the_test_images_stay():
    small, large, other = data.digits(50), data.digits(), data.digits(seed=1)
    assert torch.equal(small.x_train, large.x_train[:50]) and torch.equal(small.x_test, large.x_test)
    assert images(other.x_test) != images(large.x_test)


@pytest.mark.parametrize("bad", [9, 0, 1201, 200.0])
def test_digits_that_are_not_there_are_refused(bad):
    with pytest.raises(ValueError, match="n_train must be a whole number from 10 to 1200, got .* 1797 dig"):
        data.digits(bad)
