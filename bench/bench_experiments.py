"""What experiments/cifar10.py loses over its limit, and how its time is shared between training and looking.

Run by `make bench`, or: python bench/bench_experiments.py [--device cuda]. It needs no data: pictures are
invented. One thread on a CPU; functions in turn. Two questions:

- Samples a second of `training.train` with the script's step and batches, against bare updates (forward,
  backward, Adam) on one batch that lies ready; and what a checkpoint takes.
- The share of the time that looking takes, for the whole length of the run.
"""

import argparse
import contextlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from _timing import compare

from minigrok import data, training

UPDATES, BATCH, N = 40, 128, 5000
SCRIPT = Path(__file__).parents[1] / "experiments" / "cifar10.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cifar10", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def invented(device: str) -> data.Images:
    """As many pictures of noise as the small run has photographs."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(N + 1000, 3, 32, 32, generator=generator) * 4 - 2).to(device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.randint(10, (N + 1000,), generator=generator).to(device)
    return data.Images(x[:N], y[:N], x[N:], y[N:])


def finished(device: str) -> Callable[[], None]:
    return torch.cuda.synchronize if device.startswith("cuda") else contextlib.nullcontext


def training_step(cifar10: ModuleType, options: argparse.Namespace, images: data.Images) -> float:
    """Print `train` against bare updates; return the seconds of one update by `train`."""
    state, ready = cifar10.new_state(options), finished(options.device)
    step, batches = cifar10.step_on(state.model), cifar10.batches_of(images, options)
    batch = batches(0)

    def bare() -> None:
        for _ in range(UPDATES):
            step(state, batch)
        ready()

    def gathered() -> None:
        for t in range(UPDATES):
            step(state, batches(t % 30))
        ready()

    def trained() -> None:
        state.step, state.records = 0, []
        training.train(step, state, steps=UPDATES, batches=lambda t: batches(t % 30))
        ready()

    def checkpoint() -> None:
        with tempfile.TemporaryDirectory() as folder:  # none of the updates, and the state once on disk
            training.train(step, state, steps=UPDATES, checkpoint=Path(folder) / "run.pt")

    clock = time.perf_counter if options.device.startswith("cuda") else time.process_time
    medians = compare({"bare updates": bare, "with batches": gathered, "train": trained}, clock=clock)
    begin = clock()
    checkpoint()
    print(f"a checkpoint, one in 1,000 updates: {1e3 * (clock() - begin):.0f} ms")
    rate = {name: UPDATES * BATCH / seconds for name, seconds in medians.items()}
    print("samples a second: " + ", ".join(f"{name} {value:,.0f}" for name, value in rate.items()))
    return medians["train"] / UPDATES


def looking(cifar10: ModuleType, options: argparse.Namespace, images: data.Images, seconds: float) -> None:
    """Print the share of looking: `options.looks` looks at a network in mid-training, against all updates."""
    state, ready = cifar10.new_state(options), finished(options.device)
    step, batches = cifar10.step_on(state.model), cifar10.batches_of(images, options)
    for t in range(UPDATES):
        step(state, batches(t % 30))
    clock = time.perf_counter if options.device.startswith("cuda") else time.process_time
    begin = clock()
    cifar10.look(state.model.eval(), images)
    ready()
    look, all_updates = clock() - begin, options.steps * seconds
    share = options.looks * look / (options.looks * look + all_updates)
    print(
        f"a look {look:.1f} s, {options.looks} of them; {options.steps:,} updates {all_updates:.0f} s: "
        f"looking takes {share:.0%} of the time\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Timings of experiments/cifar10.py.")
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    cifar10, images = script(), invented(device)
    for setting in (["--width", "8"], ["--width", "8", "--batch-norm"], ["--width", "16"]):
        options = cifar10.parsed([*setting, "--steps", "100000", "--device", device])
        print(f"cnn {' '.join(setting)}, batch {BATCH}, {UPDATES} updates on {device}")
        looking(cifar10, options, images, training_step(cifar10, options, images))


if __name__ == "__main__":
    main()
