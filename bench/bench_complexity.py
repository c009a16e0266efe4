"""How fast `regions.local_complexity` is: against the plain implementation and the bare forward pass.

Run by `make bench`, or: python bench/bench_complexity.py [--quick] (one radius). One thread; processor time.
`plain` is frozen here: all 2P * N rows through the whole net at once, every activation kept, signs compared.
"""

import argparse
import copy
import resource
import sys
import time
from unittest import mock

import torch
from _timing import compare
from torch import Tensor, nn

from minigrok.models import cnn, mlp, resnet18
from minigrok.regions import local_complexity


def vertices(x: Tensor, frame: Tensor, radius: float) -> Tensor:
    moves = radius * frame.to(x.dtype).unflatten(1, x.shape[1:])
    return (x[:, None] + torch.cat([moves, -moves])).flatten(0, 1)


@torch.no_grad()
def plain(model: nn.Module, x: Tensor, frame: Tensor, radius: float) -> Tensor:
    """The measure as it is written down: what goes into every ReLU (module or function) is kept."""
    kept: list[Tensor] = []
    relu = torch.relu

    def watched(z: Tensor) -> Tensor:
        kept.append(z)
        return relu(z)

    with mock.patch("torch.relu", watched):
        model(vertices(x, frame, radius))
    counts = []
    for z in kept:
        sign = z.reshape(len(x), 2 * len(frame), -1).sign()
        counts.append((sign[:, 1:] != sign[:, :1]).any(1).sum(1))
    return torch.stack(counts, 1)


@torch.no_grad()
def forward(model: nn.Module, rows: Tensor, batch: int) -> None:
    for part in rows.split(batch):
        model(part)


@torch.no_grad()
def products(model: nn.Sequential, n_rows: int, batch: int = 2000) -> None:
    """The matrix products of layers 2 to 4 alone: what is left if all else were free and no row saved."""
    rows = torch.rand(batch, 200)
    for _ in range(n_rows // batch):
        for k in (2, 4, 6):
            model[k](rows)


def frame_of(p: int, d: int, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(d, p, dtype=torch.float64, generator=generator)).Q.T


def memory() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform == "linux" else 2**20)


def bench_mlp(radii: list[float], repeats: int) -> None:
    generator = torch.Generator().manual_seed(0)
    model = mlp([784, 200, 200, 200, 200, 10], generator=generator).requires_grad_(False)
    x, frame = torch.rand(1000, 784, generator=generator), frame_of(25, 784, generator)
    double = copy.deepcopy(model).double()
    start = memory()
    for n in (1000, 8000):
        local_complexity(model, torch.rand(n, 784, generator=generator), radius=0.05, frame=frame)
        print(f"  memory beyond the start, N = {n}: {memory() - start:.0f} MiB")
    for radius in radii:
        rows = vertices(x, frame, radius)
        print(
            f"MLP 784-200x4-10, N = 1000, P = 25, r = {radius} (targets: 5 times plain; faster than forward)"
        )
        compare(
            {
                "plain": lambda r=radius: plain(model, x, frame, r),
                "plain, batches of 100": lambda r=radius: [
                    plain(model, part, frame, r) for part in x.split(100)
                ],
                "bare forward, one batch": lambda rows=rows: forward(model, rows, len(rows)),
                "bare forward, batches of 2000": lambda rows=rows: forward(model, rows, 2000),
                "bare forward, batches of 500": lambda rows=rows: forward(model, rows, 500),
                "products of layers 2 to 4 alone": lambda rows=rows: products(model, len(rows)),
                "local_complexity": lambda r=radius: local_complexity(model, x, radius=r, frame=frame),
            },
            repeats,
            clock=time.process_time,
        )
    for radius in (0.005, 0.05, 0.5, 5.0):
        found = local_complexity(model, x, radius=radius, frame=frame)
        wrong = (found.per_layer != plain(double, x.double(), frame, radius)).sum()
        mean = found.total.double().mean()
        cells = found.per_layer.numel()
        print(f"  r = {radius}: mean {mean:.2f}, {int(wrong)} of {cells} cells differ from float64")


def bench_pictures(name: str, model: nn.Module, n: int, radius: float, repeats: int) -> None:
    """Pictures of 3 x 32 x 32, P = 20. Layout and batch of the bare forward: the best that were found."""
    generator = torch.Generator().manual_seed(0)
    x, frame = torch.rand(n, 3, 32, 32, generator=generator), frame_of(20, 3072, generator)
    rows = vertices(x, frame, radius)
    channels_last = rows.contiguous(memory_format=torch.channels_last)
    print(f"{name}, N = {n}, P = 20, r = {radius} (targets: 3.5 times plain; 1.3 times the bare forward)")
    compare(
        {
            "bare forward, channels last, batches of 80": lambda: forward(model, channels_last, 80),
            "bare forward, channels last, batches of 40": lambda: forward(model, channels_last, 40),
            "bare forward, channels last, batches of 160": lambda: forward(model, channels_last, 160),
            "bare forward, batches of 40": lambda: forward(model, rows, 40),
            "plain": lambda: plain(model, x, frame, radius),
            "local_complexity": lambda: local_complexity(model, x, radius=radius, frame=frame),
        },
        repeats,
        clock=time.process_time,
    )
    found = local_complexity(model, x[:4], radius=radius, frame=frame)
    wrong = (found.per_layer != plain(copy.deepcopy(model).double(), x[:4].double(), frame, radius)).sum()
    mean, cells, ties = found.total.double().mean(), found.per_layer.numel(), int(found.ties.sum())
    print(f"  mean {mean:.1f}, {int(wrong)} of {cells} cells differ from float64, {ties} ties")


def bench_cnn(repeats: int) -> None:
    for batch_norm in (False, True):
        for name, make in (("ResNet-18, width 16", resnet18), ("CNN, width 16", cnn)):
            model = make(16, batch_norm=batch_norm, generator=torch.Generator().manual_seed(0))
            title = f"{name}, {'with' if batch_norm else 'no'} batch norm"
            bench_pictures(title, model.eval().requires_grad_(False), 32, 0.005, repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one radius, fewer rounds, no CNN")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    bench_mlp([0.05] if quick else [0.005, 0.05, 0.5, 5.0], repeats=3 if quick else 7)
    if not quick:
        bench_cnn(repeats=5)
