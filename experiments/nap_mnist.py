"""Train lesson 12's MNIST networks, mine their activation patterns, and record what the patterns hold.

    MINIGROK_DATA=folder python experiments/nap_mnist.py      # half an hour on one CPU core

The networks have the shapes of the verification benchmark that Geng et al. 2023 use (784-256x2-10 and
784-256x4-10, vnncomp2021/mnistfc), but they are trained here, on all 60,000 images: AdamW with learning rate
1e-3 falling to 0 and weight decay 0.01, cross-entropy, batches of 128, ten epochs, three seeds. Patterns are
mined on the training images and judged on the 10,000 test images, beside rules that nothing has taught:
patterns of the same network before its first update, patterns of the trained one under shuffled labels,
patterns of the pixels themselves, and balls of one size round the training images. Weights are left in
`experiments/runs/`; the recording has numbers alone. A run that was stopped goes on where it was: type the
same command again.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from minigrok import attacks, data, models, naps, recordings, training

SIZES = {"256x2": [784, 256, 256, 10], "256x4": [784, 256, 256, 256, 256, 10]}
SEEDS = [0, 1, 2]
EPOCHS, BATCH = 10, 128
DELTAS = [1.0, 0.999, 0.99, 0.97, 0.95, 0.9, 0.8]
MONITORS = ["trained", "untrained", "pixels"]  # whose patterns count violations; before them max-softmax
STRANGERS = ["mistakes", "noise", "shifted", "inverted", "rotated", "scrambled", "uniform"]
RECALLS = [0.6, 0.7, 0.8, 0.85, 0.9, 0.95]  # of balls of one size
COVERAGE = np.linspace(0.02, 1, 50)
BALLS = 300  # training images with a ball round them
RUN = Path(__file__).parent / "runs" / "nap_mnist"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "nap_mnist.npz"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(size: str, seed: int) -> nn.Sequential:
    """The untrained network."""
    return models.mlp(SIZES[size], generator=seeded(seed))


def train(size: str, seed: int, images: data.Digits, progress: bool = False) -> training.Run:
    """Train one network to the end, or on to it, and leave its weights in `RUN`."""
    model = network(size, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    steps = EPOCHS * -(-len(images.x_train) // BATCH)
    usual = training.classification_step()

    def step(state: training.State, batch: training.Batch) -> None:
        for group in state.optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - state.step / steps)
        usual(state, batch)

    def observe(state: training.State) -> dict[str, Tensor]:
        x, y, x_test, y_test = images
        return {
            "train": training.accuracy(model, x[:10_000], y[:10_000]),
            "test": training.accuracy(model, x_test, y_test),
        }

    RUN.mkdir(parents=True, exist_ok=True)
    run = training.train(
        step, training.State(model, optimizer), steps=steps, observe=observe,
        batches=training.minibatches(images.x_train, images.y_train, BATCH, seed=seed),
        at=range(0, steps + 1, steps // EPOCHS), checkpoint=RUN / f"{size}_{seed}.checkpoint",
        progress=progress,
    )  # fmt: skip
    if not run.interrupted:
        save_whole(RUN / f"{size}_{seed}.pt", model.state_dict())
    return run


def save_whole(path: Path, weights: dict[str, Tensor]) -> None:
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    recordings.write_whole(path, buffer.getvalue())


# ---- what the patterns hold --------------------------------------------------------------------------------


def pixel_units(d: int = 784) -> nn.Sequential:
    """One unit for each pixel, active where it is more than half inked: patterns without a network."""
    units = nn.Sequential(nn.Linear(d, d), nn.ReLU())
    with torch.no_grad():
        units[0].weight.copy_(torch.eye(d))
        units[0].bias.fill_(-0.5)
    return units


def mined(net: nn.Module, images: data.Digits, labels: Tensor) -> dict[str, np.ndarray]:
    """For each delta: recall, followers of other classes, and the sizes of the patterns of one network."""
    rows = []
    for delta in DELTAS:
        found = naps.mine(net, images.x_train, labels, delta=delta)
        test = naps.coverage(found, net, images.x_test, images.y_test)
        fixed = torch.tensor([nap.counts for nap in found.values()]).double().mean(0)  # (layers, 2)
        rows.append({
            "recall_train": naps.coverage(found, net, images.x_train, labels).total,
            "recall": test.recall, "total": test.total, "others": test.others,
            "ambiguous": test.ambiguous, "none": test.none,
            "active": fixed[:, 0], "inactive": fixed[:, 1], "shared": shared(found),
        })  # fmt: skip
    return {name: np.array([np.asarray(row[name]) for row in rows]) for name in rows[0]}


def left_out(net: nn.Module, images: data.Digits) -> float:
    """The share of training images that follow the pattern (delta = 1) of the others of their class."""
    active, follow = torch.cat(naps.states(net, images.x_train), 1), 0
    for k in images.y_train.unique():
        mine = active[images.y_train == k]
        count = mine.sum(0)
        alone = (mine & (count == 1)) | (~mine & (count == len(mine) - 1))  # the only odd one at a unit
        follow += int((~alone.any(1)).sum())
    return follow / len(active)


def predicted(size: str, images: data.Digits) -> dict[str, np.ndarray]:
    """The recall at delta = 1 that leaving one out predicts, of each trained network and each untrained."""
    rows = {"trained": [], "untrained": []}
    for seed in SEEDS:
        model = network(size, seed)
        rows["untrained"].append(left_out(model, images))
        model.load_state_dict(torch.load(RUN / f"{size}_{seed}.pt", weights_only=True))
        rows["trained"].append(left_out(model, images))
    return {f"{size}.{kind}.left_out": np.array(shares) for kind, shares in rows.items()}


def shared(found: dict[int, naps.NAP]) -> int:
    """How many units all classes fix to the same state: they tell no class from another."""
    return sum(
        int(torch.stack(masks).all(0).sum())
        for side in ("active", "inactive")
        for masks in zip(*(getattr(nap, side) for nap in found.values()), strict=True)
    )


# ---- monitors ----------------------------------------------------------------------------------------------


def strangers(x: Tensor, seed: int) -> dict[str, Tensor]:
    """What a monitor should object to, made of the test images."""
    side = round(x.shape[1] ** 0.5)
    pictures = x.view(-1, side, side)
    return {
        "noise": (x + 0.3 * torch.randn(x.shape, generator=seeded(seed))).clamp(0, 1),
        "shifted": pictures.roll(side // 8, dims=2).flatten(1),
        "inverted": 1 - x,
        "rotated": pictures.rot90(1, (1, 2)).flatten(1),
        "scrambled": x[:, torch.randperm(x.shape[1], generator=seeded(seed))],
        "uniform": torch.rand(x.shape, generator=seeded(seed)),
    }


class Monitors:
    """Scores of how strange an input is: max-softmax, and violations of the predicted class's pattern."""

    def __init__(self, model: nn.Module, nets: dict[str, nn.Module], images: data.Digits):
        self.model, self.nets = model, nets
        self.patterns = {
            (name, delta): naps.mine(net, images.x_train, images.y_train, delta=delta)
            for name, net in self.nets.items()
            for delta in DELTAS
        }

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, np.ndarray]:
        """The answers (N,) and the scores (1 + nets * deltas, N); larger is stranger."""
        z = self.model(x)
        answers, rows = z.argmax(1), [-z.double().softmax(1).amax(1)]
        active = {name: torch.cat(naps.states(net, x), 1) for name, net in self.nets.items()}
        for (name, _), found in self.patterns.items():
            rows.append(violations(active[name], answers, found))
        return answers, torch.stack(rows).numpy()


def violations(active: Tensor, answers: Tensor, found: dict[int, naps.NAP]) -> Tensor:
    """How many units of its answer's pattern each input breaks; `active` is (N, all units)."""
    on = torch.stack([torch.cat(found[k].active) for k in sorted(found)])[answers]
    off = torch.stack([torch.cat(found[k].inactive) for k in sorted(found)])[answers]
    return ((on & ~active) | (off & active)).sum(1).double()


def auroc(strange: np.ndarray, usual: np.ndarray) -> float:
    """How often a strange input scores higher than a usual one; ties count half."""
    n, m = len(strange), len(usual)
    ranks = rankdata(np.concatenate([strange, usual]))[:n]
    return (ranks.sum() - n * (n + 1) / 2) / (n * m)


def errors_at(score: np.ndarray, wrong: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """The share of wrong answers among the `coverage` least strange; of equal scores each counts in part."""
    _, level = np.unique(score, return_inverse=True)
    taken = np.cumsum(np.bincount(level)) / len(score)
    errors = np.cumsum(np.bincount(level, weights=wrong)) / len(score)
    return np.interp(coverage, np.r_[0, taken], np.r_[0, errors]) / coverage


def watched(model: nn.Module, untrained: nn.Module, images: data.Digits, seed: int) -> dict[str, np.ndarray]:
    """How well each monitor tells mistakes and strangers from the test images, and its errors by coverage."""
    nets = dict(zip(MONITORS, (model, untrained, pixel_units(images.x_train.shape[1])), strict=True))
    monitors = Monitors(model, nets, images)
    answers, usual = monitors(images.x_test)
    wrong = (answers != images.y_test).numpy()
    columns = [[auroc(row[wrong], row[~wrong]) for row in usual]]
    for x in strangers(images.x_test, seed).values():
        columns.append([auroc(*pair) for pair in zip(monitors(x)[1], usual, strict=True)])
    follow = usual[1:] == 0
    return {
        "auroc": np.array(columns).T,  # (1 + 3 * deltas, strangers)
        "accuracy": 1 - wrong.mean(),
        "errors_at": np.array([errors_at(row, wrong, COVERAGE) for row in usual]),
        "accepted": follow.mean(1),
        "accepted_right": np.array([1 - wrong[row].mean() if row.any() else np.nan for row in follow]),
        "softmax_right": np.array(
            [1 - errors_at(usual[0], wrong, row.mean()) if row.any() else np.nan for row in follow]
        ),
    }


# ---- balls -------------------------------------------------------------------------------------------------


def nearest(x: Tensor, others: Tensor, norm: str, but: Tensor | None = None) -> Tensor:
    """The distance (N,) to the nearest of the others; pairs where `but` (N, M) is True do not count."""
    best = torch.full((len(x),), torch.inf)
    for first in range(0, len(others), 2000):
        rows = slice(first, first + 2000)
        far = torch.cdist(x, others[rows], p=torch.inf if norm == "linf" else 2.0)
        best = best.minimum((far if but is None else far.masked_fill(but[:, rows], torch.inf)).amin(1))
    return best


def distances(images: data.Digits) -> dict[str, Tensor]:
    """Of the first training images: to the nearest test image, and to the nearest training image of another
    class. These do not depend on any network."""
    x, y, found = images.x_train[:BALLS], images.y_train[:BALLS], {}
    for norm in ("linf", "l2"):
        found[f"{norm}.test"] = nearest(x, images.x_test, norm)
        found[f"{norm}.test_same"] = nearest(x, images.x_test, norm, y[:, None] != images.y_test)
        found[f"{norm}.other_class"] = nearest(x, images.x_train, norm, y[:, None] == images.y_train)
    return found


def one_size(images: data.Digits) -> list[float]:
    """The strangers at each of `RECALLS`, if a class is all within one l2 distance of its training images."""
    x, y, x_test, y_test = images
    far = torch.stack([nearest(x_test, x[y == k], "l2") for k in range(10)], 1)
    own = nn.functional.one_hot(y_test, 10).bool()
    return [(far[~own] <= np.quantile(far[own], recall)).double().mean().item() for recall in RECALLS]


def attacked(model: nn.Module, images: data.Digits) -> dict[str, Tensor]:
    """The distance of the nearest adversarial example that PGD finds: no certified ball can be larger."""
    x, y = images.x_train[:BALLS], images.y_train[:BALLS]
    options = {"steps": 20, "halvings": 8, "generator": seeded(0)}
    return {
        f"{norm}.attack": attacks.adversarial_distance(model, x, y, norm=norm, max_eps=eps, **options)
        for norm, eps in (("linf", 0.3), ("l2", 6.0))
    }


# ---- all together ------------------------------------------------------------------------------------------


def look(run: training.Run, size: str, seed: int, images: data.Digits) -> dict[str, np.ndarray]:
    """All that is recorded of one network."""
    model, untrained, start = run.state.model, network(size, seed), time.perf_counter()
    shuffled = images.y_train[torch.randperm(len(images.y_train), generator=seeded(seed))]
    states = naps.states(model, images.x_train)
    found = {
        "dead": [int((~s).all(0).sum()) for s in states],
        "always": [int(s.all(0).sum()) for s in states],
    }
    kinds = {"trained": (model, images.y_train), "untrained": (untrained, images.y_train),
             "shuffled": (model, shuffled)}  # fmt: skip
    for kind, (net, labels) in kinds.items():
        found |= {f"{kind}.{name}": values for name, values in mined(net, images, labels).items()}
    found |= watched(model, untrained, images, seed) | attacked(model, images)
    found["seconds"] = run.state.seconds + time.perf_counter() - start
    return {name: np.asarray(values) for name, values in found.items()}


def looked(size: str, seed: int, images: data.Digits) -> dict[str, np.ndarray] | None:
    """Train and look, or what that has left; None if the training was interrupted."""
    path = RUN / f"{size}_{seed}.look.npz"
    if not path.exists():
        run = train(size, seed, images)
        if run.interrupted:
            return None
        buffer = io.BytesIO()
        np.savez(buffer, **look(run, size, seed, images))
        recordings.write_whole(path, buffer.getvalue())
    with np.load(path) as saved:
        return dict(saved)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    images = data.mnist()
    arrays, seconds = {"deltas": DELTAS, "coverage": COVERAGE}, 0.0
    for size in SIZES:
        rows = [looked(size, seed, images) for seed in SEEDS]
        if None in rows:
            return
        accuracies = " ".join(f"{row['accuracy']:.4f}" for row in rows)
        print(f"{size}: test accuracy {accuracies}", flush=True)
        seconds += sum(float(row.pop("seconds")) for row in rows)
        for name in rows[0]:
            values = np.stack([row[name] for row in rows])  # the seeds first
            arrays[f"{size}.{name}"] = values.astype(np.float32) if values.dtype == np.float64 else values
    start = time.perf_counter()
    for size in SIZES:
        arrays |= predicted(size, images)
    arrays |= {"recalls": RECALLS, "one_size.strangers": one_size(images)}
    pixels = mined(pixel_units(images.x_train.shape[1]), images, images.y_train)  # of no network
    arrays |= {f"pixels.{name}": values for name, values in pixels.items()} | distances(images)
    recordings.save(
        RECORDING, arrays, command="python experiments/nap_mnist.py", seed=SEEDS,
        seconds=seconds + time.perf_counter() - start, data=(images.x_train, images.y_train),
        note=f"Rows of auroc and errors_at: max-softmax, then {', '.join(MONITORS)}, each at all deltas; "
        f"columns of auroc: {', '.join(STRANGERS)}. One CPU core, shared with other work.",
    )  # fmt: skip
    print(f"wrote {RECORDING}")


if __name__ == "__main__":
    main()
