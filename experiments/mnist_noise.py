"""Train lesson 09's digit networks with and without noise on the pixels, and keep what its figures need.

    MINIGROK_DATA=folder python experiments/mnist_noise.py      # about an hour on one CPU core

The setting is Omnigrok's (Liu et al. 2022, arXiv 2210.01117): 784-200-200-10 with ReLU, squared error,
AdamW with learning rate 1e-3 and weight decay 0.01, batches of 200 from 1,000 images, initialisation times 8.
The noise is that of Tan & Huang 2023 (arXiv 2311.06597), section 4: sigma = max(0.06 (1 - accuracy), 0.03)
with the accuracy on the training images. Each seed has its own images, first weights and order of batches,
and both its networks share them. All ten train as one batched model. A run that was stopped goes on where it
was; the weights seen on the way lie in `experiments/runs/` until the recording is written.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minigrok import data, measures, models, recordings, training

SEEDS = [0, 1, 2, 3, 4]
FIRST, LAST = 0.06, 0.03  # lambda 1 and lambda 2 of the noise
RUN = Path(__file__).parent / "runs" / "mnist_noise"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "mnist_noise.npz"


def images(seeds: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """x (2 S, 1000, 784) and y, first for the S standard networks, then the S perturbed; the test set."""
    sets = [data.mnist(1000, seed=seed) for seed in seeds] * 2
    return (
        torch.stack([part.x_train for part in sets]),
        torch.stack([part.y_train for part in sets]),
        sets[0].x_test,
        sets[0].y_test,
    )


def new_state(seeds: list[int]) -> training.State:
    """The untrained networks: network s and network S + s are the same at the start."""
    networks = [
        models.mlp([784, 200, 200, 10], scale=8.0, generator=torch.Generator().manual_seed(seed))
        for seed in seeds * 2
    ]
    ensemble = training.Ensemble(networks)
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    return training.State(ensemble, optimizer, torch.Generator().manual_seed(0))


def noise(model: training.Ensemble, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The standard deviation for each network: 0 for the standard half."""
    sigma = (FIRST * (1 - training.accuracy(model, x, y))).clamp(min=LAST)
    sigma[: len(sigma) // 2] = 0
    return sigma


def train(steps: int, progress: bool = False) -> training.Run:
    """Run all ten networks to the end, or on to it; the weights of every look are left in `RUN`."""
    x, y, x_test, y_test = images(SEEDS)
    state, half = new_state(SEEDS), len(SEEDS)
    RUN.mkdir(parents=True, exist_ok=True)
    orders = training.minibatches(torch.zeros(1000), torch.arange(1000), 200, seed=SEEDS)
    state.model.register_buffer("sigma", torch.zeros(2 * half))  # a buffer, so that checkpoints hold it
    sigma = state.model.sigma

    def batches(t: int) -> training.Batch:
        chosen = orders(t)[1].repeat(2, 1)
        return x.gather(1, chosen[:, :, None].expand(-1, -1, 784)), y.gather(1, chosen)

    def step(state: training.State, batch: training.Batch) -> None:
        if state.step % 100 == 0:  # the training accuracy of all images, every twenty epochs
            sigma.copy_(noise(state.model, x, y))
        pixels, labels = batch
        shape = pixels[half:].shape
        pixels[half:] += sigma[half:, None, None] * torch.randn(shape, generator=state.generator)
        state.optimizer.zero_grad()
        training.classification_loss(state.model(pixels), labels, "squared_error").sum().backward()
        state.optimizer.step()

    def observe(state: training.State) -> dict[str, torch.Tensor]:
        weights = {name: weight.half() for name, weight in state.model.named_parameters()}
        torch.save(weights, RUN / f"{state.step}.pt")
        return {
            "train_accuracy": training.accuracy(state.model, x, y),
            "test_accuracy": training.accuracy(state.model, x_test, y_test),
            "norm": measures.weight_norm(state.model),
            "sigma": noise(state.model, x, y),
        }

    at = sorted({*training.log_spaced(100_000, 50), *range(1000, 100_001, 1000)})
    return training.train(
        step, state, steps=steps, batches=batches, observe=observe, at=at,
        checkpoint=RUN / "checkpoint.pt", every=500, progress=progress,
    )  # fmt: skip


def spread(network: nn.Sequential, x: torch.Tensor) -> dict[str, float]:
    """PE, PMI, ED and MID of one network on 500 training images, with noise 0.1 (Tan & Huang, section 5)."""
    seen = measures.perturbation_measures(
        network[:2], network[:4], x[:500], sigma=0.1, generator=torch.Generator().manual_seed(0)
    )
    return {name: float(getattr(seen, name)) for name in ("pe", "pmi", "ed", "mid")}


def analyse(run: training.Run) -> dict[str, np.ndarray]:
    """The arrays of the recording: observed quantities as (steps, standard or perturbed, seeds)."""
    x, ensemble = images(SEEDS)[0], new_state(SEEDS).model
    arrays = {
        name: run[name].reshape(-1, 2, len(SEEDS)).astype(np.float32)
        for name in ("train_accuracy", "test_accuracy", "norm", "sigma")
    }
    seen = []
    for t in run.steps:
        ensemble.load_state_dict(torch.load(RUN / f"{t}.pt", weights_only=True))
        seen.append([spread(ensemble[s], x[s]) for s in range(len(ensemble))])
    for name in seen[0][0]:
        values = np.array([[network[name] for network in row] for row in seen], dtype=np.float32)
        arrays[name] = values.reshape(-1, 2, len(SEEDS))
    return {"steps": run.steps} | arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = train(options.steps, progress=True)
    if run.interrupted:
        return
    x, y, _, _ = images(SEEDS)
    recordings.save(
        RECORDING, analyse(run), command=f"python experiments/mnist_noise.py --steps {options.steps}",
        seed=SEEDS, seconds=run.state.seconds, data=(x, y),
        note="One CPU core, shared with other work, so the seconds are an upper limit.",
    )  # fmt: skip
    print(f"wrote {RECORDING}")


if __name__ == "__main__":
    main()
