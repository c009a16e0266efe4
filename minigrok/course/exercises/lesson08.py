"""The checks of lesson 08, Adversarial examples."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import attacks, data, models, training
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _trained(widths: list[int], seed: int, *, steps: int = 200) -> nn.Sequential:
    """A small network that has learnt the digits."""
    images = data.digits()
    model = models.mlp(widths, generator=_seeded(seed))
    state = training.State(model, torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True))
    batches = training.minibatches(images.x_train, images.y_train, 100, seed=seed)
    training.train(training.classification_step(), state, steps=steps, batches=batches)
    model.zero_grad()
    return model


def smallest_eps(function: Callable) -> None:
    """`smallest_eps(W, b, x, y, norm)` is (N,): the distance of each point to the nearest boundary of y."""
    for seed, (classes, d, n) in enumerate([(2, 2, 12), (4, 3, 25), (10, 64, 40)]):
        W, b, x = (torch.randn(*shape, generator=_seeded(10 * seed + k)).double()
                   for k, shape in enumerate([(classes, d), (classes,), (n, d)]))  # fmt: skip
        y = (x @ W.T + b).argmax(1)
        y[: n // 4] = (y[: n // 4] + 1) % classes  # a quarter is wrong
        for norm in ("linf", "l2"):
            got = expect_array(call(function, W, b, x, y, norm), (n,), f"the distances ({norm})")
            expect_close(got, **_linear_truth(W, b, x, y, norm), name=f"the distances ({norm})")
    passed("no linear classifier can be fooled by less")


def _linear_truth(W: Tensor, b: Tensor, x: Tensor, y: Tensor, norm: str) -> dict[str, object]:
    """The distances, by a loop over points and rivals, and what the usual mistakes give."""
    own, other = (np.inf, 2) if norm == "linf" else (2, np.inf)
    dual = {np.inf: 1, 2: 2}
    rows = []
    for point, label in zip(x.numpy(), y.tolist(), strict=True):
        rivals = [k for k in range(len(W)) if k != label]
        v = (W[label] - W[rivals]).numpy()
        m = v @ point + (b[label] - b[rivals]).numpy()
        size = {p: np.linalg.norm(v, dual[p], axis=1) for p in (own, other)}
        inf = np.linalg.norm(v, np.inf, axis=1)
        alone = np.linalg.norm(W[label].numpy(), dual[own])
        nearest = m.argmin()
        rows.append(
            [
                (m / size[own]).min(),
                (m / size[other]).min(),
                (m / inf).min(),
                (m / size[own])[nearest],
                m.min() / alone,
                m.min(),
                (m / size[own]).max(),
                ((v @ point) / size[own]).min(),
            ]  # fmt: skip
        )
    right, swapped, largest, strongest, unpaired, bare, furthest, unshifted = np.array(rows).T
    cut = np.clip(right, 0, None)
    return {
        "want": cut,
        "mistakes": {
            "a point that is wrong already has distance 0, not a negative one": right,
            "that is the formula of the other norm": np.clip(swapped, 0, None),
            "in the square every coordinate does its worst: divide by the sum of |v_j|, not by the "
            "largest": np.clip(largest, 0, None),
            "the rival with the smallest margin is not always the nearest: divide first, then take the "
            "smallest": np.clip(strongest, 0, None),
            "v is the difference of two rows, W_y - W_k": np.clip(unpaired, 0, None),
            "that is the margin itself: divide it by the size of its slope": np.clip(bare, 0, None),
            "that is the furthest rival, not the nearest": np.clip(furthest, 0, None),
            "b is missing: it shifts every boundary": np.clip(unshifted, 0, None),
        },
    }


def pgd_step(function: Callable) -> None:
    """`pgd_step(model, x, y, x_adv, eps, step_size)`: one step uphill, back into the ball."""
    images, model = data.digits(), _trained([64, 20, 10], 0)
    x, y, eps = images.x_test[:30], images.y_test[:30], 0.2
    start = (x + eps * (2 * torch.rand(x.shape, generator=_seeded(1)) - 1)).clamp(0, 1)
    x_adv = start
    for _ in range(10):
        got = expect_array(call(function, model, x, y, x_adv, eps, 0.05), tuple(x.shape), "the new points")
        want = _step(model, x, y, x_adv, eps, 0.05)
        mistakes = _wrong_steps(model, x, y, x_adv, eps, 0.05)
        expect_close(got, want, "the new points", atol=1e-5, mistakes=mistakes)
        x_adv = want
    if any(weight.grad is not None for weight in model.parameters()):
        raise ExerciseError(
            "your step left gradients in the network's weights: ask for the input's alone, "
            "with torch.autograd.grad(loss.sum(), x_adv)"
        )
    model, x, walk = model.double(), x.double(), x.double()
    for _ in range(10):
        walk = torch.as_tensor(call(function, model, x, y, walk, eps, 0.05))
    options = {"steps": 10, "step_size": 0.05, "random_start": False, "early_stop": False}
    expect_close(walk, attacks.pgd(model, x, y, eps, **options).x_adv, "the end of ten steps", atol=1e-5)
    passed("your step is the library's, pixel by pixel")


def _slope(model: Callable, x: Tensor, y: Tensor, loss: str = "margin") -> Tensor:
    x = x.detach().clone().requires_grad_()
    z = model(x)
    right = z[torch.arange(len(y)), y]
    if loss == "margin":
        value = (
            torch.stack([torch.cat([row[:k], row[k + 1 :]]).max() for row, k in zip(z, y, strict=True)])
            - right
        )
    else:
        value = {"largest": z.max(1).values - right, "cross_entropy": z.logsumexp(1) - right,
                 "alone": -right}[loss]  # fmt: skip
    return torch.autograd.grad(value.sum(), x)[0]


def _step(model: Callable, x: Tensor, y: Tensor, x_adv: Tensor, eps: float, step_size: float) -> Tensor:
    moved = x_adv + step_size * _slope(model, x_adv, y).sign()
    return torch.minimum(torch.maximum(moved, x - eps), x + eps).clamp(0, 1)


def _wrong_steps(
    model: Callable, x: Tensor, y: Tensor, x_adv: Tensor, eps: float, step_size: float
) -> Mapping[str, Tensor]:
    slope = _slope(model, x_adv, y)
    up = x_adv + step_size * slope.sign()

    def back(moved: Tensor, centre: Tensor = x) -> Tensor:
        return torch.minimum(torch.maximum(moved, centre - eps), centre + eps).clamp(0, 1)

    return {
        "it goes downhill, towards the right answer: mind the sign": back(x_adv - step_size * slope.sign()),
        "the step is not projected: come back into the ball and into [0, 1]": up,
        "pixels leave [0, 1]": torch.minimum(torch.maximum(up, x - eps), x + eps),
        "the ball stands round x, not round x_adv: walks leave it": back(up, x_adv),
        "points are not brought back into the ball round x": up.clamp(0, 1),
        "that is the gradient itself: l-infinity takes its sign": back(x_adv + step_size * slope),
        "the slope is that at x: take it where the attack stands, at x_adv": back(
            x_adv + step_size * _slope(model, x, y).sign()
        ),
        "the step begins at x: it should begin at x_adv": back(x + step_size * slope.sign()),
        "the right class is among the rivals: put -infinity in its place": back(
            x_adv + step_size * _slope(model, x_adv, y, "largest").sign()
        ),
        "that looks at the logit of y alone: the margin is its lead over the largest rival": back(
            x_adv + step_size * _slope(model, x_adv, y, "alone").sign()
        ),
        "that is the step of cross-entropy: take the margin loss": back(
            x_adv + step_size * _slope(model, x_adv, y, "cross_entropy").sign()
        ),
        "the step has the length eps, not step_size": back(x_adv + eps * slope.sign()),
    }


class _Times(nn.Module):
    def __init__(self, net: nn.Module, factor: float):
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.net(x)


class _Stairs(nn.Module):
    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((16 * x).round() / 16)


class _Constant(nn.Module):
    """Answers class 0 whatever comes in: robust in earnest, and right on nothing but zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] * 0 + 1, x[:, :9] * 0], dim=1)


def failed_checks(function: Callable) -> None:
    """`failed_checks(model, x, y, eps)` is the set of the names of the checks that the model fails."""
    names = {"zero gradient", "usual attack", "random search", "huge eps"}
    images = data.digits()
    x, y = images.x_test[:200], images.y_test[:200]
    honest = _trained([64, 40, 10], 0)
    zeros = y == 0
    cases = [
        ("an honest network", honest, x, y, set()),
        ("a network whose logits are multiplied by 1,000", _Times(honest, 1000.0), x, y, {"usual attack"}),
        ("a network that rounds its inputs", _Stairs(honest), x, y,
         {"zero gradient", "random search", "huge eps"}),
        ("a network that always answers 0, on images of zeros", _Constant(), x[zeros], y[zeros],
         {"zero gradient", "huge eps"}),
    ]  # fmt: skip
    for what, model, points, labels, due in cases:
        got = call(function, model, points, labels, 0.12)
        if not isinstance(got, set | frozenset | list | tuple) or not all(
            isinstance(name, str) for name in got
        ):
            raise ExerciseError(f"`failed_checks` should return a set of names, got {got!r:.60}")
        if unknown := set(got) - names:
            raise ExerciseError(f"unknown names {sorted(unknown)}: there are {', '.join(sorted(names))}")
        if missed := due - set(got):
            raise ExerciseError(f"{what} fails {_quoted(missed)}, and you did not notice")
        if wronged := set(got) - due:
            raise ExerciseError(f"{what} does not fail {_quoted(wronged)}, and you say it does")
    passed("two fakes caught, a fixed answer noticed, and the honest network let through")


def _quoted(names: set[str]) -> str:
    return " and ".join(f'"{name}"' for name in sorted(names))


def universal(function: Callable) -> None:
    """`universal(model, x, y, eps)` is (64,): one change that lowers the accuracy on other images as well."""
    images, eps = data.digits(), 0.15
    for seed in range(2):
        model = _trained([64, 60, 60, 10], seed, steps=400)
        x, y = images.x_train[:400], images.y_train[:400]
        delta = expect_array(call(function, model, x, y, eps), (64,), "delta")
        if np.abs(delta).max() > eps + 1e-6:
            raise ExerciseError(f"an entry of delta has the size {np.abs(delta).max():.3g}, allowed is {eps}")
        delta = torch.as_tensor(delta, dtype=x.dtype)
        signs = torch.randint(2, (20, 64), generator=_seeded(seed)) * 2 - 1
        noise = torch.stack([_right(model, images, eps * row) for row in signs]).mean().item()
        found, opposite = (_right(model, images, sign * delta).item() for sign in (1, -1))
        if opposite < found - 0.1:
            raise ExerciseError(
                f"under delta the accuracy is {found:.2f}, under its opposite {opposite:.2f}: "
                "you went downhill, mind the sign"
            )
        if found > noise - 0.15:
            raise ExerciseError(
                f"under your delta the accuracy on other images is {found:.2f}, under noise {noise:.2f}: "
                "climb the loss of all images together, in several steps"
            )
    passed("one change, and many images fall")


def _right(model: nn.Module, images: data.Digits, delta: Tensor) -> Tensor:
    return training.accuracy(model, (images.x_test + delta).clamp(0, 1), images.y_test)


def class_network(*, seed: int = 0) -> tuple[nn.Sequential, Tensor, Tensor]:
    """The class's network and 201 test images with labels, printed in ink as faint as the class's own.

    All images on which it is wrong are among them. A little more than half are those nearest to the boundary
    by the slope of the margin, the others the furthest: so the median is not the mean, nor the median without
    the wrong ones.
    """
    random = np.random.default_rng([8, seed])
    images, width, ink = data.digits(), int(random.integers(20, 100)), float(np.exp(random.uniform(-2, 0)))
    model = _trained([64, width, 10], 1000 + seed, steps=int(random.integers(60, 200)))
    x, y = images.x_test, images.y_test
    z = model(x)
    lead = z.gather(1, y[:, None])[:, 0] - z.scatter(1, y[:, None], -torch.inf).amax(1)
    order = (lead.clamp(min=0) / _slope(model, x, y).norm(dim=1)).argsort(stable=True)
    near = 101 + int((lead <= 0).sum()) // 4
    chosen = torch.cat([order[:near], order[near - 201 :]])
    with torch.no_grad():
        model[0].weight /= ink
    return model, ink * x[chosen], y[chosen]


def median(answer: float, *, seed: int = 0) -> None:
    """The median l2 distance to the nearest adversarial example of the class's network."""
    model, x, y = class_network(seed=seed)
    found = {norm: attacks.adversarial_distance(model, x, y, norm=norm, generator=_seeded(5)).numpy()
             for norm in ("l2", "linf")}  # fmt: skip
    right = found["l2"]
    mistakes = {
        "that is the distance in the largest coordinate, l-infinity": np.median(found["linf"]),
        "that is the mean over the images: take the median": right.mean(),
        "images that are wrong already have the distance 0, and belong to it": np.median(right[right > 0]),
    }
    expect_close(expect_number(answer, "median"), np.median(right), "median", rtol=0.05, mistakes=mistakes)
    passed("so near is the boundary of your class's network")
