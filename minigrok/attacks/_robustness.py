"""How robust is it? Accuracies under attack, and distances to the nearest point that fools."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from minigrok.attacks._attacks import pgd
from minigrok.attacks._ball import lengths
from minigrok.attacks._checks import Bounds, check_counts, range_of
from minigrok.attacks._follow import Attack
from minigrok.attacks._net import borrowed


def robust_accuracy(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Sequence[float],
    *,
    attack: Callable[..., Attack] = pgd,
    **options: Any,
) -> Tensor:
    """The share of samples that are classified right and stay right under attack, for one eps or several.

    A sample counts as robust at eps if it is right at x and the attack finds nothing at this eps nor at a
    smaller one of the list: what lies within a small ball lies within a larger one. So the numbers never grow
    with eps, and each larger ball is attacked only around the samples that are left. They are upper bounds:
    a stronger attack may find more. While a network learns they rise with accuracy itself; divided by the
    number at eps 0 they are the share of what it gets right.

    Args:
        model, x, y: as for `pgd`.
        eps: radii in units of the input, in any order; 0 gives the clean accuracy.
        attack: `pgd`, `fgsm`, `apgd` or `square`.
        **options: handed to the attack (norm, steps, loss, bounds, generator ...).

    Returns:
        () for a number, (E,) for a sequence, float32.

    Raises: as for `pgd`.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.eye(2)), model.bias.data.zero_()
        >>> x, y = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0, 0])
        >>> robust_accuracy(model, x, y, [0, 0.05, 0.15, 0.5])  # the boundary is .1 and .4 away
        tensor([0.6667, 0.6667, 0.3333, 0.0000])

    Used in lessons 08, 10 and 11, and in the recordings of lessons 13 and 14.
    """
    radii = torch.as_tensor(eps, dtype=torch.float64)
    if radii.dim() > 1 or not radii.numel():
        raise ValueError(f"eps must be a number or a list of numbers, got {eps!r}")
    if not (radii >= 0).all():
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    left = right_at(model, x, y, options).nonzero()[:, 0]
    shares = torch.empty(radii.numel(), device=x.device)
    for place in radii.flatten().argsort().tolist():
        radius = radii.flatten()[place].item()
        if radius != 0 and len(left):
            left = left[~attack(model, x[left], y[left], radius, **options).success]
        shares[place] = len(left) / len(x)
    return shares.view(radii.shape)


def adversarial_distance(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "linf",
    bounds: Bounds = (0.0, 1.0),
    max_eps: float | None = None,
    halvings: int = 12,
    **options: Any,
) -> Tensor:
    """How far each sample is from the nearest adversarial example that `pgd` finds: by bisection over eps.

    It begins with a ball of `max_eps`. Where the attack succeeds, the distance of what it found is the new
    upper end, where it fails its eps is the new lower end, and the next ball lies half way between. Each
    distance returned is that of a point that was tried and fools the network: the true distance to the
    nearest one is at most this, and may be less.

    Args:
        model, x, y, norm, bounds: as for `pgd`.
        max_eps: where to begin; by default the whole range, hi - lo for "linf", times sqrt(d) for "l2".
        halvings: number of bisections after the first attack.
        **options: handed to `pgd` (steps, loss, restarts, generator ...).

    Returns:
        (N,) in units of the input: 0 where the network is wrong at x, infinity where nothing was found within
        `max_eps`. The median of it is the usual summary.

    Raises: as for `pgd`.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.eye(2)), model.bias.data.zero_()
        >>> x, y = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0, 0])
        >>> adversarial_distance(model, x, y, generator=torch.Generator().manual_seed(0)).round(decimals=2)
        tensor([0.1000, 0.4000, 0.0000])

    Used in lessons 08, 10 and 12, and in the recording of lesson 11.
    """
    check_counts(halvings=halvings)
    if max_eps is None:
        max_eps = range_of(x, norm, bounds)
        if math.isinf(max_eps):
            raise ValueError(f"with bounds={bounds} there is no largest eps to begin with: give max_eps")
    wrong = ~right_at(model, x, y, options | {"bounds": bounds})
    found_at = torch.where(wrong, 0.0, math.inf).to(x.dtype)
    failed_at = torch.zeros_like(found_at)
    left = (~wrong).nonzero()[:, 0]
    eps = torch.full_like(found_at, max_eps)
    for _ in range(halvings + 1):
        if not len(left):
            break
        found = pgd(model, x[left], y[left], eps[left], norm=norm, bounds=bounds, **options)
        distance = lengths(found.x_adv - x[left], norm).flatten()
        found_at[left] = torch.where(found.success, distance.minimum(found_at[left]), found_at[left])
        failed_at[left] = torch.where(found.success, failed_at[left], eps[left])
        failed_at = failed_at.where(failed_at < found_at, 0.0)  # a larger ball led to a nearer point
        left = left[found_at[left].isfinite()]
        eps = (found_at + failed_at) / 2
    return found_at


def right_at(model: Callable, x: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    """Whether each sample is classified right, (N,) bool."""
    known = {
        name: options.get(name, default) for name, default in (("bounds", (0.0, 1.0)), ("batch_size", None))
    }
    with borrowed(model, x, y, "margin", **known) as net:
        return ~net.wrong(x, y)
