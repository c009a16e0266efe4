"""Train the one-layer transformer of lesson 06 on addition modulo 113, and keep what its figures need.

    python experiments/transformer.py                 # seeds 0, 1, 2; about 45 minutes each on one CPU core
    python experiments/transformer.py --seeds 0 --steps 12000 --device cuda

The setting is that of Nanda et al. 2023 (arXiv 2301.05217), section 3: p = 113, 30 % of all pairs, full
batch, AdamW with learning rate 1e-3, weight decay 1 and betas 0.9, 0.98. As there, the cross-entropy is
taken in float64, because in float32 it rounds to zero once the network is sure. A run that was stopped
goes on where it was; the weights seen on the way lie in `experiments/runs/` until the recording is written.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from minigrok import data, models, training

P, FRACTION = 113, 0.3
RUNS = Path(__file__).parent / "runs"


def problem(seed: int, device: str = "cpu") -> data.Arithmetic:
    """The pairs that train and those that test."""
    parts = data.arithmetic("add", P, fraction=FRACTION, seed=seed)
    return data.Arithmetic(*(part.to(device) for part in parts))


def new_state(seed: int, device: str = "cpu", weight_decay: float = 1.0) -> training.State:
    """The untrained network of a seed with its optimizer."""
    model = models.pair_transformer(P, generator=torch.Generator().manual_seed(seed)).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, weight_decay=weight_decay, betas=(0.9, 0.98), fused=True
    )
    return training.State(model, optimizer)


def step(state: training.State, batch: training.Batch) -> None:
    """One update on all training pairs, with the loss in float64."""
    x, y = batch
    state.optimizer.zero_grad()
    F.cross_entropy(state.model(x).double(), y).backward()
    state.optimizer.step()


def look(model: models.PairTransformer, task: data.Arithmetic) -> dict[str, torch.Tensor]:
    """Loss and accuracy on the training and on the test pairs."""
    seen = {}
    for name, x, y in (("train", task.x_train, task.y_train), ("test", task.x_test, task.y_test)):
        logits = model(x).double()
        seen[f"{name}_loss"] = F.cross_entropy(logits, y)
        seen[f"{name}_accuracy"] = (logits.argmax(1) == y).double().mean()
    return seen


def moments(steps: int) -> list[int]:
    """When a run is looked at: on a logarithmic clock first, then every 200 updates."""
    return sorted({*training.log_spaced(steps, 40), *range(200, steps + 1, 200)})


def train(seed: int, steps: int, device: str = "cpu", progress: bool = False) -> training.Run:
    """Run one seed to its end, or on to it, and leave the weights of every look in `experiments/runs/`."""
    task, state, folder = problem(seed, device), new_state(seed, device), RUNS / f"transformer_{seed}"
    folder.mkdir(parents=True, exist_ok=True)

    def observe(state: training.State) -> dict[str, torch.Tensor]:
        torch.save(state.model.state_dict(), folder / f"{state.step}.pt")
        return look(state.model, task)

    return training.train(
        step, state, steps=steps, batches=lambda t: (task.x_train, task.y_train), observe=observe,
        at=moments(20_000), checkpoint=folder / "checkpoint.pt", every=500, progress=progress,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    for seed in options.seeds:
        train(seed, options.steps, options.device, progress=True)


if __name__ == "__main__":
    main()
