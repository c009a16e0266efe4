"""The figures of patterns: what a region's colour says, and what is refused."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb

from minigrok import models, naps
from minigrok.course import plots
from minigrok.regions import partition


@pytest.fixture(autouse=True)
def no_figures_left():
    with plt.rc_context():
        yield
    plt.close("all")


@pytest.fixture
def cut():
    return partition(models.mlp([2, 6, 6, 2], generator=torch.Generator().manual_seed(0), scale=1.5).double())


def pixels(ax, cut):
    """The picture that is drawn, and for each region the pixel at its interior point."""
    ax.figure.canvas.draw()
    canvas = np.asarray(ax.figure.canvas.buffer_rgba())[..., :3]
    at = ax.transData.transform(cut.interior_points)
    return canvas[(canvas.shape[0] - at[:, 1]).astype(int), at[:, 0].astype(int)]


def test_regions_that_follow_are_coloured_and_no_others(cut):
    follow = np.stack([cut.interior_points[:, 0] > 0.2, cut.interior_points[:, 0] < -0.2], axis=1)
    large = cut.areas > 0.01  # elsewhere a unit's line may cover the pixel
    seen = pixels(plots.followed(cut, follow, names=["right", "left"]), cut)
    assert large.sum() > 10 and (seen[large & ~follow.any(1)] == 255).all()
    right, left = (seen[large & follow[:, k]] for k in (0, 1))
    assert (right == right[0]).all() and (left == left[0]).all() and (right[0] != left[0]).any()
    assert right[0].max() < 255 or right[0].min() < 255


def test_a_region_that_follows_two_is_hatched_and_named(cut):
    both = np.ones((cut.n_regions, 2), dtype=bool)
    ax = plots.followed(cut, both, names=["a", "b"])
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[:1] == ["two or more"] and not {"a", "b"} & set(names)
    assert any(patch.get_hatch() for patch in ax.patches)


def test_the_area_that_is_coloured_is_that_of_the_regions_that_follow(cut):
    net = models.mlp([2, 6, 6, 2], generator=torch.Generator().manual_seed(0), scale=1.5).double()
    nap = naps.of(net, torch.tensor([0.3, 0.1], dtype=torch.float64)).only(1)
    follow = nap.follows(net, torch.from_numpy(cut.interior_points))[:, None].numpy()
    ax = plots.followed(cut, follow, names=["layer 2"])
    ax.figure.canvas.draw()
    path = next(p.get_path() for p in ax.patches if p.get_facecolor()[:3] == to_rgb(plots.PALETTE[0]))
    corners = [(q[:-1], q[1:]) for q in path.to_polygons()]
    area = sum(abs((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / 2 for p, q in corners)
    assert 0 < follow.sum() < cut.n_regions
    assert area == pytest.approx(cut.areas[follow[:, 0]].sum())


def test_follow_that_does_not_fit_is_refused(cut):
    with pytest.raises(ValueError, match=rf"expected follow \({cut.n_regions}, 1\) bool"):
        plots.followed(cut, np.ones((3, 1), dtype=bool), names=["a"])
    with pytest.raises(ValueError, match=r"got int64"):
        plots.followed(cut, np.ones((cut.n_regions, 1), dtype=np.int64), names=["a"])


def test_strips_show_active_dark_inactive_light_and_open_white():
    ax = plots.pattern_strips(np.array([[1, -1, 0]]), [1, 2])
    dark, light, white = ax.images[0].cmap(ax.images[0].norm(np.array([1, -1, 0])))[:, :3].mean(1)
    assert dark < 0.3 < light < white == 1
    (between,) = ax.get_lines()  # of the layers: seen above the cells too
    assert between.get_ydata()[1] > 1 and not between.get_clip_on()


@pytest.mark.parametrize("patterns", [np.zeros((2, 4)), np.full((2, 3), 2), np.zeros(3)])
def test_strips_that_do_not_fit_are_refused(patterns):
    with pytest.raises(ValueError, match=r"expected patterns \(K, 3\) of -1, 0 and 1"):
        plots.pattern_strips(patterns, [1, 2])


def test_equal_numbers_lie_on_the_line_and_both_axes_have_one_scale():
    ax = plots.against({"a": ([0.1, 0.2], [0.1, 0.5]), "b": ([0.3], [0.9])}, xlabel="x", ylabel="y")
    line, first, second = ax.get_lines()
    assert np.array_equal(line.get_xdata(), line.get_ydata())
    assert ax.get_xlim() == ax.get_ylim() and ax.get_xlim()[1] > 0.9
    assert first.get_marker() != second.get_marker() and ax.get_legend() is not None
    with pytest.raises(ValueError, match="expected for each group"):
        plots.against({"a": ([0.1], [0.1, 0.5])}, xlabel="x", ylabel="y")


def test_scores_can_be_read_on_every_ground():
    shares = np.linspace(0, 1, 21)
    ax = plots.scores({"row": shares}, [f"{share:.2f}" for share in shares])
    image = ax.images[0]
    for share, text in zip(shares, ax.texts, strict=True):
        assert text.get_text() == f"{share:.2f}"
        ground, ink = (luminance(c) for c in (image.cmap(image.norm(share)), text.get_color()))
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 4
    with pytest.raises(ValueError, match="numbers between 0 and 1"):
        plots.scores({"row": [1.2]}, ["a"])


def luminance(colour):
    """Relative luminance of WCAG 2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]
