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
    for eps, low, high in [(0.25, 0.0, 1.0), (0.2, -2.43, 2.75), (0.06, -1.0, 1.0), (0.5, 1.0, 5.0)]:
        step = (high - low) / 255
        got = expect_number(call(function, eps, low, high), "the number of levels")
        mistakes = {
            "that is the share of the whole way: how many steps are 255ths of it?": eps / (high - low),
            "you did not use `low` and `high`: the way is not 1 long": 255 * eps,
            "divide by the length of the way, do not multiply": 255 * eps * (high - low),
            "the way goes from `low`, not from 0, to `high`": 255 * eps / high,
            "that is where a pixel of the value eps stands, not how far eps goes": (eps - low) / step,
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
            raise ExerciseError(f"`fold` should return two tensors, weight and bias, got {got!r:.60}")
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
            "the bias is missing": (z - bias).square().mean(0) / weight.square().sum(1),
            "that is the variance of z only, as if the hyperplane went through the mean": z.var(
                0, unbiased=False
            )
            / weight.square().sum(1),
        }
        expect_close(got, right, "the distances", mistakes=mistakes)
    passed("the same as walking to the nearest point of every hyperplane")


def late_gain(function: Callable) -> None:
    """`late_gain(clean, robust)`: robust accuracy at the end less that when the network had generalised."""
    cases = [
        ([0.1, 0.3, 0.6, 0.79, 0.8, 0.78], [0.15, 0.2, 0.3, 0.1, 0.4, 0.7]),
        ([0.1, 0.62, 0.9, 0.7, 0.88, 0.6], [0.15, 0.4, 0.25, 0.3, 0.1, 0.2]),  # it forgets again
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),  # both rise together to the end
        ([0.5, 0.5, 0.5], [0.3, 0.1, 0.2]),
    ]
    for clean, robust in (map(np.array, case) for case in cases):
        got = expect_number(call(function, clean, robust), "the gain")
        k = next(i for i, value in enumerate(clean) if value >= 0.95 * max(clean))
        mistakes = {
            "you compare with the lowest robust accuracy: any dip would count as a gain": robust[-1]
            - robust.min(),
            "you compare with the beginning of training": robust[-1] - robust[0],
            "you compare the largest value, not the last one": robust.max() - robust[k],
            "you compare with the step of the best clean accuracy, not with the first near it": robust[-1]
            - robust[clean.argmax()],
            "you compare with the *last* step near the best clean accuracy": robust[-1]
            - robust[np.flatnonzero(clean >= 0.95 * clean.max())[-1]],
            "95 % of the largest value, not of the last one": robust[-1]
            - robust[np.argmax(clean >= 0.95 * clean[-1])],
            "the sign is wrong: a rise is a gain": robust[k] - robust[-1],
            "that is the gain in clean accuracy": clean[-1] - clean[k],
        }
        expect_close(got, robust[-1] - robust[k], "the gain", mistakes=mistakes)
    passed("what is gained after the network has generalised, and nothing else")
