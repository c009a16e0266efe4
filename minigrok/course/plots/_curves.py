"""Curves over steps and sizes: seeds as a band, theory against simulation, many measures on one axis."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from minigrok.course._palette import INK, MARKERS, MUTED, PALETTE
from minigrok.course.plots._axes import axes_or_new, plain, row_axes, seeds_of, step_axis
from minigrok.course.plots._style import LINESTYLES
from minigrok.theory import simultaneous_band


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
    rows = {name: seeds_of(name, values, steps) for name, values in curves.items()}
    ax = axes_or_new(ax, (6.4, 4.0))
    for i, (name, values) in enumerate(rows.items()):
        _draw_curve(ax, steps, values, i, len(rows), name, band)
    step_axis(ax, steps, xscale)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.grid(axis="y")
    if legend:
        lines = sorted(ax.get_lines()[-len(rows) :], key=lambda line: -line.get_ydata()[-1])
        _legend_beside(ax, _spread_in_words(rows, band), handles=lines)
    return ax


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
    ax = axes_or_new(ax, (6.4, 4.0))
    step_axis(ax, x, xscale)
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
        _legend_beside(ax, words)
    return ax


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
    ax = axes_or_new(ax, (6.4, 0.9 + 0.34 * len(rows)))
    shown = steps >= first
    if marked is not None:
        ax.axvspan(*marked, color=MUTED, alpha=0.18, linewidth=0)
    for row, (name, values) in enumerate(rows.items()):
        share = np.clip(np.median(seeds_of(name, values, steps), axis=0), -0.2, 1.2)[shown]
        colour = PALETTE[0] if np.isfinite(turns[name]) else MUTED
        curve = row + 0.42 - 0.8 * share
        ax.fill_between(steps[shown], row + 0.42, curve, color=colour, alpha=0.22, linewidth=0)
        ax.plot(steps[shown], curve, color=colour, linestyle="-", linewidth=1.2)
        if np.isfinite(turns[name]):
            height = np.interp(np.log(turns[name]), np.log(steps[shown]), curve)
            look = {"marker": "D", "markersize": 5, "markeredgecolor": "white"}
            ax.plot([turns[name]], [height], color=PALETTE[1], **look)
    ax.set_xscale("log")
    row_axes(ax, rows, grid=None).set(ylim=(len(rows) - 0.4, -0.7))
    ax.set(xlim=(first, steps[-1]), xlabel="training step")
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
    ax.xaxis.set_minor_locator(NullLocator())
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
    low, high = (seeds_of(name, v, steps) for name, v in (("proved", proved), ("survived", survived)))
    if low.shape != high.shape or (low > high + 1e-9).any():
        raise ValueError("more is proved robust than survives the attack: one of the two is wrong")
    ax = axes_or_new(ax, (6.4, 3.6))
    middle = [np.median(rows, axis=0) for rows in (low, high)]
    ax.fill_between(steps, *middle, color=MUTED, alpha=0.3, linewidth=0, label="not known")
    for k, (rows, name) in enumerate([(high, "survive the attack"), (low, "proved robust")]):
        for row in rows if 1 < len(rows) <= 10 else []:  # more would hide the gap
            ax.plot(steps, row, color=PALETTE[k], linestyle=LINESTYLES[k], linewidth=0.7, alpha=0.5)
        look = {"linestyle": LINESTYLES[k], "marker": MARKERS[k], "markeredgecolor": "white"}
        ax.plot(steps, middle[1 - k], color=PALETTE[k], label=name, **look)
    step_axis(ax, steps, "log")
    ax.set(xlabel="training step", ylabel=ylabel, ylim=(0, 1))
    ax.grid(axis="y")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
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

    Raises:
        ValueError: no groups, or x and y of different lengths.

    Example:
        >>> ax = against({"digits": ([0.1, 0.2], [0.4, 0.3])}, xlabel="radius", ylabel="distance")
        >>> ax.get_xlim() == ax.get_ylim()
        True

    Used in lesson 12.
    """
    if not groups or any(np.shape(x) != np.shape(y) for x, y in groups.values()):
        raise ValueError("expected for each group x (n,) and y (n,), such as {'digits': (radius, distance)}.")
    ax = axes_or_new(ax, (4.8, 4.4))
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
    ax = axes_or_new(ax, (4.8, 3.4))
    corners = np.array([[least, 0], [0, 0], [most, most]])
    ax.fill(*corners.T, color=PALETTE[0], alpha=0.25, linewidth=0, label="what the relaxation allows")
    above = {"color": PALETTE[0], "linestyle": "--", "label": "the line above"}
    ax.plot([least, most], [0, most], **above)
    ax.plot(*corners.T, color=INK, linestyle="-", linewidth=2.6, label="what the unit does")
    ax.set(xlabel="z", ylabel="u", xticks=[least, 0, most], yticks=[0, most])
    ax.legend(loc="upper left")
    return ax


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


def _legend_beside(ax: Axes, title: str | None, **handles: list[Line2D]) -> None:
    look = {"alignment": "left", "title_fontproperties": {"size": 9}, "handlelength": 3}
    ax.legend(title=title, loc="center left", bbox_to_anchor=(1.0, 0.5), **look, **handles)


def _spread_in_words(rows: Mapping[str, np.ndarray], band: str) -> str | None:
    counts = sorted({len(values) for values in rows.values()})
    if counts == [1]:
        return None
    seeds = str(counts[-1]) if len(set(counts) - {1}) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"median of {seeds} seeds,\nband: {'lowest to highest' if band == 'range' else 'middle half'}"
