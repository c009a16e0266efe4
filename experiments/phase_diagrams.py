"""Record lesson 07's phase diagrams: when do networks of pairs understand addition, and when not?

    python experiments/phase_diagrams.py            # about ten minutes on one CPU core

Every diagram is a grid of two settings times seeds, each run a network of lesson 07 (p = 31, width 64, full
batch AdamW, cross-entropy). Runs that have as many training pairs and one learning rate train together as one
batched model. What is done lies in `experiments/runs/phase_diagrams/`; a run that was stopped goes on there.
"""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minigrok import data, measures, models, recordings, training

P, WIDTH, EVERY = 31, 64, 10
DECAYS = [0, 0.1, 0.3, 1, 3, 10]
# name -> activation, steps, seeds, and the settings: data fraction, initialisation, learning rate, decay.
DIAGRAMS = {
    "scale": {
        "activation": models.Square, "steps": 1000, "seeds": [0, 1, 2],
        "scale": [0.5, 1, 2, 3, 4, 6], "decay": DECAYS,
    },
    "rate": {
        "activation": models.Square, "steps": 1000, "seeds": [0, 1, 2],
        "rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3], "decay": DECAYS,
    },
    "fraction": {
        "activation": models.Square, "steps": 1000, "seeds": [0, 1, 2, 3, 4],
        "fraction": [0.2, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9],
        "decay": [0, 0.03, 0.1, 0.3, 1, 2, 4, 6, 10, 16],
    },
    "relu": {
        "activation": nn.ReLU, "steps": 2000, "seeds": [0, 1, 2],
        "fraction": [0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "decay": DECAYS,
    },
}  # fmt: skip
USUAL = {"fraction": [0.6], "scale": [1.0], "rate": [0.03]}  # what a diagram does not vary
KEYS = ("train", "test", "loss", "norm")
RUNS = Path(__file__).parent / "runs" / "phase_diagrams"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "phase_diagrams.npz"


def train(
    fraction: float,
    scale: float,
    rate: float,
    decays: list[float],
    seeds: list[int],
    steps: int,
    activation: type = models.Square,
    eps: float = 1e-8,
    dtype: torch.dtype = torch.float32,
) -> dict[str, np.ndarray]:
    """All decays and seeds of one fraction, initialisation and learning rate, as one batched model.

    Returns:
        "train", "test" (accuracies), "loss" (on the test pairs) and "norm" (of all weights), each
        (decays, seeds, observations): one look every `EVERY` steps.
    """
    cells = list(itertools.product(decays, seeds))
    splits = {seed: data.arithmetic("add", P, fraction=fraction, seed=seed) for seed in seeds}
    x, y, x_test, y_test = (
        torch.stack(part) for part in zip(*(splits[seed] for _, seed in cells), strict=True)
    )
    ensemble = training.Ensemble([
        models.pair_mlp(
            P, WIDTH, activation=activation, scale=scale, generator=torch.Generator().manual_seed(seed)
        )
        for _, seed in cells
    ]).to(dtype)  # fmt: skip
    decay = torch.tensor([float(decay) for decay, _ in cells])
    optimizer = training.EnsembleAdamW(
        ensemble.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98), eps=eps
    )

    @torch.no_grad()
    def look() -> list[torch.Tensor]:
        norms = measures.weight_norm(ensemble)
        loss = training.classification_loss(ensemble(x_test), y_test)
        return [training.accuracy(ensemble, x, y), training.accuracy(ensemble, x_test, y_test), loss, norms]

    seen = []
    for t in range(steps + 1):
        if t % EVERY == 0:
            seen.append(torch.stack(look()))
        optimizer.zero_grad()
        training.classification_loss(ensemble(x), y).sum().backward()
        optimizer.step()
    curves = torch.stack(seen).permute(1, 2, 0).reshape(4, len(decays), len(seeds), -1)
    return dict(zip(KEYS, curves.float().numpy(), strict=True))


def kept(name: str, steps: int, *settings: object, **options: object) -> dict[str, np.ndarray]:
    """What `train` returns for these settings, from its file where there is one."""
    file, seeds = RUNS / f"{name}.npz", settings[4]
    if not file.exists():
        start = time.process_time()
        arrays = train(*settings, steps, **options)
        seconds = time.process_time() - start
        command = f"{name}, a part of phase_diagrams.py"
        recordings.save(file, arrays | {"seconds": seconds}, command=command, seed=seeds, seconds=seconds)
        print(f"{name}: {seconds:.0f} s of CPU", flush=True)
    return recordings.load(file).arrays


def small(name: str, array: np.ndarray) -> np.ndarray:
    """Small: accuracies in thousandths (-1: diverged), the rest to three digits, at most 60,000."""
    if name in ("train", "test"):
        return np.nan_to_num(np.round(1000 * array), nan=-1).astype(np.int16)
    return np.nan_to_num(array, nan=6e4, posinf=6e4).clip(max=6e4).astype(np.float16)


def diagram(name: str) -> dict[str, np.ndarray]:
    """All rows of one diagram."""
    settings = USUAL | DIAGRAMS[name]
    steps, activation = settings["steps"], settings["activation"]
    rows = list(itertools.product(settings["fraction"], settings["scale"], settings["rate"]))
    parts = [
        kept(f"{name}-{k}", steps, *row, settings["decay"], settings["seeds"], activation=activation)
        for k, row in enumerate(rows)
    ]
    varied = next(key for key in ("fraction", "scale", "rate") if len(settings[key]) > 1)
    arrays = {"rows": settings[varied], "decays": settings["decay"], "steps": np.arange(0, steps + 1, EVERY)}
    arrays |= {key: small(key, np.stack([part[key] for part in parts])) for key in KEYS}
    return arrays | {"seconds": sum(float(part["seconds"]) for part in parts)}


def jolts(steps: int = 3000) -> dict[str, np.ndarray]:
    """Runs without weight decay in two precisions, with two epsilons: (seeds, observations) each."""
    arrays, seconds = {"steps": np.arange(0, steps + 1, EVERY)}, 0.0
    for (name, dtype), (kind, eps) in itertools.product(
        {"float32": torch.float32, "float64": torch.float64}.items(), {"": 1e-8, " small": 1e-20}.items()
    ):
        part = kept(f"jolts-{name}{kind}", steps, 0.75, 1.0, 0.01, [0], [0, 1, 2], eps=eps, dtype=dtype)
        arrays |= {f"{name}{kind}/{key}": small(key, part[key][0]) for key in KEYS}
        seconds += float(part["seconds"])
    return arrays | {"seconds": seconds}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    parts = {name: diagram(name) for name in DIAGRAMS} | {"jolts": jolts()}
    seconds = float(sum(arrays.pop("seconds") for arrays in parts.values()))
    recordings.save(
        RECORDING,
        {f"{name}/{key}": array for name, arrays in parts.items() for key, array in arrays.items()},
        command="python experiments/phase_diagrams.py",
        seed=[0, 1, 2, 3, 4],
        seconds=seconds,
        data=data.table("add", P),
        note="accuracies in thousandths, -1: diverged; axes: row, decay, seed, look; of jolts the last two",
    )


if __name__ == "__main__":
    main()
