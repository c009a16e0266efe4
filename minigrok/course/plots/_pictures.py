"""Pictures side by side, and pictures as pixels, which are the frames of a player."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from minigrok.course import _pixels
from minigrok.course._palette import FRAME, INK, MUTED, PALETTE
from minigrok.course.plots._curves import curves

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


def pictures(
    rows: Mapping[str, np.ndarray], *, titles: Sequence[str] | None = None, signed: Sequence[str] = ()
) -> np.ndarray:
    """Draw rows of small grey pictures, such as images, what an attack adds to them, and the results.

    Args:
        rows: for each name one row of pictures (C, H, W). 0 is white paper and 1 is black ink.
        titles: C texts above the last row.
        signed: the names of rows whose numbers have a sign: orange is more ink, violet less, white none,
            on one scale for the row. A plus or a minus stands on each pixel that changes by a third of the
            most or more, since in grey orange and violet are alike.

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
            if name in signed:
                _signs(picture / most, ax, size[0] / n)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color=FRAME)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", color=INK)
    for ax, title in zip(axes[-1], titles or (), strict=False):
        ax.set_title(title, fontsize=10, loc="center")
    return axes


def _signs(picture: np.ndarray, ax: Axes, width: float) -> None:
    """A plus or a minus on every pixel (from -1 to 1) far from 0; `width` of the picture in inches."""
    area = (0.4 * 72 * width / picture.shape[1]) ** 2
    for marker, size in (("+", picture), ("_", -picture)):
        for low, high, colour in ((1 / 3, 2 / 3, INK), (2 / 3, np.inf, "white")):
            y, x = np.nonzero((size >= low) & (size < high))
            ax.scatter(x, y, s=area, marker=marker, color=colour, linewidth=1)


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

    Raises:
        ValueError: no panels, or what `curves` refuses.

    Example:
        >>> slow, fast = {"train": [1.0, 0.5, 0.2]}, {"train": [1.0, 0.0]}
        >>> axes = side_by_side({"narrow": ([0, 1, 10], slow), "wide": ([0, 5], fast)}, ylabel="loss")
        >>> [ax.get_title(loc="left") for ax in axes], axes[0].get_ylim() == axes[1].get_ylim()
        (['narrow', 'wide'], True)

    Used in lesson 11.
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
