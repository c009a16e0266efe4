"""Training on the worst that an attack finds."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from minigrok.attacks._attacks import pgd
from minigrok.attacks._checks import check_counts, losses_of
from minigrok.training import Batch, State, classification_step


def adversarial_training(
    eps: float,
    *,
    loss: str = "cross_entropy",
    attack_loss: str | Sequence[str] = "cross_entropy",
    steps: int = 7,
    **options: Any,
) -> Callable[[State, Batch], None]:
    """A `step` for `training.train` that learns from the worst the attack finds, instead of the data.

        min over weights of  E max_{|x' - x| <= eps} loss(f(x'), y) :
        x' by `pgd` on the batch, then the usual update on (x', y)

    While it is attacked the model is in evaluation mode, so that dropout and batch norm hold still; for the
    update it is as it came.

    Args:
        eps: radius of the attack in units of the input.
        loss: what is minimised, as in `training.classification_step`.
        attack_loss: what the attack maximises, as in `pgd`.
        steps: of the attack; each costs about as much as half an update without attack.
        **options: handed to `pgd` (norm, step_size, bounds, random_start ...). The starts are drawn from
            `state.generator`.

    Returns:
        `step(state, batch)` with batch = (x (N, ...), y (N,)).

    Raises:
        ValueError: eps < 0, an unknown loss; at the first step, whatever `pgd` refuses.

    Source: Madry et al. 2018 (arXiv 1706.06083), section 2.1 and equation 2.1.

    Example:
        >>> import torch
        >>> from minigrok import attacks, data, models, training
        >>> x, y = data.disc_and_ring(200)
        >>> model = models.mlp([2, 32, 2], generator=torch.Generator().manual_seed(0))
        >>> draw = torch.Generator().manual_seed(0)
        >>> state = State(model, torch.optim.AdamW(model.parameters(), lr=1e-2), draw)
        >>> step = adversarial_training(0.1, steps=3, bounds=(-2, 2))
        >>> run = training.train(step, state, steps=200, batches=lambda t: (x, y))
        >>> bool(attacks.robust_accuracy(model, x, y, 0.1, bounds=(-2, 2), generator=draw) > 0.9)
        True

    Used in lesson 08, and in the recording of lesson 13.
    """
    check_counts(steps=steps)
    losses_of(attack_loss)
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    update = classification_step(loss)

    def step(state: State, batch: Batch) -> None:
        if batch is None:
            raise ValueError("adversarial_training needs a batch: hand batches=lambda t: (x, y) to train")
        x, y = batch
        with _evaluating(state.model):
            how = {"loss": attack_loss, "steps": steps, "early_stop": False, "generator": state.generator}
            found = pgd(state.model, x, y, eps, **how, **options)
        update(state, (found.x_adv, y))

    return step


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for part, training in modes.items():
            part.training = training
