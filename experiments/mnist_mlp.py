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
every second of these snapshots is looked at (of the factors every fourth), and the recording is written.
Both go on where they were stopped: type the same command again. `--look` skips the training and records
the runs as far as they came.
"""

import argparse
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from minigrok import attacks, data, measures, models, recordings, regions, training
from minigrok.course import plots

RUNS = Path(__file__).parent / "runs" / "mnist_mlp"
RECORDINGS = Path(__file__).parents[1] / "lessons" / "recordings"
EPS = (0.03, 0.06, 0.10, 0.13, 0.16, 0.20)  # the paper's radii, of pixels in [0, 1]
STRONG_EPS = (0.06, 0.10, 0.20)  # where all attacks are tried together
RADIUS, REACH = 0.05, 1.68  # of local complexity: figure 2's; and 0.06 * sqrt(784), how far an attack reaches
PLANES = (0, 28, 989, 12853, 100_000)  # the steps at which planes are cut


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
    "adam_eps_long": replace(BASE, adam_eps=1e-3, steps=100_000),  # as long as the figure's
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


# Looking


def shown(found: data.Digits) -> tuple[Tensor, Tensor]:
    """200 test images for the attacks, from all over: the first half of the test set is the easier one."""
    return found.x_test[::50], found.y_test[::50]


def look(net: nn.Module, images: data.Digits, earlier: nn.Module) -> dict[str, object]:
    """All that is measured on one network of the figure; `earlier` is itself at an earlier step."""
    generator = torch.Generator().manual_seed(1)
    x, y = shown(images)
    seen = basics(net, images) | {
        "zero_gradients": float(attacks.zero_gradient_share(net, x, y)),
        "distance": attacks.adversarial_distance(
            net, x[::2], y[::2], steps=10, halvings=8, generator=generator
        ).tolist(),
        "robust_all": robust_to_all(net, images, earlier),
    }
    for loss in ("margin", "plain_cross_entropy"):
        found = attacks.robust_accuracy(net, x, y, EPS, loss=loss, generator=generator)
        seen[f"robust_{loss}"] = found.tolist()
    random = torch.rand(300, 784, generator=generator).to(x)
    for name, points in {"train": images.x_train, "test": images.x_test[::33], "random": random}.items():
        seen[f"complexity_{name}"] = complexity(net, points[:300], RADIUS)
        seen[f"complexity_reach_{name}"] = complexity(net, points[:100], REACH)
    return seen | along_the_way(net, x[::4], y[::4])


def look_in_short(net: nn.Module, images: data.Digits) -> dict[str, object]:
    """What is measured on the networks of the factors."""
    generator = torch.Generator().manual_seed(1)
    x, y = shown(images)
    x_train, y_train = images.x_train[:100], images.y_train[:100]
    return basics(net, images) | {
        "robust": attacks.robust_accuracy(net, x, y, STRONG_EPS, generator=generator).tolist(),
        "robust_train": attacks.robust_accuracy(net, x_train, y_train, 0.06, generator=generator).item(),
        "complexity": [sum(complexity(net, points, RADIUS)) for points in (x_train, x[::2])],
    }


def basics(net: nn.Module, images: data.Digits) -> dict[str, object]:
    states = unit_states(net, images.x_train[:1000])
    return {
        "train_accuracy": float(training.accuracy(net, images.x_train[:2000], images.y_train[:2000])),
        "test_accuracy": float(training.accuracy(net, images.x_test[::5], images.y_test[::5])),
        "norm": float(measures.weight_norm(net)),
        "largest_logit": float(net(images.x_test[::5]).abs().max()),
        "dead": [int((layer == -1).sum()) for layer in states],
        "always_on": [int((layer == 1).sum()) for layer in states],
    }


def robust_to_all(net: nn.Module, images: data.Digits, earlier: nn.Module) -> list[float]:
    """Accuracy under all attacks at each of STRONG_EPS, on 100 test images."""
    x, y = (part[::2] for part in shown(images))
    return [float(survive_all(net, x, y, eps, earlier).double().mean()) for eps in STRONG_EPS]


def survive_all(net: nn.Module, x: Tensor, y: Tensor, eps: float, earlier: nn.Module) -> Tensor:
    """Which images are right and survive every attack, (N,) bool: each gets those the last one left.

    PGD; the examples that fool the network as it was; adaptive steps, twice; random search.
    """

    def transfer(network: nn.Module, x: Tensor, y: Tensor, eps: float, **options: object) -> attacks.Attack:
        made = attacks.pgd(earlier, x, y, eps, early_stop=False, **options)
        return replace(made, success=network(made.x_adv).argmax(1) != y)

    survive = net(x).argmax(1) == y
    ways = [
        (attacks.pgd, {}),
        (transfer, {}),
        (attacks.apgd, {"restarts": 2}),
        (attacks.apgd, {"loss": "margin"}),
        (attacks.square, {"image": (1, 28, 28)}),
    ]
    for attack, options in ways:
        left = survive.nonzero()[:, 0]
        if len(left):
            generator = torch.Generator().manual_seed(2)
            survive[left] = ~attack(net, x[left], y[left], eps, generator=generator, **options).success
    return survive


def complexity(net: nn.Module, points: Tensor, radius: float) -> list[float]:
    """Mean local complexity of each layer, the same 25 directions for every network."""
    generator = torch.Generator().manual_seed(0)
    counted = regions.local_complexity(net, points, radius=radius, generator=generator)
    return counted.per_layer.double().mean(0).tolist()


def unit_states(net: nn.Module, x: Tensor) -> list[Tensor]:
    """For each layer -1 where a unit is silent at all points, 1 where it is active at all, else 0."""
    states = []
    for layer in net:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            states.append((x > 0).all(0).int() - (~(x > 0).any(0)).int())
    return states


def along_the_way(net: nn.Module, x: Tensor, y: Tensor) -> dict[str, object]:
    """Breakpoints from images to attacked images and in a random direction, and where the margin is lost.

    Only images that are classified right and that the attack fools are counted, ten at most. The random
    direction has one sign for each pixel, stays among images, and is as long as the attack's way.
    """
    generator = torch.Generator().manual_seed(3)
    found = attacks.pgd(net, x, y, 0.06, early_stop=False, generator=generator)
    fooled = (net(x).argmax(1) == y) & found.success
    x, x_adv, y = x[fooled][:10], found.x_adv[fooled][:10], y[fooled][:10]
    if not len(x):
        return {"breaks": [float("nan")] * 2, "first_share": float("nan"), "length": float("nan")}
    signs = torch.randint(2, x.shape, generator=generator).to(x) * 2 - 1
    aside = (x + 0.06 * signs).clamp(0, 1) - x
    length = (x_adv - x).norm(dim=1, keepdim=True)
    aside = x + aside * length / aside.norm(dim=1, keepdim=True)
    breaks, shares = [], []
    for start, end, other, label in zip(x, x_adv, aside, y, strict=True):
        way = regions.on_segment(net, start, end)
        breaks.append([len(way.breakpoints), len(regions.on_segment(net, start, other).breakpoints)])
        first = way.breakpoints[0] if len(way.breakpoints) else 1.0
        margins = margin(net, way.lift([0.0, first, 1.0]).to(x), label)
        shares.append(float((margins[0] - margins[1]) / (margins[0] - margins[2])))
    means = np.mean(breaks, axis=0).tolist()
    return {"breaks": means, "first_share": float(np.median(shares)), "length": float(length.mean())}


def margin(net: nn.Module, x: Tensor, label: Tensor) -> Tensor:
    """How far the right output is ahead of the best other one, (N,)."""
    outputs = net(x)
    others = outputs.clone()
    others[:, label] = -torch.inf
    return outputs[:, label] - others.amax(1)


def plane_of(images: data.Digits) -> tuple[regions.Plane, tuple, np.ndarray]:
    """A plane through a training image of each of three classes, a window round them, and where they are."""
    three = [images.x_train[images.y_train == k][0] for k in (0, 1, 2)]
    plane = regions.Plane.through(*three)
    where = plane.coordinates(torch.stack(three)).numpy()
    box = tuple((low - 2, high + 2) for low, high in zip(where.min(0), where.max(0), strict=True))
    return plane, box, where


def look_at_plane(net: nn.Module, images: data.Digits) -> dict[str, object]:
    """A plane through training images: regions, density of lines by distance from the boundary, units."""
    plane, box, _ = plane_of(images)
    cut = regions.partition(net, box, plane=plane)
    with_line = len(np.unique(cut.edge_neuron[cut.edge_neuron[:, 0] >= 0], axis=0))
    return {"regions": cut.n_regions, "bands": density_in_bands(cut), "with_line": with_line}


def density_in_bands(cut: regions.Partition, n: int = 5) -> list[float]:
    """Density of lines in n bands of equal area, nearest to the boundary first, over the whole window's."""
    if not len(cut.decision_boundary):
        return [float("nan")] * n
    edges = np.append(np.linspace(0, 20, 401), np.inf)
    length, area = regions.lines_by_distance(cut, cut.decision_boundary, edges)
    ends = np.linspace(0, area.sum(), n + 1)
    within = np.interp(ends, np.append(0, area.cumsum()), np.append(0, length.cumsum()))
    return (np.diff(within) / length.sum() * n).tolist()


def picture(net: nn.Module, images: data.Digits) -> bytes:
    """A plane of the first seed as a small PNG: lines, classes and three marks, and no image."""
    plane, box, where = plane_of(images)
    cut = regions.partition(net, box, plane=plane)
    pixels = plots.region_image(cut, 300, points=where, labels=np.array([0, 1, 2]))
    file = io.BytesIO()
    few = Image.fromarray(pixels).quantize(64, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(file, "PNG", compress_level=9)
    return file.getvalue()


def looked_at(name: str) -> list[int]:
    """The steps to look at, of those that have a snapshot."""
    setting = SETTINGS[name]
    all_steps = training.log_spaced(setting.steps, 45)
    # 27,741 is the last of the long runs' snapshots before the factors end: to stand beside them.
    steps = sorted({*all_steps[::2], 27_741}) if name in FIGURE else all_steps[::4]
    return [t for t in steps if (RUNS / name / f"{t}.pt").exists()]


def networks(name: str, step: int) -> list[nn.Module]:
    ensemble = new_state(SETTINGS[name]).model
    ensemble.load_state_dict(torch.load(RUNS / name / f"{step}.pt", weights_only=True))
    return [ensemble[s] for s in range(len(ensemble))]


@torch.no_grad()
def look_at(name: str, step: int) -> list[dict[str, object]]:
    """What was seen of each seed of a snapshot: looked at once, kept beside it."""
    kept = RUNS / name / f"{step}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    begin, setting = time.process_time(), SETTINGS[name]
    nets = networks(name, step)
    sets = [images(setting, seed) for seed in setting.seeds]
    if name in FIGURE:
        earlier = networks(name, min(step, 989))
        seen = [look(*of_seed) for of_seed in zip(nets, sets, earlier, strict=True)]
        if name == "squared_error":
            recordings.write_whole(kept.with_suffix(".png"), picture(nets[0], sets[0]))
        if step in PLANES:
            seen = [s | look_at_plane(net, part) for s, net, part in zip(seen, nets, sets, strict=True)]
    else:
        seen = [look_in_short(net, part) for net, part in zip(nets, sets, strict=True)]
        if setting.steps > BASE.steps:  # to stand beside the figure
            earlier = networks(name, min(step, 989))
            for s, *of_seed in zip(seen, nets, sets, earlier, strict=True):
                s["robust_all"] = robust_to_all(*of_seed)
    seen[0]["seconds"] = time.process_time() - begin
    recordings.write_whole(kept, json.dumps(seen).encode())
    print(f"{name}: looked at step {step} in {seen[0]['seconds']:.0f} s of one core", flush=True)
    return seen


def arrays_of(name: str) -> dict[str, np.ndarray]:
    """All that was seen of a setting: every measure as (T, S, ...)."""
    steps = looked_at(name)
    seen = [look_at(name, step) for step in steps]
    cut = [k for k, step in enumerate(steps) if name in FIGURE and step in PLANES]
    arrays = {f"{name}.steps": np.array(steps), f"{name}.plane_steps": np.array([steps[k] for k in cut])}
    for measure in seen[0][-1]:  # the last seed has no seconds
        at = cut if measure in ("regions", "bands", "with_line") else range(len(steps))
        values = np.array([[of_seed[measure] for of_seed in seen[k]] for k in at])
        arrays[f"{name}.{measure}"] = values.astype(np.float32 if values.dtype.kind == "f" else np.int32)
    if name in FIGURE:  # the test images are the same for every seed
        labels = shown(images(SETTINGS[name], SETTINGS[name].seeds[0]))[1]
        arrays[f"{name}.distance_labels"] = labels[::2].numpy()
    if name == "squared_error":
        pictures = [(RUNS / name / f"{step}.png").read_bytes() for step in steps]
        arrays[f"{name}.picture_bytes"] = np.frombuffer(b"".join(pictures), dtype=np.uint8)
        arrays[f"{name}.picture_ends"] = np.cumsum([len(p) for p in pictures])
    return arrays


def record(names: list[str], path: Path, command: str) -> None:
    """One recording of several settings, with the time they took to train and to look at."""
    arrays: dict[str, np.ndarray] = {}
    seconds, looking, begun = 0.0, 0.0, [name for name in names if looked_at(name)]
    for name in begun:
        arrays |= arrays_of(name)
        saved = torch.load(RUNS / name / "checkpoint.pt", weights_only=True)
        seconds += saved["seconds"]
        looking += sum(look_at(name, step)[0]["seconds"] for step in looked_at(name))
        arrays[f"{name}.trained_to"] = np.array(saved["step"])
    setting = SETTINGS[begun[0]]
    found = images(setting, setting.seeds[0])
    recordings.save(
        path, arrays | {"eps": np.array(EPS), "strong_eps": np.array(STRONG_EPS)}, command=command,
        seed=setting.seeds, seconds=seconds, data=(found.x_train, found.y_train),
        note=f"One CPU core, shared with other work. Looking took {looking:.0f} s of a core more.",
    )  # fmt: skip
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--factors", action="store_true", help="the factors in place of the figure")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="these settings alone, with no recording")
    parser.add_argument(
        "--look", action="store_true", help="no more training: look at the snapshots there are"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = list(FACTORS if options.factors else FIGURE)
    for name in [] if options.look else options.only or names:
        print(name)
        if train(name).interrupted:
            return
    for name in options.only or []:
        for step in looked_at(name):
            look_at(name, step)
    if not options.only:
        command = "python experiments/mnist_mlp.py" + (" --factors" if options.factors else "")
        path = RECORDINGS / ("delayed_factors.npz" if options.factors else "delayed_mnist.npz")
        record(names, path, command)


if __name__ == "__main__":
    main()
