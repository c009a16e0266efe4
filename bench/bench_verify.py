"""How fast `verify.certify` decides patterns on digits nets, and how it compares with Marabou.

Run by `make bench`, or: python bench/bench_verify.py [--quick] [--no-peer] [--only whole] [--net 64-32-32-10]

One thread, processor time; each instance is put to both in turn. Ours is the whole call, for a network that
was read once (that is timed by itself). Marabou's is the time inside its solver: starting its process and
writing down its query do not count. Where maraboupy has no wheel ours stands alone.
"""

import argparse
import importlib.util
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import data, models, naps
from minigrok.networks import Network, trace
from minigrok.training import State, accuracy, classification_step, minibatches, train
from minigrok.verify import _marabou, certify
from minigrok.verify._affine import read

NETS = {"64-32-32-10": [64, 32, 32, 10], "64-64-64-64-10": [64, 64, 64, 64, 10]}
DELTAS = (1.0, 0.99, 0.95, 0.9, 0.8)
RADII = (0.05, 0.1, 0.15, 0.2)
SLOWER = 3  # a limit of processor seconds is this many seconds on the clock: other programs may be running
HAS_MARABOU = importlib.util.find_spec("maraboupy") is not None


def trained(widths: list[int], digits: data.Digits) -> nn.Module:
    model = models.mlp(widths, generator=torch.Generator().manual_seed(0))
    state = State(model, torch.optim.Adam(model.parameters(), lr=1e-3))
    x, y, *_ = digits
    train(classification_step(), state, steps=2000, batches=minibatches(x, y, 64, seed=0))
    return model.eval()


def ask_ours(limit: float, network: Network, label: int, **region: object) -> tuple[str, str, float]:
    """Status, stage and processor seconds. A busy machine may take longer; what is late costs the limit."""
    begin = time.process_time()
    found = certify(network, label, timeout=SLOWER * limit, **region)
    seconds = time.process_time() - begin
    if found.status == "unknown" or seconds > limit:
        return "unknown", "", limit
    return found.status, found.stage, seconds


# Whole box: every class's pattern against every other class.


def whole_box(
    name: str, model: nn.Module, digits: data.Digits, limit: float, deltas: tuple, marabou: bool
) -> None:
    network, (x, y, *_) = trace(model), digits
    print(f"{name}: no input of the whole box that follows the pattern of a class goes to another, 90 pairs")
    target = (
        "all decided, median at most 10 ms" if len(network.units) == 2 else "at least 90 % at delta >= .9"
    )
    print(f"  limit {limit:g} s each (target: {target})")
    for delta in deltas:
        patterns = naps.mine(model, x, y, delta=delta)
        ours: list[float] = []
        theirs: list[float] = []
        answers: dict[str, int] = {}
        stages: dict[str, int] = {}
        differ = 0
        for label, nap in patterns.items():
            samples = x[y == label]
            start = samples[nap.follows(model, samples)][:3]
            start = start if len(start) else samples[:3]
            for rival in patterns.keys() - {label}:
                status, stage, seconds = ask_ours(limit, network, label, nap=nap, rivals=[rival], start=start)
                ours.append(seconds)
                answers[status] = answers.get(status, 0) + 1
                stages[stage] = stages.get(stage, 0) + 1
                if marabou:
                    question = Question(network, label, [rival], nap, np.zeros(64), np.ones(64))
                    other, seconds = question.ask_marabou(limit)
                    theirs.append(seconds)
                    differ += disagree(status, other)
        decided = 1 - answers.get("unknown", 0) / len(ours)
        line = f"  delta {delta:4}: {100 * decided:5.1f} % decided, {spread(ours)}; {answers} by {stages}"
        print(line + (f"; Marabou {spread(theirs)}, {differ} disagreements" if theirs else ""), flush=True)


# A ball around an image, with and without the pattern of its class.


@dataclass
class Question:
    """Is an input of the box low to high, cut with the pattern, classified as one of the rivals?"""

    network: Network
    label: int
    rivals: list[int]
    nap: naps.NAP | None
    low: np.ndarray
    high: np.ndarray

    def phases(self) -> list[np.ndarray]:
        if self.nap is None:
            return [np.zeros(n, dtype=np.int8) for n in self.network.units]
        pairs = zip(self.nap.active, self.nap.inactive, strict=True)
        return [
            active.numpy().astype(np.int8) - inactive.numpy().astype(np.int8) for active, inactive in pairs
        ]

    def ask_marabou(self, limit: float) -> tuple[str, float]:
        """The status, one rival after another until one can win, and the seconds inside the solver."""
        total, maps, phases = 0.0, read(self.network), self.phases()
        for rival in self.rivals:
            c = np.zeros(self.network.n_out)
            c[rival], c[self.label] = 1, -1
            left = max(limit - total, 0.01)
            status, x, seconds = _marabou.solve_timed(
                maps, self.low, self.high, phases, (c, 0.0), timeout=SLOWER * left + 1
            )
            total += seconds
            if status == "timeout" or total > limit:
                return "unknown", limit
            if status == "sat":
                self.check(x, c)
                return "falsified", total
        return "verified", total

    def check(self, x: np.ndarray, c: np.ndarray) -> None:
        point = torch.from_numpy(x)[None]
        exact = self.network.to(torch.float64)
        margin = float(exact(point)[0].numpy() @ c)
        wrong = [
            float((-p * z[0].numpy()).max(initial=0))
            for p, z in zip(self.phases(), exact.pre_activations(point), strict=True)
        ]
        if margin < -1e-5 or max(wrong) > 1e-5:
            print(
                f"    Marabou's counterexample is none: margin {margin:.2g}, pattern off by {max(wrong):.2g}"
            )


def images_of(model: nn.Module, digits: data.Digits, nap: dict | None, n: int) -> Tensor:
    """The first n images that are classified correctly and follow their pattern, test images first."""
    x = torch.cat([digits.x_test, digits.x_train])
    y = torch.cat([digits.y_test, digits.y_train])
    good = model(x).argmax(1) == y
    if nap is not None:
        good &= naps.followers(nap, model, x)[torch.arange(len(x)), y]
    return good.nonzero().flatten()[:n]


def ball(name: str, model: nn.Module, digits: data.Digits, n: int, limit: float, marabou: bool) -> None:
    network = trace(model)
    x = torch.cat([digits.x_test, digits.x_train])
    y = torch.cat([digits.y_test, digits.y_train])
    print(f"{name}: no input within eps of an image (and following its class's pattern) goes elsewhere")
    print(f"  {n} images for each eps and pattern, limit {limit:g} s an image; all 9 rivals")
    differ = total = wins = 0
    for eps in RADII:
        ours: list[float] = []
        theirs: list[float] = []
        late = 0
        for delta in (None, 0.95, 0.9):
            patterns = delta and naps.mine(model, digits.x_train, digits.y_train, delta=delta)
            answers: dict[str, int] = {}
            for i in images_of(model, digits, patterns, n).tolist():
                label, nap = int(y[i]), patterns and patterns[int(y[i])]
                status, _, seconds = ask_ours(limit, network, label, nap=nap, center=x[i], eps=eps)
                ours.append(seconds)
                answers[status] = answers.get(status, 0) + 1
                if marabou:
                    rivals = network(x[i][None])[0].argsort(descending=True).tolist()
                    rivals.remove(label)
                    center = x[i].double().numpy()
                    low, high = np.maximum(center - eps, 0), np.minimum(center + eps, 1)
                    other, seconds = Question(network, label, rivals, nap, low, high).ask_marabou(limit)
                    theirs.append(seconds)
                    total += 1
                    late += other == "unknown"
                    if disagree(status, other):
                        differ += 1
                        print(f"    image {i}, eps {eps}, delta {delta}: {status}, Marabou {other}")
            print(
                f"    eps {eps}, {'no pattern' if delta is None else f'delta {delta}'}: {answers}", flush=True
            )
        print(f"  eps {eps}: {len(ours)} instances, ours {spread(ours)}")
        if theirs:
            mean = statistics.mean(theirs) / statistics.mean(ours)
            median = statistics.median(theirs) / statistics.median(ours)
            wins += median >= 1
            print(f"  eps {eps}: Marabou {spread(theirs)}, {late} not decided")
            print(
                f"  eps {eps}: Marabou takes {mean:.2f} times the mean, {median:.2f} times the median",
                flush=True,
            )
    if marabou:
        print("  target: mean at least 1 at every eps, median at three of four, no disagreement")
        print(f"  median no worse at {wins} of 4; {differ} disagreements on {total} instances")


def disagree(ours: str, theirs: str) -> bool:
    return {"falsified", "verified"} == {ours.replace("empty", "verified"), theirs}


def spread(seconds: list[float]) -> str:
    middle, mean, most = (f(seconds) for f in (statistics.median, statistics.mean, max))
    return f"median {1e3 * middle:.1f} ms, mean {1e3 * mean:.1f} ms, most {most:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few instances, short limits")
    parser.add_argument("--no-peer", action="store_true", help="leave out Marabou")
    parser.add_argument("--only", choices=["whole", "ball"], help="one of the two parts")
    parser.add_argument("--net", choices=NETS, help="one of the two networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    marabou = HAS_MARABOU and not arguments.no_peer
    if not HAS_MARABOU:
        print("maraboupy is not installed: ours alone")
    digits, quick = data.digits(), arguments.quick
    for name in [arguments.net] if arguments.net else NETS:
        model = trained(NETS[name], digits)
        begin = time.process_time()
        read(trace(model))
        seconds = time.process_time() - begin
        test = accuracy(model, digits.x_test, digits.y_test).item()
        print(f"{name}: test accuracy {test:.3f}; reading the network once took {1e3 * seconds:.0f} ms")
        if arguments.only != "ball":
            deltas = (1.0, 0.8) if quick else DELTAS
            whole_box(name, model, digits, 1.0, deltas, marabou and not quick)
        if arguments.only != "whole":
            ball(name, model, digits, 5 if quick else 20, 5.0 if quick else 30.0, marabou)


if __name__ == "__main__":
    main()
