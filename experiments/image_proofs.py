"""Record lesson 13's proofs on images: balls round test images, with and without the pattern of their class.

    MINIGROK_DATA=folder python experiments/image_proofs.py     # a quarter of an hour on one CPU core
    python experiments/image_proofs.py --only plain --images 20 --climbs 2
    python experiments/image_proofs.py --record                 # no more work: write down what there is

Geng et al. 2023 (arXiv 2210.16114) say that the activation pattern (NAP) of a class lets l-infinity balls be
verified that are up to ten times larger on CIFAR-10. Here that is asked image by image, of the same images:

    plain        the ball alone
    nap D        the ball cut with the NAP of the image's class, mined on the training images with delta D,
                 where the image follows it (how many do is the recall: the price)
    random D     the ball cut with a random part of the image's own pattern, with as many units fixed in each
                 layer as nap D has; asked where nap D is
    own          the ball cut with the image's own full pattern: one linear region, one linear program

Every radius proved lies on one grid, level(k) = 0.001 * 1.02^k. For each question three ends are found:

    bounds       the largest level proved by linear bounds alone, certify(..., timeout=0): the same on any
                 machine
    certified    that or, where it was tried, the largest level proved by the whole cascade of `certify`, in
                 steps of four levels with a limit in seconds for each answer
    refuted      the distance of the nearest counterexample known that lies in the ball *and* follows the
                 pattern: no prover can certify so large a ball. A projected gradient climb looks for it, with
                 a price for every unit on its wrong side; each is checked in float64. A weak end: the true
                 one may be far nearer where many units are fixed.

A ball is part of every larger ball, and a pattern's region part of that of every coarser pattern; what is
proved or refuted of one is passed on to the other. What is unknown is never counted as certified.

Networks: `plain`, 784-256-256-10, is seed 0 of experiments/nap_mnist.py (trained here by the same recipe if
its weights are not there). `sparse` is trained like it, but each unit of hidden activation costs it 0.01: few
units are then active, and patterns fix most of them, as they do in the paper's benchmark networks. `cifar` is
a CNN of 832 ReLUs with strides of 4 and 2: with 3,072 inputs, a question to the whole cascade takes it ten
seconds and more.

Weights and answers are left in `experiments/runs/image_proofs`, one line of JSON for an image and a look. A
run that was stopped goes on where it was. The recordings hold numbers alone.

Recordings proofs_mnist.npz (`plain.` or `sparse.` before each name) and proofs_cifar.npz (`cifar.`):

    deltas (D,)                         K kinds, in this order: plain, nap D, ..., random D, ..., own
    accuracy (), recall (D,)            on all test images
    others (D,)                         of pairs of a test image and another class's NAP: how many follow
    fixed (D, 10, layers)               units that the NAPs fix
    image (N,), label (N,)              places in the test set: the first that the network gets right
    follows (N, D) bool                 whether it follows its class's NAP
    bounds, certified, refuted (N, K)   radii, NaN where not asked; refuted is inf where nothing was found
    tried (N, K) bool                   whether the whole cascade was asked (CLIMBED, and only images that
                                        follow nap 0.95)
    stage, stopped (N, K) int8          what proved `certified`, place in STAGES; what stopped there, in STOPS
    undecided (N,), settled (N, K)      units left undecided by the ball at plain's first level that bounds
                                        do not prove, and how many of them the pattern fixes
    nearest (N, K)                      units of the pattern that plain's nearest counterexample violates
    inside (N, K)                       of 256 random points of plain's refuted ball, the share that follow
    covers (N, K)                       of the test images of its class, the share that follow the pattern too
    seconds (N, K)                      processor time of the cascade's answers
"""

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok import data, models, naps, networks, recordings, training
from minigrok.naps import NAP
from minigrok.verify import Certificate, certify, unit_bounds

DELTAS = [1.0, 0.99, 0.95, 0.9]
KINDS = ["plain", *(f"nap {d}" for d in DELTAS), *(f"random {d}" for d in DELTAS), "own"]
CLIMBED = ["plain", "nap 0.99", "nap 0.95", "nap 0.9", "random 0.95", "own"]  # for the whole cascade
STAGES = ["", "bounds", "lp", "walk", "milp"]  # "": not even the smallest ball
STOPS = ["not tried", "refuted", "unknown", "top"]  # of the level above; "top": there is none
TOP = 290  # level(290) = 0.31
STEP = 4  # levels at a time in the climb: 8 %
PENALTIES, STARTS, ROUNDS, STEPS = (5.0, 50.0), 2, 8, 40  # of the attack
RUNS = Path(__file__).parent / "runs"
RUN = RUNS / "image_proofs"
RECORDINGS = Path(__file__).parents[1] / "lessons" / "recordings"


@dataclass(frozen=True)
class Setting:
    """A network, its training, and how much is asked of it."""

    data: str = "mnist"
    seed: int = 0
    sparsity: float = 0.0  # the price of one unit of hidden activation, in units of the cross-entropy
    epochs: int = 10
    weights: str = ""  # a file in experiments/runs that may have been trained already
    images: int = 100
    climbs: int = 8  # so many of those that follow "nap 0.95" are asked the whole cascade too
    timeout: float = 7.0  # seconds for each of its answers


SETTINGS = {
    "plain": Setting(weights="nap_mnist/256x2_0.pt"),
    "sparse": Setting(sparsity=0.01),
    "cifar": Setting(data="cifar10", images=50, climbs=2, timeout=12.0),
}


def level(k: int) -> float:
    """The k-th radius of the grid; 0 for k = -1, where nothing was proved."""
    return 0.001 * 1.02**k if k >= 0 else 0.0


# ---- the networks ------------------------------------------------------------------------------------------


def network(setting: Setting) -> nn.Sequential:
    """The untrained network."""
    generator = torch.Generator().manual_seed(setting.seed)
    if setting.data == "mnist":
        return models.mlp([784, 256, 256, 10], generator=generator)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip
    with torch.no_grad():
        for module in (m for m in net if hasattr(m, "weight")):  # PyTorch's own law, from our generator
            reach = module.weight[0].numel() ** -0.5
            for tensor in (module.weight, module.bias):
                tensor.uniform_(-reach, reach, generator=generator)
    return net


def forward(model: nn.Sequential, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """What comes into each layer of ReLUs, (N, units) each, and the outputs."""
    found = []
    for module in model:
        if isinstance(module, nn.ReLU):
            found.append(x.flatten(1))
        x = module(x)
    return found, x


def trained(name: str, sets: Sequence[Tensor]) -> nn.Sequential:
    """The network with the weights that are there, or trained now."""
    setting = SETTINGS[name]
    model = network(setting)
    for path in (RUNS / setting.weights, RUN / f"{name}.pt"):
        if path.is_file():
            model.load_state_dict(torch.load(path))
            return model.requires_grad_(False)
    train(model, setting, sets[0], sets[1])
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    recordings.write_whole(RUN / f"{name}.pt", buffer.getvalue())
    return model.requires_grad_(False)


def train(model: nn.Sequential, setting: Setting, x_train: Tensor, y_train: Tensor) -> None:
    """AdamW with learning rate 1e-3 falling to 0, weight decay 0.01, batches of 128."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    steps = setting.epochs * -(-len(x_train) // 128)
    usual = training.classification_step()

    def step(state: training.State, batch: training.Batch) -> None:
        for group in state.optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - state.step / steps)
        if not setting.sparsity:
            return usual(state, batch)
        hidden, z = forward(state.model, batch[0])
        state.optimizer.zero_grad()
        price = setting.sparsity * sum(h.relu().sum(1).mean() for h in hidden)
        (F.cross_entropy(z, batch[1]) + price).backward()
        state.optimizer.step()

    batches = training.minibatches(x_train, y_train, 128, seed=setting.seed)
    training.train(step, training.State(model, optimizer), steps=steps, batches=batches, progress=False)


# ---- patterns ----------------------------------------------------------------------------------------------


def thinned(own: NAP, size_of: NAP, generator: torch.Generator) -> NAP:
    """A random part of a full pattern that fixes as many units of each layer as another pattern does."""
    masks = []
    for fixed, units in zip(size_of.fixed, own.units, strict=True):
        mask = torch.zeros(units, dtype=torch.bool)
        mask[torch.randperm(units, generator=generator)[: int(fixed.sum())]] = True
        masks.append(mask)
    return own.keep(masks)


def patterns_of(model: nn.Module, x: Tensor, found: dict[str, NAP], seed: int) -> dict[str, NAP | None]:
    """The pattern of every kind asked of an image; `found` has the NAPs of its class that it follows."""
    own, generator = naps.of(model, x), torch.Generator().manual_seed(seed)
    random = {name.replace("nap", "random"): thinned(own, nap, generator) for name, nap in found.items()}
    return {"plain": None, **found, **random, "own": own}


def coarser(kind: str, kinds: Sequence[str]) -> list[str]:
    """The kinds whose region holds that of `kind`: what is proved of them is proved of it."""
    if kind == "own":  # any part of the image's own pattern is coarser, and the NAPs that it follows are such
        return [k for k in kinds if k != "own"]
    if kind.startswith("nap"):  # a smaller delta fixes the same units and more
        return ["plain", *(k for k in kinds[: kinds.index(kind)] if k.startswith("nap"))]
    return [] if kind == "plain" else ["plain"]


# ---- the three ends ----------------------------------------------------------------------------------------


def highest(proved: Callable[[int], bool], low: int, top: int) -> int:
    """The largest level that is proved, from `low`, which is: in steps that double, then by halving."""
    step = 1
    while low + step <= top and proved(low + step):
        low, step = low + step, 2 * step
    high = min(low + step, top + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if proved(middle) else (low, middle)
    return low


class Prover:
    """Questions about the balls round one image; what follows no pattern but the ball is asked once."""

    def __init__(self, network: networks.Network, x: Tensor, y: int):
        self.network, self.x, self.y, self.answers = network, x, y, {}

    def __call__(self, nap: NAP | None, k: int, timeout: float) -> Certificate:
        """Is the ball of level k proved, cut with the pattern? One that the ball implies adds nothing."""
        if not timeout:
            return self._ask(nap, k, 0.0)
        cuts = self.cuts(nap, k)
        key = (k, cuts.numpy().tobytes())
        if key not in self.answers:
            self.answers[key] = self._ask(nap if cuts.any() else None, k, timeout)
        return self.answers[key]

    def _ask(self, nap: NAP | None, k: int, timeout: float) -> Certificate:
        return certify(self.network, self.y, nap=nap, center=self.x, eps=level(k), timeout=timeout)

    def reach(self, k: int) -> tuple[Tensor, Tensor]:
        """Least and most of all units' pre-activations on the ball of level k, one layer after the other."""
        least, most = zip(*unit_bounds(self.network, center=self.x, eps=level(k)), strict=True)
        return torch.cat(least), torch.cat(most)

    def cuts(self, nap: NAP | None, k: int) -> Tensor:
        """Which units a pattern fixes and the ball of level k does not: (units,) bool."""
        least, most = self.reach(k)
        if nap is None:
            return torch.zeros(len(least), dtype=torch.bool)
        return torch.cat(nap.active) & (least <= 0) | torch.cat(nap.inactive) & (most > 0)


def by_bounds(ask: Prover, patterns: dict[str, NAP | None]) -> dict[str, int]:
    """The largest level that linear bounds prove, for each kind; -1 for none."""
    found: dict[str, int] = {}
    for kind, nap in patterns.items():
        low = max((found[k] for k in coarser(kind, list(patterns))), default=-1)
        found[kind] = highest(lambda k, nap=nap: ask(nap, k, 0.0).status == "verified", low, TOP)
    return found


def attack(
    model: nn.Sequential, x: Tensor, y: int, patterns: dict[str, NAP | None], generator: torch.Generator
) -> dict[str, Tensor]:
    """For each kind the nearest counterexample found (*input_shape) that follows its pattern, if any was.

    Every kind has a few rows, with other penalties and starting points. Each climbs in a ball of its own,
    which shrinks to what it found or grows back half way to what last failed.
    """
    n_rows = len(PENALTIES) * STARTS
    wanted = _wanted(model, x, patterns).repeat_interleave(n_rows, 0)
    penalty = torch.tensor(PENALTIES).repeat(len(patterns) * STARTS)[:, None]
    jumps = (torch.arange(len(wanted)) % n_rows >= len(PENALTIES)).view(-1, *[1] * x.dim())
    failed, eps = torch.zeros(len(wanted)), torch.full((len(wanted),), level(TOP))
    best, best_at = x.expand(len(wanted), *x.shape).clone(), torch.full((len(wanted),), torch.inf)
    for _ in range(ROUNDS):
        radius = eps.view(-1, *[1] * x.dim())
        low, high = (x - radius).clamp_min(0), (x + radius).clamp_max(1)
        at = (x + jumps * radius * (2 * torch.rand(best.shape, generator=generator) - 1)).clamp(low, high)
        price = penalty.expand(wanted.shape)  # of each unit: it rises while the unit is on its wrong side
        for step in range(STEPS):
            at.requires_grad_(True)
            hidden, z = forward(model, at)
            margin = _margin(z, y)
            left = (-wanted * torch.cat(hidden, 1)).clamp_min(0)  # how far on the wrong side
            (gradient,) = torch.autograd.grad((margin - (price * left).sum(1)).sum(), at)
            at = at.detach()
            distance = (at - x).flatten(1).abs().amax(1)
            better = (margin > 0) & (left == 0).all(1) & (distance < best_at)
            best[better], best_at[better] = at[better], distance[better]
            price = torch.where(left > 0, price * 1.5, (price * 0.95).clamp_min(1))
            at = (at + radius * (0.3 * (1 - step / STEPS)) * gradient.sign()).clamp(low, high)
        failed = torch.where(best_at <= eps, failed, eps)
        failed = failed.where(failed < best_at, 0.0)
        eps = torch.where(best_at.isfinite(), (best_at + failed) / 2, level(TOP))
    return _checked(model, x, y, patterns, best, best_at)


def _wanted(model: nn.Sequential, x: Tensor, patterns: dict[str, NAP | None]) -> Tensor:
    """(kinds, units): +1 where a unit must be active, -1 where inactive, 0 where it is open."""
    n = sum(h.shape[1] for h in forward(model, x[None])[0])
    rows = [
        torch.cat(nap.active).float() - torch.cat(nap.inactive).float() if nap else torch.zeros(n)
        for nap in patterns.values()
    ]
    return torch.stack(rows)


def _margin(z: Tensor, y: int) -> Tensor:
    """The largest output of the others less that of y."""
    return z.index_fill(1, torch.tensor([y]), -torch.inf).amax(1) - z[:, y]


def _checked(model, x: Tensor, y: int, patterns, best: Tensor, best_at: Tensor) -> dict[str, Tensor]:
    """For each kind the nearest point that is misclassified and, in float64, follows the pattern."""
    order = best_at.argsort()
    order = order[best_at[order].isfinite()]
    points = best[order]
    wrong = _margin(model(points), y) > 0
    found = {}
    for kind, nap in patterns.items():  # what was found for one pattern may follow another one
        good = wrong if nap is None or not len(points) else wrong & nap.follows(model, points)
        if good.any():
            found[kind] = points[good.nonzero()[0, 0]]
    return found


def distances(x: Tensor, examples: dict[str, Tensor], kinds: Sequence[str]) -> dict[str, float]:
    """Where each kind is refuted: by its own counterexample, or by that of a finer pattern."""
    own = {k: float((examples[k].double() - x.double()).abs().max()) for k in examples}
    finer = {k: [other for other in kinds if k in coarser(other, kinds)] for k in kinds}
    return {k: min(own.get(other, float("inf")) for other in [k, *finer[k]]) for k in kinds}


def climb(
    ask: Prover,
    patterns: dict[str, NAP | None],
    bounds: dict[str, int],
    refuted: dict[str, float],
    timeout: float,
) -> dict[str, dict]:
    """Go up from what bounds prove, with the whole cascade; for each kind how far, and what stopped it."""
    found: dict[str, dict] = {}
    for kind in (k for k in CLIMBED if k in patterns):
        begin = time.process_time()
        known = [(found[k]["level"], found[k]["stage"]) for k in coarser(kind, list(patterns)) if k in found]
        low, stage = max([(bounds[kind], "bounds" if bounds[kind] >= 0 else ""), *known])
        row = {"level": low, "stage": stage, "stop": "top", "refuted": refuted[kind]}

        def proved(n: int, nap=patterns[kind], row=row, low=low) -> bool:
            k = low + n * STEP
            if level(k) >= row["refuted"]:
                row["stop"] = "refuted"
                return False
            answer = ask(nap, k, timeout)
            if answer.status == "verified":
                row["level"], row["stage"] = k, answer.stage
            elif answer.status == "falsified":
                away = (answer.counterexample.double() - ask.x.double()).abs().max()
                row["stop"], row["refuted"] = "refuted", min(row["refuted"], float(away))
            else:
                row["stop"] = "unknown"
            return answer.status == "verified"

        highest(proved, 0, (TOP - low) // STEP)
        found[kind] = row | {"seconds": time.process_time() - begin}
    return found


# ---- image by image ----------------------------------------------------------------------------------------


class Subject:
    """A trained network with its data and the NAPs of its classes."""

    def __init__(self, name: str):
        self.name, self.setting = name, SETTINGS[name]
        self.sets = getattr(data, self.setting.data)()
        self.model = trained(name, self.sets)
        x_train, y_train, self.x, self.y = self.sets
        self.network = networks.trace(self.model, tuple(self.x.shape[1:]))
        self.naps = {d: naps.mine(self.model, x_train, y_train, delta=d) for d in DELTAS}

    def images(self) -> list[int]:
        """The first test images that the network gets right."""
        with torch.no_grad():
            right = torch.cat([self.model(part).argmax(1) for part in self.x.split(1000)]) == self.y
        return right.nonzero()[: self.setting.images, 0].tolist()

    def patterns(self, image: int) -> dict[str, NAP | None]:
        x, y = self.x[image], int(self.y[image])
        followed = {
            f"nap {d}": found[y] for d, found in self.naps.items() if found[y].follows(self.model, x[None])
        }
        return patterns_of(self.model, x, followed, seed=image)

    def prover(self, image: int) -> Prover:
        return Prover(self.network, self.x[image], int(self.y[image]))

    def first_look(self, image: int) -> dict:
        """Bounds, attack, and where the patterns lie."""
        x, y, patterns, ask = self.x[image], int(self.y[image]), self.patterns(image), self.prover(image)
        bounds, generator = by_bounds(ask, patterns), torch.Generator().manual_seed(image)
        examples = attack(self.model, x, y, patterns, generator)
        refuted = distances(x, examples, list(patterns))
        least, most = ask.reach(bounds["plain"] + 1)
        undecided = (least < 0) & (most > 0)
        row = {"image": image, "label": y, "bounds": bounds, "refuted": refuted,
               "undecided": int(undecided.sum())}  # fmt: skip
        row["settled"] = {kind: settled(nap, undecided) for kind, nap in patterns.items()}
        row["nearest"], row["inside"] = {}, {}
        for kind, nap in patterns.items():
            if nap is None:
                row["nearest"][kind], row["inside"][kind] = 0, 1.0
                continue
            if "plain" in examples:
                row["nearest"][kind] = int(nap.violations(self.model, examples["plain"][None]))
                radius = refuted["plain"]
                points = x + radius * (2 * torch.rand(256, *x.shape, generator=generator) - 1)
                row["inside"][kind] = float(nap.follows(self.model, points.clamp(0, 1)).double().mean())
        return row

    def second_look(self, first: dict) -> dict:
        """The whole cascade."""
        patterns = self.patterns(first["image"])
        found = climb(
            self.prover(first["image"]), patterns, first["bounds"], first["refuted"], self.setting.timeout
        )
        return {"image": first["image"], "climb": found}


def settled(nap: NAP | None, undecided: Tensor) -> int:
    """How many undecided units a pattern fixes."""
    return int((torch.cat(nap.fixed) & undecided).sum()) if nap else 0


def lines(path: Path) -> dict[int, dict]:
    """What a file of JSON lines has, by image; a last line cut short by a stop is left out."""
    rows = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return {row["image"]: row for row in map(json.loads, (r for r in rows if r.endswith("\n")))}


def append(path: Path, row: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.read_text() if path.is_file() else ""
    if whole and not whole.endswith("\n"):  # cut short: that image is asked again
        recordings.write_whole(path, whole[: whole.rfind("\n") + 1].encode())
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def asked(name: str) -> tuple[dict[int, dict], dict[int, dict]]:
    return lines(RUN / f"{name}.first.jsonl"), lines(RUN / f"{name}.second.jsonl")


def first_looks(subject: Subject) -> None:
    """Bounds and attack for every image that has not had them."""
    path = RUN / f"{subject.name}.first.jsonl"
    done = lines(path)
    for image in subject.images():
        if image not in done:
            begin = time.process_time()
            row = subject.first_look(image)
            append(path, row | {"seconds": time.process_time() - begin})


def second_looks(subject: Subject) -> Iterator[int]:
    """The whole cascade for those images that follow "nap 0.95", as many as the setting says, one by one."""
    first, second = asked(subject.name)
    images = [i for i in subject.images() if "nap 0.95" in first[i]["bounds"]][: subject.setting.climbs]
    for n, image in enumerate(images):
        if image not in second:
            append(RUN / f"{subject.name}.second.jsonl", subject.second_look(first[image]))
            print(f"{subject.name}: {n + 1} of {len(images)} climbed", flush=True)
        yield image


# ---- the recording -----------------------------------------------------------------------------------------


def table(first: dict[int, dict], second: dict[int, dict]) -> dict[str, np.ndarray]:
    """The answers as arrays; see the top of this file."""
    images = sorted(first)
    rows = [first[image] for image in images]
    climbs = [second.get(image, {"climb": {}})["climb"] for image in images]

    def values(column: str, of: list[dict] = rows) -> np.ndarray:
        return np.array([[row[column].get(kind, np.nan) for kind in KINDS] for row in of], float)

    def climbed(column: str, default, change=lambda value: value) -> np.ndarray:
        return np.array([[change(c[k][column]) if k in c else default for k in KINDS] for c in climbs])

    radius = np.vectorize(lambda k: np.nan if np.isnan(k) else level(int(k)), otypes=[float])
    bounds = radius(values("bounds"))
    certified = np.fmax(bounds, radius(climbed("level", np.nan)))
    refuted = np.fmin(values("refuted"), climbed("refuted", np.nan).astype(float))
    stage = climbed("stage", -1, STAGES.index)
    return {
        "image": np.array(images), "label": np.array([row["label"] for row in rows]),
        "follows": np.array([[f"nap {d}" in row["bounds"] for d in DELTAS] for row in rows]),
        "bounds": bounds, "certified": certified, "refuted": passed_on(refuted),
        "tried": stage >= 0, "stage": np.where(stage >= 0, stage, bounds > 0).astype(np.int8),
        "stopped": climbed("stop", 0, STOPS.index).astype(np.int8),
        "undecided": np.array([row["undecided"] for row in rows]), "settled": values("settled"),
        "nearest": values("nearest"), "inside": values("inside"),
        "seconds": climbed("seconds", np.nan).astype(float),
    }  # fmt: skip


def passed_on(refuted: np.ndarray) -> np.ndarray:
    """A counterexample that follows a finer pattern refutes the coarser ones too."""
    found = refuted.copy()
    for row in found:
        kinds = [kind for kind, value in zip(KINDS, row, strict=True) if not np.isnan(value)]
        for kind in reversed(kinds):
            for other in coarser(kind, kinds):
                i, j = KINDS.index(kind), KINDS.index(other)
                row[j] = min(row[i], row[j])
    return found


def whole_network(subject: Subject) -> dict[str, np.ndarray]:
    """Accuracy, and what the NAPs are worth on all test images."""
    model, x, y = subject.model, subject.x, subject.y
    held = [naps.coverage(found, model, x, y) for found in subject.naps.values()]
    n_pairs = len(y) * (len(held[0].labels) - 1)
    fixed = [[[int(f.sum()) for f in nap.fixed] for nap in found.values()] for found in subject.naps.values()]
    return {
        "accuracy": np.array(float(training.accuracy(model, x, y))),
        "recall": np.array([c.total for c in held]),
        "others": np.array([float(c.others.sum()) / n_pairs for c in held]),
        "fixed": np.array(fixed),
    }


def covers(subject: Subject, images: Sequence[int]) -> np.ndarray:
    """Of the test images of each image's class, the share that follow the pattern of each kind; (N, K)."""
    active = torch.cat(naps.states(subject.model, subject.x), 1)
    found = np.full((len(images), len(KINDS)), np.nan)
    for row, image in zip(found, images, strict=True):
        same = active[subject.y == subject.y[image]]
        for kind, nap in subject.patterns(image).items():
            broken = same & torch.cat(nap.inactive) | ~same & torch.cat(nap.active) if nap else ~same & same
            row[KINDS.index(kind)] = float((~broken.any(1)).double().mean())
    return found


def record(subjects: list[Subject]) -> None:
    """Write down the answers there are of networks on the same data."""
    arrays, seconds = {"deltas": np.array(DELTAS)}, 0.0
    subjects = [subject for subject in subjects if asked(subject.name)[0]]
    for subject in subjects:
        first, second = asked(subject.name)
        seconds += sum(row["seconds"] for row in first.values())
        seconds += sum(c["seconds"] for row in second.values() for c in row["climb"].values())
        found = whole_network(subject) | table(first, second) | {"covers": covers(subject, sorted(first))}
        for name, values in found.items():
            small = values.astype(np.float32) if values.dtype == np.float64 else values
            arrays[f"{subject.name}.{name}"] = small
    timeouts = ", ".join(f"{s.name} {s.setting.timeout:g} s" for s in subjects)
    name = subjects[0].setting.data.removesuffix("10")
    recordings.save(
        RECORDINGS / f"proofs_{name}.npz", arrays, command="python experiments/image_proofs.py",
        seed=subjects[0].setting.seed, seconds=seconds,
        data=(subjects[0].x, subjects[0].y),
        note=f"kinds: {', '.join(KINDS)}; stages: {STAGES}; stops: {STOPS}. Wall-clock limit of an answer of "
        f"the cascade: {timeouts}, on one CPU core shared with other work; seconds are processor time.",
    )  # fmt: skip
    print(f"wrote proofs_{name}.npz")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--images", type=int, default=None, help="look at no more images than these")
    parser.add_argument(
        "--climbs", type=int, default=None, help="ask the whole cascade of no more than these"
    )
    parser.add_argument("--record", action="store_true", help="no more work: write down what there is")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    torch.set_num_threads(1)
    for name in options.only:
        changed = {key: value for key in ("images", "climbs") if (value := getattr(options, key)) is not None}
        SETTINGS[name] = replace(SETTINGS[name], **changed)
    kinds = sorted({SETTINGS[name].data for name in options.only})
    subjects = {name: Subject(name) for name in SETTINGS if SETTINGS[name].data in kinds}
    if not options.record:
        for name in options.only:
            first_looks(subjects[name])
        for _ in zip_longest(*(second_looks(subjects[name]) for name in options.only)):
            pass  # an image of each network in turn
    for kind in kinds:
        record([subject for subject in subjects.values() if subject.setting.data == kind])


if __name__ == "__main__":
    main()
