"""Train the one-layer transformer of lesson 06 on addition modulo 113, and keep what its figures need.

    python experiments/transformer.py                 # seeds 0, 1, 2; about 45 minutes each on one CPU core
    python experiments/transformer.py --seeds 0 --steps 12000 --device cuda
    python experiments/transformer.py --analyse-only  # measure again the weights that are there

The setting is that of Nanda et al. 2023 (arXiv 2301.05217), section 3: p = 113, 30 % of all pairs, full
batch, AdamW with learning rate 1e-3, weight decay 1 and betas 0.9, 0.98. As there, the cross-entropy is
taken in float64, because in float32 it rounds to zero once the network is sure. A run that was stopped
goes on where it was. The weights of every look stay in `experiments/runs/`; the second stage measures them
with hindsight (the key frequencies are those of the last weights) and writes the recording.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigrok import data, measures, models, recordings, training
from minigrok.regions import local_complexity

P, FRACTION = 113, 0.3
RUNS = Path(__file__).parent / "runs"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "transformer.npz"
POINTS = ("train", "test", "random")  # where local complexity is taken, and at which radii:
RADII = (0.05, 0.5, 0.05)  # in spreads of the residual stream; the last in its spread before training
KEPT = 4  # moments whose weights are kept


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


# ---- the second stage: what the weights of a moment show ---------------------------------------------------


def dial(logits: Tensor) -> Tensor:
    """The mean logit at every a + b - c, less the mean of all: logits (p*p, p) of the whole table -> (p,)."""
    p = logits.shape[1]
    a, b, c = torch.meshgrid(*[torch.arange(p)] * 3, indexing="ij")
    sums = torch.zeros(p, dtype=logits.dtype)
    sums.index_add_(0, ((a + b - c) % p).flatten(), logits.flatten())
    return sums / p**2 - logits.mean()


def clock_power(logits: Tensor) -> Tensor:
    """The share of the logits' variance, frequency by frequency, that is a wave of a + b - c: (p // 2 + 1,).

    The softmax forgets what all outputs have in common, so that counts for nothing here.
    """
    waves = dial(logits)
    variance = (logits - logits.mean(dim=1, keepdim=True)).square().mean()
    return measures.fourier_power(waves) * waves.square().mean() / variance


def cross_entropies(logits: Tensor, task: data.Arithmetic) -> dict[str, Tensor]:
    """The loss of logits over the whole table, on the training and on the test pairs."""
    return {
        name: F.cross_entropy(logits[P * x[:, 0] + x[:, 1]].double(), y)
        for name, x, y in (("train", task.x_train, task.y_train), ("test", task.x_test, task.y_test))
    }


def waves(logits: Tensor, frequencies: list[int], task: data.Arithmetic) -> Tensor:
    """Restricted loss on the test pairs, excluded loss on the training pairs: (2,)."""
    kept = cross_entropies(measures.restricted(logits, frequencies), task)["test"]
    return torch.stack([kept, cross_entropies(measures.excluded(logits, frequencies), task)["train"]])


def geometry(model: models.PairTransformer, task: data.Arithmetic, first_spread: float) -> dict[str, Tensor]:
    """Local complexity of the ReLU layer, (point sets, radii), and its units that never change."""
    stream = {
        name: model.attention(model.embed(x)) for name, x in (("train", task.x_train), ("test", task.x_test))
    }
    whole = torch.cat(list(stream.values()))
    generator = torch.Generator().manual_seed(0)
    # As far out as the real ones in every direction of the basis, but not one of them.
    stream["random"] = whole.mean(0) + whole.std(0) * torch.randn(300, whole.shape[1], generator=generator)
    spread = (whole - whole.mean(0)).square().sum(1).mean().sqrt().item()
    frame = torch.linalg.qr(torch.randn(whole.shape[1], 25, generator=generator)).Q.T
    lengths = [
        radius * unit for radius, unit in zip(RADII, (spread, spread, first_spread or spread), strict=True)
    ]
    complexity = [
        [
            local_complexity(model.head, stream[name][:300], radius=r, frame=frame).total.double().mean()
            for r in lengths
        ]
        for name in POINTS
    ]
    active = (model.head.up(whole) > 0).double().mean(0)
    return {
        "complexity": torch.tensor(complexity),
        "spread": torch.tensor(spread),
        "dead": (active == 0).sum(),
        "always_on": (active == 1).sum(),
    }


def neuron_share(model: models.PairTransformer) -> Tensor:
    """How much of a unit's input its best frequency of a and of b explains, the mean over the units."""
    x, _ = data.table("add", P)
    z = model.head.up(model.attention(model.embed(x)))
    z = (z - z.mean(0)).reshape(P, P, -1)
    power = [
        z.mean(axis).square().sum(0) * measures.fourier_power(z.mean(axis), per_column=True)
        for axis in (0, 1)
    ]
    return ((power[0] + power[1]).amax(0) * P / z.square().sum((0, 1))).mean()


def norms(model: models.PairTransformer) -> Tensor:
    """The length of all weights, and of the tokens, the attention, the ReLU layer and the unembedding."""
    parts = {name: weight.square().sum() for name, weight in model.named_parameters()}
    groups = ("", "token", ("query", "key", "value", "out"), ("head.up", "head.down"), "head.unembed")
    return torch.stack([sum(s for n, s in parts.items() if n.startswith(g)) for g in groups]).sqrt()


def face_plane(model: models.PairTransformer, frequency: int) -> Tensor:
    """The plane in which the tokens' wave of this frequency lies, two orthonormal columns (dim, 2)."""
    angle = 2 * torch.pi * frequency * torch.arange(P) / P
    return torch.linalg.qr(model.token[:P].T @ torch.stack([angle.cos(), angle.sin()], dim=1)).Q


@torch.no_grad()
def measure(
    model: models.PairTransformer,
    task: data.Arithmetic,
    keys: list[int],
    plane: Tensor,
    first_spread: float = 0.0,
) -> dict[str, Tensor]:
    """All that the recording holds of one moment of one run."""
    x, _ = data.table("add", P)
    logits = model(x)
    own = measures.key_frequencies(model.token[:P], len(keys))
    others = sorted({*range(1, P // 2 + 1)} - {*keys})
    random = [np.random.default_rng(draw).choice(others, len(keys), replace=False) for draw in range(3)]
    seen = look(model, task) | geometry(model, task, first_spread)
    return seen | {
        "norms": norms(model),
        "face": model.token[:P] @ plane,
        "embedding_power": measures.fourier_power(model.token[:P]),
        "clock_power": clock_power(logits),
        "neuron_share": neuron_share(model),
        "waves": waves(logits, keys, task),
        "waves_own": waves(logits, own, task),
        "waves_random": torch.stack([waves(logits, k.tolist(), task) for k in random]),
    }


def weights(seed: int, step: int) -> models.PairTransformer:
    """The network of a run at one of its looks."""
    model = models.pair_transformer(P)
    model.load_state_dict(torch.load(RUNS / f"transformer_{seed}" / f"{step}.pt", map_location="cpu"))
    return model


def analyse(seed: int) -> dict[str, np.ndarray]:
    """Measure the weights of every look that a run has left, with the key frequencies of the last ones."""
    task = problem(seed)
    steps = [t for t in moments(20_000) if (RUNS / f"transformer_{seed}" / f"{t}.pt").exists()]
    last = weights(seed, steps[-1]).requires_grad_(False)
    power = measures.fourier_power(last.token[:P])
    strongest = measures.key_frequencies(last.token[:P], 1)
    keys = [k for k in range(1, P // 2 + 1) if power[k] > 3 / (P // 2)] or strongest  # three even shares
    plane = face_plane(last, *strongest)
    rows, spread = [], 0.0
    for t in steps:
        rows.append(measure(weights(seed, t), task, keys, plane, spread))
        spread = spread or rows[0]["spread"].item()
    table = {name: torch.stack([row[name] for row in rows]).numpy() for name in rows[0]}
    return {"steps": np.array(steps), "keys": np.array(keys), **table}


def telling(found: dict[str, np.ndarray]) -> list[int]:
    """The steps whose weights are kept: training pairs known, half-way, test pairs known, the end."""
    steps = found["steps"]
    known = [measures.first_reached(steps, found[f"{part}_accuracy"], 0.99) for part in ("train", "test")]
    first, last = (steps[-1] if np.isnan(step) else int(step) for step in known)
    return [first, int(steps[np.abs(steps - (first + last) / 2).argmin()]), last, int(steps[-1])]


def record(seeds: list[int], path: Path = RECORDING) -> recordings.Recording:
    """Measure the runs of these seeds and write the recording; what a shorter run lacks is NaN."""
    runs = [analyse(seed) for seed in seeds]
    longest = max(runs, key=lambda found: len(found["steps"]))
    width = max(len(found["keys"]) for found in runs)
    arrays = {
        name: np.stack([_padded(found[name].astype("float32"), len(longest["steps"])) for found in runs])
        for name in runs[0]
        if name not in ("steps", "keys")
    }
    kept = telling(runs[0])
    flat = [torch.nn.utils.parameters_to_vector(weights(seeds[0], t).parameters()).detach() for t in kept]
    arrays |= {"steps": longest["steps"], "keys": np.stack([_padded(found["keys"], width) for found in runs])}
    arrays |= {"kept_steps": kept, "kept_weights": torch.stack(flat).half()}
    saved = [torch.load(RUNS / f"transformer_{seed}" / "checkpoint.pt")["seconds"] for seed in seeds]
    again = f"python experiments/transformer.py --seeds {' '.join(map(str, seeds))} --steps {kept[-1]}"
    return recordings.save(
        path, arrays, command=again, seed=seeds, seconds=sum(saved),
        data=tuple(problem(seeds[0])),
        note="kept_weights: parameters_to_vector of the first seed, float16, at kept_steps. complexity: "
        f"(seed, step, {POINTS}, radius), radii {RADII} in units of spread, the last in that of step 0.",
    )  # fmt: skip


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    filled = np.full((length, *values.shape[1:]), np.nan)
    filled[: len(values)] = values
    return filled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=14_000)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--analyse-only", action="store_true", help="train nothing, measure what is there")
    options = parser.parse_args()
    if options.device == "cpu":
        torch.set_num_threads(1)
    for seed in [] if options.analyse_only else options.seeds:
        train(seed, options.steps, options.device, progress=True)
    print(record(options.seeds))


if __name__ == "__main__":
    main()
