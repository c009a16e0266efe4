"""The exact linear regions of a network along a straight line, in any dimension.

Between two breakpoints every pre-activation of the next layer is affine in t, so its values at the
breakpoints say where it passes zero. Every such zero is a new breakpoint, and all values there are
interpolated: no input is ever sampled.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from minigrok._support import check_tensor, with_float64
from minigrok.networks import Network, _shape_of_sample, trace
from minigrok.regions._partition import _ON_THE_LINE, _ROUNDING

# Breakpoints closer than this are one.
_SAME = 1e-14


@dataclass(frozen=True, eq=False, repr=False)
class Segment:
    """The linear pieces of a network on the segment (1 - t) a + t b, 0 <= t <= 1. Arrays are NumPy's.

    Attributes:
        breakpoints: (K,) float64, strictly increasing, inside (0, 1).
        neurons: (K, 2) int64, the (layer, unit) that changes its sign there (the first, if several do).
        a: the end t = 0, of one input's shape.
        b: the end t = 1.
    """

    breakpoints: np.ndarray
    neurons: np.ndarray
    a: Tensor
    b: Tensor

    def __repr__(self) -> str:
        return f"Segment({self.n_regions} regions)"

    @property
    def n_regions(self) -> int:
        """The number of regions the segment passes through."""
        return len(self.breakpoints) + 1

    @property
    def middles(self) -> np.ndarray:
        """One t inside every region, (n_regions,): the middle of each piece."""
        ends = np.concatenate([[0.0], self.breakpoints, [1.0]])
        return (ends[1:] + ends[:-1]) / 2

    def lift(self, t: object) -> Tensor:
        """Take positions t (k,) to inputs (k, *input_shape), float64 as everything here.

        Example:
            >>> line = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
            >>> on_segment(line, torch.zeros(2), torch.ones(2)).lift([0.0, 0.5]).tolist()
            [[0.0, 0.0], [0.5, 0.5]]
        """
        t = torch.as_tensor(t, dtype=torch.float64, device=self.a.device)
        return _between(self.a, self.b, t.reshape(-1, *[1] * self.a.dim()))

    @property
    def points(self) -> Tensor:
        """The inputs at the breakpoints, (K, *input_shape)."""
        return self.lift(self.breakpoints)


def on_segment(model: nn.Module, a: Tensor, b: Tensor) -> Segment:
    """Find all points between two inputs where a unit of the network changes its sign, exactly.

    On the segment x(t) = (1 - t) a + t b every pre-activation is piecewise affine in t. A unit that is zero
    on a whole piece makes no breakpoint; lines that meet the segment in one point (to about 1e-13 of the
    layer's scale) make one.

    Args:
        model: any network `networks.trace` understands.
        a, b: two inputs, each of one sample's shape, without a batch axis.

    Returns:
        A `Segment`. Computed in float64, whatever the precision of the model.

    Raises:
        ValueError: a equal to b, inputs of different or wrong shapes, NaN or infinity, a network that is
            not piecewise linear.

    Source: the one-dimensional case of the partition of Humayun et al. 2023 (SplineCam); along a line the
    number of regions grows with the number of neurons (Hanin & Rolnick 2019).

    Example:
        >>> fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU())
        >>> _ = fold[0].weight.data.fill_(4.0), fold[0].bias.data.copy_(torch.tensor([-1.0, -2.0]))
        >>> _ = fold[2].weight.data.copy_(torch.tensor([[1.0, -2.0]])), fold[2].bias.data.zero_()
        >>> segment = on_segment(fold, torch.zeros(1), torch.ones(1))  # a hat, and where it ends
        >>> segment.breakpoints.tolist(), segment.neurons.tolist()
        ([0.25, 0.5, 0.75], [[0, 0], [0, 1], [1, 0]])

    Used in lessons 01, 03, 08, 10, 15 and 16.
    """
    network = _network_for(model, a, b)
    a, b = (network.check_input(x.detach()[None]).clone() for x in (a, b))
    if torch.equal(a, b):
        raise ValueError("a and b are the same point: there is no segment between them. Give two inputs.")
    line = _Line(a, b)
    with torch.no_grad():
        for step in network.walk(line.values):
            line.cut(step.layer, line.values[step.inputs[0]].flatten(1))
    inside = slice(1, -1)
    return Segment(line.t[inside].cpu().numpy(), line.neurons[inside].cpu().numpy(), a[0], b[0])


def _network_for(model: nn.Module, a: Tensor, b: Tensor) -> Network:
    for x in (a, b):
        check_tensor(x, "torch tensors")
    if a.shape != b.shape:
        raise ValueError(f"expected a and b of one shape, got {tuple(a.shape)} and {tuple(b.shape)}.")
    return trace(with_float64(model), _shape_of_sample(model, tuple(a.shape)), dtype=torch.float64)


def _between(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    return (1 - share) * low + share * high  # exact at both ends


class _Line:
    """All breakpoints so far with both ends: positions t, who made them, and the values of the walk there."""

    def __init__(self, a: Tensor, b: Tensor):
        self.values = {0: torch.cat([a, b])}
        self.t = torch.tensor([0.0, 1.0], dtype=torch.float64, device=a.device)
        self.neurons = torch.full((2, 2), -1, device=a.device)

    def cut(self, layer: int, z: Tensor) -> None:
        """Add the zeros of a layer's pre-activations z (rows, units)."""
        scale = z.abs().amax(1, keepdim=True)
        error = torch.maximum(_ON_THE_LINE * scale, _ROUNDING * scale.max())
        sign = (z > error).int() - (z < -error).int()
        piece, unit = (sign[:-1] * sign[1:] < 0).nonzero().T
        z0, z1 = z[piece, unit], z[piece + 1, unit]
        share, width = z0 / (z0 - z1), (self.t[1:] - self.t[:-1])[piece]
        t = self.t[piece] + share * width
        # How far, in t, a unit may be from its zero and still count as on it.
        reach = (torch.maximum(error[piece], error[piece + 1])[:, 0] / (z1 - z0).abs() * width).clamp_min(
            _SAME
        )
        kept = ((t - self.t[piece] > _SAME) & (self.t[piece + 1] - t > _SAME)).nonzero()[:, 0]
        kept = kept[torch.argsort(t[kept], stable=True)]
        kept = kept[_one_of_each(t[kept], reach[kept], piece[kept])]
        self._insert(t[kept], piece[kept], share[kept], layer, unit[kept])

    def _insert(self, t: Tensor, piece: Tensor, share: Tensor, layer: int, unit: Tensor) -> None:
        order = torch.argsort(torch.cat([self.t, t]), stable=True)
        self.t = torch.cat([self.t, t])[order]
        self.neurons = torch.cat([self.neurons, torch.stack([torch.full_like(unit, layer), unit], 1)])[order]
        for i, value in self.values.items():
            weight = share.reshape(-1, *[1] * (value.dim() - 1))
            self.values[i] = torch.cat([value, _between(value[piece], value[piece + 1], weight)])[order]


def _one_of_each(t: Tensor, reach: Tensor, piece: Tensor) -> Tensor:
    """Indices into the sorted zeros t, without those that a steeper (or earlier) zero in reach stands for."""
    left = torch.arange(len(t), device=t.device)
    while True:
        gap, own, other = t[left].diff(), reach[left][1:], reach[left][:-1]
        same = piece[left].diff() == 0
        drop = torch.zeros_like(left, dtype=torch.bool)
        drop[1:] |= same & (gap <= own) & (other <= own)
        drop[:-1] |= same & (gap <= other) & (own < other)
        if not drop.any():
            return left
        left = left[~drop]
