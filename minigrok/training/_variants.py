"""What a step may add to the usual update: noise, symmetry, a changed gradient."""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok._support import check_tensor


def noise_level(
    train_accuracy: float | Tensor, first: float | Tensor, last: float | Tensor
) -> float | Tensor:
    """How strong the noise of perturbation training is: it weakens as the training set is learnt.

        sigma = max(first (1 - train_accuracy), last)

    Args:
        train_accuracy: a number in [0, 1], or (S,) of an `Ensemble` as `accuracy` returns it; NaN stays NaN.
        first: the paper's lambda_1, sigma at accuracy 0; a number, or (S,), one for each network.
        last: its lambda_2, below which sigma does not fall. Both are in units of what the noise is added to.

    Returns:
        A float if all three are numbers, else a tensor.

    Raises:
        ValueError: an accuracy outside [0, 1]; first or last negative, NaN or infinite.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 4, with 0.06 and 0.03 for the pixels of MNIST, 0.5
    and 0.4 for the embeddings of modular addition.

    Example:
        >>> noise_level(0.5, 0.5, 0.25), noise_level(torch.tensor([0.0, 1.0]), 0.5, 0.25)
        (0.25, tensor([0.5000, 0.2500]))

    Used in lesson 09.
    """
    all_numbers = not any(isinstance(value, Tensor) for value in (train_accuracy, first, last))
    share, first, last = (torch.as_tensor(value) for value in (train_accuracy, first, last))
    if (share < 0).any() or (share > 1).any():
        raise ValueError(f"the accuracy is a share of the training set, in [0, 1], got {share.tolist()}")
    if not all((level >= 0).all() and level.isfinite().all() for level in (first, last)):
        raise ValueError(
            "first and last are standard deviations, finite and at least 0, "
            f"got {first.tolist()} and {last.tolist()}"
        )
    sigma = torch.maximum(first * (1 - share), last)
    return sigma.item() if all_numbers else sigma


def swap_loss(model: nn.Module, x: Tensor) -> Tensor:
    """How far a network is from giving (a, b) and (b, a) the same outputs.

        swap_loss = mean over pairs and outputs of  (f(a, b) - f(b, a))^2

    Added to the loss with a weight (the paper: 100) it is a regulariser that asks for commutativity. It shows
    the network the mirror of every training pair, so its fair rival is training on those mirrors too.

    Args:
        model: pairs (N, 2) -> (N, outputs), or an `Ensemble`.
        x: (N, 2) int64, or (S, N, 2) for an `Ensemble`.

    Returns:
        () or (S,), differentiable.

    Raises:
        ValueError: x that does not hold pairs.

    Source: the abelian regulariser of Tan & Huang 2023 (arXiv 2311.06597), section 4.

    Example:
        >>> first = lambda x: x[:, :1].float()  # answers a
        >>> swap_loss(first, torch.tensor([[1, 4], [2, 2]]))  # (3^2 + 0^2) / 2
        tensor(4.5000)

    Lesson 09 writes it out by hand, for noisy embeddings.
    """
    check_tensor(x, "a torch tensor of pairs")
    if x.dim() < 2 or x.shape[-1] != 2 or not x.shape[-2]:
        raise ValueError(f"expected pairs x (N, 2) with at least one pair, got shape {tuple(x.shape)}")
    return (model(x) - model(x.flip(-1))).square().mean(dim=(-2, -1))


@torch.no_grad()
def grokfast(
    parameters: Iterable[Tensor], memory: dict[Tensor, Tensor], *, alpha: float = 0.98, lamb: float = 2.0
) -> None:
    """Grokfast: strengthen the slow part of the gradient. Call it after backward, before the optimizer.

        m <- alpha m + (1 - alpha) g ,    g <- g + lamb m ,      m of the first call: g itself

    Args:
        parameters: their gradients g are changed in place; one without a gradient is passed over. It works
            number by number, so an `Ensemble` needs nothing special.
        memory: holds m from one call to the next. Begin with {}; one dict a run. It is not in a checkpoint.
        alpha: how slow the memory is, 0 to 1: it forgets over about 1 / (1 - alpha) updates.
        lamb: how much of it is added, 0 or more. A gradient that stays the same becomes 1 + lamb times as
            long; AdamW divides that factor out again, unless gradients point elsewhere from time to time.

    Raises:
        ValueError: alpha or lamb out of its range.

    Source: Lee et al. 2024 (arXiv 2405.20233), Grokfast-EMA, with their numbers for addition.

    Example:
        >>> w, memory = nn.Parameter(torch.zeros(2)), {}
        >>> for g in ([1.0, 0.0], [0.0, 1.0]):
        ...     w.grad = torch.tensor(g)
        ...     grokfast([w], memory, alpha=0.5, lamb=2.0)
        ...     print(w.grad)
        tensor([3., 0.])
        tensor([1., 2.])

    Used in lesson 07.
    """
    if not (0 <= alpha < 1 and 0 <= lamb < math.inf):
        raise ValueError(f"alpha must be at least 0 and below 1, lamb at least 0; got {alpha} and {lamb}")
    for weight in parameters:
        if weight.grad is None:
            continue
        if weight not in memory:
            memory[weight] = weight.grad.clone()
        slow = memory[weight].lerp_(weight.grad, 1 - alpha)
        weight.grad.add_(slow, alpha=lamb)


@torch.no_grad()
def perp_grad(parameters: Iterable[Tensor], *, stacked: bool = False) -> None:
    """PerpGrad: take away the part of each gradient that only rescales. Call it between backward and step.

        g <- g - (w.g / w.w) w ,   then rescaled to the length g had before; one tensor w at a time

    Where a network has fitted all, larger logits lower the loss for ever, and that is the direction w itself.
    What is left turns the weights without changing their length, to first order; a finite step at right
    angles still lengthens them.

    Args:
        parameters: their gradients are changed in place; one without a gradient is passed over. Where w is
            zero, g stays; where nothing but rescaling was in g, it becomes zero.
        stacked: True for the parameters of an `Ensemble`, whose first axis is that of the networks: each
            network's slice is then a tensor of its own.

    Source: Prieto et al. 2025 (arXiv 2501.04697); one tensor at a time and the length as in their code.

    Example:
        >>> w = nn.Parameter(torch.tensor([2.0, 0.0]))
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> perp_grad([w])
        >>> w.grad
        tensor([0., 5.])

    Used in lesson 07.
    """
    for weight in parameters:
        if weight.grad is None:
            continue
        rows = len(weight) if stacked else 1
        w, g = weight.reshape(rows, -1), weight.grad.reshape(rows, -1)
        w = F.normalize(w, dim=1)  # of length 1; zero (and what is shorter than 1e-12) stays
        across = g - (w * g).sum(dim=1, keepdim=True) * w
        before, after = g.norm(dim=1, keepdim=True), across.norm(dim=1, keepdim=True)
        # What rounding leaves of a parallel gradient has no direction and must not be blown up.
        noise = after <= 8 * torch.finfo(g.dtype).eps * before
        weight.grad.copy_((across * torch.where(noise, 0, before / after)).view_as(weight))
