"""The figures of the lessons: one palette, region maps, curves over seeds, maps of numbers.

Colour is never the only sign. Curves also differ in line style and marker, classes in marker, layers in
lightness and line width, so that every figure can be read by the colour-blind and in grey. Figures keep their
white panel on a dark page.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, NullLocator

from minigrok.course import _pixels
from minigrok.course._palette import DASHES, FRAME, INK, MUTED, SEQUENTIAL
from minigrok.course._palette import LAYER_COLOURS as LAYER_COLOURS
from minigrok.course._palette import LAYER_WIDTHS as LAYER_WIDTHS
from minigrok.course._palette import MARKERS as MARKERS
from minigrok.course._palette import PALETTE as PALETTE
from minigrok.regions import Partition
from minigrok.theory import simultaneous_band

# One line style for each colour of the palette.
LINESTYLES = tuple((0, dashes) if dashes else "-" for dashes in DASHES)

Lines = Literal["layer", "plain"] | None
Colour = Literal["random", "slope", "layer", "class"] | np.ndarray | None


_STYLE = {
    "figure.figsize": (6.4, 4.0),
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture everywhere
    "font.size": 10,
    "axes.facecolor": "white",
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9A9A9A",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.prop_cycle": mpl.cycler(color=PALETTE) + mpl.cycler(linestyle=LINESTYLES),
    "axes.formatter.useoffset": False,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "image.cmap": SEQUENTIAL,
    "svg.hashsalt": "minigrok",  # the same file for the same figure
}


def use_style() -> None:
    """Set the course's look: sizes, colours, white panels, sharp pictures in notebooks. Safe to call again.

    Used in every lesson.
    """
    mpl.rcParams.update(_STYLE)
    _sharp_in_notebooks()


def _sharp_in_notebooks() -> None:
    """Ask the notebook for PNG with two dots a pixel: as vectors, a map of 20,000 regions takes megabytes."""
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return  # not in a notebook
    if get_ipython() is not None:
        set_matplotlib_formats("retina")


def regions(
    partition: Partition,
    ax: Axes | None = None,
    *,
    colour: Colour = "random",
    boundary: bool = True,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    lines: Lines = "layer",
    legend: bool | None = None,
    colour_label: str = "",
) -> Axes:
    """Draw the linear regions of a network.

    Args:
        partition: what `regions.partition` returns.
        ax: where to draw; None makes a new figure, with a legend.
        colour: of the regions. "random": pale, to tell neighbours apart. "slope": shaded like folded paper
            lit from the upper left (the slope of one output, of the difference of two, or of the largest
            against the mean of all). "layer": the deepest layer on the rim. "class": the largest output, or
            the sign of a single one. An array (F,): one number a region, with a colour bar. None: white.
        boundary: draw the decision boundary.
        points, labels: data (N, 2) and their classes (N,), one marker for each class.
        lines: the units' lines, "layer" by layer, "plain" all the same, or None.
        legend: None is True for a new figure only.
        colour_label: what the numbers of `colour` are, beside the colour bar.

    Returns:
        The Axes.

    Raises:
        ValueError: an unknown colour, or arrays that do not fit.

    Example:
        >>> from minigrok import models
        >>> from minigrok.regions import partition
        >>> ax = regions(partition(models.mlp([2, 8, 1])), colour="slope")
        >>> ax.get_aspect()
        1.0

    Used in lessons 01, 02, 03, 08, 10 and 11.
    """
    legend = ax is None if legend is None else legend
    ax = _axes(ax, (5.0, 5.4))
    (x0, x1), (y0, y1) = partition.box
    if colour is not None:
        pixels = _pixels.painted(partition, _shape(partition, 1200), colour)
        ax.imshow(_pixels.as_bytes(pixels), extent=(x0, x1, y0, y1), interpolation="nearest", zorder=0)
    handles = _draw_lines(ax, partition, lines) + (_draw_boundary(ax, partition) if boundary else [])
    handles += _draw_points(ax, *_checked_points(points, labels))
    if isinstance(colour, np.ndarray):
        ax.figure.colorbar(_pixels.scale(colour), ax=ax, label=colour_label, shrink=0.8, aspect=30)
    if legend and handles:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return _plane_axes(ax, partition.box)


def region_image(
    partition: Partition,
    size: int = 320,
    *,
    colour: Colour = "class",
    boundary: bool = True,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    lines: Lines = "plain",
) -> np.ndarray:
    """The same picture as `regions`, as pixels and fast: one frame of a player.

    In a film take colour "class" or "slope": the colours of "random" jump from frame to frame.

    Args:
        partition: what `regions.partition` returns.
        size: width in pixels; the height follows from the box.
        colour, boundary, points, labels, lines: as for `regions`.

    Returns:
        uint8 (H, W, 3), the first row is the top.

    Raises:
        ValueError: an unknown colour, or arrays that do not fit.

    Example:
        >>> from minigrok import models
        >>> from minigrok.regions import partition
        >>> region_image(partition(models.mlp([2, 8, 1])), size=64).shape
        (64, 64, 3)

    Used in lesson 02, and in the recording of lesson 10.
    """
    points, labels = _checked_points(points, labels)
    shape = tuple(2 * n for n in _shape(partition, size))  # twice as fine, then averaged
    canvas = _pixels.painted(partition, shape, colour)
    pen = _pixels.square(2 if partition.n_regions < 3000 else 1)
    for layer, edges in reversed(list(_by_layer(partition, lines))):
        path = _pixels.along(_pixels.to_pixels(partition, partition.vertices[edges], shape))
        _pixels.stamp(canvas, path, pen, _layer_colour(layer))
    if boundary:
        path = _pixels.along(_pixels.to_pixels(partition, partition.decision_boundary, shape))
        _pixels.stamp(canvas, path, _pixels.disc(4.6), "#FFFFFF")
        _pixels.stamp(canvas, path, _pixels.disc(2.6), "#000000")
    for k in np.unique(labels):
        at = np.rint(_pixels.to_pixels(partition, points[labels == k], shape)).astype(int)
        for radius, colour in ((7, "#FFFFFF"), (5, PALETTE[k % len(PALETTE)])):
            brush = _pixels.square(2 * radius - 1) if k % 2 else _pixels.disc(radius + 0.5)
            _pixels.stamp(canvas, at, brush, colour)
    return _pixels.halved(canvas)


def curves(
    steps: Sequence[float],
    curves: Mapping[str, np.ndarray],
    ax: Axes | None = None,
    *,
    ylabel: str,
    xscale: Literal["symlog", "log", "linear"] = "symlog",
    xlabel: str = "training step",
    band: Literal["range", "quartiles"] = "range",
    legend: bool = True,
) -> Axes:
    """Draw curves over training steps: the median over seeds, and how far the seeds spread.

    Args:
        steps: (T,), increasing.
        curves: for every name one run (T,) or one row for each seed (S, T).
        ax: where to draw; None makes a new figure.
        ylabel, xlabel: the axes' labels.
        xscale: "symlog" is logarithmic and shows step 0 too.
        band: from the lowest to the highest seed, or the middle half of the seeds. The legend says which.
        legend: beside the axes, in the order of the curves' last values.

    Returns:
        The Axes.

    Raises:
        ValueError: curves and steps that do not fit, or step 0 on a purely logarithmic axis.

    Example:
        >>> ax = curves([0, 1, 10, 100], {"train": [0.5, 0.6, 0.9, 1.0]}, ylabel="accuracy")
        >>> ax.get_xscale(), ax.get_ylabel()
        ('symlog', 'accuracy')

    Used in most lessons.
    """
    steps = np.asarray(steps, dtype=float)
    rows = {name: _seeds(name, values, steps) for name, values in curves.items()}
    ax = _axes(ax, (6.4, 4.0))
    for i, (name, values) in enumerate(rows.items()):
        _draw_curve(ax, steps, values, i, len(rows), name, band)
    _step_axis(ax, steps, xscale)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(axis="y")
    if legend:
        lines = sorted(ax.get_lines()[-len(rows) :], key=lambda line: -line.get_ydata()[-1])
        look = {"alignment": "left", "title_fontproperties": {"size": 9}, "handlelength": 3}
        place = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
        ax.legend(handles=lines, title=_spread_in_words(rows, band), **place, **look)
    return ax


def heat(
    values: np.ndarray,
    box: tuple[tuple[float, float], tuple[float, float]],
    ax: Axes | None = None,
    *,
    label: str,
    boundary: np.ndarray | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a grid of numbers over the plane, with a labelled colour bar.

    Args:
        values: (H, W), the first row at the lower edge of the box.
        box: ((x_min, x_max), (y_min, y_max)), the outer edges of the grid.
        ax: where to draw; None makes a new figure.
        label: what the numbers are, with their unit.
        boundary: segments (S, 2, 2) to draw on top, such as `partition.decision_boundary`.
        limits: the numbers of the darkest and the lightest colour, for panels to be compared.

    Returns:
        The Axes.

    Example:
        >>> ax = heat(np.arange(6.0).reshape(2, 3), ((0, 3), (0, 2)), label="count")
        >>> ax.images[0].get_array().shape
        (2, 3)

    Used in lessons 03, 04 and 09.
    """
    values = np.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"expected a grid (H, W) of numbers, got the shape {values.shape}.")
    ax = _axes(ax, (5.6, 4.6))
    low, high = limits or (None, None)
    extent = (*box[0], *box[1])
    look = {"cmap": SEQUENTIAL, "vmin": low, "vmax": high, "interpolation": "nearest"}
    image = ax.imshow(values, extent=extent, origin="lower", **look)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.9, aspect=30)
    if boundary is not None:
        _draw_cased(ax, boundary)
    return _plane_axes(ax, box)


def dots(groups: Mapping[str, Sequence[float]], ax: Axes | None = None, *, xlabel: str) -> Axes:
    """Draw one dot for each seed, one row for each group, and a bar at the group's median.

    Example:
        >>> ax = dots({"wide": [40, 42, 45], "deep": [60, 75, 90]}, xlabel="regions")
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['wide', 'deep']

    Used in lessons 01, 02, 09, 11 and 13.
    """
    if not groups or any(len(values) == 0 for values in groups.values()):
        raise ValueError("expected at least one group with at least one number, such as {'wide': [40, 42]}.")
    ax = _axes(ax, (6.4, 1.1 + 0.5 * len(groups)))
    look = {"color": PALETTE[0], "alpha": 0.65, "markeredgecolor": "white", "markersize": 7}
    for row, values in enumerate(groups.values()):
        sideways = 0.09 * (np.arange(len(values)) % 3 - 1)  # so that equal numbers can be seen
        ax.plot(values, row + sideways, "o", **look)
        ax.plot([np.median(values)] * 2, [row - 0.32, row + 0.32], "-", color=INK, linewidth=2.5)
    ax.set(yticks=range(len(groups)), yticklabels=list(groups), ylim=(len(groups) - 0.4, -0.6), xlabel=xlabel)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(FuncFormatter(_plain))
    return ax


def waits(groups: Mapping[str, Sequence[float]], end: float, ax: Axes | None = None, *, xlabel: str) -> Axes:
    """Draw one dot for each seed at the step where something came, and hollow arrows where it did not come.

    Args:
        groups: for each row the steps of its seeds, NaN where it did not come by the end.
        end: the step at which the runs were ended; the arrows stand there.
        xlabel: what came.

    Returns:
        The Axes. The bar is the median with "not by the end" counted as later than all: there is none where
        half of the seeds or more did not come.

    Example:
        >>> ax = waits({"plain": [120, 90, np.nan], "decay": [40, 45, 50]}, 500, xlabel="first step")
        >>> len(ax.get_lines())  # dots, arrows and a bar; dots and a bar; the line at the end
        6

    Used in lessons 04, 07 and 09.
    """
    if not groups or any(len(values) == 0 for values in groups.values()):
        raise ValueError("expected at least one group with at least one number, such as {'decay': [40, 42]}.")
    ax = _axes(ax, (6.4, 1.1 + 0.42 * len(groups)))
    look = {"alpha": 0.65, "markersize": 7, "linestyle": "none"}
    for row, values in enumerate(groups.values()):
        values = np.asarray(values, dtype=float)
        sideways = row + 0.09 * (np.arange(len(values)) % 3 - 1)
        came = values <= end  # NaN is not
        ax.plot(values[came], sideways[came], "o", color=PALETTE[0], markeredgecolor="white", **look)
        if not came.all():
            ax.plot(
                np.full((~came).sum(), end), sideways[~came], ">", color=PALETTE[1], fillstyle="none", **look
            )
        median = np.median(np.where(came, values, np.inf))
        if median <= end:
            ax.plot([median] * 2, [row - 0.32, row + 0.32], "-", color=INK, linewidth=2.5)
    ax.axvline(end, color=MUTED, linewidth=1, linestyle=":")
    ax.set(yticks=range(len(groups)), yticklabels=list(groups), ylim=(len(groups) - 0.4, -0.6), xlabel=xlabel)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.set_xlim(0, 1.04 * end)
    ax.grid(axis="x")
    ax.xaxis.set_major_formatter(FuncFormatter(_plain))
    return ax


# A phase of learning has a tint and a pattern of its own.
_PHASES = {
    "comprehension": ("#CFE3F2", ""),
    "grokking": ("#F6C9A8", "///"),
    "memorisation": ("#E9E9E9", "..."),
    "confusion": ("#B9B9B9", "xxx"),
}


def phases(
    names: np.ndarray,
    numbers: np.ndarray,
    ax: Axes | None = None,
    *,
    x: Sequence[object],
    y: Sequence[object],
    xlabel: str,
    ylabel: str,
    legend: bool = True,
) -> Axes:
    """Draw a phase diagram: one tile a setting, tint and pattern for the phase, and a step written in it.

    Args:
        names: (H, W) of "comprehension", "grokking", "memorisation" and "confusion", first row below.
        numbers: (H, W), the step written in a tile; where it is NaN or infinite nothing is written.
        x, y: the settings of the W columns and the H rows.
        legend: name the phases that are there.

    Returns:
        The Axes.

    Raises:
        ValueError: an unknown phase, or shapes that do not fit.

    Example:
        >>> ax = phases(np.array([["memorisation", "grokking"]]), np.array([[np.nan, 240]]), x=[0.1, 1.0],
        ...             y=[0.5], xlabel="weight decay", ylabel="share of pairs")
        >>> [text.get_text() for text in ax.texts]
        ['240']

    Used in lesson 07.
    """
    names, numbers = np.asarray(names), np.asarray(numbers, dtype=float)
    if names.shape != (len(y), len(x)) or numbers.shape != names.shape:
        raise ValueError(
            f"expected names and numbers for {len(y)} rows and {len(x)} columns, "
            f"got the shapes {names.shape} and {numbers.shape}."
        )
    if unknown := sorted(set(names.ravel().tolist()) - set(_PHASES)):
        raise ValueError(f"unknown phases {unknown}; there are {', '.join(_PHASES)}.")
    ax = _axes(ax, (1.8 + 0.62 * len(x), 1.2 + 0.42 * len(y)))
    for row, column in np.ndindex(names.shape):
        tint, pattern = _PHASES[names[row, column]]
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=tint, hatch=pattern, edgecolor="white", linewidth=0.8))
        if np.isfinite(numbers[row, column]):
            paper = {"facecolor": tint, "edgecolor": "none", "pad": 1.2}  # so that it reads on a pattern
            ax.text(
                column, row, _plain(numbers[row, column]), ha="center", va="center", fontsize=8, bbox=paper
            )
    ax.set(xlim=(-0.5, len(x) - 0.5), ylim=(-0.5, len(y) - 0.5), xlabel=xlabel, ylabel=ylabel)
    ax.set(xticks=range(len(x)), yticks=range(len(y)), xticklabels=x, yticklabels=y)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if legend:
        present = [name for name in _PHASES if name in names]
        tiles = [
            Patch(facecolor=_PHASES[n][0], hatch=_PHASES[n][1], edgecolor="white", label=n) for n in present
        ]
        ax.legend(
            handles=tiles, loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.4, handleheight=1.8
        )
    return ax


def table(
    values: np.ndarray,
    ax: Axes | None = None,
    *,
    hidden: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Axes:
    """Draw a small table of an operation on p symbols, row a and column b, with a ? where it is hidden.

    Args:
        values: (p, p) whole numbers from 0 to p - 1.
        ax: where to draw; None makes a new figure.
        hidden: (p, p) bool, the cells that are not shown; None shows all.
        names: p short texts, what the symbols are called; None calls them 0 to p - 1.

    Returns:
        The Axes.

    Raises:
        ValueError: arrays that do not fit.

    Example:
        >>> ax = table(np.array([[0, 1], [1, 0]]), hidden=np.array([[False, True], [False, False]]))
        >>> [text.get_text() for text in ax.texts]
        ['0', '?', '1', '0']

    Used in lesson 04.
    """
    values = np.asarray(values)
    p = len(values)
    hidden = np.zeros((p, p), dtype=bool) if hidden is None else np.asarray(hidden)
    names = [str(k) for k in range(p)] if names is None else list(names)
    if values.shape != (p, p) or hidden.shape != (p, p) or len(names) != p:
        raise ValueError(
            f"expected values and hidden (p, p) and p names, got "
            f"{values.shape}, {hidden.shape} and {len(names)}"
        )
    ax = _axes(ax, (3.6, 3.6))
    ax.imshow(np.where(hidden, np.nan, values), cmap=SEQUENTIAL, alpha=0.35, vmin=0, vmax=p - 1)
    for a, b in np.ndindex(p, p):
        ax.text(b, a, "?" if hidden[a, b] else names[values[a, b]], ha="center", va="center")
    ax.set(xticks=range(p), yticks=range(p), xticklabels=names, yticklabels=names, xlabel="$b$", ylabel="$a$")
    ax.xaxis.set(ticks_position="top", label_position="top")
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set(visible=True, color=FRAME)
    return ax


# What a cell of a table looks like: (trained, right) -> colour. In grey they differ too.
_ANSWERS = {
    (True, True): "#C9C9C9",
    (True, False): PALETTE[5],
    (False, True): PALETTE[0],
    (False, False): "#FFFFFF",
}


def answers_image(right: np.ndarray, trained: np.ndarray, size: int = 320) -> np.ndarray:
    """A table of answers as pixels, one square a pair, row a and column b: one frame of a player.

    Trained pairs are grey where the answer is right and orange where it is wrong; hidden pairs are blue where
    it is right and white where it is wrong.

    Args:
        right: (p, p) bool, whether the answer is right.
        trained: (p, p) bool, whether the pair is in the training set.
        size: the picture is at most so many pixels wide, a whole number of pixels for each pair.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ValueError: tables that do not fit, or that are larger than the picture.

    Example:
        >>> answers_image(np.eye(4) > 0, np.ones((4, 4)) > 0, 64).shape
        (64, 64, 3)

    Used in lessons 04 and 09.
    """
    right, trained = np.asarray(right, dtype=bool), np.asarray(trained, dtype=bool)
    if right.ndim != 2 or right.shape != trained.shape or not 0 < max(right.shape) <= size:
        raise ValueError(
            f"expected two tables of one shape, at most {size} wide, got {right.shape} and {trained.shape}"
        )
    colours = _pixels.ink([_ANSWERS[t, r] for t in (False, True) for r in (False, True)])
    canvas = colours[2 * trained + right]
    pixels = np.kron(canvas, np.ones((size // max(canvas.shape),) * 2, dtype=np.uint32))
    return _pixels.as_bytes(np.ascontiguousarray(pixels))[..., :3].copy()


def ring_image(points: np.ndarray, limit: float, size: int = 320) -> np.ndarray:
    """Points in the plane joined to a closed line, in their order, as pixels: one frame of a player.

    Args:
        points: (n, 2). The first is drawn as a square, so that it can be followed.
        limit: the picture shows the square from -limit to limit.
        size: its width in pixels.

    Returns:
        uint8 (size, size, 3), the first row is the top.

    Raises:
        ValueError: no points (n, 2), or a limit that is not above 0.

    Example:
        >>> ring_image(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), limit=1.5, size=64).shape
        (64, 64, 3)

    Used in lessons 04 and 06.
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1:] != (2,) or not len(points) or not limit > 0:
        raise ValueError(f"expected points (n, 2) and a limit above 0, got {points.shape} and {limit}")
    at = size * (points * [1, -1] / limit + 1) - 0.5  # on a canvas twice as fine
    canvas = np.full((2 * size, 2 * size), _pixels.ink(["#FFFFFF"])[0])
    line = _pixels.along(np.stack([at, np.roll(at, -1, axis=0)], axis=1))
    _pixels.stamp(canvas, line, _pixels.square(2), MUTED)
    for brush, colour in ((_pixels.disc(6.5), PALETTE[0]), (_pixels.square(17), PALETTE[1])):
        _pixels.stamp(canvas, np.rint(at).astype(int), brush, colour)
        at = at[:1]
    return _pixels.halved(canvas)


def bars_image(
    heights: np.ndarray, limit: float, size: int = 320, *, marked: Sequence[int] = ()
) -> np.ndarray:
    """Bars side by side as pixels, some of them in another colour: one frame of a player.

    Args:
        heights: (n,), from 0 to `limit`; what is higher is cut off.
        limit: the height of the picture.
        size: its width in pixels at most, a whole number of pixels for each bar; it is two thirds as high.
        marked: which bars are orange rather than blue; a marked bar also has a dark foot.

    Returns:
        uint8 (H, W, 3), the first row is the top.

    Raises:
        ValueError: no numbers, more bars than pixels, or a limit that is not above 0.

    Example:
        >>> bars_image(np.array([0.1, 0.5, 0.2]), limit=1.0, size=60, marked=[1]).shape
        (40, 60, 3)

    Used in lesson 06.
    """
    heights = np.asarray(heights, dtype=float)
    if heights.ndim != 1 or not 0 < len(heights) <= size or not limit > 0:
        raise ValueError(
            f"expected from 1 to {size} heights (n,) and a limit above 0, got {heights.shape} and {limit}"
        )
    width, rows = size // len(heights), 2 * size // 3
    foot = max(2, rows // 40)
    white, blue, orange, dark, pale = _pixels.ink(["#FFFFFF", PALETTE[0], PALETTE[1], INK, FRAME])
    level = np.arange(rows - foot)[::-1, None] + 0.5  # from the top down
    filled = level < np.clip(heights / limit, 0, 1) * (rows - foot)
    special = np.isin(np.arange(len(heights)), marked)
    canvas = np.where(filled, np.where(special, orange, blue), white)
    canvas = np.concatenate([canvas, np.tile(np.where(special, dark, pale), (foot, 1))])
    pixels = np.repeat(canvas, width, axis=1)
    if width > 3:
        pixels[:-foot, ::width] = white  # a gap between bars
    return _pixels.as_bytes(np.ascontiguousarray(pixels))[..., :3].copy()


# ---- adversarial examples ----------------------------------------------------------------------------------


def walk(
    path: np.ndarray,
    ax: Axes,
    *,
    eps: float | None = None,
    norm: Literal["linf", "l2"] = "linf",
    colour: int = 2,
) -> Axes:
    """Draw the walk of an attack in the plane: the ball round its start, every step, and a cross at its end.

    Args:
        path: (K, 2), the points of the walk, the first at the middle of the ball.
        ax: where to draw, such as the Axes that `regions` returns.
        eps: radius of the ball; None draws none.
        norm: "linf", whose ball is a square, or "l2", whose ball is a disc.
        colour: which colour of the palette.

    Returns:
        The Axes, with the limits it had.

    Raises:
        ValueError: no points (K, 2), or another norm.

    Example:
        >>> ax = plt.figure().add_subplot()
        >>> ax = walk(np.array([[0.0, 0.0], [0.1, 0.1], [0.2, 0.1]]), ax, eps=0.2)
        >>> len(ax.patches), len(ax.get_lines())
        (1, 3)

    Used in lesson 08.
    """
    path = np.asarray(path, dtype=float)
    if path.ndim != 2 or path.shape[1:] != (2,) or not len(path):
        raise ValueError(f"expected the points of a walk (K, 2), got the shape {path.shape}")
    if norm not in ("linf", "l2"):
        raise ValueError(f'norm must be "linf" or "l2", got {norm!r}')
    limits = ax.get_xlim(), ax.get_ylim()
    if eps is not None:
        square = Rectangle(path[0] - eps, 2 * eps, 2 * eps)
        ball = square if norm == "linf" else Circle(path[0], eps)
        ball.set(facecolor="none", edgecolor=INK, linewidth=1.4, linestyle="--", zorder=5)
        ax.add_patch(ball)
    look = {"color": PALETTE[colour], "zorder": 6, "markeredgecolor": "white"}
    ax.plot(*path.T, linestyle="-", marker=".", markersize=6, linewidth=1.6, **look)
    ax.plot(*path[0], marker="o", markersize=8, linestyle="none", **look)
    ax.plot(*path[-1], marker="X", markersize=10, linestyle="none", **look)
    ax.set(xlim=limits[0], ylim=limits[1])
    return ax


def pictures(
    rows: Mapping[str, np.ndarray], *, titles: Sequence[str] | None = None, signed: Sequence[str] = ()
) -> np.ndarray:
    """Draw rows of small grey pictures, such as images, what an attack adds to them, and the results.

    Args:
        rows: for each name one row of pictures (C, H, W). 0 is white paper and 1 is black ink.
        titles: C texts above the last row.
        signed: the names of rows whose numbers have a sign: orange is more ink, violet less, white none,
            on one scale for the row.

    Returns:
        The Axes, (R, C).

    Raises:
        ValueError: rows of different shapes, or titles that do not fit.

    Example:
        >>> axes = pictures({"image": np.zeros((3, 8, 8)), "change": np.ones((3, 8, 8))}, signed=["change"])
        >>> axes.shape
        (2, 3)

    Used in lessons 08 and 13.
    """
    rows = {name: np.asarray(values, dtype=float) for name, values in rows.items()}
    shapes = {values.shape for values in rows.values()}
    n = len(next(iter(rows.values()))) if rows else 0
    if len(shapes) != 1 or len(next(iter(shapes))) != 3 or len(titles or range(n)) != n:
        raise ValueError(
            f"expected rows of pictures of one shape (C, H, W) and C titles, got "
            f"{', '.join(map(str, shapes)) or 'nothing'} and {'no' if titles is None else len(titles)} titles"
        )
    size = (1.0 + 1.05 * n, 1.25 * len(rows) + 0.3)
    fig, axes = plt.subplots(len(rows), n, figsize=size, squeeze=False)
    for row, (name, values) in zip(axes, rows.items(), strict=True):
        most = np.abs(values).max() or 1.0
        low, high, colours = (-most, most, "PuOr_r") if name in signed else (0.0, 1.0, "Greys")
        for ax, picture in zip(row, values, strict=True):
            ax.imshow(picture, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color=FRAME)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
    for ax, title in zip(axes[-1], titles or (), strict=False):
        ax.set_title(title, fontsize=10, loc="center")
    return axes


def side_by_side(
    panels: Mapping[str, tuple[Sequence[float], Mapping[str, np.ndarray]]],
    *,
    ylabel: str,
    same_y: bool = True,
    **look: object,
) -> np.ndarray:
    """Draw one panel of `curves` for each title, with one legend, on the right.

    Args:
        panels: title -> (steps (T,), curves by name). The legend is that of the last panel.
        ylabel: of all panels; with `same_y=False`, where each has its own scale, what the first one shows.
        same_y: one scale for all panels, which begins at 0.
        **look: handed to `curves` (xlabel, xscale, band).

    Returns:
        The Axes, one for each panel.

    Example:
        >>> slow, fast = {"train": [1.0, 0.5, 0.2]}, {"train": [1.0, 0.0]}
        >>> axes = side_by_side({"narrow": ([0, 1, 10], slow), "wide": ([0, 5], fast)}, ylabel="loss")
        >>> [ax.get_title(loc="left") for ax in axes], axes[0].get_ylim() == axes[1].get_ylim()
        (['narrow', 'wide'], True)

    Used in lessons 11 and 13.
    """
    if not panels:
        raise ValueError("expected at least one panel, such as {'wide': (steps, {'train': values})}")
    size = (1.4 + 4.3 * len(panels), 3.5)
    _, axes = plt.subplots(1, len(panels), figsize=size, sharey=same_y, squeeze=False)
    last = list(panels)[-1]
    for ax, (title, (steps, named)) in zip(axes[0], panels.items(), strict=True):
        curves(steps, named, ax, ylabel=ylabel if ax is axes[0, 0] else "", legend=title == last, **look)
        ax.set_title(title, loc="left")
    if same_y:
        axes[0, 0].set_ylim(bottom=0)
    return axes[0]


# ---- regions -----------------------------------------------------------------------------------------------


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.figure(figsize=size, layout="compressed").add_subplot() if ax is None else ax


def _plane_axes(ax: Axes, box: object) -> Axes:
    """Equal scales, few ticks, a thin frame."""
    ax.set(xlim=box[0], ylim=box[1], aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    ax.locator_params(nbins=5)
    ax.spines[:].set(visible=True, color=FRAME)
    return ax


def _shape(partition: Partition, width: int) -> tuple[int, int]:
    """Rows and columns of a picture of the box, `width` pixels wide."""
    (x0, x1), (y0, y1) = partition.box
    return max(1, round(width * (y1 - y0) / (x1 - x0))), width


def _checked_points(points: object, labels: object) -> tuple[np.ndarray, np.ndarray]:
    points = np.zeros((0, 2)) if points is None else np.asarray(points, dtype=float)
    labels = np.zeros(len(points), dtype=int) if labels is None else np.asarray(labels).astype(int)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"expected points (N, 2) and labels (N,), got shapes {points.shape} and {labels.shape}."
        )
    return points, labels


def _draw_lines(ax: Axes, partition: Partition, lines: Lines) -> list[Line2D]:
    handles = []
    fine = _room(ax) * min(1.0, (800 / partition.n_regions) ** 0.3)  # many regions: finer lines
    for layer, edges in _by_layer(partition, lines):
        colour, width = _layer_colour(layer), _layer_width(layer)
        _draw_segments(ax, partition.vertices[edges], colour, fine * width, zorder=2 - layer / 100)
        name = "a unit's line" if layer < 0 else f"layer {layer + 1}"
        handles.append(Line2D([], [], color=colour, linestyle="-", linewidth=max(width, 0.9), label=name))
    return handles


def _by_layer(partition: Partition, lines: Lines) -> Iterator[tuple[int, np.ndarray]]:
    """The edges (K, 2) that the units of each layer make; all of them as "layer" -1 where lines are plain."""
    layer = partition.edge_neuron[:, 0]
    if lines == "plain":
        yield -1, partition.edges[layer >= 0]
    elif lines == "layer":
        for k in np.unique(layer[layer >= 0]).tolist():
            yield k, partition.edges[layer == k]
    elif lines is not None:
        raise ValueError(f'lines must be "layer", "plain" or None, got {lines!r}.')


def _layer_colour(layer: int) -> str:
    return "#8A8A8A" if layer < 0 else LAYER_COLOURS[min(layer, len(LAYER_COLOURS) - 1)]


def _layer_width(layer: int) -> float:
    return 0.8 if layer < 0 else LAYER_WIDTHS[min(layer, len(LAYER_WIDTHS) - 1)]


def _draw_segments(ax: Axes, segments: np.ndarray, colour: str, width: float, **options: object) -> None:
    """All segments (S, 2, 2) as one path: many times faster than a collection of S lines."""
    codes = np.tile([Path.MOVETO, Path.LINETO], len(segments))
    path = Path(np.reshape(segments, (-1, 2)), codes)
    ax.add_artist(PathPatch(path, fill=False, edgecolor=colour, linewidth=width, capstyle="round", **options))


def _draw_boundary(ax: Axes, partition: Partition) -> list[Line2D]:
    segments = partition.decision_boundary
    if len(segments) == 0:
        return []
    _draw_cased(ax, segments)
    return [Line2D([], [], color="black", linestyle="-", linewidth=2.6, label="decision boundary")]


def _draw_cased(ax: Axes, segments: np.ndarray) -> None:
    """Black on white, to be seen on every ground."""
    _draw_segments(ax, segments, "white", 4.6 * _room(ax), zorder=3)
    _draw_segments(ax, segments, "black", 2.6 * _room(ax), zorder=3.1)


def _room(ax: Axes) -> float:
    """Below 1 in small panels, where lines and markers have to be finer."""
    return min(1.0, ax.get_position().width * ax.figure.get_figwidth() / 3.5)


def _draw_points(ax: Axes, points: np.ndarray, labels: np.ndarray) -> list[object]:
    room = _room(ax)
    style = {"s": 30 * room**1.5, "edgecolors": "white", "linewidths": 0.8 * room, "zorder": 4}
    handles = []
    for k in np.unique(labels):
        look = {"marker": MARKERS[k % len(MARKERS)], "color": PALETTE[k % len(PALETTE)]}
        handles.append(ax.scatter(*points[labels == k].T, label=f"class {k}", **look, **style))
    return handles


# ---- curves ------------------------------------------------------------------------------------------------


def _seeds(name: str, values: object, steps: np.ndarray) -> np.ndarray:
    """One curve as (S, T)."""
    rows = np.atleast_2d(np.asarray(values, dtype=float))
    if rows.ndim != 2 or rows.shape[1] != len(steps) or len(steps) == 0:
        raise ValueError(
            f"curve {name!r}: expected ({len(steps)},) or (seeds, {len(steps)}), one value for each step, "
            f"got the shape {np.shape(values)}."
        )
    return rows


def _draw_curve(ax: Axes, steps: np.ndarray, rows: np.ndarray, i: int, n: int, name: str, band: str) -> None:
    colour = PALETTE[i % len(PALETTE)]
    if len(rows) > 1:
        low, high = _band(rows, band)
        ax.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
    every = max(1, len(steps) // 8)  # markers on some steps only, not the same ones for all curves
    look = {"linestyle": LINESTYLES[i % len(LINESTYLES)], "marker": MARKERS[i % len(MARKERS)]}
    look |= {"markevery": (i * every // n, every), "markeredgecolor": "white"}
    ax.plot(steps, np.median(rows, axis=0), color=colour, label=name, **look)


def _band(rows: np.ndarray, band: str) -> np.ndarray:
    if band not in ("range", "quartiles"):
        raise ValueError(f'band must be "range" or "quartiles", got {band!r}.')
    return np.quantile(rows, [0.0, 1.0] if band == "range" else [0.25, 0.75], axis=0)


def _spread_in_words(rows: Mapping[str, np.ndarray], band: str) -> str | None:
    counts = sorted({len(values) for values in rows.values()})
    if counts == [1]:
        return None
    seeds = str(counts[-1]) if len(set(counts) - {1}) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"median of {seeds} seeds,\nband: {'lowest to highest' if band == 'range' else 'middle half'}"


def _step_axis(ax: Axes, steps: np.ndarray, xscale: str) -> None:
    """Powers of ten, written out; with "symlog" also step 0."""
    if xscale not in ("symlog", "log", "linear"):
        raise ValueError(f'xscale must be "symlog", "log" or "linear", got {xscale!r}.')
    if xscale == "log" and steps.min() <= 0:
        raise ValueError(f'a logarithmic axis has no place for step {steps.min():g}. Use xscale="symlog".')
    if xscale == "symlog":
        first = steps[steps > 0].min(initial=1.0)
        ax.set_xscale("symlog", linthresh=first, linscale=0.4)
    else:
        ax.set_xscale(xscale)
    ax.xaxis.set_major_formatter(FuncFormatter(_plain))
    if xscale != "linear":
        ax.xaxis.set_minor_locator(NullLocator())


def _plain(value: float, _position: int = 0) -> str:
    """1,000 rather than 10³."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,g}"


# ---- activation patterns -----------------------------------------------------------------------------------


def followed(
    partition: Partition,
    follow: np.ndarray,
    ax: Axes | None = None,
    *,
    names: Sequence[str],
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Axes:
    """Draw which regions of the plane follow which patterns.

    Args:
        partition: what `regions.partition` returns.
        follow: (F, K) bool, whether a region follows each of K patterns (`naps.followers` at its interior
            point: inside a region no unit changes). A region that follows two or more is hatched.
        ax: where to draw; None makes a new figure, with a legend.
        names: of the K patterns.
        points, labels: data (N, 2) and their classes (N,), one marker for each class.

    Returns:
        The Axes. White regions follow none.

    Raises:
        ValueError: `follow` or `names` that do not fit the partition.

    Example:
        >>> from minigrok import models
        >>> from minigrok.regions import partition
        >>> cut = partition(models.mlp([2, 4, 1]))
        >>> ax = followed(cut, cut.interior_points[:, :1] > 0, names=["right half"])
        >>> ax.get_aspect()
        1.0

    Used in lessons 12 and 13.
    """
    follow, alone = np.asarray(follow), ax is None
    if follow.shape != (partition.n_regions, len(names)) or follow.dtype != bool:
        raise ValueError(
            f"expected follow ({partition.n_regions}, {len(names)}) bool, a row for each region and a column "
            f"for each name, got {follow.dtype} {follow.shape}"
        )
    ax = _axes(ax, (5.0, 5.4))
    several, handles = follow.sum(axis=1) > 1, []
    kinds = [(name, follow[:, k] & ~several, k) for k, name in enumerate(names)]
    for name, which, k in [*kinds, ("two or more", several, -1)]:
        look = {"facecolor": PALETTE[k % len(PALETTE)], "alpha": 0.3 + 0.15 * (k % 2)}
        look = {"facecolor": "#D9D9D9", "edgecolor": INK, "hatch": "////"} if k < 0 else look
        closed = [Path(np.concatenate([p, p[:1]]), closed=True) for p in partition.polygons()]
        if which.any():
            whole = Path.make_compound_path(*(p for p, yes in zip(closed, which, strict=True) if yes))
            ax.add_patch(PathPatch(whole, linewidth=0, zorder=0.5, **look))
            handles.append(Patch(label=name, **look))
    handles += _draw_lines(ax, partition, "layer")
    handles += _draw_points(ax, *_checked_points(points, labels))
    if alone:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return _plane_axes(ax, partition.box)


def pattern_strips(
    patterns: np.ndarray, units: Sequence[int], ax: Axes | None = None, **look: object
) -> Axes:
    """Draw patterns as strips: a row for each class, a cell for each unit, the layers side by side.

    Args:
        patterns: (K, sum of units) of 1 (must be active), -1 (must be inactive) and 0 (open).
        units: how many units each layer has.
        ax: where to draw; None makes a new figure.
        **look: handed to `ax.set` (a title, a ylabel).

    Returns:
        The Axes. Active is dark, inactive blue, open white.

    Raises:
        ValueError: patterns that do not fit the layers, or other numbers than -1, 0 and 1.

    Example:
        >>> ax = pattern_strips(np.array([[1, -1, 0], [1, 0, 0]]), [2, 1])
        >>> [text.get_text() for text in ax.texts]
        ['layer 1', 'layer 2']

    Used in lessons 12 and 13.
    """
    patterns = np.asarray(patterns)
    if patterns.ndim != 2 or patterns.shape[1] != sum(units) or not np.isin(patterns, (-1, 0, 1)).all():
        raise ValueError(
            f"expected patterns (K, {sum(units)}) of -1, 0 and 1 for layers of {list(units)} units, "
            f"got the shape {patterns.shape}"
        )
    ax = _axes(ax, (9.6, 0.9 + 0.24 * len(patterns)))
    colours = mpl.colors.ListedColormap([PALETTE[6], "#FFFFFF", INK])
    ax.imshow(patterns, cmap=colours, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    ends = np.cumsum(units)
    for layer, (end, n) in enumerate(zip(ends, units, strict=True)):
        if layer:
            ax.axvline(end - n - 0.5, color=PALETTE[1], linewidth=2.5)
        ax.text(end - (n + 1) / 2, -0.8, f"layer {layer + 1}", ha="center", va="bottom", color=INK)
    ax.set_yticks(np.arange(len(patterns) + 1) - 0.5, minor=True)
    ax.grid(axis="y", which="minor", color=FRAME, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.set(yticks=range(len(patterns)), xticks=[], **look)
    ax.spines[:].set(visible=True, color=FRAME)
    return ax


def against(
    groups: Mapping[str, tuple[np.ndarray, np.ndarray]], ax: Axes | None = None, *, xlabel: str, ylabel: str
) -> Axes:
    """Draw one number of each sample against another, with the line on which they are equal.

    Args:
        groups: for each name x (n,) and y (n,), in the same unit.
        ax: where to draw; None makes a new figure.
        xlabel, ylabel: the axes' labels.

    Returns:
        The Axes, both with the same scale from 0.

    Example:
        >>> ax = against({"digits": ([0.1, 0.2], [0.4, 0.3])}, xlabel="radius", ylabel="distance")
        >>> ax.get_xlim() == ax.get_ylim()
        True

    Used in lesson 12.
    """
    if not groups or any(np.shape(x) != np.shape(y) for x, y in groups.values()):
        raise ValueError("expected for each group x (n,) and y (n,), such as {'digits': (radius, distance)}.")
    ax = _axes(ax, (4.8, 4.4))
    most = 1.05 * max(np.max(values) for pair in groups.values() for values in pair)
    ax.fill_between([0, most], [0, most], color=MUTED, alpha=0.15, linewidth=0)
    ax.plot([0, most], [0, most], color=MUTED, linestyle="-", linewidth=1)
    for k, (name, (x, y)) in enumerate(groups.items()):
        look = {"color": PALETTE[k % len(PALETTE)], "marker": MARKERS[k % len(MARKERS)], "alpha": 0.45}
        ax.plot(x, y, linestyle="none", markersize=4, markeredgecolor="none", label=name, **look)
    ax.set(xlim=(0, most), ylim=(0, most), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    if len(groups) > 1:
        ax.legend(loc="upper right")
    return ax


def scores(values: Mapping[str, Sequence[float]], columns: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw a table of shares between 0 and 1 with the numbers in it, dark where they are low.

    Args:
        values: for the name of each row one number for each column.
        columns: the names of the columns.
        ax: where to draw; None makes a new figure.

    Returns:
        The Axes.

    Example:
        >>> ax = scores({"softmax": [0.9, 0.3]}, ["mistakes", "strangers"])
        >>> [text.get_text() for text in ax.texts]
        ['0.90', '0.30']

    Used in lessons 12 and 14.
    """
    table = np.array(list(values.values()), dtype=float)
    if table.ndim != 2 or table.shape[1] != len(columns) or not ((table >= 0) & (table <= 1)).all():
        raise ValueError(
            f"expected rows of {len(columns)} numbers between 0 and 1, one for each column, "
            f"got {dict(values)}"
        )
    ax = _axes(ax, (2.0 + 0.95 * len(columns), 0.9 + 0.42 * len(values)))
    ax.imshow(table, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    for i, j in np.ndindex(table.shape):
        colour = "white" if table[i, j] < 0.55 else "black"
        ax.text(j, i, f"{table[i, j]:.2f}", ha="center", va="center", color=colour)
    ax.set(
        xticks=range(len(columns)), xticklabels=columns, yticks=range(len(values)), yticklabels=list(values)
    )
    ax.xaxis.set(ticks_position="top", label_position="top")
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set_visible(False)
    return ax


def rooms(
    partition: Partition,
    chosen: Sequence[int],
    ax: Axes | None = None,
    *,
    label: int,
    rival: int,
    path: np.ndarray | None = None,
) -> Axes:
    """Draw by how much a rival's output leads that of a label, exactly, in some of the linear regions.

    Args:
        partition: what `regions.partition` returns, of a network with two outputs or more.
        chosen: (K,) numbers of the regions that are painted; the others stay white.
        ax: where to draw; None makes a new figure.
        label, rival: two outputs. The paint is blue where the label leads and orange where the rival does.
        path: (P, 2) the points of a walk, drawn on top.

    Returns:
        The Axes.

    Raises:
        ValueError: no region chosen, or one that does not exist.

    Example:
        >>> from minigrok import models
        >>> from minigrok.regions import partition
        >>> cut = partition(models.mlp([2, 4, 2]))
        >>> ax = rooms(cut, [0], label=0, rival=1, path=cut.polygons()[0][:2])
        >>> len(ax.collections), len(ax.get_lines())
        (1, 3)

    Used in lesson 13.
    """
    chosen = np.asarray(chosen, dtype=int)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= partition.n_regions:
        raise ValueError(f"expected some of the regions 0 to {partition.n_regions - 1}, got {chosen}")
    ax = _axes(ax, (5.6, 4.8))
    slopes = partition.slopes[:, rival] - partition.slopes[:, label]
    offsets = partition.offsets[:, rival] - partition.offsets[:, label]
    polygons = partition.polygons()
    corners = np.concatenate([polygons[k] for k in chosen])
    values = np.concatenate([polygons[k] @ slopes[k] + offsets[k] for k in chosen])
    first = np.cumsum([0, *(len(polygons[k]) for k in chosen[:-1])])
    fans = [
        (at, at + i, at + i + 1)  # convex: triangles from the first corner
        for at, k in zip(first, chosen, strict=True)
        for i in range(1, len(polygons[k]) - 1)
    ]
    most = np.abs(values).max() or 1.0
    look = {"cmap": "RdBu_r", "vmin": -most, "vmax": most, "shading": "gouraud", "zorder": 0.5}
    paint = ax.tripcolor(*corners.T, fans, values, rasterized=True, **look)
    ax.figure.colorbar(paint, ax=ax, label=f"output {rival} less output {label}", shrink=0.8, aspect=30)
    _draw_lines(ax, partition, "plain")
    _draw_boundary(ax, partition)
    _plane_axes(ax, partition.box)
    return ax if path is None else walk(path, ax)


def triangle(least: float, most: float, ax: Axes | None = None) -> Axes:
    """Draw what a ReLU does between two bounds, and the triangle in which a linear program lets it be.

    Args:
        least, most: the bounds of z, with least < 0 < most.
        ax: where to draw; None makes a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: bounds that decide the unit.

    Example:
        >>> ax = triangle(-1.0, 2.0)
        >>> ax.patches[0].get_xy()[:3].tolist()
        [[-1.0, 0.0], [0.0, 0.0], [2.0, 2.0]]

    Used in lesson 13.
    """
    if not least < 0 < most:
        raise ValueError(f"expected least < 0 < most, else the unit is no switch; got {least} and {most}")
    ax = _axes(ax, (4.8, 3.4))
    corners = np.array([[least, 0], [0, 0], [most, most]])
    ax.fill(*corners.T, color=PALETTE[0], alpha=0.25, linewidth=0, label="what the relaxation allows")
    above = {"color": PALETTE[0], "linestyle": "--", "label": "the line above"}
    ax.plot([least, most], [0, most], **above)
    ax.plot(*corners.T, color=INK, linestyle="-", linewidth=2.6, label="what the unit does")
    ax.set(xlabel="z", ylabel="u", xticks=[least, 0, most], yticks=[0, most])
    ax.legend(loc="upper left")
    return ax


# ---- many measures on one axis -----------------------------------------------------------------------------


def ridges(
    steps: Sequence[float],
    rows: Mapping[str, np.ndarray],
    turns: Mapping[str, float],
    ax: Axes | None = None,
    *,
    first: float,
    marked: tuple[float, float] | None = None,
) -> Axes:
    """Draw curves of many measures above one another, each from 0 to 1, with a mark where each turns.

    Args:
        steps: (T,), increasing.
        rows: for each name, from the top down, how much of its change a measure has made, (T,) or one row for
            each seed (S, T); the median is drawn. What is below -.2 or above 1.2 is cut off.
        turns: name -> the step of its turn, infinite where it does not turn; that row is grey.
        ax: where to draw; None makes a new figure.
        first: the axis begins here, on a logarithmic scale.
        marked: an interval of steps to shade through all rows.

    Returns:
        The Axes.

    Raises:
        ValueError: rows that do not fit the steps, or a row without its turn.

    Example:
        >>> rows = {"loss": [0.0, 0.8, 1.0], "accuracy": [0.0, 0.1, 1.0]}
        >>> ax = ridges([1, 10, 100], rows, {"loss": 5.0, "accuracy": 50.0}, first=1)
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['loss', 'accuracy']

    Used in lesson 14.
    """
    steps, missing = np.asarray(steps, dtype=float), set(rows) - set(turns)
    if missing or not rows:
        raise ValueError(f"expected rows, each with its turn; without one are {sorted(missing)}")
    ax = _axes(ax, (6.4, 0.9 + 0.34 * len(rows)))
    shown = steps >= first
    if marked is not None:
        ax.axvspan(*marked, color=MUTED, alpha=0.18, linewidth=0)
    for row, (name, values) in enumerate(rows.items()):
        share = np.clip(np.median(_seeds(name, values, steps), axis=0), -0.2, 1.2)[shown]
        colour = PALETTE[0] if np.isfinite(turns[name]) else MUTED
        curve = row + 0.42 - 0.8 * share
        ax.fill_between(steps[shown], row + 0.42, curve, color=colour, alpha=0.22, linewidth=0)
        ax.plot(steps[shown], curve, color=colour, linestyle="-", linewidth=1.2)
        if np.isfinite(turns[name]):
            height = np.interp(np.log(turns[name]), np.log(steps[shown]), curve)
            look = {"marker": "D", "markersize": 5, "markeredgecolor": "white"}
            ax.plot([turns[name]], [height], color=PALETTE[1], **look)
    ax.set_xscale("log")
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.4, -0.7))
    ax.set(xlim=(first, steps[-1]), xlabel="training step")
    ax.xaxis.set_major_formatter(FuncFormatter(_plain))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    return ax


def intervals(
    rows: Mapping[str, Sequence[float]],
    ax: Axes | None = None,
    *,
    xlabel: str,
    line: float = 0.0,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a dot and an interval for each name, one a row; what is infinite stands as an arrow at the edge.

    Args:
        rows: name -> (middle, low, high), from the top down. An infinite middle is a hollow arrow at the
            right edge; an interval whose high end is infinite ends in an arrow there; NaN leaves a row empty.
        ax: where to draw; None makes a new figure.
        xlabel: of the axis.
        line: a number to compare with, as a dotted line.
        limits: of the axis; None: the finite numbers with a margin.

    Returns:
        The Axes.

    Raises:
        ValueError: rows that are not three numbers.

    Example:
        >>> ax = intervals({"loss": (-0.5, -0.6, -0.4), "entropy": (np.inf, np.inf, np.inf)}, xlabel="lag")
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['loss', 'entropy']

    Used in lesson 14.
    """
    if not rows or any(np.shape(values) != (3,) for values in rows.values()):
        raise ValueError("expected for each row (middle, low, high), such as {'loss': (-0.5, -0.6, -0.4)}")
    table = np.array([list(values) for values in rows.values()], dtype=float)
    ax = _axes(ax, (6.4, 1.0 + 0.3 * len(rows)))
    finite = table[np.isfinite(table)]
    spread = max(np.ptp(np.append(finite, line)), 1e-3)
    low, high = limits or (min(finite.min(initial=line), line) - 0.06 * spread,
                           max(finite.max(initial=line), line) + 0.12 * spread)  # fmt: skip
    for row, (middle, left, right) in enumerate(table):
        edge, size = high - 0.02 * (high - low), {"markersize": 7}
        if np.isnan(middle):
            continue
        if np.isinf(middle):
            ax.plot([edge], [row], ">", color=PALETTE[1], fillstyle="none", **size)
            continue
        colour = PALETTE[0] if middle < line else PALETTE[1] if middle > line else INK
        marker = "o" if middle < line else "s" if middle > line else "D"
        ax.plot([left, min(right, edge)], [row, row], "-", color=colour, linewidth=2)
        ax.plot([middle], [row], marker, color=colour, markeredgecolor="white", **size)
        if not np.isfinite(right):
            ax.plot([edge], [row], ">", color=colour, markersize=5)
    ax.axvline(line, color=MUTED, linewidth=1, linestyle=":")
    ax.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.4, -0.6), xlabel=xlabel)
    ax.set_xlim(low, high)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    ax.grid(axis="both")
    return ax


def sandwich(
    steps: Sequence[float],
    proved: np.ndarray,
    survived: np.ndarray,
    ax: Axes | None = None,
    *,
    ylabel: str = "share of the images",
) -> Axes:
    """Draw what is proved robust, what survives an attack, and the gap in between, over training steps.

    Args:
        steps: (T,), increasing and above 0.
        proved, survived: (T,) or one row for each seed (S, T); the truth lies between the two.
        ax: where to draw; None makes a new figure.
        ylabel: of the axis.

    Returns:
        The Axes.

    Raises:
        ValueError: more proved than survived, which cannot be; or shapes that do not fit.

    Example:
        >>> ax = sandwich([10, 100], [0.1, 0.5], [0.3, 0.6])
        >>> ax.get_xscale()
        'log'

    Used in lesson 14.
    """
    steps = np.asarray(steps, dtype=float)
    low, high = (_seeds(name, v, steps) for name, v in (("proved", proved), ("survived", survived)))
    if low.shape != high.shape or (low > high + 1e-9).any():
        raise ValueError("more is proved robust than survives the attack: one of the two is wrong")
    ax = _axes(ax, (6.4, 3.6))
    middle = [np.median(rows, axis=0) for rows in (low, high)]
    ax.fill_between(steps, *middle, color=MUTED, alpha=0.3, linewidth=0, label="not known")
    for k, (rows, name) in enumerate([(high, "survive the attack"), (low, "proved robust")]):
        for row in rows if 1 < len(rows) <= 10 else []:  # more would hide the gap
            ax.plot(steps, row, color=PALETTE[k], linestyle=LINESTYLES[k], linewidth=0.7, alpha=0.5)
        look = {"linestyle": LINESTYLES[k], "marker": MARKERS[k], "markeredgecolor": "white"}
        ax.plot(steps, middle[1 - k], color=PALETTE[k], label=name, **look)
    _step_axis(ax, steps, "log")
    ax.set(xlabel="training step", ylabel=ylabel, ylim=(0, 1))
    ax.grid(axis="y")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


# ---- theory against simulation -----------------------------------------------------------------------------


def line_on_band(
    x: Sequence[float],
    theory: Sequence[float],
    samples: np.ndarray,
    ax: Axes | None = None,
    *,
    label: str,
    i: int = 0,
    xlabel: str = "",
    ylabel: str = "",
    xscale: Literal["log", "linear", "symlog"] = "log",
    yscale: Literal["log", "linear"] = "linear",
    level: float = 0.95,
    legend: bool = True,
) -> Axes:
    """Draw a theory's line over what a simulation measured, with the band that the line must lie in.

    The line is the theory. Dots are the means over seeds, and the band is the `theory.simultaneous_band`
    around them: where all seeds there could be have their mean, at all points at once. Every seed is a faint
    line. A dot is hollow where the theory leaves the band, so that nothing hides in the width of a line.

    Args:
        x: (P,), increasing; the places of the dots.
        theory: (P,), the theory at the same places; the line has a gap where it is NaN or infinite.
        samples: (S, P), one row for each of at least 2 seeds.
        ax: where to draw, on top of what is there already; None makes a new figure.
        label: what this pair is, for the legend.
        i: the number of the pair on these axes; gives colour, dashes and marker.
        xlabel, ylabel: the axes' labels; "" leaves them as they are.
        xscale: "log", "linear", or "symlog", which shows 0 too.
        yscale: "log" or "linear". A band that reaches below 0 ends at the lower edge of a log axis.
        level: the level of the band.
        legend: beside the axes, with a word on how to read it.

    Returns:
        The Axes.

    Raises:
        ValueError: shapes that do not fit, fewer than 2 seeds, values a log axis has no place for.

    Example:
        >>> x, noise = np.array([1.0, 10.0, 100.0]), np.random.default_rng(0).normal(size=(20, 3))
        >>> ax = line_on_band(x, 1 / x, 1 / x + 0.01 * noise, label="1/x", ylabel="height")
        >>> ax.get_xscale(), ax.get_legend().get_texts()[0].get_text()
        ('log', '1/x')

    Used in lessons 05, 15 and 16.
    """
    x, theory, samples = (np.asarray(values, dtype=float) for values in (x, theory, samples))
    if x.ndim != 1 or theory.shape != x.shape or samples.shape[1:] != x.shape:
        raise ValueError(
            f"curve {label!r}: expected x (P,), theory (P,) and samples (seeds, P), got the shapes "
            f"{x.shape}, {theory.shape} and {samples.shape}"
        )
    theory = np.where(np.isfinite(theory), theory, np.nan)
    if yscale == "log" and (theory <= 0).any():
        raise ValueError(f'a logarithmic axis has no place for {np.nanmin(theory):g}. Use yscale="linear".')
    band, mean = simultaneous_band(samples, level), samples.mean(axis=0)
    ax = _axes(ax, (6.4, 4.0))
    _step_axis(ax, x, xscale)
    ax.set_yscale(yscale)
    look = {"color": PALETTE[i % len(PALETTE)], "zorder": 2}
    ax.plot(x, samples.T, "-", linewidth=0.5, alpha=min(0.3, 5 / len(samples)), **look)
    ax.fill_between(x, *band, alpha=0.3, linewidth=0, **look)
    dash, marker = LINESTYLES[i % len(LINESTYLES)], MARKERS[i % len(MARKERS)]
    ax.plot(x, theory, linestyle=dash, **look)
    outside = (theory < band.low) | (theory > band.high)
    for at, fill, edge in ((~outside, "full", "white"), (outside, "none", look["color"])):
        dots = {"marker": marker, "linestyle": "none", "fillstyle": fill, "markeredgecolor": edge}
        ax.plot(x[at], mean[at], **dots, **look)
    ax.plot([], [], linestyle=dash, marker=marker, markeredgecolor="white", label=label, **look)
    ax.set(**{name: text for name, text in (("xlabel", xlabel), ("ylabel", ylabel)) if text})
    ax.grid(axis="y")
    if legend:
        words = f"line: theory\ndots: mean of {len(samples)} seeds\nband: {level:.0%}, at all\ndots at once"
        hollow = any(line.get_fillstyle() == "none" and len(line.get_xdata()) for line in ax.get_lines())
        words += "\nhollow: theory outside" if hollow else ""
        look = {"alignment": "left", "title_fontproperties": {"size": 9}, "handlelength": 3}
        ax.legend(title=words, loc="center left", bbox_to_anchor=(1.0, 0.5), **look)
    return ax
