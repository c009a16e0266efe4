"""How fast `naps.mine` is, and how much memory it takes: against the bare forward pass and the plain way.

Run by `make bench`, or: python bench/bench_naps.py [--quick] (fewer samples and rounds). One thread; time of
the processor. `plain` is frozen here: hooks on every ReLU, all samples at once, the states kept.
"""

import argparse
import resource
import subprocess
import sys
import time

import torch
from _timing import compare
from torch import Tensor, nn

from minigrok import naps
from minigrok.models import cnn, mlp

WIDTHS = [784, 256, 256, 256, 256, 10]


@torch.no_grad()
def plain(model: nn.Sequential, x: Tensor, y: Tensor, delta: float) -> dict[int, tuple[list, list]]:
    """The algorithm as it is written down: the states of all samples, and the mean over each class."""
    kept: list[Tensor] = []
    relus = [module for module in model if isinstance(module, nn.ReLU)]
    hooks = [relu.register_forward_pre_hook(lambda _, args: kept.append(args[0] > 0)) for relu in relus]
    model(x)
    for hook in hooks:
        hook.remove()
    found = {}
    for label in y.unique().tolist():
        means = [state[y == label].flatten(1).double().mean(0) for state in kept]
        found[label] = [mean >= delta for mean in means], [mean <= 1 - delta for mean in means]
    return found


@torch.no_grad()
def forward(model: nn.Module, x: Tensor, batch: int) -> None:
    for part in x.split(batch):
        model(part)


def some_digits(n: int) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A network, and samples in its classes: half of the values are 0, in MNIST most are."""
    generator = torch.Generator().manual_seed(0)
    model = mlp(WIDTHS, generator=generator).requires_grad_(False)
    x = torch.rand(n, 784, generator=generator).sub_(0.5).clamp_(min=0)
    return model, x, torch.randint(10, (n,), generator=generator)


def peak() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform == "linux" else 2**20)


def memory_of(what: str, n: int) -> None:
    """Print how far the memory of this process rises above what it takes to hold the samples."""
    model, x, y = some_digits(n)
    start = peak()
    if what == "mine":
        naps.mine(model, x, y, delta=0.95)
    elif what == "coverage":
        found = naps.mine(model, x[:1000], y[:1000], delta=0.95)
        naps.coverage(found, model, x, y)
    elif what == "plain":
        plain(model, x, y, 0.95)
    else:
        forward(model, x, 1000)
    print(f"{peak() - start:.0f}")


def bench_memory(sizes: tuple[int, int]) -> None:
    # First of all: on Linux a process starts with the peak of the one that it was started from.
    print(f"peak memory above that of the samples, MiB, at N = {sizes[0]} and {sizes[1]} (target: flat)")
    print("  (of three processes each, the one that took least)")
    for what in ("forward", "mine", "coverage", "plain"):
        found = [min(memory_in_a_process(what, n) for _ in range(3)) for n in sizes]
        print(f"  {what:10}", *(f"{mib:6.0f}" for mib in found))


def memory_in_a_process(what: str, n: int) -> float:
    command = [sys.executable, __file__, "--memory", what, str(n)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def bench_mining(n: int, repeats: int) -> None:
    model, x, y = some_digits(n)
    print(f"MLP 784-256x4-10, N = {n}, 10 classes (target: at most 1.3 times the bare forward pass)")
    found = naps.mine(model, x, y, delta=0.95)
    compare(
        {
            "bare forward, batches of 1000": lambda: forward(model, x, 1000),
            "bare forward, batches of 250": lambda: forward(model, x, 250),
            "plain": lambda: plain(model, x, y, 0.95),
            "mine": lambda: naps.mine(model, x, y, delta=0.95),
            "mine, first layer": lambda: naps.mine(model, x, y, delta=0.95, layers=0),
            "followers of 10 patterns": lambda: naps.followers(found, model, x),
        },
        repeats,
        clock=time.process_time,
    )
    wrong = 0
    for label, (active, inactive) in plain(model, x, y, 0.95).items():
        ours = (*found[label].active, *found[label].inactive)
        wrong += sum(int((a != b).sum()) for a, b in zip(ours, (*active, *inactive), strict=True))
    print(f"  {wrong} of {20 * sum(WIDTHS[1:-1])} masks' entries differ from the plain way's")


def bench_pictures(n: int, repeats: int) -> None:
    generator = torch.Generator().manual_seed(0)
    model = cnn(16, generator=generator).eval().requires_grad_(False)
    x, y = torch.rand(n, 3, 32, 32, generator=generator), torch.arange(n) % 10
    print(f"CNN, width 16, N = {n}")
    compare(
        {
            "bare forward, batches of 100": lambda: forward(model, x, 100),
            "plain": lambda: plain(model, x, y, 0.95),
            "mine": lambda: naps.mine(model, x, y, delta=0.95),
        },
        repeats,
        clock=time.process_time,
    )


def bench_minimal(seeds: int) -> None:
    print("calls of `sufficient` for a pattern of 1000 units, of which s are needed (range over seeds)")
    whole = naps.NAP((torch.ones(1000, dtype=torch.bool),), (torch.zeros(1000, dtype=torch.bool),))
    for s in (3, 30, 300):
        calls: dict[str, list[int]] = {}
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            needed = torch.randperm(1000, generator=generator)[:s]

            def sufficient(nap: naps.NAP, needed: Tensor = needed) -> bool:
                return bool(nap.active[0][needed].all())

            for name, options in {
                "conservative": {},
                "conservative, block=64": {"block": 64},
                "statistical": {"method": "statistical", "generator": generator},
            }.items():
                found = naps.minimal(whole, sufficient, **options)
                assert found.minimal and found.nap.size == s
                calls.setdefault(name, []).append(found.calls)
        row = "; ".join(f"{name} {min(n)} to {max(n)}" for name, n in calls.items())
        print(f"  s = {s}: {row}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and samples")
    parser.add_argument("--memory", nargs=2, metavar=("WHAT", "N"), help="used for processes of its own")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        memory_of(args.memory[0], int(args.memory[1]))
    else:
        bench_memory((5_000, 20_000) if args.quick else (15_000, 60_000))
        bench_mining(20_000 if args.quick else 60_000, repeats=3 if args.quick else 7)
        bench_pictures(500, repeats=3)
        bench_minimal(seeds=3)
