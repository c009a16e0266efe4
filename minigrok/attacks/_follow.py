"""What all attacks share: blocks, restarts, and the one driver that goes every walk to its end."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from minigrok.attacks._ball import Ball
from minigrok.attacks._checks import Bounds, radii_of
from minigrok.attacks._net import BLOCK, Net, device_of


@dataclass(frozen=True, eq=False, repr=False)
class Attack:
    """What an attack found.

    Attributes:
        x_adv: (N, ...), a point within eps of each x and within the bounds, of the dtype of x. It is one that
            fools the network where `success`, else the last one that was tried.
        success: (N,) bool, whether the network is wrong at `x_adv`, by a plain forward pass at that very
            point after the attack.
        queries: (N,) int64, how many times each sample went through the network.
    """

    x_adv: Tensor
    success: Tensor
    queries: Tensor

    def __repr__(self) -> str:
        return f"Attack({int(self.success.sum())} of {len(self.success)} samples fooled)"


# A walk yields points with the logits there, and is sent which samples to go on with. Its last points come
# without logits.
Walk = Generator[tuple[Tensor, Tensor | None], Tensor | slice, None]


@dataclass
class Plan:
    """How to attack: `walk(net, ball, y, draw)` begins a walk, `restarts` times."""

    walk: Callable[[Net, Ball, Tensor, torch.Generator], Walk]
    restarts: int = 1
    random_start: bool = True  # else the walk begins at x, and needs no random number
    early_stop: bool = True


def run_plan(
    net: Net,
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str,
    bounds: Bounds,
    plan: Plan,
    generator: torch.Generator | None,
) -> Attack:
    """Attack all samples, a block at a time. Every block and restart has a seed of its own, drawn at once:
    so what happens to one sample does not depend on how soon others were fooled."""
    radii = radii_of(eps, x, norm, bounds)
    blocks = list(zip(x.detach().split(BLOCK), y.split(BLOCK), radii.split(BLOCK), strict=True))
    shape = len(blocks), plan.restarts
    seeds = torch.zeros(shape, dtype=torch.int64)
    if plan.random_start:
        seeds = torch.randint(2**62, shape, generator=generator, device=device_of(generator))
    found = []
    for (points, labels, radius), own in zip(blocks, seeds.tolist(), strict=True):
        ball = Ball(net.laid_out(points), radius, norm, bounds)
        draws = [torch.Generator(x.device).manual_seed(seed) for seed in own]
        found.append(_attack_block(net, ball, labels, plan, draws))
    x_adv, success, queries = map(torch.cat, zip(*found, strict=True))
    return Attack(x_adv.contiguous(), success, queries)


def _attack_block(
    net: Net, ball: Ball, y: Tensor, plan: Plan, draws: list[torch.Generator]
) -> tuple[Tensor, Tensor, Tensor]:
    x_adv, queries = ball.x.clone(), torch.zeros_like(y)
    success = torch.zeros_like(y, dtype=torch.bool)
    if plan.early_stop and plan.random_start:  # a walk that begins at x looks there itself
        success, queries = net.wrong(ball.x, y), queries + 1
    for k, draw in enumerate(draws):
        net.loss = net.losses[k % len(net.losses)]
        left = (~success).nonzero()[:, 0]
        if not len(left):
            break
        walk = plan.walk(net, ball[left], y[left], draw)
        x_adv[left], taken = _follow(walk, ball.x[left], y[left], plan.early_stop)
        success[left] = net.wrong(x_adv[left], y[left])
        queries[left] += taken + 1
    return x_adv, success, queries


def _follow(walk: Walk, x: Tensor, y: Tensor, early_stop: bool) -> tuple[Tensor, Tensor]:
    """Go a walk to its end: the first point that fools each sample, or its last; and how many were tried."""
    found, tried = torch.empty_like(x), torch.zeros_like(y)
    left = torch.arange(len(y), device=y.device)
    x_adv, logits = next(walk)
    while logits is not None:
        tried[left] += 1
        fooled = logits.max(1).indices != y[left]
        going = ~fooled if early_stop and fooled.any() else slice(None)
        if early_stop:
            found[left[fooled]] = x_adv[fooled]
        left = left[going]
        if not len(left):
            return found, tried
        x_adv, logits = walk.send(going)
    found[left] = x_adv
    return found, tried


class Samples:
    """What a walk knows of each sample that is still in it."""

    def __init__(self, **parts: Any):
        vars(self).update(parts)

    def keep(self, going: Tensor | slice) -> None:
        for name, part in vars(self).items():
            setattr(self, name, part[going])


def pick(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of each sample a where `which`, else b."""
    return torch.where(which.view(-1, *[1] * (a.dim() - 1)), a, b)
