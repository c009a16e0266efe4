"""Train lesson 10's digit networks for long, and watch when they become robust.

    python experiments/mnist_mlp.py                 # the figure: squared error and cross-entropy, three seeds
    python experiments/mnist_mlp.py --factors       # one thing changed at a time, and the controls
    python experiments/mnist_mlp.py --only squared_error depth_6

The setting is figure 2 of Humayun et al. 2024 (arXiv 2402.15555) as their code has it: 784-200-200-200-10
with ReLU, AdamW with learning rate 1e-3 and weight decay 0.01, batches of 200 from 1,000 images, 100,000
updates, PyTorch's own initialisation. Each seed has its own images, first weights and order of batches; the
seeds of a setting train as one batched model. The factors change one thing at a time (their table 1), with
one seed and 30,000 updates. MNIST is downloaded, or read from the folder named by MINIGROK_DATA.

First the networks train; at steps spaced by their logarithm the weights are left in `experiments/runs/`. Then
each of these snapshots is looked at. Both go on where they were stopped: type the same command again.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minigrok import data, measures, models, training

RUNS = Path(__file__).parent / "runs" / "mnist_mlp"
RECORDINGS = Path(__file__).parents[1] / "lessons" / "recordings"


@dataclass(frozen=True)
class Setting:
    """One kind of run; the defaults are those of the figure."""

    loss: str = "squared_error"
    depth: int = 4  # affine layers
    width: int = 200
    batch: int = 200
    n_train: int = 1000
    random_labels: bool = False
    weight_decay: float = 0.01
    scale: float = 1.0  # of the first weights
    adam_eps: float = 1e-8
    double: bool = False  # float64
    seeds: tuple[int, ...] = (0,)
    steps: int = 30_000


FIGURE = {
    "squared_error": Setting(seeds=(0, 1, 2), steps=100_000),
    "cross_entropy": Setting(loss="cross_entropy", seeds=(0, 1, 2), steps=100_000),
}
BASE = Setting()
FACTORS = {
    "adam_eps": replace(BASE, adam_eps=1e-3),
    "cross_entropy_double": replace(BASE, loss="cross_entropy", double=True),
    "scale_8": replace(BASE, scale=8.0),
    "depth_2": replace(BASE, depth=2),
    "depth_6": replace(BASE, depth=6),
    "width_50": replace(BASE, width=50),
    "batch_50": replace(BASE, batch=50),
    "batch_500": replace(BASE, batch=500),
    "n_train_250": replace(BASE, n_train=250),
    "n_train_4000": replace(BASE, n_train=4000),
    "random_labels_1000": replace(BASE, random_labels=True),
    "random_labels_4000": replace(BASE, random_labels=True, n_train=4000),
    "decay_0": replace(BASE, weight_decay=0.0),
}
SETTINGS = FIGURE | FACTORS


def images(setting: Setting, seed: int) -> data.Digits:
    """The images of one seed; with random labels every training image gets one at random, once for all."""
    found = data.mnist(setting.n_train, seed=seed)
    if setting.random_labels:
        generator = torch.Generator().manual_seed(seed)
        found = found._replace(y_train=torch.randint(10, found.y_train.shape, generator=generator))
    dtype = torch.float64 if setting.double else torch.float32
    return found._replace(x_train=found.x_train.to(dtype), x_test=found.x_test.to(dtype))


def new_state(setting: Setting) -> training.State:
    widths = [784, *[setting.width] * (setting.depth - 1), 10]
    networks = [
        models.mlp(widths, scale=setting.scale, generator=torch.Generator().manual_seed(seed))
        for seed in setting.seeds
    ]
    ensemble = training.Ensemble([n.double() if setting.double else n for n in networks])
    optimizer = torch.optim.AdamW(
        ensemble.parameters(),
        lr=1e-3,
        weight_decay=setting.weight_decay,
        eps=setting.adam_eps,
        fused=True,
    )
    return training.State(ensemble, optimizer)


def batches_of(sets: list[data.Digits], setting: Setting) -> Callable[[int], training.Batch]:
    """Each network's own batch, (S, batch, 784) and (S, batch)."""
    orders = [
        training.minibatches(part.x_train, part.y_train, setting.batch, seed=seed)
        for part, seed in zip(sets, setting.seeds, strict=True)
    ]

    def batches(t: int) -> training.Batch:
        xs, ys = zip(*(order(t) for order in orders), strict=True)
        return torch.stack(xs), torch.stack(ys)

    return batches


def train(name: str, progress: bool = True) -> training.Run:
    """Run the networks of a setting to the end, or on to it; the weights of every look are left on disk."""
    setting, run = SETTINGS[name], RUNS / name
    sets, state = [images(setting, seed) for seed in setting.seeds], new_state(setting)
    run.mkdir(parents=True, exist_ok=True)

    def observe(state: training.State) -> dict[str, torch.Tensor]:
        path = run / f"{state.step}.pt"
        beside = path.with_suffix(f".{os.getpid()}.part")
        torch.save(state.model.state_dict(), beside)
        beside.replace(path)
        return {
            "train_accuracy": torch.stack(
                [training.accuracy(state.model[s], p.x_train, p.y_train) for s, p in enumerate(sets)]
            ),
            "test_accuracy": training.accuracy(state.model, sets[0].x_test, sets[0].y_test),
            "norm": measures.weight_norm(state.model),
        }

    return training.train(
        training.classification_step(setting.loss), state, steps=setting.steps,
        batches=batches_of(sets, setting), observe=observe, at=training.log_spaced(setting.steps, 45),
        checkpoint=run / "checkpoint.pt", every=2000, progress=progress,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", action="store_true", help="the factors in place of the figure")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="these settings alone", default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only or (FACTORS if options.factors else FIGURE):
        print(name)
        if train(name).interrupted:
            return


if __name__ == "__main__":
    main()
