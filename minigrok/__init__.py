"""See why networks generalise and grow robust: their linear regions, margins and activation patterns.

Look into a network:

    minigrok.networks    every affine map and every unit of a network, in one numbering
    minigrok.regions     the linear regions: exact in a plane and on a segment, counted around a point
    minigrok.attacks     adversarial examples, robust accuracy, and whether the attack is to blame
    minigrok.naps        activation patterns: what a class's samples have in common inside the network
    minigrok.measures    progress measures: norm, sharpness, waves, symmetry, spread of features

Have a network to look into:

    minigrok.models      the networks of the course, as plain torch modules
    minigrok.data        toy sets in the plane, tables of arithmetic, digits, photographs
    minigrok.training    one small loop around a step of your own; many seeds as one batched model
    minigrok.sweep       one function over a grid of settings: here, over processes, on a cluster
    minigrok.recordings  results of long runs, with what made them

Prove something about it:

    minigrok.verify      certificates for boxes, balls and patterns; imported by its own name, needs highspy

Hold a simulation against a formula:

    minigrok.theory      closed forms of models that grok on paper; imported by its own name

`import minigrok` needs torch, NumPy and SciPy alone. What only the lessons need (figures, players,
exercises, editions) is `minigrok.course`, which is imported by its own name.
"""

from minigrok import attacks, data, measures, models, naps, networks, recordings, regions, sweep, training

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "attacks",
    "data",
    "measures",
    "models",
    "naps",
    "networks",
    "recordings",
    "regions",
    "sweep",
    "training",
]
