"""Train lesson 11's networks on pictures for long, and watch accuracy, robustness and local complexity.

    python experiments/cifar10.py                                  # CNN of width 32, all 50,000 pictures
    python experiments/cifar10.py --model resnet18 --width 16 --batch-norm
    python experiments/cifar10.py --width 8 --train 5000 --steps 100000        # an hour or so on one CPU core
    torchrun --nproc-per-node 4 experiments/cifar10.py             # several GPUs share each batch

The setting is that of Humayun et al. 2024 (arXiv 2402.15555, section 4 and their code): Adam with learning
rate 1e-3 and no weight decay, cross-entropy, no augmentation. CIFAR-10 is downloaded, or read from the folder
named by MINIGROK_DATA. Pixels p in [0, 1] go in as (p - 0.5) / 0.25, so one of 255 levels is 4 / 255 of these
units.

First the network trains; at steps spaced by their logarithm its weights are left in `experiments/runs/`. Then
each of these snapshots is looked at. Both go on where they were stopped: type the same command again.
`--look` skips the training and records the run as far as it came.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minigrok import attacks, data, measures, models, recordings, regions, training

HERE = Path(__file__).parent
LEVELS = (
    1,
    2,
    4,
    8,
    10,
    16,
)  # radii of the attacks, in 255ths of a pixel; 10 is 50 / 255 of the authors' units
SCALE = 4.0  # one unit of a pixel in [0, 1] is 4 units of the network's input
BOUNDS = (-2.0, 2.0)
RADIUS, DIRECTIONS = 0.005, 20  # of the local complexity, in the network's units
LOOKED_AT = 256  # pictures of each kind for local complexity, and twice as many for the attacks


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

    def batches(t: int) -> training.Batch:
        x, y = whole(t)
        return x[rank::world], y[rank::world]

    return batches


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


def look(model: nn.Module, images: data.Images, options: argparse.Namespace) -> dict[str, object]:
    """All that is measured on one snapshot."""
    n, generator = LOOKED_AT, torch.Generator().manual_seed(1)
    x, y = images.x_test[: 2 * n], images.y_test[: 2 * n]
    seen: dict[str, object] = {
        "train_accuracy": accuracy(model, images.x_train[:5000], images.y_train[:5000]),
        "test_accuracy": accuracy(model, images.x_test, images.y_test),
        "norm": float(measures.weight_norm(model)),
        "zero_gradients": attacks.zero_gradient_share(model, x, y),
        "largest_logit": largest_logit(model, x),
    }
    eps = [SCALE * level / 255 for level in LEVELS]
    for loss in ("margin", "plain_cross_entropy"):
        robust = attacks.robust_accuracy(
            model, x, y, eps, loss=loss, steps=10, bounds=BOUNDS, generator=generator
        )
        seen[f"robust_{loss}"] = robust.tolist()
    random = torch.rand(n, *x.shape[1:], generator=generator).to(x) * (BOUNDS[1] - BOUNDS[0]) + BOUNDS[0]
    frame = frame_of(x[0].numel(), generator)
    for name, points in {"train": images.x_train[:n], "test": x[:n], "random": random}.items():
        counted = regions.local_complexity(model, points, radius=RADIUS, frame=frame)
        seen[f"complexity_{name}"] = counted.per_layer.double().mean(0).tolist()
    return seen


@torch.no_grad()
def largest_logit(model: nn.Module, x: Tensor) -> float:
    return float(model(x).abs().max())


def frame_of(dimension: int, generator: torch.Generator) -> Tensor:
    """The same directions for every snapshot of every run: (P, d), orthonormal."""
    gaussian = torch.randn(dimension, DIRECTIONS, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian).Q.T.contiguous()


def look_at_all(options: argparse.Namespace, run: Path) -> dict[str, np.ndarray]:
    """The arrays of the recording; each snapshot is looked at once, and what was seen is kept beside it."""
    images, model = pictures(options), new_model(options).eval()
    snapshots = sorted(int(path.stem) for path in run.glob("[0-9]*.pt"))
    seen = []
    for i, step in enumerate(snapshots):
        kept, begin = run / f"{step}.json", time.perf_counter()
        if not kept.exists():
            model.load_state_dict(torch.load(run / f"{step}.pt", weights_only=True))
            found = look(model, images, options) | {"seconds": 0.0}
            found["seconds"] = time.perf_counter() - begin
            recordings.write_whole(kept, json.dumps(found).encode())
            print(f"looked at {i + 1} of {len(snapshots)} snapshots: step {step}, {found['seconds']:.0f} s")
        seen.append(json.loads(kept.read_text()))
    arrays = {name: np.array([s[name] for s in seen]) for name in seen[0]}
    return {"steps": np.array(snapshots), "levels": np.array(LEVELS)} | arrays


def record(options: argparse.Namespace, run: Path, recording: Path) -> None:
    arrays = look_at_all(options, run)
    images = pictures(options)
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    weights = {f"weights.{name}": value.cpu() for name, value in saved["model"].items()}
    ran = "on a GPU" if options.device.startswith("cuda") else "on one CPU core shared with other work"
    recordings.save(
        recording, arrays | weights, command=command_of(options), seed=options.seed,
        seconds=saved["seconds"], data=(images.x_train, images.y_train), device=options.device,
        note=f"Trained {ran} for {saved['step']} steps; looking took {arrays['seconds'].sum():.0f} s more.",
    )  # fmt: skip
    print(f"wrote {recording}")


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
        dist.init_process_group("nccl" if on_gpu else "gloo")
        if on_gpu:
            options.device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(options.device)
    run = HERE / "runs" / name_of(options)
    stopped = not options.look and train(options, run).interrupted
    if place()[0] == 0 and not stopped:
        record(options, run, HERE.parent / "lessons" / "recordings" / f"{name_of(options)}.npz")
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
