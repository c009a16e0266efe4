"""The figures: pixels against the network itself, and what every reader must be able to tell apart."""

import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.events import EventManager, available_events
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from torch import nn

from minigrok import models
from minigrok.course import _pixels, plots
from minigrok.regions import Plane, partition


@pytest.fixture(autouse=True)
def no_figures_left():
    with plt.rc_context():
        yield
    plt.close("all")


def net(widths, seed=0):
    return models.mlp(widths, generator=torch.Generator().manual_seed(seed), scale=1.5).double()


def half_plane():
    """One output, positive where the second coordinate is."""
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.0, 1.0]]))
        model[0].bias.fill_(10.0)
        model[2].weight.fill_(1.0)
        model[2].bias.fill_(-10.0)
    return model


def pixel_centres(box, height, width):
    """Written again, on purpose: where the centres of the pixels lie, first row at the top."""
    (x0, x1), (y0, y1) = box
    x = x0 + (x1 - x0) * (np.arange(width) + 0.5) / width
    y = y1 - (y1 - y0) * (np.arange(height) + 0.5) / height
    return np.stack(np.meshgrid(x, y), axis=-1)


def luminance(colour):
    """Relative luminance of WCAG 2."""
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


# ---- pixels ------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), widths=st.lists(st.integers(1, 12), min_size=1, max_size=3))
def test_the_region_at_a_pixel_is_the_one_whose_affine_map_is_the_network_there(seed, widths):
    model = net([2, *widths, 2], seed)
    box = ((-1.0, 2.0), (-0.5, 1.0))
    cut = partition(model, box)
    faces = _pixels.faces_at_pixels(cut, (40, 80))
    points = pixel_centres(box, 40, 80)
    by_map = np.einsum("hwok,hwk->hwo", cut.slopes[faces], points) + cut.offsets[faces]
    with torch.no_grad():
        by_model = model(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(by_map, by_model, atol=1e-9)


def test_lines_that_meet_exactly_at_pixel_centres_leave_no_streaks():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    with torch.no_grad():  # x = 0, y = 0 and both diagonals through one corner, in the middle of a pixel
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]]))
        model[0].bias.zero_()
    cut = partition(model)
    faces = _pixels.faces_at_pixels(cut, (41, 41))
    points = pixel_centres(cut.box, 41, 41)
    clear = (np.abs(points).min(axis=-1) > 1e-6) & (
        np.abs(np.abs(points[..., 0]) - np.abs(points[..., 1])) > 1e-6
    )
    sector = np.floor(np.arctan2(points[..., 1], points[..., 0]) / (np.pi / 4)).astype(int)
    assert cut.n_regions == 8
    assert all(len(np.unique(faces[clear & (sector == k)])) == 1 for k in range(-4, 4))


@pytest.mark.parametrize("n_out", [1, 2, 5])
def test_the_class_at_a_pixel_is_the_networks(n_out):
    model = net([2, 12, 12, n_out], seed=3)
    with torch.no_grad():
        model[-1].bias -= model(torch.zeros(1, 2).double())[0]  # so that all classes meet in the middle
    cut = partition(model)
    classes = _pixels.classes_at_pixels(cut, _pixels.faces_at_pixels(cut, (90, 90)))
    with torch.no_grad():
        outputs = model(torch.from_numpy(pixel_centres(cut.box, 90, 90))).numpy()
    expected = outputs[..., 0] > 0 if n_out == 1 else outputs.argmax(axis=-1)
    margin = (
        np.abs(outputs).min(axis=-1) if n_out == 1 else np.diff(np.sort(outputs, axis=-1)[..., -2:])[..., 0]
    )
    assert len(np.unique(classes)) > 1
    assert (classes == expected)[margin > 1e-9].all()


def test_a_picture_of_a_wide_box_is_wide_and_its_first_row_is_the_top():
    cut = partition(half_plane(), ((-2.0, 2.0), (-0.5, 0.5)))
    image = plots.region_image(cut, 200, lines=None, boundary=False)
    assert image.shape == (50, 200, 3) and image.dtype == np.uint8
    assert len(np.unique(image[:25].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(image[25:].reshape(-1, 3), axis=0)) == 1
    assert image[0, 0, 2] < image[-1, 0, 2], "class 1 (orange, with less blue) belongs above"


def test_points_lie_where_they_belong_and_classes_differ_in_shape():
    cut = partition(net([2, 3, 1]))
    points, labels = np.array([[-0.5, 0.5], [0.5, -0.5]]), np.array([0, 1])
    bare = plots.region_image(cut, 100, lines=None)
    image = plots.region_image(
        cut, 100, lines=None, points=torch.from_numpy(points), labels=torch.from_numpy(labels)
    )
    changed = (image != bare).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert changed[25, 25] and changed[75, 75]
    assert (
        np.hypot(rows - 24.5, columns - 24.5).clip(max=20)
        + np.hypot(rows - 74.5, columns - 74.5).clip(max=20)
        < 27
    ).all()
    assert changed[:50].sum() != changed[50:].sum(), "a disc and a square"


def test_the_boundary_and_the_lines_are_where_the_partition_has_them():
    cut = partition(net([2, 6, 1], seed=2))
    shape = (200, 200)
    path = _pixels.along(_pixels.to_pixels(cut, cut.vertices[cut.edges], shape))
    x, y = pixel_centres(cut.box, *shape)[np.clip(path[:, 1], 0, 199), np.clip(path[:, 0], 0, 199)].T
    a, b = cut.vertices[cut.edges].transpose(1, 0, 2)
    t = np.einsum("nek,ek->ne", np.stack([x, y], axis=1)[:, None] - a, b - a) / ((b - a) ** 2).sum(axis=1)
    nearest = a + t.clip(0, 1)[..., None] * (b - a) - np.stack([x, y], axis=1)[:, None]
    assert np.hypot(*nearest.transpose(2, 0, 1)).min(axis=1).max() < 0.011, "within a pixel of an edge"


def test_a_frame_has_few_colours_for_a_small_png():
    image = plots.region_image(partition(net([2, 24, 24, 2])))
    assert image.shape == (320, 320, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) < 64


@pytest.mark.parametrize("draw", [plots.region_image, plots.regions])
def test_bad_arguments_are_refused_in_words(draw):
    cut = partition(net([2, 4, 1]))
    with pytest.raises(
        ValueError, match='colour must be "random", "slope", "layer", "class", .* got \'red\''
    ):
        draw(cut, colour="red")
    with pytest.raises(
        ValueError, match=rf"one number for each of the {cut.n_regions} regions, got shape \(2,\)"
    ):
        draw(cut, colour=np.zeros(2))
    with pytest.raises(ValueError, match='lines must be "layer", "plain" or None, got \'all\''):
        draw(cut, lines="all")
    with pytest.raises(
        ValueError, match=r"points \(N, 2\) and labels \(N,\), got shapes \(3, 2\) and \(4,\)"
    ):
        draw(cut, points=np.zeros((3, 2)), labels=np.zeros(4))
    with pytest.raises(ValueError, match=r"points \(N, 2\).*\(3, 5\)"):
        draw(cut, points=np.zeros((3, 5)))


# ---- region maps -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["random", "slope", "layer", "class", None])
@pytest.mark.parametrize("n_out", [1, 2, 3])
def test_every_colouring_draws(colour, n_out):
    cut = partition(net([2, 8, 8, n_out]))
    axes = plots.regions(cut, colour=colour)
    axes.figure.canvas.draw()
    assert axes.get_xlim() == (-1, 1) and axes.get_ylim() == (-1, 1)
    assert plots.region_image(cut, 64, colour=colour).shape == (64, 64, 3)


def test_degenerate_partitions_draw():
    dead = net([2, 5, 1])
    torch.nn.init.zeros_(dead[0].weight)
    cut = partition(dead)
    assert cut.n_regions == 1
    for colour in ("random", "slope", "layer", "class", np.ones(1)):
        plots.regions(cut, colour=colour).figure.canvas.draw()
        plots.region_image(cut, 32, colour=colour)


def test_a_plane_through_a_bigger_input_space_draws():
    plane = Plane.through(torch.zeros(9), torch.eye(9)[0], torch.eye(9)[1])
    axes = plots.regions(partition(net([9, 12, 12, 3]), ((-2, 2), (-1, 1)), plane=plane))
    assert axes.get_xlim() == (-2, 2)


def test_the_legend_names_layers_boundary_and_classes():
    model = net([2, 8, 8, 1])
    with torch.no_grad():
        model[-1].bias -= model(torch.zeros(1, 2).double())[0]
    points = np.array([[0.1, 0.2], [0.3, -0.4]])
    axes = plots.regions(partition(model), points=points, labels=[0, 1])
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["layer 1", "layer 2", "decision boundary", "class 0", "class 1"]
    _, mine = plt.subplots()
    assert plots.regions(partition(model), mine) is mine and mine.get_legend() is None


def test_numbers_on_regions_have_a_labelled_colour_bar():
    cut = partition(net([2, 8, 1]))
    axes = plots.regions(cut, colour=cut.areas, colour_label="area")
    assert [a.get_ylabel() for a in axes.figure.axes] == ["$x_2$", "area"]


def test_many_regions_are_drawn_as_one_path_a_layer():
    cut = partition(net([2, 40, 40, 40, 2]))
    axes = plots.regions(cut, boundary=False)
    assert len(axes.patches) == 3 and not axes.collections and not axes.get_lines(), "no artist for each edge"


def test_the_same_figure_gives_the_same_file(tmp_path):
    plots.use_style()
    cut = partition(net([2, 8, 8, 1]))
    for kind in ("png", "svg"):
        options = {"metadata": {"Date": None}} if kind == "svg" else {}
        for name in ("one", "two"):
            plots.regions(cut).figure.savefig(tmp_path / f"{name}.{kind}", **options)
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()


# ---- curves, maps, dots ------------------------------------------------------------------------------------


def test_curves_show_the_median_and_the_spread_of_the_seeds():
    steps, runs = [0, 1, 10, 100], np.array([[0.0, 1, 2, 3], [2, 3, 4, 5], [10, 11, 12, 13]])
    axes = plots.curves(steps, {"seeds": runs, "one run": runs[0]}, ylabel="loss")
    line = axes.get_lines()[0]
    np.testing.assert_array_equal(line.get_ydata(), [2, 3, 4, 5])
    corners = axes.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 0 and corners[:, 1].max() == 13 and len(axes.collections) == 1
    assert axes.get_legend().get_title().get_text() == "median of 3 seeds,\nband: lowest to highest"
    half = plots.curves(steps, {"seeds": runs}, ylabel="loss", band="quartiles")
    assert half.get_legend().get_title().get_text() == "median of 3 seeds,\nband: middle half"
    assert half.collections[0].get_paths()[0].vertices[:, 1].max() == 9
    alone = plots.curves(steps, {"one run": runs[0]}, ylabel="loss")
    assert alone.get_legend().get_title().get_text() == ""


def test_the_legend_has_the_order_of_the_last_values():
    steps = [0, 1, 2]
    axes = plots.curves(steps, {"low": [5, 5, 1], "high": [0, 0, 3], "middle": [0, 0, 2]}, ylabel="y")
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["high", "middle", "low"]
    assert plots.curves(steps, {"low": [5, 5, 1]}, ylabel="y", legend=False).get_legend() is None


def test_log_axes_are_labelled_in_plain_numbers():
    steps = [0, 1, 10, 100, 1000, 10_000]
    axes = plots.curves(steps, {"a": np.arange(6.0)}, ylabel="y")
    axes.figure.canvas.draw()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert [text for text in labels if text in ("0", "1", "10", "100", "1,000", "10,000")] == labels
    assert "10,000" in labels and "0" in labels
    logarithmic = plots.curves(steps[1:], {"a": np.arange(5.0)}, ylabel="y", xscale="log")
    logarithmic.figure.canvas.draw()
    assert "1,000" in [label.get_text() for label in logarithmic.get_xticklabels()]


def test_numbers_below_zero_have_a_minus_sign_and_no_hyphen():
    axes = plots.curves([-20, 0, 20], {"a": [-1.0, 0.0, 1.0]}, ylabel="y", xscale="linear")
    axes.figure.canvas.draw()
    for axis in (axes.xaxis, axes.yaxis):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        assert any("\N{MINUS SIGN}" in text for text in labels) and not any("-" in text for text in labels)


@pytest.mark.parametrize(("panels", "last"), [(1, 100_000), (3, 100_000), (3, 1_000_000), (3, 100)])
def test_labels_of_steps_do_not_touch(panels, last):
    steps = np.append(0, np.geomspace(1, last, 13).round())
    found = {title: (steps, {"a": np.arange(14.0)}) for title in "abc"[:panels]}
    for ax in plots.side_by_side(found, ylabel="y"):
        ax.figure.canvas.draw()
        labels = [label for label in ax.get_xticklabels() if label.get_text()]
        assert labels[0].get_text() == "0" and labels[-1].get_text() == f"{last:,}"
        boxes = [label.get_window_extent() for label in labels]
        gaps = [after.x0 - before.x1 for before, after in pairwise(boxes)]
        assert min(gaps) > 0.04 * ax.figure.dpi, "at least the width of half a digit"


def test_a_log_axis_that_begins_late_has_room_for_all_its_labels():
    _, axes = plt.subplots(1, 2, figsize=(6.6, 2.6))
    for ax in axes:
        plots.curves([700, 5000, 25_000], {"a": [0, 1, 2]}, ax, ylabel="", xscale="log", legend=False)
    axes[0].figure.canvas.draw()
    low, high = axes[0].get_xlim()
    shown = [label for label in axes[0].get_xticklabels() if low < label.get_position()[0] < high]
    assert [label.get_text() for label in shown] == ["1,000", "10,000"]
    assert shown[0].get_window_extent().x1 < shown[1].get_window_extent().x0


def test_curves_refuse_what_does_not_fit():
    with pytest.raises(
        ValueError, match=r"curve 'a': expected \(3,\) or \(seeds, 3\), .* got the shape \(2,\)"
    ):
        plots.curves([0, 1, 2], {"a": [1, 2]}, ylabel="y")
    with pytest.raises(ValueError, match='logarithmic axis has no place for step 0. Use xscale="symlog"'):
        plots.curves([0, 1], {"a": [1, 2]}, ylabel="y", xscale="log")
    with pytest.raises(ValueError, match='xscale must be "symlog", "log" or "linear", got \'logit\''):
        plots.curves([0, 1], {"a": [1, 2]}, ylabel="y", xscale="logit")
    with pytest.raises(ValueError, match='band must be "range" or "quartiles", got \'std\''):
        plots.curves([0, 1], {"a": [[1, 2], [2, 3]]}, ylabel="y", band="std")


def test_heat_has_its_first_row_below_and_a_labelled_bar():
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    axes = plots.heat(
        values, ((0, 2), (0, 2)), label="lines", boundary=np.array([[[0, 0], [2, 2]]]), limits=(0, 5)
    )
    assert axes.images[0].origin == "lower" and axes.images[0].get_clim() == (0, 5)
    assert axes.figure.axes[1].get_ylabel() == "lines"
    with pytest.raises(ValueError, match=r"a grid \(H, W\) of numbers, got the shape \(3,\)"):
        plots.heat(np.zeros(3), ((0, 2), (0, 2)), label="lines")


def test_dots_refuse_an_empty_group():
    with pytest.raises(ValueError, match="at least one group with at least one number"):
        plots.dots({"wide": []}, xlabel="regions")


# ---- for every reader --------------------------------------------------------------------------------------


def test_figures_keep_their_white_panel():
    plt.style.use("dark_background")
    plots.use_style()
    figure = plots.curves([0, 1], {"a": [0, 1]}, ylabel="y").figure
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert (pixels[0, 0] == 255).all() and (pixels[60, pixels.shape[1] // 3] == 255).all()
    assert luminance(plt.rcParams["text.color"]) < 0.05


def test_notebooks_show_png_with_two_dots_a_pixel(monkeypatch):
    formats, events = [], EventManager(None, available_events)
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(events=events))
    monkeypatch.setattr("matplotlib_inline.backend_inline.set_matplotlib_formats", formats.append)
    plots.use_style()
    assert formats == ["retina"]


@pytest.mark.parametrize("missing", ["IPython", "matplotlib_inline.backend_inline"])
def test_the_style_asks_for_no_notebook(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    plots.use_style()
    assert plt.rcParams["axes.titlelocation"] == "left"


def test_a_curve_is_told_apart_without_colour():
    plots.use_style()
    axes = plots.curves([0, 1, 2], {str(k): [k, k, k] for k in range(7)}, ylabel="y")
    signs = {
        (str(line.get_linestyle()), str(line._dash_pattern), line.get_marker()) for line in axes.get_lines()
    }
    assert len(signs) == 7


def test_layers_go_from_dark_to_light_in_grey():
    brightness = [luminance(colour) for colour in plots.LAYER_COLOURS]
    assert all(b > 1.5 * a for a, b in zip(brightness, brightness[1:], strict=False))
    assert list(plots.LAYER_WIDTHS) == sorted(plots.LAYER_WIDTHS, reverse=True)


def test_the_first_colours_have_contrast_on_white():
    assert all(1.05 / (luminance(colour) + 0.05) > 3 for colour in plots.PALETTE[:3])


def test_two_classes_differ_in_grey():
    image = plots.region_image(partition(half_plane()), 32, lines=None, boundary=False)
    below, above = (luminance(image[row, 0] / 255) for row in (-1, 0))
    assert (below + 0.05) / (above + 0.05) > 1.15


# ---- tables of arithmetic ----------------------------------------------------------------------------------


def test_a_hidden_cell_of_a_table_does_not_show_its_answer():
    values = np.add.outer(np.arange(5), np.arange(5)) % 5
    hidden = np.zeros((5, 5), dtype=bool)
    hidden[1, 2] = True
    ax = plots.table(values, hidden=hidden, names=list("ABCDE"))
    written = np.array([text.get_text() for text in ax.texts]).reshape(5, 5)
    assert written[1, 2] == "?" and written[2, 1] == "D"
    assert np.isnan(np.ma.filled(ax.images[0].get_array(), np.nan)[1, 2]), "nor by its colour"


@pytest.mark.parametrize(
    "values, options",
    [((2, 3), {}), ((3, 3), {"hidden": np.zeros((2, 2), dtype=bool)}), ((3, 3), {"names": ["a"]})],
)
def test_a_table_that_does_not_fit_is_refused(values, options):
    with pytest.raises(ValueError, match=r"expected values and hidden \(p, p\) and p names"):
        plots.table(np.zeros(values, dtype=int), **options)


def test_every_pair_of_a_table_of_answers_has_its_own_square():
    right, trained = np.random.default_rng(0).random((2, 7, 7)) < 0.5
    image = plots.answers_image(right, trained, 30)
    assert image.shape == (28, 28, 3) and image.dtype == np.uint8, "four pixels a pair, none is cut"
    squares = image.reshape(7, 4, 7, 4, 3).transpose(0, 2, 1, 3, 4).reshape(49, 16, 3)
    assert (squares == squares[:, :1]).all()
    kinds = {(t, r): {tuple(c) for c in squares[(trained == t).ravel() & (right == r).ravel(), 0]}
             for t in (True, False) for r in (True, False)}  # fmt: skip
    assert all(len(colours) == 1 for colours in kinds.values())
    shades = sorted(luminance(np.array(next(iter(colours))) / 255) for colours in kinds.values())
    assert min(np.diff(shades)) > 0.1, "the four kinds differ in grey too"


def test_a_ring_goes_through_its_points_and_closes():
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    image = plots.ring_image(np.stack([np.cos(angle), np.sin(angle)], axis=1), limit=2.0, size=200)
    rows, columns = np.nonzero((image != 255).any(axis=-1))
    x, y = (columns + 0.5) / 50 - 2, 2 - (rows + 0.5) / 50
    assert np.abs(np.hypot(x, y) - 1).max() < 0.13, "nothing but the ring and its dots"
    drawn = np.arctan2(y, x)
    assert np.diff(np.sort(drawn)).max() < 0.1, "no gap, not even between the last point and the first"
    orange = image[100, 148:152, 0].mean(), image[100, 148:152, 2].mean()
    assert orange[0] > orange[1], "the first point, at angle 0, has a colour of its own"


@pytest.mark.parametrize("points, limit", [((0, 2), 1.0), ((3, 3), 1.0), ((3, 2), 0.0)])
def test_a_ring_without_points_or_size_is_refused(points, limit):
    with pytest.raises(ValueError, match=r"expected points \(n, 2\) and a limit above 0"):
        plots.ring_image(np.zeros(points), limit)


def test_tables_of_answers_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="expected two tables of one shape, at most 320 wide"):
        plots.answers_image(np.zeros((3, 3)), np.zeros((3, 4)))


def test_bars_are_as_high_and_as_coloured_as_asked():
    image = plots.bars_image(np.array([0.25, 1.0, 0.0, 9.0]), limit=1.0, size=240, marked=[1]).astype(int)
    assert image.shape == (160, 240, 3)
    blue = image[..., 2] > image[..., 0] + 50
    orange = image[..., 0] > image[..., 2] + 50
    heights = [(blue | orange)[:, 60 * k + 30].sum() / 156 for k in range(4)]  # the foot takes 4 rows
    np.testing.assert_allclose(heights, [0.25, 1, 0, 1], atol=0.01)
    assert orange[80, 90] and not orange[:, :60].any() and not blue[:, 60:120].any()
    assert image[-1, 90].sum() < image[-1, 30].sum(), "in grey the marked bar has a dark foot"


@pytest.mark.parametrize("shape, limit", [((0,), 1.0), ((2, 2), 1.0), ((500,), 1.0), ((3,), 0.0)])
def test_bars_without_numbers_or_height_are_refused(shape, limit):
    with pytest.raises(ValueError, match="expected from 1 to 320 heights"):
        plots.bars_image(np.zeros(shape), limit)


# ---- phases and waits --------------------------------------------------------------------------------------


def test_a_phase_diagram_tells_phases_apart_without_colour():
    names = np.array([["comprehension", "grokking"], ["memorisation", "confusion"]])
    ax = plots.phases(names, [[20, 340], [np.nan, np.inf]], x=[0.1, 1], y=[0.3, 0.6], xlabel="x", ylabel="y")
    tiles = [patch for patch in ax.patches if patch.get_width() == 1]
    assert len({tile.get_hatch() for tile in tiles}) == 4
    assert [(text.get_text(), text.get_position()) for text in ax.texts] == [("20", (0, 0)), ("340", (1, 0))]
    assert tiles[1].get_xy() == (0.5, -0.5), "the second tile is right of the first, the first row below"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(names.ravel())


def test_phases_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"unknown phases \['boredom'\]; there are comprehension, grokking"):
        plots.phases([["boredom"]], [[1]], x=[1], y=[1], xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="for 1 rows and 2 columns"):
        plots.phases([["grokking"]], [[1]], x=[1, 2], y=[1], xlabel="x", ylabel="y")


def test_waits_show_what_did_not_come_at_the_end():
    ax = plots.waits({"a": [10, np.nan, 30], "b": [np.nan, np.nan, 5]}, 100, xlabel="step")
    dots, arrows, bar = ax.get_lines()[:3]
    np.testing.assert_array_equal(dots.get_xdata(), [10, 30])
    np.testing.assert_array_equal(arrows.get_xdata(), [100])
    assert list(bar.get_xdata()) == [30, 30], "the median of 10, 30 and later"
    assert len(ax.get_lines()) == 6, "no bar where most did not come"
    with pytest.raises(ValueError, match="at least one group with at least one number"):
        plots.waits({"a": []}, 100, xlabel="step")


# ---- adversarial examples ----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_walk_stands_in_a_ball_of_its_norm(norm):
    path = np.array([[0.2, 0.3], [0.4, 0.3], [0.4, 0.6]])
    ax = plots.regions(partition(net([2, 3, 1])))
    limits = ax.get_xlim(), ax.get_ylim()
    ball = plots.walk(path, ax, eps=0.5, norm=norm).patches[-1]
    (outline,) = ball.get_patch_transform().transform_path(ball.get_path()).to_polygons()
    away = outline - path[0]
    reach = np.abs(away).max(axis=1) if norm == "linf" else np.linalg.norm(away, axis=1)
    np.testing.assert_allclose(reach, 0.5, rtol=0.03)  # a circle as a polygon of 16 sides
    assert (ax.get_xlim(), ax.get_ylim()) == limits
    np.testing.assert_array_equal(ax.get_lines()[-1].get_xydata()[0], path[-1])


def test_a_walk_that_does_not_fit_is_refused():
    ax = plt.figure().add_subplot()
    with pytest.raises(ValueError, match=r"expected the points of a walk \(K, 2\), got the shape \(3,\)"):
        plots.walk(np.zeros(3), ax)
    with pytest.raises(ValueError, match='norm must be "linf" or "l2", got \'l1\''):
        plots.walk(np.zeros((2, 2)), ax, norm="l1")


def test_pictures_show_ink_as_black_and_changes_by_their_sign():
    ramp = np.linspace(0, 1, 4).reshape(1, 2, 2)
    axes = plots.pictures({"image": ramp, "change": ramp - 0.75}, signed=["change"], titles=["4 → 9"])
    image, change = (ax.images[0].to_rgba(ax.images[0].get_array())[..., :3] for ax in axes[:, 0])
    assert luminance(image[0, 0]) > 0.9 and luminance(image[1, 1]) < 0.05
    more, less = change[1, 1], change[0, 0]
    assert more[0] > more[2] and less[2] > less[0], "orange is more ink, violet less"
    assert axes[1, 0].images[0].get_clim() == (-0.75, 0.75), (
        "no change is white on a scale with 0 in the middle"
    )
    assert [ax.get_title(loc="center") for ax in axes[:, 0]] == ["", "4 → 9"]


def test_changes_tell_their_sign_without_colour():
    change = np.array([[[-0.2, -0.1], [0.01, 0.16]]])
    axes = plots.pictures({"image": np.abs(change), "change": change}, signed=["change"])
    strokes = {2: "minus", 4: "plus"}  # the ends of the lines of a marker
    signs = {
        tuple(map(int, at)): strokes[len(marks.get_paths()[0].vertices)]
        for marks in axes[1, 0].collections
        for at in marks.get_offsets()
    }
    assert signs == {(0, 0): "minus", (1, 0): "minus", (1, 1): "plus"}, "a pixel that hardly changes has none"
    assert not axes[0, 0].collections, "an image has no sign"


@pytest.mark.parametrize(
    "rows, titles",
    [
        ({}, None),
        ({"a": np.zeros((2, 8, 8)), "b": np.zeros((3, 8, 8))}, None),
        ({"a": np.zeros((2, 8, 8))}, ["x"]),
        ({"a": np.zeros((8, 8))}, None),
    ],
)
def test_pictures_that_do_not_fit_are_refused(rows, titles):
    with pytest.raises(ValueError, match=r"expected rows of pictures of one shape \(C, H, W\) and C titles"):
        plots.pictures(rows, titles=titles)


# ---- panels side by side -----------------------------------------------------------------------------------


def test_panels_share_one_scale_and_one_legend():
    steps = [0, 1, 10]
    panels = {
        "a": (steps, {"one": np.array([1.0, 2.0, 3.0])}),
        "b": (steps[:2], {"one": np.array([5.0, 6.0]), "two": np.array([0.5, 7.0])}),
    }
    axes = plots.side_by_side(panels, ylabel="count", xlabel="levels", xscale="linear")
    assert [ax.get_title(loc="left") for ax in axes] == ["a", "b"]
    assert axes[0].get_ylim() == axes[1].get_ylim() and axes[0].get_ylim()[0] == 0
    assert axes[0].get_legend() is None
    assert {text.get_text() for text in axes[1].get_legend().get_texts()} == {"one", "two"}
    assert [ax.get_ylabel() for ax in axes] == ["count", ""] and axes[1].get_xlabel() == "levels"
    own = plots.side_by_side(panels, ylabel="count", same_y=False)
    assert own[0].get_ylim() != own[1].get_ylim()


def test_no_panels_are_refused():
    with pytest.raises(ValueError, match="expected at least one panel"):
        plots.side_by_side({}, ylabel="count")
