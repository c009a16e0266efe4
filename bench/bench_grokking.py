"""How long networks of pairs take: to their click, for one update, many at once, and for a phase diagram.

Run by `make bench`, or: python bench/bench_grokking.py. One thread a process, processor time, in turn. The
phase diagram at the end takes two processes and is given in seconds of the clock on the wall.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import compare
from torch import nn

from minigrok import data, models, sweep, training

BETAS = (0.9, 0.98)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def to_the_click(p: int, width: int, fraction: float, lr: float, decay: float) -> None:
    """Lesson 04's run, looks every 20 steps included, to the first with 95 % of the hidden pairs."""
    task = data.arithmetic("add", p, fraction=fraction)
    begin = time.process_time()
    model = models.pair_mlp(p, width, generator=seeded(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay, betas=BETAS, fused=True)
    state, step = training.State(model, optimizer), training.classification_step()
    while training.accuracy(model, task.x_test, task.y_test) < 0.95:
        training.train(step, state, steps=state.step + 20, batches=lambda t: (task.x_train, task.y_train))
    print(f"p = {p}, width {width}: click at step {state.step}, {time.process_time() - begin:.1f} s")


def plain(task: data.Arithmetic, p: int, width: int, seed: int, **options: bool) -> Callable[[], None]:
    """One bare update, as anyone would write it: torch's own embedding, linear layer, loss and AdamW."""
    left, right, readout = nn.Embedding(p, width), nn.Embedding(p, width), nn.Linear(width, p, bias=False)
    parameters = [left.weight, right.weight, readout.weight]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=1.0, betas=BETAS, **options)
    x, y = task.x_train, task.y_train

    def update() -> None:
        optimizer.zero_grad()
        F.cross_entropy(readout(torch.relu(left(x[:, 0]) + right(x[:, 1]))), y).backward()
        optimizer.step()

    return update


def ours(model: nn.Module, optimizer: torch.optim.Optimizer, batch: training.Batch) -> Callable[[], None]:
    state, step = training.State(model, optimizer), training.classification_step()
    return lambda: step(state, batch)


def times(n: int, *updates: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        for update in updates:
            for _ in range(n):
                update()

    return run


def one_update(p: int, width: int, fraction: float) -> None:
    """Our update of one network against the bare one (its ratio is to stay above 1 / 1.3 = 0.77)."""
    task = data.arithmetic("add", p, fraction=fraction)
    model = models.pair_mlp(p, width, generator=seeded(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1.0, betas=BETAS, fused=True)
    print(f"\n20 updates of one network, p = {p}, width {width}")
    functions = {
        "bare": times(20, plain(task, p, width, 0, fused=True)),
        "minigrok": times(20, ours(model, optimizer, (task.x_train, task.y_train))),
    }
    compare(functions, repeats=11, clock=time.process_time)


def many(p: int, width: int, n: int) -> None:
    """n networks on different halves of the table: one at a time, and as one batched model."""
    tasks = [data.arithmetic("add", p, seed=seed) for seed in range(n)]
    ensemble = training.Ensemble([models.pair_mlp(p, width, generator=seeded(seed)) for seed in range(n)])
    optimizer = training.EnsembleAdamW(
        ensemble.parameters(), lr=torch.full((n,), 1e-2), weight_decay=torch.ones(n), betas=BETAS
    )
    batch = training.padded([(task.x_train, task.y_train) for task in tasks])
    print(f"\n10 updates of each of {n} networks, p = {p}, width {width}")
    functions = {
        "one at a time": times(10, *(plain(task, p, width, s) for s, task in enumerate(tasks))),
        "the same, fused AdamW": times(
            10, *(plain(task, p, width, s, fused=True) for s, task in enumerate(tasks))
        ),
        "one batched model": times(10, ours(ensemble, optimizer, batch)),
    }
    compare(functions, repeats=9, clock=time.process_time)


def phase_diagram() -> None:
    """8 x 8 cells and 3 seeds, 500 steps each, on two processes."""
    cells = sweep.grid(
        fraction=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
        weight_decay=[0, 0.03, 0.1, 0.3, 1, 3, 6, 16],
        seed=[0, 1, 2], lr=[0.03], activation=["square"], steps=[500],
    )  # fmt: skip
    begin = time.perf_counter()
    table = sweep.run(sweep.grokking_times, cells, together=24, workers=2)
    seconds = time.perf_counter() - begin
    print(f"\nphase diagram, {len(cells)} runs of 500 steps, p = 31, width 64: {seconds:.0f} s")
    assert not table.failed, table.failed[0]


if __name__ == "__main__":
    torch.set_num_threads(1)
    to_the_click(59, 128, 0.5, 1e-2, 1.0)
    to_the_click(97, 256, 0.4, 5e-3, 2.0)
    one_update(59, 128, 0.5)
    one_update(97, 256, 0.4)
    many(31, 64, 24)
    many(59, 128, 4)
    phase_diagram()
