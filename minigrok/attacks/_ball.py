"""The ball of points that an attack may reach, within the bounds of an input."""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from minigrok.attacks._checks import Bounds


class Ball:
    """All points within eps of x and within bounds: one ball for each sample."""

    def __init__(self, x: Tensor, eps: Tensor, norm: str, bounds: Bounds):
        self.x, self.eps, self.norm, self.bounds = x, eps.view(-1, *[1] * (x.dim() - 1)), norm, bounds
        self.n, self.rows = len(x), torch.arange(len(x), device=x.device)
        if norm == "linf":
            self.low = _towards(x, -self.eps).clamp_(min=bounds[0])
            self.high = _towards(x, self.eps).clamp_(max=bounds[1])
        else:  # rounding moves each of the d coordinates a little: a radius smaller by as much is never left
            size = torch.finfo(x.dtype).eps * math.prod(x.shape[1:]) ** 0.5
            self.radius = (self.eps - size * (x.abs().amax(_all_but_first(x), True) + self.eps)).clamp_(min=0)

    def __getitem__(self, going: Tensor | slice) -> "Ball":
        part = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(part, name, value[going])
        return part

    def project(self, x_adv: Tensor) -> Tensor:
        if self.norm == "linf":
            return x_adv.clamp_(self.low, self.high)
        away = x_adv.sub_(self.x)
        away *= (self.radius / lengths(away, "l2").clamp_(min=1e-30)).clamp_(max=1)
        return away.add_(self.x).clamp_(*self.bounds)

    def direction(self, gradient: Tensor) -> Tensor:
        """Where the loss grows fastest over a step of length 1."""
        if self.norm == "linf":
            return gradient.sign()
        tiny = torch.finfo(gradient.dtype).tiny
        gradient = gradient / lengths(gradient, "linf").clamp_(min=tiny)  # or the squares might underflow
        return gradient / lengths(gradient, "l2").clamp_(min=tiny)

    def random(self, draw: torch.Generator) -> Tensor:
        """A point drawn uniformly from each ball (clamped to the bounds)."""
        shape = self.x.shape[1:]
        if self.norm == "linf":
            noise = self.drawn(lambda n, **how: torch.rand((n, *shape), **how), draw) * 2 - 1
        else:
            noise = self.direction(self.drawn(lambda n, **how: torch.randn((n, *shape), **how), draw))
            share = self.drawn(lambda n, **how: torch.rand((n, *[1] * len(shape)), **how), draw)
            noise *= share ** (1 / math.prod(shape))
        return self.project(self.x + self.eps * noise)

    def drawn(self, make: Callable[..., Tensor], draw: torch.Generator) -> Tensor:
        """Random numbers for the whole block, of which the samples still here get theirs."""
        numbers = make(self.n, generator=draw, device=self.x.device)[self.rows]
        return numbers.to(self.x.dtype) if numbers.is_floating_point() else numbers

    def corner(self, signs: Tensor) -> Tensor:
        return torch.where(signs > 0, self.high, self.low)


def _towards(x: Tensor, step: Tensor) -> Tensor:
    """x + step, rounded towards x where it is rounded, so that no point lies outside the ball."""
    moved = x + step
    return torch.where((moved - x).abs() > step.abs(), moved.nextafter(x), moved)


def lengths(away: Tensor, norm: str) -> Tensor:
    """The norm of each sample, (N, 1, ...)."""
    order = math.inf if norm == "linf" else 2
    return torch.linalg.vector_norm(away, order, _all_but_first(away), keepdim=True)


def _all_but_first(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, x.dim()))
