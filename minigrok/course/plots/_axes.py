"""What several figures share: new axes, curves of seeds, steps on an axis, and how numbers are written."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import Formatter, FuncFormatter, NullLocator

from minigrok.course._palette import FRAME, INK


def axes_or_new(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.figure(figsize=size, layout="compressed").add_subplot() if ax is None else ax


def plane_axes(ax: Axes, box: object) -> Axes:
    """Equal scales, few ticks, a thin frame."""
    ax.set(xlim=box[0], ylim=box[1], aspect="equal", xlabel="$x_1$", ylabel="$x_2$")
    ax.locator_params(nbins=5)
    ax.spines[:].set(visible=True, color=FRAME)
    return ax


def row_axes(ax: Axes, names: Iterable[str], *, grid: Literal["x", "both"] | None = "x") -> Axes:
    """A row for each name from the top down, without a frame on the left."""
    names = list(names)
    ax.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    ax.tick_params(axis="y", length=0, labelcolor=INK)
    ax.spines["left"].set_visible(False)
    if grid:
        ax.grid(axis=grid)
    return ax


def seeds_of(name: str, values: object, steps: np.ndarray) -> np.ndarray:
    """One curve as (S, T)."""
    rows = np.atleast_2d(np.asarray(values, dtype=float))
    if rows.ndim != 2 or rows.shape[1] != len(steps) or len(steps) == 0:
        raise ValueError(
            f"curve {name!r}: expected ({len(steps)},) or (seeds, {len(steps)}), one value for each step, "
            f"got the shape {np.shape(values)}."
        )
    return rows


def step_axis(ax: Axes, steps: np.ndarray, xscale: str) -> None:
    """Powers of ten, written out (every second one where they would touch); with "symlog" also step 0."""
    if xscale not in ("symlog", "log", "linear"):
        raise ValueError(f'xscale must be "symlog", "log" or "linear", got {xscale!r}.')
    if xscale == "log" and steps.min() <= 0:
        raise ValueError(f'a logarithmic axis has no place for step {steps.min():g}. Use xscale="symlog".')
    if xscale == "symlog":
        first = steps[steps > 0].min(initial=1.0)
        ax.set_xscale("symlog", linthresh=first, linscale=0.4)
    else:
        ax.set_xscale(xscale)
    ax.xaxis.set_major_formatter(FuncFormatter(plain))
    if xscale != "linear":
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power_of_ten(ax, value, steps)))


def _power_of_ten(ax: Axes, value: float, steps: np.ndarray) -> str:
    """The label of a power of ten; "" for every second one, not the last, on axes too narrow for all."""
    first = steps.min() if ax.get_xscale() == "log" else steps[steps > 0].min(initial=1.0)
    last = max(steps.max(), 1.0)
    inches = ax.bbox.width / ax.figure.dpi / (np.log10(last / first) + 1)  # for a power of ten, step 0 too
    highest = int(np.log10(last))
    label = plain(value)
    crowded = inches < 0.11 * len(plain(10**highest))  # a digit is a good tenth of an inch wide
    return "" if crowded and value > 0 and (round(np.log10(value)) - highest) % 2 else label


def plain(value: float, _position: int = 0) -> str:
    """1,000 rather than 10³, and matplotlib's minus sign rather than a hyphen."""
    return Formatter.fix_minus(f"{value:,.0f}" if float(value).is_integer() else f"{value:,g}")
