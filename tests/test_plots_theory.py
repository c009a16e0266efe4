"""plots.line_on_band: the line, the band and the dots stand where their numbers are."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from minigrok.course import plots
from minigrok.theory import simultaneous_band

X = np.array([1.0, 10.0, 100.0, 1000.0])
LINE = np.array([1.0, 0.5, 0.2, 0.1])


@pytest.fixture(autouse=True)
def no_figures_left():
    with plt.rc_context():
        yield
    plt.close("all")


def samples(seeds=20, seed=0):
    return LINE * (1 + 0.05 * np.random.default_rng(seed).normal(size=(seeds, len(X))))


def draw(theory=LINE, runs=None, **options):
    return plots.line_on_band(X, theory, samples() if runs is None else runs, label="loss", **options)


def of_marker(ax, fillstyle):
    lines = [line for line in ax.get_lines() if line.get_marker() not in ("None", None, "")]
    return np.concatenate([line.get_xydata() for line in lines if line.get_fillstyle() == fillstyle])


def test_every_seed_is_a_faint_line_and_the_dots_are_their_means():
    ax = draw()
    heights = [line.get_ydata() for line in ax.get_lines() if line.get_linewidth() < 1]
    np.testing.assert_allclose(heights, samples())
    dots = of_marker(ax, "full")
    np.testing.assert_allclose(dots[np.argsort(dots[:, 0])], np.c_[X, samples().mean(axis=0)])


def test_the_band_is_the_simultaneous_one():
    corners = draw(level=0.9).collections[0].get_paths()[0].vertices
    band = simultaneous_band(samples(), level=0.9)
    for x, low, high in zip(X, *band, strict=True):
        heights = corners[corners[:, 0] == x, 1]
        assert heights.min() == pytest.approx(low) and heights.max() == pytest.approx(high)


def test_the_theory_is_the_one_thick_line_in_the_dashes_of_its_number():
    for i in (0, 1, 8):
        lines = draw(i=i, legend=False).get_lines()
        (theory,) = [line for line in lines if np.array_equal(line.get_ydata(), LINE)]
        assert theory.get_linewidth() > 1
        assert to_rgb(theory.get_color()) == to_rgb(plots.PALETTE[i % len(plots.PALETTE)])


def test_pairs_on_the_same_axes_differ_in_more_than_colour():
    ax = draw()
    draw(ax=ax, theory=LINE / 2, runs=samples() / 2, i=1)
    first, second = ax.get_legend().get_lines()
    assert first.get_marker() != second.get_marker()
    assert first.get_linestyle() != second.get_linestyle() and first.get_color() != second.get_color()


def test_a_dot_is_hollow_exactly_where_the_theory_leaves_the_band():
    band = simultaneous_band(samples())
    theory = np.array([band.low[0], band.high[1] * 1.001, band.low[2] * 0.999, band.high[3]])
    ax = draw(theory)
    assert of_marker(ax, "none")[:, 0].tolist() == [10, 100]
    assert sorted(of_marker(ax, "full")[:, 0]) == [1, 1000]
    assert "hollow" in ax.get_legend().get_title().get_text()
    assert "hollow" not in draw().get_legend().get_title().get_text()


def test_the_line_has_a_gap_where_there_is_no_theory():
    ax = draw(LINE * [1, np.nan, np.inf, 1], yscale="log")
    assert not len(of_marker(ax, "none")) and len(of_marker(ax, "full")) == 4  # no claim, none broken
    (theory,) = [line for line in ax.get_lines() if np.isnan(line.get_ydata()).any()]
    assert np.isnan(theory.get_ydata()).tolist() == [False, True, True, False]


def test_the_legend_says_how_to_read_it_and_can_be_left_out():
    legend = draw(level=0.9).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["loss"]
    words = legend.get_title().get_text()
    assert "line: theory" in words and "mean of 20 seeds" in words and "90%" in words
    assert draw(legend=False).get_legend() is None


def test_labels_of_the_axes_stay_where_they_are_not_given():
    ax = draw(xlabel="step", ylabel="loss")
    draw(ax=ax, i=1)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")


def test_a_band_below_zero_can_be_drawn_on_logarithmic_axes():
    wide = LINE * (1 + 3 * np.random.default_rng(0).random((3, 4)))
    assert simultaneous_band(wide).low.min() < 0
    ax = draw(runs=wide, yscale="log")
    ax.figure.canvas.draw()  # no warning
    low, high = ax.get_ylim()
    assert ax.get_xscale() == ax.get_yscale() == "log" and 0.01 < low < 0.1 < 1 < high < 20


def test_symlog_has_a_place_for_zero():
    ax = plots.line_on_band([0, 1, 10, 100], LINE, samples(), label="loss", xscale="symlog")
    assert ax.get_xscale() == "symlog"


@pytest.mark.parametrize(
    "theory, runs, words",
    [
        (LINE[:3], samples(), r"got the shapes \(4,\), \(3,\) and \(20, 4\)"),
        (LINE, samples()[:, :3], r"\(20, 3\)"),
        (LINE, samples()[0], r"\(4,\), \(4,\) and \(4,\)"),
        (LINE, samples()[:1], "at least 2 seeds"),
        (LINE, samples() * np.nan, "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(theory, runs, words):
    with pytest.raises(ValueError, match=words):
        draw(theory, runs)


def test_a_logarithmic_axis_refuses_what_it_cannot_show():
    with pytest.raises(ValueError, match='no place for 0. Use yscale="linear"'):
        draw(LINE * [1, 1, 1, 0], yscale="log")
    with pytest.raises(ValueError, match="no place for step 0"):
        plots.line_on_band([0, 1, 10, 100], LINE, samples(), label="loss")
