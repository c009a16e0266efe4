"""The checks of lesson 01, Folding the plane."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from minigrok import models
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def pattern(function: Callable) -> None:
    """`pattern(x, w, b)` is True where a unit is active: (N, n), with a unit at zero silent."""
    generator = torch.Generator().manual_seed(1)
    x, w, b = (torch.randn(shape, generator=generator) for shape in ((7, 2), (4, 2), (4,)))
    states = expect_array(call(function, x, w, b), (7, 4), "the pattern")
    if not np.isin(states, (0, 1)).all():
        raise ExerciseError("the pattern should hold True and False, not other numbers: compare z with 0")
    active = [[float(sum(w[i] * x[k]) + b[i]) > 0 for i in range(4)] for k in range(7)]
    mistakes = {"True and False are exchanged: active means z > 0": ~np.array(active)}
    mistakes["the bias is missing"] = [[float(sum(w[i] * x[k])) > 0 for i in range(4)] for k in range(7)]
    expect_close(states, active, "the pattern", mistakes=mistakes)
    on_the_line = call(function, torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, -1.0]]), torch.zeros(1))
    if expect_array(on_the_line, (1, 1), "the pattern")[0, 0]:
        raise ExerciseError("a unit at exactly z = 0 is silent here: use > and not >=")
    passed("your patterns name the regions")


def lines(*, seed: int = 0) -> tuple[int, int]:
    """The class's numbers: n lines, of which p are parallel."""
    random = np.random.default_rng(seed)
    return int(random.integers(12, 30)), int(random.integers(4, 9))


def how_many(answer: int, *, seed: int = 0) -> None:
    """The regions of n lines, p of them parallel: counted by adding line after line."""
    n, p = lines(seed=seed)
    regions = 1
    for k in range(n):
        regions += 1 if k < p else 1 + k  # a line has one piece more than it crosses older lines
    mistakes = {
        "parallel lines never meet, take their crossings away": 1 + n + n * (n - 1) // 2,
        "without any line there is one region already": regions - 1,
        "the parallel lines still cross all the others": 1 + (n - p) + (n - p) * (n - p - 1) // 2,
        "each parallel line still crosses the lines that are not parallel to it": 1
        + n
        + (n - p) * (n - p - 1) // 2,
        "that is the number of crossings": regions - 1 - n,
    }
    expect_close(expect_number(answer, "how_many", whole=True), regions, "how_many", mistakes=mistakes)
    passed("that is your class's number of regions")


def affine_map(function: Callable) -> None:
    """`affine_map(model, x)` is (A, b) with model = A x + b in the region of x."""
    for widths, seed in [((2, 5, 3), 0), ((3, 8, 6, 2), 1), ((2, 7, 7, 7, 1), 2)]:
        generator = torch.Generator().manual_seed(seed)
        model = models.mlp(list(widths), generator=generator).double()
        x = torch.randn(widths[0], generator=generator, dtype=torch.float64)
        pair = call(function, model, x)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise ExerciseError("`affine_map` should return two things, the matrix A and the vector b")
        A = expect_array(pair[0], (widths[-1], widths[0]), "A")
        b = expect_array(pair[1], (widths[-1],), "b")
        right = torch.autograd.functional.jacobian(model, x)
        mistakes = {
            "that is the map with every unit active: set the rows of silent units to zero": _product(model),
            "that is the map with active and silent units exchanged": _product(model, x, exchanged=True),
        }
        expect_close(A, right, "A", mistakes=mistakes)
        output = model(x).detach()
        mistakes = {
            "that is the network's output at x: take A x away from it": output,
            "that is the last layer's bias alone: the biases before it count too": model[-1].bias,
        }
        expect_close(b, output - right @ x, "b", mistakes=mistakes)
    passed("in every region your map is the network; from now on the library may do it")


def _product(model: nn.Sequential, x: torch.Tensor | None = None, exchanged: bool = False) -> torch.Tensor:
    """The product of the weights, with all units active, or with the silent units of x alone."""
    A = None
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.Linear):
                A = layer.weight if A is None else layer.weight @ A
                x = None if x is None else layer(x)
            elif exchanged:
                A, x = (x <= 0).double()[:, None] * A, x.relu()
    return A


def three_teeth(function: Callable) -> None:
    """`three_teeth()` is (w, b, v), three units that fold [0, 1] in three."""
    triple = call(function)
    if not isinstance(triple, tuple | list) or len(triple) != 3:
        raise ExerciseError("`three_teeth` should return three lists: w, b and v")
    w, b, v = (expect_array(part, (3,), name) for part, name in zip(triple, "wbv", strict=True))
    x = np.linspace(0, 1, 601)
    got = np.maximum(w * x[:, None] + b, 0) @ v
    for at, height in [(0, 0), (1 / 3, 1), (2 / 3, 0), (1, 1)]:
        value = got[np.abs(x - at).argmin()]
        if abs(value - height) > 1e-5:
            raise ExerciseError(
                f"your function is {value:.3f} at x = {at:.3f}, where {height} is due: "
                "look at the slope between the folds, and at what each unit adds to it"
            )
    teeth = np.interp(x, [0, 1 / 3, 2 / 3, 1], [0, 1, 0, 1])
    expect_close(got, teeth, "g", mistakes={"the ends and folds are right, but not what lies between": got})
    passed("three units fold the interval in three: k layers make 3^k pieces")
