"""Record lesson 13's proofs on digits: which claims about patterns hold, and how far an image may move.

    python experiments/digits_proofs.py             # about half an hour on one CPU core

Five parts, four of them over seeds:

- claims: the 90 claims "what follows the pattern of class c is not called r" on all of [0, 1]^64, for
  networks that differ in one thing at a time, beside patterns of one image that fix as many units;
- slices: the same claims on a box in the first k principal components of a class;
- late: the same claims while networks from large weights learn;
- patience: claims that one second left open, asked again with a minute;
- balls: the largest proved ball around test images, with and without their pattern.

What is done lies in `experiments/runs/digits_proofs/`; a run that was stopped goes on there.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import attacks, data, models, naps, networks, recordings, training, verify

SEEDS = [0, 1, 2, 3, 4]
DELTAS = [1.0, 0.9, 0.8, 0.7]
NULLS = [0.9, 0.7]  # at these, patterns of one image of the same size stand beside the mined ones
STATUSES = ("verified", "falsified", "unknown", "empty")
# name -> widths of the hidden layers, steps, weight decay, eps of adversarial training (0: none)
NETWORKS = {
    "plain": ([32, 32], 400, 0.01, 0.0),
    "16 units a layer": ([16, 16], 400, 0.01, 0.0),
    "weight decay 1": ([32, 32], 2000, 1.0, 0.0),
    "attacked at .1": ([32, 32], 800, 0.01, 0.1),
    "attacked at .2": ([32, 32], 800, 0.01, 0.2),
    "attacked at .3": ([32, 32], 800, 0.01, 0.3),
    "three layers of 64": ([64, 64, 64], 400, 0.01, 0.0),
}
SLICES = [2, 3, 5, 10, 20]  # how many principal components
LATE = [300, 1000, 3000, 10000, 20000]  # steps at which the late networks are looked at
BALLS = {"plain": [0, 1, 2], "three layers of 64": [0, 1, 2]}  # networks and seeds
IMAGES, OTHERS = 36, 18  # of each network: test images that follow their pattern at .9, and that do not
PATTERNS = ("none", "1", "0.9", "0.8", "random", "own")  # a number: mined with this delta
PRECISION, LIMIT = 0.005, 1.0  # of the bisection; seconds a question
OPEN, PATIENCE = 6, 60.0  # how many open claims are asked again, and the seconds for each
RUNS = Path(__file__).parent / "runs" / "digits_proofs"
RECORDING = Path(__file__).parents[1] / "lessons" / "recordings" / "digits_proofs.npz"


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fit(name: str, seed: int) -> nn.Sequential:
    """One network of `NETWORKS`, trained."""
    hidden, steps, decay, eps = NETWORKS[name]
    images = data.digits()
    net = models.mlp([64, *hidden, 10], generator=seeded(seed))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=decay, fused=True)
    batches = training.minibatches(images.x_train, images.y_train, 100, seed=seed)
    step = attacks.adversarial_training(eps, steps=3) if eps else training.classification_step()
    training.train(step, training.State(net, optimizer, seeded(100 + seed)), steps=steps, batches=batches)
    return net


def thinned(nap: naps.NAP, sizes: list[int], generator: torch.Generator) -> naps.NAP:
    """The pattern with so many of its units kept in each layer, drawn at random."""
    masks = []
    for fixed, size in zip(nap.fixed, sizes, strict=True):
        units = fixed.nonzero()[:, 0]
        kept = units[torch.randperm(len(units), generator=generator)[:size]]
        masks.append(torch.zeros_like(fixed).index_fill(0, kept, True))
    return nap.keep(masks)


def sizes(nap: naps.NAP) -> list[int]:
    """How many units a pattern fixes in each layer."""
    return [active + inactive for active, inactive in nap.counts]


def ask_all(net: nn.Module, patterns: dict[int, naps.NAP | None], starts: dict[int, Tensor]) -> dict:
    """All 90 claims: how many have each status, and the median CPU time of one."""
    network, counts, seconds = networks.trace(net), np.zeros(len(STATUSES), int), []
    for label, nap in patterns.items():
        for rival in set(patterns) - {label}:
            clock = time.process_time()
            options = {"nap": nap, "rivals": [rival], "start": starts[label], "timeout": LIMIT}
            counts[STATUSES.index(verify.certify(network, label, **options).status)] += 1
            seconds.append(time.process_time() - clock)
    return {"counts": counts, "seconds": np.median(seconds)}


def described(net: nn.Module, patterns: dict[int, naps.NAP]) -> dict[str, float]:
    """How many units the patterns fix, and how many test images and points of the box follow them."""
    images, anywhere = data.digits(), torch.rand(20_000, 64, generator=seeded(0))
    cover = naps.coverage(patterns, net, images.x_test, images.y_test)
    volume = naps.followers(patterns, net, anywhere).double().mean()
    size = np.mean([nap.size for nap in patterns.values()])
    return {"size": size, "recall": cover.total, "ambiguous": cover.ambiguous, "volume": float(volume)}


def claims(net: nn.Module, seed: int, deltas: list[float]) -> dict[str, np.ndarray]:
    """The 90 claims of one network for each delta, mined and with random patterns of the same size."""
    images = data.digits()
    x, y, draw = images.x_train, images.y_train, seeded(seed)
    looks, nulls = [], []
    for delta in deltas:
        mined = naps.mine(net, x, y, delta=delta)
        looks.append(ask_all(net, mined, begin(net, mined, x, y)) | described(net, mined))
        if delta in NULLS:
            at = {c: image[None] for c, image in typical(x, y).items()}
            random = {c: thinned(naps.of(net, at[c]), sizes(nap), draw) for c, nap in mined.items()}
            nulls.append(ask_all(net, random, at) | described(net, random))
    found = {key: np.array([look[key] for look in looks]) for key in looks[0]}
    found |= {f"random {key}": np.array([null[key] for null in nulls]) for key in nulls[0]}
    accuracy = training.accuracy(net, images.x_test, images.y_test).item()
    return found | {"accuracy": np.array(accuracy)}


def begin(net: nn.Module, mined: dict[int, naps.NAP], x: Tensor, y: Tensor) -> dict[int, Tensor]:
    """Of each class five images to begin a walk at, where possible such as follow the pattern."""
    own = {c: x[y == c] for c in mined}
    follow = {c: own[c][nap.follows(net, own[c])] for c, nap in mined.items()}
    return {c: (found if len(found) else own[c])[:5] for c, found in follow.items()}


def patience(name: str, seed: int, delta: float) -> dict[str, np.ndarray]:
    """The first claims that stay open after `LIMIT` seconds, asked again with `PATIENCE`: their statuses."""
    net, images, answers = fit(name, seed), data.digits(), []
    x, y = images.x_train, images.y_train
    network, mined = networks.trace(net), naps.mine(net, x, y, delta=delta)
    starts = begin(net, mined, x, y)
    for label, rival in ((a, b) for a in mined for b in mined if a != b):
        options = {"nap": mined[label], "rivals": [rival], "start": starts[label]}
        if verify.certify(network, label, **options, timeout=LIMIT).status == "unknown":
            answers.append(verify.certify(network, label, **options, timeout=PATIENCE))
        if len(answers) == OPEN:
            break
    return {"status": np.array([STATUSES.index(answer.status) for answer in answers]),
            "seconds": np.array([answer.seconds for answer in answers])}  # fmt: skip


def typical(x: Tensor, y: Tensor) -> dict[int, Tensor]:
    """Of each class the image that is nearest to the mean of the class."""
    own = {c: x[y == c] for c in range(10)}
    return {c: some[(some - some.mean(0)).norm(dim=1).argmin()] for c, some in own.items()}


def slices(net: nn.Module, delta: float) -> dict[str, np.ndarray]:
    """The 90 claims on boxes in the first k principal components of a class: with the pattern and without."""
    images, looks = data.digits(), []
    x, y = images.x_train.double(), images.y_train
    mined = naps.mine(net, images.x_train, y, delta=delta)
    for k in SLICES:
        counts = {"mined": np.zeros(len(STATUSES), int), "none": np.zeros(len(STATUSES), int)}
        for label, nap in mined.items():
            front, u = slice_of(x[y == label], k)
            network = networks.trace(nn.Sequential(front, *(layer for layer in net.double())))
            net.float()
            for rival in set(mined) - {label}:
                for name, pattern in (("mined", nap), ("none", None)):
                    options = {"nap": pattern, "rivals": [rival], "start": u[:5], "timeout": LIMIT}
                    status = verify.certify(network, label, **options).status
                    counts[name][STATUSES.index(status)] += 1
        looks.append(counts)
    return {name: np.array([look[name] for look in looks]) for name in looks[0]}


def slice_of(x: Tensor, k: int) -> tuple[nn.Linear, Tensor]:
    """An affine layer from [0, 1]^k to the box of x's first k principal components, and where the x lie."""
    mean = x.mean(0)
    axes = torch.linalg.svd(x - mean, full_matrices=False).Vh[:k]
    z = (x - mean) @ axes.T
    low, width = z.amin(0), z.amax(0) - z.amin(0)
    front = nn.Linear(k, x.shape[1]).double()
    with torch.no_grad():
        front.weight.copy_((axes * width[:, None]).T)
        front.bias.copy_(mean + low @ axes)
    return front, ((z - low) / width).clamp(0, 1)


def late(scale: float) -> dict[str, np.ndarray]:
    """Lesson 10's setting, smaller: 200 images, squared error; claims at .9 in the course of training."""
    train, images = data.digits(200), data.digits()
    nets = [models.mlp([64, 32, 32, 10], scale=scale, generator=seeded(seed)) for seed in SEEDS]
    ensemble = training.Ensemble(nets)
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    state, step = training.State(ensemble, optimizer), training.classification_step("squared_error")
    batches, looks = training.minibatches(train.x_train, train.y_train, 100, seed=0), []
    for until in LATE:
        training.train(step, state, steps=until, batches=batches)
        nets = [ensemble[seed] for seed in range(len(SEEDS))]
        found = [claims(net, seed, [0.9]) for seed, net in enumerate(nets)]
        look = {key: np.array([f[key] for f in found]) for key in found[0]}
        look["train"] = training.accuracy(ensemble, train.x_train, train.y_train).numpy()
        pgd = [attacks.robust_accuracy(net, images.x_test, images.y_test, 0.05, generator=seeded(0))
               for net in nets]  # fmt: skip
        looks.append(look | {"robust": np.array([float(r) for r in pgd])})
        print(f"late x{scale:g}, step {until}", flush=True)
    return {key: np.stack([look[key] for look in looks]) for key in looks[0]}


def balls(name: str, seed: int) -> dict[str, np.ndarray]:
    """The largest proved ball around test images that follow their pattern at .9.

    Returns:
        "eps", "refuted", "unknown" (patterns, images), nan where an image does not follow; "recall": which
        share of the class's test images follow; "others": the three numbers, without a pattern, of images
        that do not follow theirs at .9; "share": of all test images that are right and follow.
    """
    net, images, draw = fit(name, seed), data.digits(), seeded(seed)
    network, x, y = networks.trace(net), images.x_test, images.y_test
    mined = {d: naps.mine(net, images.x_train, images.y_train, delta=d) for d in DELTAS[:3]}
    right = net(x).argmax(1) == y
    follow = naps.followers(mined[0.9], net, x)[torch.arange(len(y)), y]
    rows = {key: np.full((len(PATTERNS), IMAGES), np.nan) for key in ("eps", "refuted", "unknown", "recall")}
    for k, i in enumerate((right & follow).nonzero()[:IMAGES, 0].tolist()):
        label, own = int(y[i]), naps.of(net, x[i])
        patterns = {"none": None, "own": own}
        patterns |= {f"{d:g}": found[label] for d, found in mined.items()}
        patterns["random"] = thinned(own, sizes(patterns["0.9"]), draw)
        for p, pattern in enumerate(PATTERNS):
            nap = patterns[pattern]
            if nap is not None and not nap.follows(net, x[i : i + 1]):
                continue
            found = largest(network, label, x[i], nap)
            rows["eps"][p, k], rows["refuted"][p, k], rows["unknown"][p, k] = found
            rows["recall"][p, k] = 1 if nap is None else nap.follows(net, x[y == label]).double().mean()
    chosen = (right & ~follow).nonzero()[:OTHERS, 0].tolist()
    others = [largest(network, int(y[i]), x[i], None) for i in chosen]
    share = float((right & follow).double().mean())
    return rows | {"others": np.array(others).T, "share": np.array(share)}


def largest(network: networks.Network, label: int, x: Tensor, nap: naps.NAP | None) -> tuple:
    found = verify.largest_eps(network, label, x, nap=nap, high=1.0, precision=PRECISION, timeout=LIMIT)
    return found.eps, found.refuted, found.unknown


def kept(name: str, make: Callable[[], dict[str, np.ndarray]], seed: int | list[int]) -> dict:
    """What `make` returns, from its file where there is one."""
    file = RUNS / f"{name}.npz"
    if not file.exists():
        start = time.process_time()
        arrays = make()
        seconds = time.process_time() - start
        command = f"{name}, a part of digits_proofs.py"
        recordings.save(file, arrays | {"cpu": seconds}, command=command, seed=seed, seconds=seconds)
        print(f"{name}: {seconds:.0f} s of CPU", flush=True)
    return recordings.load(file).arrays


def parts() -> dict[str, dict[str, np.ndarray]]:
    """All parts, in the order in which they are run; the seeds of one part stacked."""

    def stacked(name: str, seeds: list[int], make: Callable[[int], dict]) -> dict[str, np.ndarray]:
        runs = [kept(f"{name} {seed}", lambda seed=seed: make(seed), seed) for seed in seeds]
        return {key: np.stack([run[key] for run in runs]) for key in runs[0]}

    found = {}
    for name in list(NETWORKS)[:-1]:
        found[f"claims/{name}"] = stacked(name, SEEDS, lambda s, n=name: claims(fit(n, s), s, DELTAS))
    found["balls/plain"] = stacked("balls plain", BALLS["plain"], lambda s: balls("plain", s))
    found["slices/0.9"] = stacked("slices", SEEDS, lambda s: slices(fit("plain", s), 0.9))
    for scale in (6.0, 1.0):
        found[f"late/{scale:g}"] = kept(f"late {scale:g}", lambda s=scale: late(s), SEEDS)
    deep = "three layers of 64"
    found[f"balls/{deep}"] = stacked(f"balls {deep}", BALLS[deep], lambda s: balls(deep, s))
    found[f"claims/{deep}"] = stacked(deep, SEEDS, lambda s: claims(fit(deep, s), s, DELTAS))
    found["patience"] = kept("patience", lambda: patience(deep, 0, 0.8), 0)
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    torch.set_num_threads(1)
    found = parts()
    seconds = float(sum(arrays.pop("cpu").sum() for arrays in found.values()))
    arrays = {f"{name}/{key}": array for name, part in found.items() for key, array in part.items()}
    recordings.save(
        RECORDING,
        arrays | {"deltas": DELTAS, "nulls": NULLS, "slices": SLICES, "late": LATE},
        command="python experiments/digits_proofs.py",
        seed=SEEDS,
        seconds=seconds,
        data=data.digits()[:2],
        note="counts: verified, falsified, unknown, empty, of 90; seconds are CPU time. Axes: seed first, "
        "then delta or slice; late: step, then seed; balls: seed, pattern "
        "(none, 1, .9, .8, random, own), image; "
        "patience: status (place in the same four words) and wall seconds of each claim",
    )


if __name__ == "__main__":
    main()
