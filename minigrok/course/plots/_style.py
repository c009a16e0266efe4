"""The course's look: sizes, colours, line styles, white panels."""

import matplotlib as mpl

from minigrok.course._palette import DASHES, INK, MUTED, PALETTE, SEQUENTIAL

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
