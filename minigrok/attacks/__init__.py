"""Adversarial examples: how far an input must move before the network changes its mind.

Every attack here is a walk: it yields points within eps of x, and is told which samples it need not go on
with, because they are fooled. One driver (`_follow`) walks all of them. Three observations make the attacks
strong and fast:

- A walk uphill needs only the direction of the loss's gradient. At the logits that is known in closed form,
  for cross-entropy too where float32 gives a loss of exactly 0: softmax over the *wrong* classes, minus the
  one-hot label. Autograd is asked for the rest, from the logits to the input, and for nothing else.
- Samples that are fooled are dropped. A plain forward pass at the end says whether they really are.
- On a CPU a convolutional network sees a few images at a time, so that what it computes stays in the cache.

A low accuracy under attack is a fact, each point that fools is there to be looked at; a high one is only a
failure to find such points. `diagnose` looks for the usual reasons of such failures.
"""

from minigrok.attacks._attacks import apgd, fgsm, pgd, square
from minigrok.attacks._follow import Attack
from minigrok.attacks._robustness import adversarial_distance, robust_accuracy
from minigrok.attacks._suspicions import Diagnosis, diagnose, zero_gradient_share
from minigrok.attacks._training import adversarial_training

__all__ = [
    "Attack",
    "Diagnosis",
    "adversarial_distance",
    "adversarial_training",
    "apgd",
    "diagnose",
    "fgsm",
    "pgd",
    "robust_accuracy",
    "square",
    "zero_gradient_share",
]
