"""One small training loop around the reader's own `step(state, batch)`, and many seeds as one model.

The loop looks at the run on a logarithmic clock, can be stopped at any moment without losing anything, and
goes on from a checkpoint as if it had never stopped. `Ensemble` trains many seeds of one architecture as
one batched model.
"""

from minigrok.training._ensemble import Ensemble, EnsembleAdamW
from minigrok.training._loop import log_spaced, minibatches, train
from minigrok.training._losses import (
    accuracy,
    classification_gradients,
    classification_loss,
    classification_step,
    padded,
    stablemax,
)
from minigrok.training._run import Batch, Diverged, Run, State
from minigrok.training._variants import grokfast, noise_level, perp_grad, swap_loss

__all__ = [
    "Batch",
    "Diverged",
    "Ensemble",
    "EnsembleAdamW",
    "Run",
    "State",
    "accuracy",
    "classification_gradients",
    "classification_loss",
    "classification_step",
    "grokfast",
    "log_spaced",
    "minibatches",
    "noise_level",
    "padded",
    "perp_grad",
    "stablemax",
    "swap_loss",
    "train",
]
