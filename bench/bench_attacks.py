"""How fast `attacks.pgd` is: against torchattacks, foolbox and the bare passes; and what early drop saves.

Run by `make bench`, or: python bench/bench_attacks.py [--no-peers]. All in turn in one process, on one
thread, in processor time.
A network of convolutions with 32, 32, 64 and 64 channels on invented pictures, 256 at a time, PGD in the
l-infinity norm with 10 steps and cross-entropy. The limit is what no attack can do without: 10 times forward
and backward to the input, in micro-batches, with no step taken.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import compare
from torch import Tensor, nn

from minigrok import attacks

EPS, STEPS, SIZE = 8 / 255, 10, 2 / 255


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for n_in, n_out, stride in [(3, 32, 1), (32, 32, 2), (32, 64, 1), (64, 64, 2)]:
        layers += [nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 8 * 8, 10))


def pictures(n: int, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Ten smooth patterns in noise: learnt in seconds, and close enough to each other to be attacked."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(10, 3, 8, 8, generator=draw)
    patterns = 0.5 + 0.2 * (F.interpolate(coarse, size=32, mode="bilinear") - 0.5)
    y = torch.randint(10, (n,), generator=draw)
    return (patterns[y] + noise * torch.randn(n, 3, 32, 32, generator=draw)).clamp(0, 1), y


def train(model: nn.Module, x: Tensor, y: Tensor) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for k in range(30):
        chosen = slice(k % 8 * 64, k % 8 * 64 + 64)
        optimizer.zero_grad()
        F.cross_entropy(model(x[chosen]), y[chosen]).backward()
        optimizer.step()


def bare(model: nn.Module, x: Tensor, batch: int, layout: torch.memory_format) -> None:
    """Nothing but the passes."""
    for part in x.split(batch):
        part = part.contiguous(memory_format=layout)
        slope = torch.ones(len(part), 10)
        for _ in range(STEPS):
            point = part.detach().requires_grad_()
            torch.autograd.grad(model(point), point, slope)


def best_limit(model: nn.Module, x: Tensor) -> tuple[str, Callable[[], None]]:
    """The fastest batch size and layout of the bare passes, with the weights' gradients switched off."""
    seconds = {}
    for batch in (8, 16, 32, 64):
        for layout in (torch.contiguous_format, torch.channels_last):
            times = []
            for _ in range(2):
                begin = time.process_time()
                bare(model, x[:64], batch, layout)
                times.append(time.process_time() - begin)
            seconds[batch, layout] = min(times)
            rate = 64 / min(times)
            print(f"  bare passes, batch {batch}, {layout}: {rate:.0f} images/s", flush=True)
    batch, layout = min(seconds, key=seconds.get)
    return f"limit (batch {batch})", lambda: bare(model, x, batch, layout)


def ours(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    options = {"steps": STEPS, "step_size": SIZE, "loss": "cross_entropy", "random_start": False}
    return attacks.pgd(model, x, y, EPS, early_stop=False, **options).x_adv


def peers(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Callable[[], Tensor]]:
    import foolbox
    import torchattacks

    theirs = torchattacks.PGD(model, eps=EPS, alpha=SIZE, steps=STEPS, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(abs_stepsize=SIZE, steps=STEPS, random_start=False)
    return {"torchattacks": lambda: theirs(x, y), "foolbox": lambda: attack(wrapped, x, y, epsilons=EPS)[1]}


def speed(model: nn.Module, x: Tensor, y: Tensor, with_peers: bool) -> None:
    weights = list(model.parameters())
    for weight in weights:
        weight.requires_grad_(False)
    name, limit = best_limit(model, x)
    for weight in weights:
        weight.requires_grad_(True)

    def frozen_limit() -> None:
        for weight in weights:
            weight.requires_grad_(False)
        limit()
        for weight in weights:
            weight.requires_grad_(True)

    functions = {"minigrok": lambda: ours(model, x, y), name: frozen_limit}
    if with_peers:
        functions |= peers(model, x, y)
    seconds = compare(functions, repeats=5, clock=time.process_time)
    mine = seconds["minigrok"]
    for other, target in {"torchattacks": "at least 2", "foolbox": "at least 2.5"}.items():
        if other in seconds:
            print(f"  {other} takes {seconds[other] / mine:.2f} times as long (target {target})")
    print(f"  minigrok takes {mine / seconds[name]:.2f} times the limit (target: at most 1.25)")
    if with_peers:
        same_pixels(functions)


def same_pixels(functions: dict[str, Callable[[], Tensor]]) -> None:
    found = functions["minigrok"]()
    for name in ("torchattacks", "foolbox"):
        close = (found - functions[name]()).abs() < 1e-6  # rounded elsewhere; a step is 2/255
        print(f"  the same pixels as {name}: {100 * close.float().mean():.3f} % (target 99.9 %)")


def without_drop(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> float:
    """The robust accuracy with all steps taken for all samples, by the library's own passes and steps."""
    with attacks._net.borrowed(model, x, y, "margin", (0.0, 1.0), None) as net:
        ball = attacks._ball.Ball(
            net.laid_out(x), attacks._checks.radii_of(eps, x, "linf", (0.0, 1.0)), "linf", (0.0, 1.0)
        )
        fooled = net.wrong(x, y)
        walk = attacks._attacks._uphill(net, ball, y, ball.x, 20, 2.5 * ball.eps / 20)
        x_adv, logits = next(walk)
        while logits is not None:
            fooled |= logits.max(1).indices != y
            x_adv, logits = walk.send(slice(None))
        return (~(fooled | net.wrong(x_adv, y))).float().mean().item()


def eps_that_spares(model: nn.Module, x: Tensor, y: Tensor, share: float) -> float:
    distance = attacks.adversarial_distance(model, x, y, max_eps=0.5, random_start=False)
    return distance.quantile(1 - share).item()


def early_drop(model: nn.Module, x: Tensor, y: Tensor) -> None:
    eps = eps_that_spares(model, x, y, 0.2)
    print(f"robust accuracy at eps {eps:.4f}, 20 steps, margin loss, with and without early drop")
    found: dict[str, float] = {}

    def dropping() -> None:
        found["drop"] = attacks.robust_accuracy(model, x, y, eps, random_start=False).item()

    def keeping() -> None:
        found["no drop"] = without_drop(model, x, y, eps)

    seconds = compare({"with early drop": dropping, "without": keeping}, repeats=5, clock=time.process_time)
    print(f"  {found['drop']:.4f} with, {found['no drop']:.4f} without (target: the same, about 0.2)")
    print(f"  {seconds['without'] / seconds['with early drop']:.2f} times as fast (target: at least 2)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peers", action="store_true", help="leave out torchattacks and foolbox")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = network()
    x, y = pictures(512)
    train(model, x, y)
    model.eval()
    x, y = x[:256], y[:256]
    print(f"PGD, linf, {STEPS} steps, cross-entropy, 256 pictures, convolutions of 32, 32, 64, 64 channels")
    speed(model, x, y, not arguments.no_peers)
    early_drop(model, x, y)


if __name__ == "__main__":
    main()
