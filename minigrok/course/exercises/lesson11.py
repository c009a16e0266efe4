"""The checks of lesson 11, A CNN on CIFAR-10."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels(function: Callable) -> None:
    """`levels(eps, low, high)` is eps in 255ths of the way from low to high."""
    for eps, low, high in [(0.3, 0.0, 1.0), (0.2, -2.43, 2.75), (0.06, -1.0, 1.0), (0.5, 1.0, 5.0)]:
        step = (high - low) / 255
        got = expect_number(call(function, eps, low, high), "the number of levels")
        mistakes = {
            "that is the share of the whole way: how many steps are 255ths of it?": eps / (high - low),
            "you did not use `low` and `high`: the way is not 1 long": 255 * eps,
            "the way from `low` to `high` is `high - low` long, not the sum of their sizes": 255
            * eps
            / (abs(low) + abs(high)),
            "that is upside down: how many steps fit into eps?": step / eps,
            "divide by the length of the way, do not multiply": 255 * eps * (high - low),
            "the way goes from `low`, not from 0, to `high`": 255 * eps / high,
            "that is where a pixel of the value eps stands, not how far eps goes": (eps - low) / step,
            "256 whole numbers have 255 steps between them": 256 * eps / (high - low),
            "the way goes from `low` up to `high`: it is `high - low` long": -eps / step,
            "do not round: a number of levels need not be whole": round(eps / step),
        }
        expect_close(got, eps / step, "the number of levels", mistakes=mistakes)
    theirs = [float(function(eps, -2.43, 2.75)) for eps in (0.20, 0.06, 50 / 255)]
    passed(
        "the authors' 0.20 is {:.2f} levels of their data, 0.06 is {:.2f}, and 50/255 is {:.2f}".format(
            *theirs
        )
    )


def fold(function: Callable) -> None:
    """`fold(weight, bias, gamma, beta, mean, var, eps)`: one layer for an affine map and its batch norm."""
    for seed, shape in enumerate([(4, 4), (5, 3), (4, 4, 3, 3), (3, 2, 3, 3)]):
        parts = _norm(shape[0], seed)
        weight = torch.randn(shape, generator=_seeded(20 + seed), dtype=torch.float64)
        got = call(function, weight, *parts)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise ExerciseError(
                f"`fold` should return two tensors, weight and bias, got {type(got).__name__}"
            )
        new_weight = torch.as_tensor(expect_array(got[0], shape, "the weight"))
        new_bias = torch.as_tensor(expect_array(got[1], shape[:1], "the bias"))
        x = torch.randn(6, *(shape[1:2] if len(shape) == 2 else (shape[1], 5, 5)), generator=_seeded(seed))
        x = x.double()
        right_weight, right_bias = _read_off(weight, *parts)
        expect_close(
            new_weight, right_weight, "the weight", mistakes=_weight_mistakes(weight, right_weight, *parts)
        )
        expect_close(new_bias, right_bias, "the bias", mistakes=_bias_mistakes(*parts))
        both = F.batch_norm(_affine(x, weight, parts[0]), *parts[3:5], *parts[1:3], eps=parts[5])
        expect_close(_affine(x, new_weight, new_bias), both, "the output of the new layer")
    passed("one layer does what the two did, affine or convolution")


def _norm(k: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    """Bias, gamma, beta, mean, var, eps: gamma of both signs, and an eps that counts."""
    bias, gamma, beta, mean = torch.randn(4, k, generator=_seeded(seed), dtype=torch.float64)
    var = 0.2 + torch.rand(k, generator=_seeded(10 + seed), dtype=torch.float64)
    return bias, gamma, beta, mean, var, 0.05


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(x, weight, bias) if weight.dim() == 2 else F.conv2d(x, weight, bias)


def _read_off(
    weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The one affine layer, found by asking the two: at zero for its bias, at unit inputs for its weight."""

    def two(h: Tensor) -> Tensor:  # flattened patches (N, d) -> (N, k)
        return F.batch_norm(F.linear(h, weight.flatten(1), bias), mean, var, gamma, beta, eps=eps)

    size = weight[0].numel()
    at_zero = two(torch.zeros(1, size, dtype=weight.dtype))[0]
    return (two(torch.eye(size, dtype=weight.dtype)) - at_zero).T.reshape(weight.shape), at_zero


def _weight_mistakes(
    weight: Tensor,
    right: Tensor,
    bias: Tensor,
    gamma: Tensor,
    beta: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: float,
) -> dict[str, Tensor]:
    def times(scale: Tensor) -> Tensor:
        return weight * scale.view(-1, *[1] * (weight.dim() - 1))

    mistakes = {
        "gamma is missing": times((var + eps) ** -0.5),
        "divide by the standard deviation, not by the variance": times(gamma / (var + eps)),
        "gamma may be negative, and then the weights change their sign: leave its sign": times(
            gamma.abs() / (var + eps).sqrt()
        ),
        "the small number eps is missing under the root": times(gamma / var.sqrt()),
        "the small number belongs under the root": times(gamma / (var.sqrt() + eps)),
        "you have multiplied by the standard deviation": times(gamma * (var + eps).sqrt()),
        "it is the old weight: the norm stretches it": weight,
    }
    if weight.shape[0] == weight.shape[1]:
        across = (gamma / (var + eps).sqrt()).view(1, -1, *[1] * (weight.dim() - 2))
        mistakes["the factor stands on the inputs: it belongs to the units, the first axis"] = weight * across
    if weight.shape[0] == weight.shape[-1]:
        mistakes["the factor stands on the last axis: it belongs to the units, the first axis"] = weight * (
            gamma / (var + eps).sqrt()
        )
    return mistakes


def _bias_mistakes(
    bias: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> dict[str, Tensor]:
    scale = gamma / (var + eps).sqrt()
    return {
        "the old bias is missing: it goes through the norm too": beta - scale * mean,
        "beta is missing": scale * (bias - mean),
        "gamma is missing: it stretches the bias and the mean too": beta + (bias - mean) / (var + eps).sqrt(),
        "the mean is taken away, not added": beta + scale * (bias + mean),
        "the mean is missing": beta + scale * bias,
        "the mean is taken away before the stretching, so it is stretched too": beta + scale * bias - mean,
        "the old bias goes through the norm: it is stretched too": beta + bias - scale * mean,
        "beta is added after the stretching": scale * (bias - mean + beta),
        "it is the old bias": bias,
    }


def mean_squared_distance(function: Callable) -> None:
    """`mean_squared_distance(h, weight, bias)`: of the inputs to each unit's hyperplane, (k,)."""
    for seed, (n, d, k) in enumerate([(40, 3, 5), (25, 8, 4), (30, 2, 2)]):
        h, weight, bias = (
            torch.randn(shape, generator=_seeded(3 * seed + i), dtype=torch.float64) + i % 2
            for i, shape in enumerate([(n, d), (k, d), (k,)])
        )
        got = expect_array(call(function, h, weight, bias), (k,), "the distances")
        # By another road: the nearest point of the hyperplane, then the distance to it.
        normal = weight / weight.norm(dim=1, keepdim=True)
        foot = -bias[:, None] * weight / weight.square().sum(1, keepdim=True)  # (k, d), on the hyperplane
        along = torch.einsum("nkd,kd->nk", h[:, None] - foot, normal)
        nearest = h[:, None] - along[..., None] * normal
        right = (h[:, None] - nearest).square().sum(2).mean(0)
        z = h @ weight.T + bias
        mistakes = {
            "that is the mean square of z: divide by the squared length of w": z.square().mean(0),
            "the length of w must be squared too": z.square().mean(0) / weight.norm(dim=1),
            "that is the mean distance, squared: square first, then take the mean": z.abs().mean(0).square()
            / weight.square().sum(1),
            "that is the distance of the mean input: square first, then take the mean": z.mean(0).square()
            / weight.square().sum(1),
            "that is the mean distance: square it for each input": z.abs().mean(0) / weight.norm(dim=1),
            "that is the square root of it": right.sqrt(),
            "that is the sum over the inputs: take the mean": n * right,
            "divide each unit by the length of its own w, not of the whole matrix": z.square().mean(0)
            / weight.square().sum(),
            "the bias is added to w . h, not taken away": (z - 2 * bias).square().mean(0)
            / weight.square().sum(1),
            "the bias is missing": (z - bias).square().mean(0) / weight.square().sum(1),
            "that is the variance of z only, as if the hyperplane went through the mean": z.var(
                0, unbiased=False
            )
            / weight.square().sum(1),
        }
        expect_close(got, right, "the distances", mistakes=mistakes)
    passed("the same as walking to the nearest point of every hyperplane")


def class_curves(*, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The class's invented curves, clean and robust accuracy at 25 looks: (25,), (25,).

    Drawn again until no usual mistake comes near the right gain.
    """
    random = np.random.default_rng([11, seed])
    while True:
        clean, robust = _curves(random)
        right, mistakes = _gains(clean, robust)
        if robust.argmin() > 0 and all(abs(wrong - right) > 0.004 for wrong in mistakes.values()):
            return clean, robust


def _curves(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rise and a slow loss; a hump, a loss and some return: shares of 1,000 images."""
    t = np.linspace(0, 1, 25)
    begin, top, hump, back = random.uniform([0.2, 0.6, 0.2, 0.05], [0.4, 0.9, 0.5, 0.5])
    rise = 0.1 + (top - 0.1) / (1 + np.exp(-(t - begin) / 0.05))
    clean = rise - random.uniform(0.02, 0.12) * t**3
    robust = hump * np.exp(-(((t - begin) / 0.15) ** 2)) + back / (1 + np.exp(-(t - 0.8) / 0.05)) + 0.05
    wiggle = random.normal(0, 0.008, (2, 25))
    clean, robust = (np.clip(curve, 0, 1).round(3) for curve in (clean + wiggle[0], robust + wiggle[1]))
    return clean, np.minimum(robust, clean)


def _gains(clean: np.ndarray, robust: np.ndarray) -> tuple[float, dict[str, float]]:
    """The late gain, and what usual mistakes give."""
    near = [i for i, value in enumerate(clean) if value >= 0.95 * max(clean)]
    first, last, best = near[0], near[-1], int(clean.argmax())
    places = {
        "you compare with the beginning of training": 0,
        "you compare with the step of the best clean accuracy, not with the first near it": best,
        "you compare with the *last* step near the best clean accuracy": last,
        "95 % of the largest value, not of the last one": int(np.argmax(clean >= 0.95 * clean[-1])),
        "95 % of the largest value is 0.95 times it, not 0.05 less": int(
            np.argmax(clean >= clean.max() - 0.05)
        ),
        "you took the look before: the first at which the level *is* reached": first - 1,
        "you took the look after: the first at which the level is reached": first + 1,
    }
    return robust[-1] - robust[first], {text: robust[-1] - robust[k] for text, k in places.items()} | {
        "you compare with the lowest robust accuracy: any dip would count as a gain": robust[-1]
        - robust.min(),
        "you compare with the highest robust accuracy, wherever it was": robust[-1] - robust.max(),
        "you compare the largest value, not the last one": robust.max() - robust[first],
        "the sign is wrong: a rise is a gain": robust[first] - robust[-1],
        "that is the gain in clean accuracy": clean[-1] - clean[first],
        "that is a ratio: take the difference": robust[-1] / robust[first],
        "that is in percent: a gain of shares lies between -1 and 1": 100 * (robust[-1] - robust[first]),
        "that is the robust accuracy at the end: take away what was there before": robust[-1],
        "that is the place of the look, not what was gained since": first,
    }


def late_gain(answer: float, *, seed: int = 0) -> None:
    """Robust accuracy at the end less that when the network had generalised, of the class's curves."""
    right, mistakes = _gains(*class_curves(seed=seed))
    expect_close(expect_number(answer, "gain"), right, "gain", mistakes=mistakes)
    passed("what came after the network had generalised, and nothing else")
