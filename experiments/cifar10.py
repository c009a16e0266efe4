"""Train lesson 11's networks on pictures for long, and watch accuracy, robustness and local complexity.

    python experiments/cifar10.py                                  # CNN of width 32, all 50,000 pictures
    python experiments/cifar10.py --model resnet18 --width 16 --batch-norm
    python experiments/cifar10.py --width 8 --train 5000 --steps 100000        # an hour or so on one CPU core
    python experiments/cifar10.py --width 8 --train 5000 --steps 5000 --seed 1 --no-weights      # other seeds
    torchrun --nproc-per-node 4 experiments/cifar10.py             # several GPUs share each batch

The setting is that of Humayun et al. 2024 (arXiv 2402.15555, section 4 and their code): Adam with learning
rate 1e-3 and no weight decay, cross-entropy, no augmentation. CIFAR-10 is downloaded, or read from the folder
named by MINIGROK_DATA. Pixels p in [0, 1] go in as (p - 0.5) / 0.25, so one of 255 levels is 4 / 255 of these
units.

First the network trains; at steps spaced by their logarithm its weights are left in `experiments/runs/`. Then
each of these snapshots is looked at. Both go on where they were stopped: type the same command again.
`--look` skips the training and records the run as far as it came. Where several processes share a batch,
a batch norm sees the part of its own.
"""

import argparse
import copy
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minigrok import attacks, data, measures, models, networks, recordings, regions, training

HERE = Path(__file__).parent
# Radii of the attacks in 255ths of a pixel; 10 is 50 / 255 in the units of the authors' normalised pixels.
LEVELS = (1, 2, 4, 8, 10, 16)
SCALE = 4.0  # one unit of a pixel in [0, 1] is 4 units of the network's input
BOUNDS = (-2.0, 2.0)
RADIUS, DIRECTIONS = 0.005, 20  # of the local complexity, in the network's units
ATTACKED, SEARCHED, PROBED = 300, 100, 256  # pictures: PGD, random search, local complexity (of each kind)
SEARCH_LEVELS, QUERIES = (2, 8), 300  # random search is slow: two radii, so many squares tried
LARGEST = 400_000  # numbers of weights and Adam's means that a recording has room for
LOOK = 2  # raise it when `look` changes: what was kept of another look is not used again


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=["cnn", "resnet18"], default="cnn")
    parser.add_argument("--width", type=int, default=None, help="32 for the CNN, 16 for the ResNet")
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--data", choices=["cifar10", "cifar100", "imagenette"], default="cifar10")
    parser.add_argument("--train", type=int, default=None, help="number of training pictures; default all")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=500_000)
    parser.add_argument("--looks", type=int, default=45, help="number of snapshots")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures, the weights and the batches")
    parser.add_argument(
        "--no-weights", action="store_true", help="a small recording, from which nobody can go on"
    )
    parser.add_argument("--device", default=None, help="cpu or cuda; default cuda where there is one")
    parser.add_argument(
        "--look", action="store_true", help="no more training: look at the snapshots there are"
    )
    options = parser.parse_args(arguments)
    options.width = options.width or {"cnn": 32, "resnet18": 16}[options.model]
    options.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return options


def name_of(options: argparse.Namespace) -> str:
    norm = "_bn" if options.batch_norm else ""
    size = "all" if options.train is None else str(options.train)
    name = f"{options.data}_{options.model}{options.width}{norm}_{size}"
    return name if options.seed == 0 else f"{name}_seed{options.seed}"


def scaled(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1] in the network's units, in [-2, 2]."""
    return (pixels - 0.5) * SCALE


def pictures(options: argparse.Namespace) -> data.Images:
    """The data set in the network's units, all of it on the device."""
    sets = getattr(data, options.data)(options.train, seed=options.seed)
    x_train, y_train, x_test, y_test = (part.to(options.device) for part in sets)
    x_train, x_test = (scaled(x).contiguous(memory_format=torch.channels_last) for x in (x_train, x_test))
    return data.Images(x_train, y_train, x_test, y_test)


def new_model(options: argparse.Namespace) -> nn.Module:
    make = {"cnn": models.cnn, "resnet18": models.resnet18}[options.model]
    model = make(
        options.width,
        batch_norm=options.batch_norm,
        n_classes=100 if options.data == "cifar100" else 10,
        generator=torch.Generator().manual_seed(options.seed),
    )
    return model.to(options.device, memory_format=torch.channels_last)


def new_state(options: argparse.Namespace) -> training.State:
    model = new_model(options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    return training.State(model, optimizer)


# Training


def step_on(forward: Callable[[Tensor], Tensor]) -> Callable[[training.State, training.Batch], None]:
    """One update, through `forward`: the model itself, or its copies on several devices."""

    def step(state: training.State, batch: training.Batch) -> None:
        x, y = batch
        state.optimizer.zero_grad()
        F.cross_entropy(forward(x), y).backward()
        state.optimizer.step()

    return step


def batches_of(images: data.Images, options: argparse.Namespace) -> Callable[[int], training.Batch]:
    """Batches of the whole run; where several processes share the work, this one's part of each."""
    whole = training.minibatches(images.x_train, images.y_train, options.batch, seed=options.seed)
    rank, world = place()
    all_have_work(len(images.x_train), options.batch, world)

    def batches(t: int) -> training.Batch:
        x, y = whole(t)
        return x[rank::world], y[rank::world]

    return batches


def all_have_work(n: int, batch: int, world: int) -> None:
    """Refuse a run in which some batch has no picture for one of the processes: its loss would be 0 / 0."""
    smallest = n % batch or batch  # the last one of an epoch, unless all are whole
    if smallest < world:
        raise ValueError(
            f"with {n} training pictures (--train) and --batch {batch} the smallest batch has {smallest}, "
            f"too few for {world} processes: expected at least one picture for each; choose another --train "
            "or --batch, or start fewer processes"
        )


def place() -> tuple[int, int]:
    """The number of this process and of all of them; (0, 1) without torchrun."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def train(options: argparse.Namespace, run: Path, progress: bool = True) -> training.Run:
    images, state = pictures(options), new_state(options)
    run.mkdir(parents=True, exist_ok=True)
    first = place()[0] == 0

    def observe(state: training.State) -> dict[str, float]:
        if first:
            save_whole(run / f"{state.step}.pt", state.model.state_dict())
        return {"norm": float(measures.weight_norm(state.model))}

    forward = DistributedDataParallel(state.model) if dist.is_initialized() else state.model
    return training.train(
        step_on(forward), state, steps=options.steps, batches=batches_of(images, options), observe=observe,
        at=training.log_spaced(options.steps, options.looks), checkpoint=run / "checkpoint.pt", every=1000,
        progress=progress and first,
    )  # fmt: skip


def save_whole(path: Path, weights: dict[str, Tensor]) -> None:
    """A snapshot on disk, whole or not at all."""
    beside = path.with_suffix(f".{os.getpid()}.part")
    torch.save({name: weight.cpu() for name, weight in weights.items()}, beside)
    beside.replace(path)


# Looking


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    right = [(model(x[i : i + 1000]).argmax(1) == y[i : i + 1000]).sum() for i in range(0, len(x), 1000)]
    return float(sum(right)) / len(x)


def look(model: nn.Module, images: data.Images, last: bool = False) -> dict[str, object]:
    """All that is measured on one snapshot; on the last one stronger attacks too."""
    x, y = images.x_test[:ATTACKED], images.y_test[:ATTACKED]
    seen: dict[str, object] = {
        "train_accuracy": accuracy(model, images.x_train[:5000], images.y_train[:5000]),
        "test_accuracy": accuracy(model, images.x_test, images.y_test),
        "norm": float(measures.weight_norm(model)),
        "zero_gradients": float(attacks.zero_gradient_share(model, x, y)),
    }
    return seen | attacked(model, x, y) | complexities(model, images) | units(model, images) | (
        attacked_hard(model, x[:SEARCHED], y[:SEARCHED]) if last else {}
    )  # fmt: skip


def attacked(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, object]:
    """Accuracies under attacks with two losses, and under one that uses no gradient."""
    eps = [SCALE * level / 255 for level in LEVELS]
    seen: dict[str, object] = {}
    for loss in ("margin", "plain_cross_entropy"):
        robust = attacks.robust_accuracy(model, x, y, eps, loss=loss, steps=10, **drawn())
        seen[f"robust_{loss}"] = robust.tolist()
    searched = attacks.robust_accuracy(
        model, x[:SEARCHED], y[:SEARCHED], [SCALE * level / 255 for level in SEARCH_LEVELS],
        attack=attacks.square, steps=QUERIES, **drawn(),
    )  # fmt: skip
    distance = attacks.adversarial_distance(
        model, x[:SEARCHED], y[:SEARCHED], max_eps=SCALE * 32 / 255, halvings=7, steps=10, **drawn()
    )
    distance = torch.where(distance == 0, torch.nan, 255 / SCALE * distance)  # of the right ones alone
    return seen | {
        "robust_search": searched.tolist(),
        "distance": float(distance.nanmedian()),  # in 255ths of a pixel, of those that are right
    }


def attacked_hard(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, object]:
    """Accuracies under slower attacks: does a stronger one tell another story?"""
    eps = [SCALE * level / 255 for level in LEVELS]
    kinds: dict[str, dict[str, object]] = {
        "margin": {"steps": 10},
        "margin_100": {"steps": 100, "restarts": 2},
        "apgd": {"attack": attacks.apgd, "steps": 100},
        "search": {"attack": attacks.square, "steps": 2000},
    }
    return {
        f"last_{kind}": attacks.robust_accuracy(model, x, y, eps, **options, **drawn()).tolist()
        for kind, options in kinds.items()
    }


def drawn() -> dict[str, object]:
    """The bounds of the pictures, and the same random starts for every snapshot."""
    return {"bounds": BOUNDS, "generator": torch.Generator().manual_seed(1)}


def complexities(model: nn.Module, images: data.Images) -> dict[str, object]:
    """Local complexity by layers at training, test and random pictures.

    A batch norm in evaluation mode uses running means of the batches before: at the first steps they are
    still those of no data at all. "fresh" is the local complexity with statistics of the training pictures.
    """
    generator = torch.Generator().manual_seed(1)
    low, high = BOUNDS
    random = torch.rand(PROBED, *images.x_train.shape[1:], generator=generator).to(images.x_train)
    frame = frame_of(random[0].numel(), generator)
    points = {"train": images.x_train, "test": images.x_test, "random": low + (high - low) * random}

    def mean(model: nn.Module, x: Tensor) -> list[float]:
        counted = regions.local_complexity(model, x[:PROBED], radius=RADIUS, frame=frame)
        return counted.per_layer.double().mean(0).tolist()

    seen: dict[str, object] = {f"complexity_{name}": mean(model, x) for name, x in points.items()}
    if not any(isinstance(part, nn.BatchNorm2d) for part in model.modules()):
        return seen | {"complexity_fresh": seen["complexity_train"]}
    fresh = with_fresh_statistics(model, images.x_train[:1000])
    return seen | {"complexity_fresh": mean(fresh, images.x_train)}


@torch.no_grad()
def with_fresh_statistics(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy in which the batch norms have the means and variances of x itself."""
    fresh = copy.deepcopy(model).train()
    for part in fresh.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None  # a plain average over the batches, here of one
    fresh(x)
    return fresh.eval()


@torch.no_grad()
def units(model: nn.Module, images: data.Images) -> dict[str, object]:
    """Of each layer: how far off their mean the units' boundaries stand, and who is never or always on."""
    network, x = networks.trace(model, tuple(images.x_train.shape[1:])), images.x_train[:PROBED]
    values, rows = {0: x}, []
    for step in network.walk(values):
        z = values[step.inputs[0]]
        each = z.transpose(0, 1).flatten(1)  # a row for each channel, or for each unit of an affine layer
        off = (each.mean(1) / each.std(1).clamp(min=1e-12)).abs()
        on = (z > 0).float().mean(0)
        rows.append([float(off.median()), float((on == 0).float().mean()), float((on == 1).float().mean())])
    names, columns = ("off_centre", "dead", "always_on"), zip(*rows, strict=True)
    logits = values[network.output]
    largest = {"largest_logit": float(logits.abs().max())}
    return largest | {name: list(column) for name, column in zip(names, columns, strict=True)}


def frame_of(dimension: int, generator: torch.Generator) -> Tensor:
    """The same directions for every snapshot of every run: (P, d), orthonormal."""
    gaussian = torch.randn(dimension, DIRECTIONS, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian).Q.T.contiguous()


def look_at_all(options: argparse.Namespace, run: Path, images: data.Images) -> dict[str, np.ndarray]:
    """The arrays of the recording; each snapshot is looked at once, and what was seen is kept beside it."""
    model, (rank, world) = new_model(options).eval(), place()
    snapshots = sorted(int(path.stem) for path in run.glob("[0-9]*.pt"))
    mine = [step for step in snapshots[rank::world] if not kept(run, step, snapshots).exists()]
    begin = time.perf_counter()
    for i, step in enumerate(mine, start=1):
        model.load_state_dict(torch.load(run / f"{step}.pt", weights_only=True))
        start = time.perf_counter()
        found = look(model, images, last=step == snapshots[-1])
        found["seconds"] = time.perf_counter() - start
        recordings.write_whole(kept(run, step, snapshots), json.dumps(found).encode())
        to_go = (time.perf_counter() - begin) / i * (len(mine) - i)
        print(f"looked at step {step}, {i} of {len(mine)}; about {to_go / 60:.0f} minutes to go", flush=True)
    if dist.is_initialized():
        dist.barrier()
    seen = [json.loads(kept(run, step, snapshots).read_text()) for step in snapshots]
    arrays = {name: np.array([s[name] for s in seen if name in s]) for name in seen[-1]}
    arrays |= {"levels": np.array(LEVELS), "search_levels": np.array(SEARCH_LEVELS)}
    return {"steps": np.array(snapshots)} | arrays


def kept(run: Path, step: int, snapshots: list[int]) -> Path:
    return run / f"{step}.look{LOOK}{'.last' if step == snapshots[-1] else ''}.json"


def record(options: argparse.Namespace, run: Path, recording: Path) -> None:
    images = pictures(options)
    arrays = look_at_all(options, run, images)
    if place()[0] != 0:
        return
    saved = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    ran = "on a GPU" if options.device.startswith("cuda") else "on one CPU core shared with other work"
    looking = arrays["seconds"].sum()
    weights = {"trained_steps": torch.tensor(saved["step"])} if options.no_weights else to_go_on(saved)
    recordings.save(
        recording, arrays | weights, command=command_of(options), seed=options.seed,
        seconds=saved["seconds"], data=(images.x_train, images.y_train), device=options.device,
        note=f"Trained {ran} for {saved['step']} steps. {looking:.0f} s of looking are not in the seconds.",
    )  # fmt: skip
    share = looking / (looking + saved["seconds"])
    print(f"wrote {recording}; looking took {share:.0%} of the time, training the rest")


def to_go_on(saved: dict[str, Any]) -> dict[str, Tensor]:
    """The last weights, and Adam's means, where they are few enough for a recording."""
    weights = {f"weights.{name}": value for name, value in saved["model"].items()}
    means = {
        f"adam.{i}.{name}": value
        for i, state in saved["optimizer"]["state"].items()
        for name, value in state.items()
    }
    for part in (weights | means, weights):
        if sum(value.numel() for value in part.values()) <= LARGEST:
            return part | {"trained_steps": torch.tensor(saved["step"])}
    return {"trained_steps": torch.tensor(saved["step"])}


def command_of(options: argparse.Namespace) -> str:
    """The shortest command that does the same."""
    default = parsed(["--model", options.model, "--device", options.device])
    given = {key: value for key, value in vars(options).items() if value != getattr(default, key)}
    if options.model != "cnn":
        given = {"model": options.model} | given
    words = [
        f"--{key.replace('_', '-')}" + ("" if value is True else f" {value}") for key, value in given.items()
    ]
    return " ".join(["python experiments/cifar10.py", *(word for word in words if word != "--look")])


def main() -> None:
    options = parsed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if "LOCAL_RANK" in os.environ:
        on_gpu = options.device == "cuda"
        # The barrier after looking may have to wait for the slowest of them.
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(hours=4))
        if on_gpu:
            options.device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(options.device)
    run = HERE / "runs" / name_of(options)
    stopped = not options.look and train(options, run).interrupted
    if not stopped:
        record(options, run, HERE.parent / "lessons" / "recordings" / f"{name_of(options)}.npz")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
