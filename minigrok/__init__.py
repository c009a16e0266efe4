"""See why networks generalise and grow robust: their linear regions, their margins, their activation patterns.

    minigrok.networks    every affine map and every unit of a network, in one numbering
    minigrok.regions     the linear regions: exact in a plane and on a segment, sampled in any dimension

`import minigrok` needs torch, NumPy and SciPy alone. What only the lessons need (figures, players,
exercises, editions) is `minigrok.course`, which is imported by its own name.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
