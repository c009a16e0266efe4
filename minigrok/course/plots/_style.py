"""The course's look: sizes, colours, line styles, white panels."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib import pyplot as plt

from minigrok.course._palette import DASHES, INK, MUTED, PALETTE, SEQUENTIAL

if TYPE_CHECKING:
    from IPython.core.events import EventManager

# One line style for each colour of the palette.
LINESTYLES = tuple((0, dashes) if dashes else "-" for dashes in DASHES)


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
    try:
        from IPython import get_ipython
        from matplotlib_inline.backend_inline import flush_figures, set_matplotlib_formats
    except ImportError:
        return  # not in a notebook
    if (shell := get_ipython()) is not None:
        # two dots a pixel; as vectors, a map of 20,000 regions takes megabytes
        set_matplotlib_formats("retina")
        _show_when_a_cell_is_done(shell.events, flush_figures)


def _show_when_a_cell_is_done(events: "EventManager", flush_figures: Callable[[], None]) -> None:
    """Show figures that wait at the end of a cell, and not also at the end of each message of a control.

    JupyterLab has such messages handled in a second thread. At the first move of a control there are two,
    and the end of one would draw anew, or show and close, the figure that the other is still drawing.
    """
    if flush_figures in events.callbacks["post_execute"]:
        events.unregister("post_execute", flush_figures)
        events.register("post_run_cell", lambda _: flush_figures())
        plt.uninstall_repl_displayhook()  # pyplot's own: draws what has changed, which showing does as well
