"""A row for each name: dots, waits and intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from minigrok.course._palette import INK, MUTED, PALETTE
from minigrok.course.plots._axes import axes_or_new, plain, row_axes


def dots(groups: Mapping[str, Sequence[float]], ax: Axes | None = None, *, xlabel: str) -> Axes:
    """Draw one dot for each seed, one row for each group, and a bar at the group's median.

    Args:
        groups: for each row one number for each seed.
        ax: where to draw; None makes a new figure.
        xlabel: what the numbers are.

    Returns:
        The Axes.

    Raises:
        ValueError: no groups, or a group without numbers.

    Example:
        >>> ax = dots({"wide": [40, 42, 45], "deep": [60, 75, 90]}, xlabel="regions")
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['wide', 'deep']

    Used in lessons 01, 02, 09, 11 and 13.
    """
    if not groups or any(len(values) == 0 for values in groups.values()):
        raise ValueError("expected at least one group with at least one number, such as {'wide': [40, 42]}.")
    ax = axes_or_new(ax, (6.4, 1.1 + 0.5 * len(groups)))
    look = {"color": PALETTE[0], "alpha": 0.65, "markeredgecolor": "white", "markersize": 7}
    for row, values in enumerate(groups.values()):
        sideways = 0.09 * (np.arange(len(values)) % 3 - 1)  # so that equal numbers can be seen
        ax.plot(values, row + sideways, "o", **look)
        ax.plot([np.median(values)] * 2, [row - 0.32, row + 0.32], "-", color=INK, linewidth=2.5)
    row_axes(ax, groups).set_xlabel(xlabel)
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
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

    Raises:
        ValueError: no groups, or a group without seeds.

    Example:
        >>> ax = waits({"plain": [120, 90, np.nan], "decay": [40, 45, 50]}, 500, xlabel="first step")
        >>> len(ax.get_lines())  # dots, arrows and a bar; dots and a bar; the line at the end
        6

    Used in lessons 04, 07 and 09.
    """
    if not groups or any(len(values) == 0 for values in groups.values()):
        raise ValueError("expected at least one group with at least one number, such as {'decay': [40, 42]}.")
    ax = axes_or_new(ax, (6.4, 1.1 + 0.42 * len(groups)))
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
    row_axes(ax, groups).set(xlim=(0, 1.04 * end), xlabel=xlabel)
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
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
    ax = axes_or_new(ax, (6.4, 1.0 + 0.3 * len(rows)))
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
    row_axes(ax, rows, grid="both").set(xlim=(low, high), xlabel=xlabel)
    return ax
