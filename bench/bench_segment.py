"""How fast `regions.on_segment` is: against dense sampling, which is what one does without it.

Run by `make bench`, or: python bench/bench_segment.py. One thread; processor time.
"""

import copy
import time

import torch
from _timing import compare
from torch import Tensor, nn

from minigrok.models import mlp
from minigrok.networks import trace
from minigrok.regions import on_segment


@torch.no_grad()
def sampled(model: nn.Module, a: Tensor, b: Tensor, n: int) -> int:
    """The number of regions that n points on the segment tell apart, by the signs of all pre-activations."""
    h = a + torch.linspace(0, 1, n, dtype=a.dtype)[:, None] * (b - a)
    changed = torch.zeros(n - 1, dtype=torch.bool)
    for layer in model:
        if isinstance(layer, nn.ReLU):
            active = h > 0
            changed |= (active[1:] != active[:-1]).any(1)
        h = layer(h)
    return 1 + int(changed.sum())


@torch.no_grad()
def forward(model: nn.Module, a: Tensor, b: Tensor, n: int) -> Tensor:
    """The limit: the network at n points in one batch, as many as the segment has breakpoints and ends."""
    return model(a + torch.linspace(0, 1, n, dtype=a.dtype)[:, None] * (b - a))


if __name__ == "__main__":
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    model = mlp([784, 200, 200, 200, 10], generator=generator).requires_grad_(False)
    a, b = torch.rand(2, 784, generator=generator).unbind()
    double = copy.deepcopy(model).double()
    n = on_segment(model, a, b).n_regions
    print(f"784-200x3-10, two random points: {n} regions, exactly")
    for points in (1_000, 10_000, 100_000):
        print(f"  {points:,} samples tell {sampled(double, a.double(), b.double(), points)} apart")
    compare(
        {
            "1,000 samples, float32": lambda: sampled(model, a, b, 1_000),
            "10,000 samples, float32": lambda: sampled(model, a, b, 10_000),
            "reading the network (trace)": lambda: trace(model, dtype=torch.float64),
            "on_segment, trace included": lambda: on_segment(model, a, b),
            f"bare forward of {n + 1} rows, float64": lambda: forward(double, a.double(), b.double(), n + 1),
        },
        repeats=9,
        clock=time.process_time,
    )
