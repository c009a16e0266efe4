"""The checks of lesson 02, Regions in motion."""

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from minigrok import models
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed
from minigrok.regions import partition


def fates(function: Callable) -> None:
    """`fates(z)` counts the units (bending, always on, dead) from pre-activations z (N, units)."""
    columns = {
        "bending": [[-1.0, 2.0, 3.0, 0.5], [5.0, -0.1, -9.0, -3.0], [0.0, 0.0, 0.0, 1e-9]],
        "always on": [[1.0, 2.0, 3.0, 4.0], [1e-9, 7.0, 1e-3, 2.0], [5.0] * 4],
        "dead": [[-1.0, -2.0, -3.0, -4.0], [0.0] * 4, [-1.0, 0.0, -5.0, -1e-9], [-9.0, -9.0, -9.0, -9.0]],
    }
    z = torch.tensor([column for kind in columns.values() for column in kind]).T  # (4, 10)
    right = [len(kind) for kind in columns.values()]
    counts = expect_array(call(function, z), (3,), "the three counts")
    if counts.sum() != z.shape[1]:
        raise ExerciseError(
            f"your counts add up to {counts.sum():g}, but z has {z.shape[1]} units, each of one kind: "
            f"the {z.shape[0]} rows of z are points, its {z.shape[1]} columns are units"
        )
    zero_is_active = [3, 5, 2]
    mistakes = {
        "dead and always on are exchanged: active means z > 0": [right[0], right[2], right[1]],
        "a unit at exactly 0 is silent, so count z > 0 and not z >= 0": zero_is_active,
        "the order should be bending, always on, dead": right[::-1],
        "the sign of the mean does not tell: one point with another sign is enough to bend": _by_mean(z),
    }
    expect_close(counts, right, "the three counts", mistakes=mistakes)
    passed("you can tell which units still bend, which are always on, and which are dead")


def _by_mean(z: torch.Tensor) -> list[int]:
    mean = z.mean(0)
    return [int((mean == 0).sum()), int((mean > 0).sum()), int((mean < 0).sum())]


def turning_points(function: Callable) -> None:
    """`turning_points(curve)` is (bottom, top) of the largest rise; (0, 0) if the curve never rises."""
    curves = {
        "plain": [4.2, 3.0, 2.6, 4.0, 5.6, 5.1, 3.3],
        "lowest at the end": [4.2, 2.6, 3.9, 5.5, 5.0, 1.9],
        "highest at the start": [6.0, 2.5, 3.1, 4.4, 4.0, 3.2],
        "two humps": [3.0, 3.5, 4.1, 1.0, 2.0, 3.9, 3.5, 4.2, 4.0],
        "a small rise first": [5.0, 4.0, 4.6, 3.0, 2.0, 2.2, 3.8, 1.5, 2.9],
        "rising": [1.0, 2.0, 4.0],
        "falling": [4.0, 3.0, 2.0, 1.0],
    }
    for name, values in curves.items():
        curve = np.array(values)
        pair = expect_array(call(function, curve), (2,), "(bottom, top)")
        if not (pair == pair.round()).all() or (pair < 0).any() or (pair >= len(curve)).any():
            last = len(curve) - 1
            raise ExerciseError(f"(bottom, top) should be positions from 0 to {last}, got {pair.tolist()}")
        bottom, top = pair.astype(int)
        rise = curve[top] - curve[bottom] if bottom <= top else -np.inf
        if rise < _largest_rise(values):
            raise ExerciseError(_why(name, curve, bottom, top, _largest_rise(values)))
    if pair.any():
        raise ExerciseError(f"a curve that only falls has no rise: return (0, 0), you return {pair.tolist()}")
    passed("you find the phases in any curve")


def _largest_rise(values: list[float]) -> float:
    return max(b - a for i, a in enumerate(values) for b in values[i:])


def _why(name: str, curve: np.ndarray, bottom: int, top: int, largest: float) -> str:
    text = f"in the curve {curve.tolist()} ({name}) you return ({bottom}, {top})"
    if bottom > top:
        return f"{text}: the bottom has to come before the top, so the lowest value of all may be too late"
    if top == bottom + 1:
        return f"{text}, one single step: the rise may take many steps, up to {largest:g} in all"
    if top == curve.argmax():
        return f"{text}: the highest value of all may stand before the fall; look for the largest rise"
    return f"{text}, a rise of {curve[top] - curve[bottom]:g}, but there is one of {largest:g}"


def concentration(function: Callable) -> None:
    """`concentration(pieces, boundary, spread, width)`: line density near the boundary over elsewhere."""
    boundary = np.stack([np.zeros(401), np.linspace(-1, 1, 401)], axis=1)  # the line x1 = 0
    axis = (np.arange(100) + 0.5) / 50 - 1
    spread = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    places = [(0.045, 40), (-0.07, 200), (0.4, 10), (-0.6, 25), (0.9, 80)]
    pieces, width = np.concatenate([_upright(place, n) for place, n in places]), 0.1
    got = call(function, *(torch.from_numpy(a) for a in (pieces, boundary, spread)), width)
    got = expect_number(got, "the ratio")
    distance, apart = np.abs(pieces[:, 0, 0]), np.abs(spread[:, 0])
    length = pieces[:, 1, 1] - pieces[:, 0, 1]
    right = _ratio(length, distance < width, apart < width)
    inside, outside = length[distance < width].sum(), length[distance >= width].sum()
    mistakes = {
        "you compare lengths, not lengths for each area, and the band is much smaller": inside / outside,
        "you count pieces, so that short ones weigh as much as long ones": _ratio(
            np.ones(len(pieces)), distance < width, apart < width
        ),
        "you count pieces: take their lengths, and divide each sum by its area": np.mean(distance < width)
        / np.mean(distance >= width),
        "that is near against the whole window, compare with the rest of it": inside
        / (apart < width).mean()
        / length.sum(),
        "that is elsewhere against near": 1 / right,
        "a distance is not its square": _ratio(length, distance**2 < width, apart**2 < width),
    }
    expect_close(got, right, "the ratio", rtol=0.01, mistakes=mistakes)
    passed("your ratio is right: 1 would mean that the lines do not care where the boundary is")


def _upright(place: float, n: int) -> np.ndarray:
    """The line x1 = place from bottom to top, in n pieces (n, 2, 2)."""
    y = np.linspace(-1, 1, n + 1)
    ends = np.stack([np.full(n + 1, place), y], axis=1)
    return np.stack([ends[:-1], ends[1:]], axis=1)


def _ratio(weight: np.ndarray, near: np.ndarray, area: np.ndarray) -> float:
    return weight[near].sum() / area.mean() / (weight[~near].sum() / (1 - area.mean()))


def two_moments(*, seed: int = 0) -> tuple[nn.Sequential, nn.Sequential, torch.Tensor]:
    """The class's network before and after a change, and 400 points: some units have moved, some are gone."""
    for attempt in range(100):
        generator = torch.Generator().manual_seed(1000 * seed + attempt)
        before = models.mlp([2, 20, 20, 2], scale=1.5, generator=generator).double()
        after = copy.deepcopy(before)
        with torch.no_grad():
            for layer in (after[0], after[2]):
                lost = torch.rand(20, generator=generator)
                shift = 6.0 * (lost < 0.12) - 6.0 * (lost > 0.88)  # some always on, some dead
                layer.bias += shift + 0.5 * torch.randn(20, generator=generator)
        x = 1.8 * torch.rand(400, 2, generator=generator, dtype=torch.float64) - 0.9
        share, wrong = _share(before, after, x)
        if 0.3 < share < 0.9 and all(abs(value - share) > 0.03 for value in wrong.values()):
            return before, after, x
    raise RuntimeError(f"no scene for the seed {seed}: take another one")


def share_of_the_gone(answer: float, *, seed: int = 0) -> None:
    """The share of the fall of local complexity that is due to units without a line afterwards."""
    share, mistakes = _share(*two_moments(seed=seed))
    expect_close(expect_number(answer, "share"), share, "share", rtol=0, atol=5e-3, mistakes=mistakes)
    passed("that is the share of the fall that your class owes to units which are gone")


def _share(before: nn.Sequential, after: nn.Sequential, x: torch.Tensor) -> tuple[float, dict[str, float]]:
    """The share, from the edges that each unit has drawn, and what the usual mistakes give."""
    fall = _by_unit(before, x) - _by_unit(after, x)
    drawn = partition(after).edge_neuron
    drawn = drawn[drawn[:, 0] >= 0]
    gone = np.ones(40, dtype=bool)
    gone[20 * drawn[:, 0] + drawn[:, 1]] = False
    on = gone & _on_somewhere(after)
    rest, total = np.maximum(fall, 0), fall.sum()
    share = float(fall[gone].sum() / total)
    return share, {
        "units that are always on have no line either, they are gone too": fall[gone & ~on].sum() / total,
        "dead units have no line either, they are gone too": fall[on].sum() / total,
        "that is the share of the units, not their share of the fall": gone.mean(),
        "divide by the fall, not by the count before it": fall[gone].sum() / _by_unit(before, x).sum(),
        "that is the share of the units that stay": 1 - share,
        "where a count rises, that belongs to the sum too, with its sign": rest[gone].sum() / rest.sum(),
    }


def _pre_activations(model: nn.Sequential, x: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        first = model[0](x)
        return torch.cat([first, model[2](first.relu())], dim=-1).numpy()


def _by_unit(model: nn.Sequential, x: torch.Tensor) -> np.ndarray:
    """The mean count (40,) of each unit alone, over the points."""
    arms = 0.05 * torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    active = _pre_activations(model, x + arms[:, None]) > 0  # (4, N, 40)
    return (active.any(axis=0) != active.all(axis=0)).mean(axis=0)


def _on_somewhere(model: nn.Sequential) -> np.ndarray:
    axis = torch.linspace(-1, 1, 41, dtype=torch.float64)
    return (_pre_activations(model, torch.cartesian_prod(axis, axis)) > 0).any(axis=0)
