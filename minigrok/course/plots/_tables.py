"""A cell for each setting, unit or pair: phase diagrams, tables, scores, patterns as strips."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from minigrok.course._palette import FRAME, INK, PALETTE, SEQUENTIAL
from minigrok.course.plots._axes import axes_or_new, plain

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
    ax = axes_or_new(ax, (1.8 + 0.62 * len(x), 1.2 + 0.42 * len(y)))
    for row, column in np.ndindex(names.shape):
        tint, pattern = _PHASES[names[row, column]]
        corner = (column - 0.5, row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, facecolor=tint, hatch=pattern, edgecolor="white", linewidth=0.8))
        if np.isfinite(numbers[row, column]):
            paper = {"facecolor": tint, "edgecolor": "none", "pad": 1.2}  # so that it reads on a pattern
            ax.text(
                column, row, plain(numbers[row, column]), ha="center", va="center", fontsize=9, bbox=paper
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
    ax = axes_or_new(ax, (3.6, 3.6))
    ax.imshow(np.where(hidden, np.nan, values), cmap=SEQUENTIAL, alpha=0.35, vmin=0, vmax=p - 1)
    for a, b in np.ndindex(p, p):
        ax.text(b, a, "?" if hidden[a, b] else names[values[a, b]], ha="center", va="center")
    ax.set(xticks=range(p), yticks=range(p), xticklabels=names, yticklabels=names, xlabel="$b$", ylabel="$a$")
    ax.xaxis.set(ticks_position="top", label_position="top")
    ax.tick_params(length=0, labelcolor=INK)
    ax.spines[:].set(visible=True, color=FRAME)
    return ax


def scores(values: Mapping[str, Sequence[float]], columns: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw a table of shares between 0 and 1 with the numbers in it, dark where they are low.

    Args:
        values: for the name of each row one number for each column.
        columns: the names of the columns.
        ax: where to draw; None makes a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: rows of other lengths, or numbers that are no shares.

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
    ax = axes_or_new(ax, (2.0 + 0.95 * len(columns), 0.9 + 0.42 * len(values)))
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
    ax = axes_or_new(ax, (9.6, 0.9 + 0.24 * len(patterns)))
    colours = mpl.colors.ListedColormap([PALETTE[6], "#FFFFFF", INK])
    ax.imshow(patterns, cmap=colours, vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
    ends = np.cumsum(units)
    for layer, (end, n) in enumerate(zip(ends, units, strict=True)):
        if layer:
            # it reaches beyond the cells, among which it would not stand out in grey
            ax.axvline(end - n - 0.5, -0.03, 1.06, color=PALETTE[1], linewidth=2.5, clip_on=False)
        ax.text(end - (n + 1) / 2, -0.8, f"layer {layer + 1}", ha="center", va="bottom", color=INK)
    ax.set_yticks(np.arange(len(patterns) + 1) - 0.5, minor=True)
    ax.grid(axis="y", which="minor", color=FRAME, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    ax.set(yticks=range(len(patterns)), xticks=[], **look)
    ax.spines[:].set(visible=True, color=FRAME)
    return ax
