"""What training many small networks of pairs at once saves, and what lesson 04's single run costs.

Run by `make bench`, or: python bench/bench_grokking.py. One thread, processor time, functions in turn; the
phase diagram at the end takes two processes and is given in seconds of the clock.
"""

import math
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from _timing import compare
from torch import nn

from minigrok import data, models, sweep, training
from minigrok.training import Ensemble, EnsembleAdamW, State, train

SINGLE = {"p = 59, width 128": (59, 128, 0.5, 1e-2, 1.0), "p = 97, width 256": (97, 256, 0.4, 5e-3, 2.0)}
MANY = {"p = 31, width 64": (31, 64, 96), "p = 59, width 128": (59, 128, 6)}


def network(p: int, width: int, seed: int) -> nn.Module:
    return models.pair_mlp(p, width, generator=torch.Generator().manual_seed(seed))


def bare(net: nn.Module, x: torch.Tensor, y: torch.Tensor, lr: float, decay: float) -> Callable[[], None]:
    """The loop that one would write: forward, cross-entropy, backward, PyTorch's fastest AdamW."""
    options = {"lr": lr, "weight_decay": decay, "betas": (0.9, 0.98), "fused": True}
    optimizer = torch.optim.AdamW(net.parameters(), **options)

    def update() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return update


def single(name: str, p: int, width: int, fraction: float, lr: float, decay: float) -> None:
    """`train` against bare updates (at most 1.3 times their time), then until it understands."""
    x, y, x_test, y_test = data.arithmetic("add", p, fraction=fraction)

    def state() -> State:
        net = network(p, width, 0)
        options = {"lr": lr, "weight_decay": decay, "betas": (0.9, 0.98), "fused": True}
        return State(net, torch.optim.AdamW(net.parameters(), **options))

    updates, ours, theirs = 20, state(), bare(network(p, width, 0), x, y, lr, decay)

    def trained() -> None:
        ours.step = 0
        train(training.classification_step(), ours, steps=updates, batches=lambda t: (x, y))

    print(f"{updates} updates of one network, {name}")
    compare({"bare": lambda: [theirs() for _ in range(updates)], "train": trained}, clock=time.process_time)
    begin, run, seen = time.process_time(), state(), 0.0
    while seen < 0.95 and run.step < 4000:
        steps = run.step + 20
        train(training.classification_step(), run, steps=steps, batches=lambda t: (x, y))
        seen = float(training.accuracy(run.model, x_test, y_test))
    seconds = time.process_time() - begin
    print(f"test accuracy {seen:.2f} at step {run.step}, after {seconds:.1f} s of one processor\n")


def tasks(p: int, fractions: list[float]) -> list[data.Arithmetic]:
    return [data.arithmetic("add", p, fraction=f, seed=seed) for seed, f in enumerate(fractions)]


def many(name: str, p: int, width: int, fractions: list[float], updates: int = 5) -> None:
    """Runs of several seeds, rates and weight decays: one after the other, and as one batched model."""
    sets = [task[:2] for task in tasks(p, fractions)]
    n, batch = len(sets), training.padded(sets)
    lr, decay = torch.logspace(-3, -1, n), torch.linspace(0, 3, n)
    nets = [network(p, width, seed) for seed in range(n)]
    alone = [bare(network(p, width, s), *sets[s], lr[s].item(), decay[s].item()) for s in range(n)]

    def one_at_a_time() -> None:
        for update in alone:
            for _ in range(updates):
                update()

    def optimizer(model: nn.Module) -> EnsembleAdamW:
        return EnsembleAdamW(model.parameters(), lr=lr, weight_decay=decay)

    by_autograd, by_formula, step = Ensemble(nets), Ensemble(nets), training.classification_step()
    plain, state = optimizer(by_autograd), State(by_formula, optimizer(by_formula))

    def autograd() -> None:
        for _ in range(updates):
            plain.zero_grad()
            training.classification_loss(by_autograd(batch[0]), batch[1]).sum().backward()
            plain.step()

    print(f"{updates} updates of {n} networks, {name}")
    functions = {
        "one at a time": one_at_a_time,
        "Ensemble, autograd": autograd,
        "Ensemble, classification_step": lambda: [step(state, batch) for _ in range(updates)],
    }
    if len(set(fractions)) == 1:
        functions["the limit: its three products"] = lambda: [
            products(n, len(sets[0][0]), p, width) for _ in range(updates)
        ]
    medians = compare(functions, repeats=15, clock=time.process_time)
    print("us an update and run: " + shown({k: 1e6 * v / updates / n for k, v in medians.items()}) + "\n")


def shown(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.0f}" for name, value in values.items())


def products(n: int, pairs: int, p: int, width: int) -> None:
    """Nothing but the products of matrices, a cacheful at a time: below this no arrangement can come."""
    k = max(1, 2**19 // (pairs * width))
    for begin in range(0, n, k):
        size = min(k, n - begin)
        hidden, readout, logits = ROOM(size, pairs, width), ROOM(size, p, width), ROOM(size, p, pairs)
        torch.bmm(readout, hidden.mT, out=logits)
        torch.bmm(logits, hidden, out=readout)
        torch.bmm(logits.mT, readout, out=hidden)


class _Room:
    """Tensors of zeros, the same ones for the same shape (zeros are as slow to multiply as other numbers)."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, ...], torch.Tensor] = {}

    def __call__(self, *shape: int) -> torch.Tensor:
        return self.kept.setdefault(shape, torch.zeros(shape))


ROOM = _Room()


def diagram(fractions: int, decays: int, seeds: int, steps: int) -> None:
    """A phase diagram as in lesson 07, over two processes."""
    cells = sweep.grid(
        fraction=np.linspace(0.3, 0.9, fractions).round(3),
        weight_decay=np.geomspace(0.1, 10, decays).round(3),
        seed=range(seeds),
        activation=["square"],
        lr=[0.03],
        steps=[steps],
    )
    begin = time.perf_counter()
    table = sweep.run(sweep.grokking_times, cells, together=math.ceil(len(cells) / 4), workers=2)
    seconds = time.perf_counter() - begin
    understood = np.isfinite(table.column("test_step").astype(float)).mean()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(
        f"{fractions} x {decays} cells x {seeds} seeds, {steps} updates, two processes: {seconds:.1f} s{load}"
    )
    print(
        f"({statistics.fsum(table.column('seconds')):.1f} s in all; {understood:.0%} of the runs understood)"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, settings in SINGLE.items():
        single(name, *settings)
    for name, (p, width, n) in MANY.items():
        many(f"{name}, half of the pairs", p, width, [0.5] * n)
        many(f"{name}, 30 to 90 % of the pairs", p, width, np.linspace(0.3, 0.9, n).tolist())
    diagram(8, 8, 3, 300)
