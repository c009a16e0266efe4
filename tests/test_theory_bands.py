"""theory.simultaneous_band: how often it holds, counted in simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import t as student_t

from minigrok.theory import simultaneous_band

POINTS, TRIALS = 30, 1000


def coverage(draw, seeds, level=0.95, mean=0.0):
    """In what share of the trials the band holds the true mean at all points, and at the first alone."""
    whole = single = 0
    for trial in range(TRIALS):
        band = simultaneous_band(draw(np.random.default_rng(trial), (seeds, POINTS)), level)
        held = (band.low <= mean) & (mean <= band.high)
        whole, single = whole + held.all(), single + held[0]
    return whole / TRIALS, single / TRIALS


def light(g, shape):
    return g.normal(size=shape) * np.geomspace(0.01, 100, shape[1])


def heavy(g, shape):
    """One number for each seed moves its whole curve: correlation .98 between any two points."""
    return 7 * g.normal(size=(shape[0], 1)) + g.normal(size=shape)


def walk(g, shape):
    return g.normal(size=shape).cumsum(axis=1)


@pytest.mark.parametrize("seeds", [3, 20])
@pytest.mark.parametrize("draw", [light, heavy, walk])
def test_it_holds_at_all_points_at_once_as_often_as_it_says(draw, seeds):
    spare = 3 * np.sqrt(0.05 * 0.95 / TRIALS)
    assert coverage(draw, seeds)[0] >= 0.95 - spare
    assert coverage(draw, seeds, level=0.5)[0] >= 0.5 - spare


def test_it_is_no_wider_than_need_be_where_the_points_are_independent():
    assert coverage(light, 20)[0] <= 0.97
    assert coverage(light, 20, level=0.5)[0] <= 0.68  # (1 - .5 / 30)^30 = .604


def test_points_that_move_together_make_it_wider_than_need_be():
    assert coverage(heavy, 20)[0] > 0.98  # as the docstring says: on the safe side


def test_a_band_for_each_point_by_itself_would_not_hold():
    """Student's interval at each of the points: the mistake that the function is there to avoid."""
    held = []
    for trial in range(300):
        x = light(np.random.default_rng(trial), (20, POINTS))
        error = x.std(axis=0, ddof=1) / np.sqrt(20)
        held.append((np.abs(x.mean(axis=0)) <= student_t.ppf(0.975, 19) * error).all())
    assert np.mean(held) < 0.4


def test_skewed_losses_need_more_seeds():
    """What the docstring warns of: a mean that few seeds make is missed more often."""

    def skewed(g, shape):
        return np.exp(2 * g.normal(size=shape))

    assert coverage(skewed, 20, mean=np.exp(2))[0] < 0.3
    assert coverage(skewed, 20, mean=np.exp(2))[0] < coverage(skewed, 80, mean=np.exp(2))[0]


def test_one_point_gives_students_interval():
    x = np.random.default_rng(0).normal(size=(7, 1))
    low, high = simultaneous_band(x, 0.9)
    expected = student_t.interval(0.9, 6, loc=x.mean(), scale=x.std(ddof=1) / np.sqrt(7))
    np.testing.assert_allclose([low[0], high[0]], expected, rtol=1e-10)


@settings(max_examples=50)
@given(arrays(float, (4, 3), elements=st.floats(-100, 100)), st.floats(-50, 50), st.floats(0.1, 9))
def test_it_moves_and_stretches_with_the_samples(x, shift, scale):
    low, high = simultaneous_band(x)
    moved = simultaneous_band(scale * x + shift)
    np.testing.assert_allclose(moved, [scale * low + shift, scale * high + shift], atol=1e-8)
    wider = simultaneous_band(x, 0.99)
    assert (wider.low <= low).all() and (low <= high).all() and (high <= wider.high).all()


def test_it_takes_lists_and_whole_numbers():
    band = simultaneous_band([[1, 5], [3, 5]])
    assert band.low.dtype == np.float64 and band.low[1] == band.high[1] == 5


@pytest.mark.parametrize(
    "samples, words",
    [
        (np.zeros(3), r"expected samples \(seeds, points\), at least 2 seeds; got the shape \(3,\)"),
        (np.zeros((1, 3)), r"at least 2 seeds; got the shape \(1, 3\)"),
        (np.zeros((3, 0)), r"got the shape \(3, 0\)"),
        (np.array([[1.0, 2.0], [np.nan, np.inf], [0.0, 0.0]]), "NaN or infinite values in 1 of 3 seeds"),
    ],
)
def test_samples_without_a_mean_are_refused(samples, words):
    with pytest.raises(ValueError, match=words):
        simultaneous_band(samples)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_a_level_is_a_chance(level):
    with pytest.raises(ValueError, match="level must be above 0 and below 1"):
        simultaneous_band(np.zeros((3, 2)), level)
