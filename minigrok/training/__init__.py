"""One small training loop around the reader's own `step(state, batch)`, and many seeds as one model.

The loop looks at the run on a logarithmic clock, can be stopped at any moment without losing anything, and
goes on from a checkpoint as if it had never stopped. `Ensemble` trains many seeds of one architecture as
one batched model.
"""

from minigrok.training._ensemble import Ensemble as Ensemble
from minigrok.training._ensemble import EnsembleAdamW as EnsembleAdamW
from minigrok.training._loop import log_spaced as log_spaced
from minigrok.training._loop import minibatches as minibatches
from minigrok.training._loop import train as train
from minigrok.training._losses import accuracy as accuracy
from minigrok.training._losses import classification_gradients as classification_gradients
from minigrok.training._losses import classification_loss as classification_loss
from minigrok.training._losses import classification_step as classification_step
from minigrok.training._losses import padded as padded
from minigrok.training._losses import stablemax as stablemax
from minigrok.training._run import Batch as Batch
from minigrok.training._run import Diverged as Diverged
from minigrok.training._run import Run as Run
from minigrok.training._run import State as State
from minigrok.training._variants import grokfast as grokfast
from minigrok.training._variants import noise_level as noise_level
from minigrok.training._variants import perp_grad as perp_grad
from minigrok.training._variants import swap_loss as swap_loss
