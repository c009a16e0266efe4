"""The checks of lesson 03, Counting where you cannot look."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import data, models
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed
from minigrok.regions import local_complexity, on_segment


def _frame(p: int, d: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(d, p, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q.T.contiguous()


def _points(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def corners(function: Callable) -> None:
    """`corners(x, radius, frame)` is (N, 2P, d): x + r v and x - r v for every direction, in any order."""
    x, frame, radius = _points(3, 5, 0), _frame(2, 5, 1), 0.7
    got = expect_array(call(function, x, radius, frame), (3, 4, 5), "the corners")
    moves = got - x.numpy()[:, None]
    if np.allclose(np.abs(got @ frame.numpy().T).sum(2), radius):
        raise ExerciseError("your corners stand around the origin: add each point x to its own corners")
    if np.allclose(np.linalg.norm(moves, axis=2), 1):
        raise ExerciseError("your arms have length 1: the radius is missing")
    if not np.allclose(np.linalg.norm(moves, axis=2), radius):
        raise ExerciseError(f"every corner should be at distance {radius} from its point, and yours are not")
    along = moves @ frame.numpy().T  # (N, 2P, P): how far a corner lies along each direction
    due = np.sort(np.concatenate([radius * np.eye(2), -radius * np.eye(2)]), axis=0)
    mistakes = {"the opposite corners x - r v are missing": np.sort(np.abs(along), axis=1)}
    expect_close(np.sort(along, axis=1), np.broadcast_to(due, along.shape), "the corners", mistakes=mistakes)
    passed("2P corners around each point, two for every direction")


def complexity(function: Callable) -> None:
    """`complexity(model, x, radius, frame)` is (N,): the units with more than one sign at the corners."""
    cases = [((2, 6, 3), 2, 0.4), ((6, 9, 9, 2), 6, 1.5), ((10, 12, 12, 12, 3), 2, 4.0)]
    for seed, (widths, p, radius) in enumerate(cases):
        generator = torch.Generator().manual_seed(seed)
        model = models.mlp(list(widths), scale=1.5, generator=generator).double()
        x, frame = _points(40, widths[0], seed), _frame(p, widths[0], seed)
        got = expect_array(call(function, model, x, radius, frame), (40,), "the complexity")
        signs, centre = _signs(model, x, radius, frame)
        right = sum((s.min(0) != s.max(0)).sum(1) for s in signs[:-1])
        mistakes = {
            "only the first layer is in it": (signs[0].min(0) != signs[0].max(0)).sum(1),
            "the output is no unit, it has no ReLU: leave it out": sum(
                (s.min(0) != s.max(0)).sum(1) for s in signs
            ),
            "every corner was counted: a unit counts once, however many corners are on its other side": sum(
                (s != s[:1]).sum((0, 2)) for s in signs[:-1]
            ),
            "you compare the corners with the middle x: compare them with each other": sum(
                (s != c).any(0).sum(1) for s, c in zip(signs[:-1], centre[:-1], strict=True)
            ),
            "you compare only opposite corners: compare all of them": sum(
                (s[:p] != s[p:]).any(0).sum(1) for s in signs[:-1]
            ),
            "those are the units that do not change": sum(widths[1:-1]) - right,
        }
        expect_close(got, right, "the complexity", mistakes=mistakes)
    _like_the_library(function)
    passed("that is local complexity, with the library's counts: it may do it from now on")


def _like_the_library(function: Callable) -> None:
    model = models.mlp([64, 30, 30, 10], generator=torch.Generator().manual_seed(5)).double()
    x, frame = data.digits().x_test[:50].double(), _frame(25, 64, 5)
    for radius in (0.005, 0.05, 0.5, 5.0):
        got = expect_array(call(function, model, x, radius, frame), (50,), "the complexity")
        expect_close(got, local_complexity(model, x, radius=radius, frame=frame).total, "the complexity")


def _signs(model: nn.Module, x: Tensor, radius: float, frame: Tensor) -> tuple[list, list]:
    """The signs at the corners, (2P, N, n) for each linear layer, and those at the points, (N, n)."""

    def walk(h: Tensor) -> Iterator[np.ndarray]:
        for layer in model:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                yield torch.sign(h).numpy()

    with torch.no_grad():
        rows = torch.stack([x + step * radius * v for step in (1, -1) for v in frame])
        return list(walk(rows)), list(walk(x))


def plane_coordinates(function: Callable) -> None:
    """`plane_coordinates(x, a, b, c)` is (N, 2): the first axis points from a to b, the second is normal."""
    a, b, c = _points(3, 7, 4)
    x = _points(5, 7, 5)
    got = expect_array(call(function, torch.cat([torch.stack([a, b, c]), x]), a, b, c), (8, 2), "coordinates")
    q, r = np.linalg.qr(torch.stack([b - a, c - a], 1).numpy())
    q = q * np.sign(np.diag(r))
    moves = torch.cat([torch.stack([a, b, c]), x]) - a
    sides = torch.stack([b - a, c - a])
    units = sides / sides.norm(dim=1, keepdim=True)
    mistakes = {
        "a should be the origin: subtract it from x first": (moves + a).numpy() @ q,
        "the second axis is not at right angles to the first: take its part along u away": moves @ units.T,
        "the axes do not have length 1": moves.numpy() @ q * np.diag(q.T @ sides.numpy().T),
        "those are shares of b - a and c - a: in such coordinates distances are not true": moves
        @ torch.linalg.pinv(sides),
        "the axes are exchanged: the first one points from a to b": moves.numpy() @ q[:, ::-1],
    }
    expect_close(got, moves.numpy() @ q, "coordinates", mistakes=mistakes)
    passed("your plane keeps its distances true")


def two_digits(*, seed: int = 0) -> tuple[nn.Sequential, Tensor, Tensor]:
    """The class's network and its two digits, of different classes: model, a (64,), b (64,)."""
    random = np.random.default_rng([3, seed])
    images = data.digits()
    first, second = random.choice(10, 2, replace=False)
    a, b = (images.x_test[images.y_test == k][random.integers(40)] for k in (first, second))
    generator = torch.Generator().manual_seed(1000 + seed)
    return models.mlp([64, *[100] * 6, 10], scale=3.0, generator=generator), a, b


def missed(answer: int, *, seed: int = 0) -> None:
    """The breakpoints less the units with different signs at the ends: what the ends do not tell."""
    segment = on_segment(*two_digits(seed=seed))
    _, crossings = np.unique(segment.neurons, axis=0, return_counts=True)
    mistakes = {
        "that is the number of all breakpoints": len(segment.breakpoints),
        "that is the number of regions": segment.n_regions,
        "that is what the two ends do tell": (crossings % 2).sum(),
        "a region more than there are breakpoints: you subtracted from the regions": 1
        + (crossings - crossings % 2).sum(),
        "those are the units that cross more than once, not their breakpoints": (crossings > 1).sum(),
    }
    right = (crossings - crossings % 2).sum()
    expect_close(expect_number(answer, "missed", whole=True), right, "missed", mistakes=mistakes)
    passed("that is what the two ends of your class's segment hide")


def nearest_bend(function: Callable) -> None:
    """`nearest_bend(model, x)` is the distance from x to the nearest place where a unit changes its sign."""
    for widths, seed in [((2, 6, 1), 0), ((5, 8, 8, 3), 1), ((12, 10, 10, 10, 10), 2)]:
        generator = torch.Generator().manual_seed(seed)
        model = models.mlp(list(widths), scale=1.5, generator=generator).double()
        for x in _points(5, widths[0], 30 + seed):
            _nearest_bend_at(function, model, x, widths)
    passed("no unit changes its sign closer to x than that")


def _nearest_bend_at(function: Callable, model: nn.Sequential, x: Tensor, widths: tuple[int, ...]) -> None:
    got = expect_number(call(function, model, x), "the distance")
    z, slopes, weights = _pre_activations(model, x)
    hidden, distance = slice(0, sum(widths[1:-1])), z.abs() / slopes.norm(dim=1)
    mistakes = {
        "that is the nearest bend of the first layer alone": distance[: widths[1]].min(),
        "that is |z| itself: divide by the length of its gradient": z[hidden].abs().min(),
        "the output is no unit, it does not bend": distance.min(),
        "deeper layers need the gradient with respect to x, not the unit's own weights": (z.abs() / weights)[
            hidden
        ].min(),
    }
    expect_close(got, distance[hidden].min(), "the distance", mistakes=mistakes)


def _pre_activations(model: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All pre-activations at x with the output, their gradients in x, and the lengths of the weight rows."""

    def walk(x: Tensor) -> Tensor:
        found = []
        for layer in model:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                found.append(x)
        return torch.cat(found)

    slopes = torch.autograd.functional.jacobian(walk, x)
    weights = torch.cat([layer.weight.norm(dim=1) for layer in model if isinstance(layer, nn.Linear)])
    return walk(x).detach(), slopes, weights.detach()
