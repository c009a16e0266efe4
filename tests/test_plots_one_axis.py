"""The figures of lesson 14: ridges, dots with intervals, what lies between a proof and an attack."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from minigrok.course import plots

STEPS = np.array([1.0, 10.0, 100.0])


@pytest.fixture(autouse=True)
def no_figures_left():
    with plt.rc_context():
        yield
    plt.close("all")


def test_a_ridge_rises_by_the_share_of_its_change_and_marks_its_turn():
    seeds = np.array([[0, 0.2, 1], [0, 0.4, 1], [0, 0.9, 5]])
    ax = plots.ridges(STEPS, {"a": seeds, "b": [0, 0, 0]}, {"a": 10.0, "b": np.inf}, first=1, marked=(5, 20))
    curve, mark, still = ax.get_lines()
    height = (curve.get_ydata()[0] - curve.get_ydata()) / 0.8
    np.testing.assert_allclose(height, [0, 0.4, 1])  # the median of the seeds, not their mean
    assert mark.get_xdata()[0] == 10 and mark.get_ydata()[0] == pytest.approx(curve.get_ydata()[1])
    assert still.get_color() != curve.get_color()  # no turn: another colour, and no mark
    assert ax.get_xscale() == "log" and ax.yaxis_inverted()


def test_a_ridge_is_cut_off_and_begins_where_it_should():
    ax = plots.ridges(STEPS, {"a": [-5.0, 0.5, 9.0]}, {"a": np.inf}, first=10)
    line = ax.get_lines()[0]
    assert line.get_xdata().tolist() == [10, 100]
    np.testing.assert_allclose(line.get_ydata(), 0.42 - 0.8 * np.array([0.5, 1.2]))


@pytest.mark.parametrize("rows, turns", [({}, {}), ({"a": [0, 1, 1]}, {"b": 3.0})])
def test_ridges_want_a_turn_for_each_row(rows, turns):
    with pytest.raises(ValueError, match="each with its turn"):
        plots.ridges(STEPS, rows, turns, first=1)


def test_intervals_stand_where_their_numbers_are():
    rows = {"before": (-1.0, -1.5, -0.5), "after": (0.5, 0.25, np.inf), "none": (np.inf, np.inf, np.inf)}
    ax = plots.intervals(rows, xlabel="lag")
    bar, dot, bar2, dot2, arrow, hollow, zero = ax.get_lines()
    assert list(bar.get_xdata()) == [-1.5, -0.5] and list(dot.get_xdata()) == [-1.0]
    assert dot.get_marker() != dot2.get_marker() and dot.get_color() != dot2.get_color()
    low, high = ax.get_xlim()
    assert bar2.get_xdata()[0] == 0.25 and 0.5 < bar2.get_xdata()[1] < high and low < -1.5
    assert arrow.get_marker() == hollow.get_marker() == ">" and hollow.get_fillstyle() == "none"
    assert list(zero.get_xdata()) == [0, 0]


def test_intervals_take_limits_and_another_line():
    ax = plots.intervals({"a": (0.7, 0.6, 0.8)}, xlabel="AUC", line=0.5, limits=(0, 1))
    assert ax.get_xlim() == (0, 1) and list(ax.get_lines()[-1].get_xdata()) == [0.5, 0.5]


def test_a_row_of_nan_stays_empty():
    ax = plots.intervals({"a": (np.nan,) * 3, "b": (0.7, 0.6, 0.8)}, xlabel="AUC", line=0.5)
    assert len(ax.get_lines()) == 3 and len(ax.get_yticklabels()) == 2


@pytest.mark.parametrize("rows", [{}, {"a": (1, 2)}])
def test_intervals_want_three_numbers(rows):
    with pytest.raises(ValueError, match="middle, low, high"):
        plots.intervals(rows, xlabel="lag")


def test_the_sandwich_fills_what_is_not_known():
    proved, survived = np.array([[0, 0.1, 0.5], [0, 0.3, 0.7]]), np.array([[0, 0.4, 0.6], [0.2, 0.4, 0.8]])
    ax = plots.sandwich(STEPS, proved, survived)
    corners = ax.collections[0].get_paths()[0].vertices
    assert corners[:, 1].max() == pytest.approx(0.7)
    by_name = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_allclose(by_name["proved robust"], [0, 0.2, 0.6])
    np.testing.assert_allclose(by_name["survive the attack"], [0.1, 0.4, 0.7])


def test_a_proof_that_an_attack_contradicts_is_refused():
    with pytest.raises(ValueError, match="one of the two is wrong"):
        plots.sandwich(STEPS, [0, 0.5, 0.5], [0, 0.4, 0.6])
