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

from minigrok import data, models, recordings, training

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
RUNS = Path(__file__).parent / "runs" / "phase_diagrams"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "phase_diagrams.npz"


def train(
    fraction: float,
    scale: float,
    rate: float,
    decays: list[float],
    seeds: list[int],
    steps: int,
    activation: type,
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
    ])  # fmt: skip
    optimizer = torch.optim.AdamW(
        ensemble.parameters(), lr=rate, weight_decay=0, betas=(0.9, 0.98), fused=True
    )
    # AdamW takes one weight decay for all, so its line of code is written out, with one for each network.
    keep = (1 - rate * torch.tensor([decay for decay, _ in cells]))[:, None, None]

    @torch.no_grad()
    def look() -> list[torch.Tensor]:
        norms = torch.stack([w.flatten(1).norm(dim=1) for w in ensemble.parameters()]).norm(dim=0)
        loss = training.classification_loss(ensemble(x_test), y_test)
        return [training.accuracy(ensemble, x, y), training.accuracy(ensemble, x_test, y_test), loss, norms]

    seen = []
    for t in range(steps + 1):
        if t % EVERY == 0:
            seen.append(torch.stack(look()))
        optimizer.zero_grad()
        training.classification_loss(ensemble(x), y).sum().backward()
        with torch.no_grad():
            for weight in ensemble.parameters():
                weight *= keep
        optimizer.step()
    curves = torch.stack(seen).permute(1, 2, 0).reshape(4, len(decays), len(seeds), -1)
    return dict(zip(("train", "test", "loss", "norm"), curves.numpy(), strict=True))


def part(name: str, row: int) -> dict[str, np.ndarray]:
    """One row of a diagram, from its file where there is one."""
    file, settings = RUNS / f"{name}-{row}.npz", USUAL | DIAGRAMS[name]
    if file.exists():
        return recordings.load(file).arrays
    rows = list(itertools.product(settings["fraction"], settings["scale"], settings["rate"]))
    start = time.process_time()
    arrays = train(
        *rows[row], settings["decay"], settings["seeds"], settings["steps"], settings["activation"]
    )
    seconds = time.process_time() - start
    recordings.save(
        file,
        arrays | {"seconds": seconds},
        command="a row of phase_diagrams.py",
        seed=settings["seeds"],
        seconds=seconds,
    )
    print(f"{name}, row {row + 1} of {len(rows)}: {seconds:.0f} s of CPU", flush=True)
    return recordings.load(file).arrays


def small(name: str, array: np.ndarray) -> np.ndarray:
    """Accuracies to the thousandth and the rest to three digits, so that the file stays small."""
    return np.round(1000 * array).astype(np.int16) if name in ("train", "test") else array.astype(np.float16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--diagrams", nargs="+", default=list(DIAGRAMS), choices=list(DIAGRAMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept, seconds = {}, 0.0
    for name in options.diagrams:
        settings = USUAL | DIAGRAMS[name]
        varied = next(key for key in ("fraction", "scale", "rate") if len(settings[key]) > 1)
        parts = [part(name, row) for row in range(len(settings[varied]))]
        seconds += sum(float(arrays["seconds"]) for arrays in parts)
        kept |= {f"{name}/rows": settings[varied], f"{name}/decays": settings["decay"]}
        kept[f"{name}/steps"] = np.arange(0, settings["steps"] + 1, EVERY)
        for key in ("train", "test", "loss", "norm"):
            kept[f"{name}/{key}"] = small(key, np.stack([arrays[key] for arrays in parts]))
    recordings.save(
        RECORDING,
        kept,
        command="python experiments/phase_diagrams.py",
        seed=[0, 1, 2, 3, 4],
        seconds=seconds,
        data=data.table("add", P),
        note="accuracies in thousandths; axes: row, decay, seed, observation",
    )


if __name__ == "__main__":
    main()
