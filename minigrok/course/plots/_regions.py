"""Maps of the plane: linear regions, the patterns and proofs on them, grids of numbers, an attack's walk."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch, PathPatch, Rectangle
from matplotlib.path import Path

from minigrok.course import _pixels
from minigrok.course._palette import INK, LAYER_COLOURS, LAYER_WIDTHS, MARKERS, PALETTE, SEQUENTIAL
from minigrok.course.plots._axes import axes_or_new, plane_axes
from minigrok.regions import Partition

Lines = Literal["layer", "plain"] | None
Colour = Literal["random", "slope", "layer", "class"] | np.ndarray | None


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
    ax = axes_or_new(ax, (5.0, 5.4))
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
    return plane_axes(ax, partition.box)


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

    Raises:
        ValueError: what is no grid (H, W).

    Example:
        >>> ax = heat(np.arange(6.0).reshape(2, 3), ((0, 3), (0, 2)), label="count")
        >>> ax.images[0].get_array().shape
        (2, 3)

    Used in lessons 03, 04 and 09.
    """
    values = np.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"expected a grid (H, W) of numbers, got the shape {values.shape}.")
    ax = axes_or_new(ax, (5.6, 4.6))
    low, high = limits or (None, None)
    extent = (*box[0], *box[1])
    look = {"cmap": SEQUENTIAL, "vmin": low, "vmax": high, "interpolation": "nearest"}
    image = ax.imshow(values, extent=extent, origin="lower", **look)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.9, aspect=30)
    if boundary is not None:
        _draw_cased(ax, boundary)
    return plane_axes(ax, box)


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
        >>> from matplotlib import pyplot as plt
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
    ax = axes_or_new(ax, (5.0, 5.4))
    several, handles = follow.sum(axis=1) > 1, []
    closed = [Path(np.concatenate([p, p[:1]]), closed=True) for p in partition.polygons()]
    kinds = [(name, follow[:, k] & ~several, k) for k, name in enumerate(names)]
    for name, which, k in [*kinds, ("two or more", several, -1)]:
        look = {"facecolor": PALETTE[k % len(PALETTE)], "alpha": 0.3 + 0.15 * (k % 2)}
        look = {"facecolor": "#D9D9D9", "edgecolor": INK, "hatch": "////"} if k < 0 else look
        if which.any():
            whole = Path.make_compound_path(*(p for p, yes in zip(closed, which, strict=True) if yes))
            ax.add_patch(PathPatch(whole, linewidth=0, zorder=0.5, **look))
            handles.append(Patch(label=name, **look))
    handles += _draw_lines(ax, partition, "layer")
    handles += _draw_points(ax, *_checked_points(points, labels))
    if alone:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    return plane_axes(ax, partition.box)


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
        label, rival: two outputs. The paint is blue where the label leads and red where the rival does.
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
    ax = axes_or_new(ax, (5.6, 4.8))
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
    plane_axes(ax, partition.box)
    return ax if path is None else walk(path, ax)


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
