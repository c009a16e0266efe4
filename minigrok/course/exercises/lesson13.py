"""The checks of lesson 13, Proving it."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import data, models, naps, training
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed
from minigrok.regions import partition


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _lead(net: nn.Module, points: np.ndarray, label: int, rival: int) -> np.ndarray:
    with torch.no_grad():
        z = net(torch.as_tensor(np.atleast_2d(points))).numpy()
    return z[:, rival] - z[:, label]


def room_top(function: Callable) -> None:
    """`room_top(net, x, label, rival, low, high)`: the highest point of the room of x, and the lead there."""
    for seed, (low, high) in enumerate([(0.25, 1.5), (-1.0, 1.0), (-1.0, 1.0)]):
        net = models.mlp([2, 7, 6, 3], generator=_seeded(seed), scale=1.5).double()
        cut = partition(net, ((low, high), (low, high)))
        everywhere = _lead(net, cut.vertices, 0, 2).max()
        largest = np.argsort(-cut.areas)[:6]
        for room in largest.tolist():
            x, corners = cut.interior_points[room], cut.polygons()[room]
            point, value = _point_and_value(call(function, net, x, 0, 2, low, high), 2)
            leads, offset = _lead(net, corners, 0, 2), cut.offsets[room, 2] - cut.offsets[room, 0]
            mistakes = {
                "that is the lowest point of the room: `linprog` minimises": leads.min(),
                "that is the value with its sign turned round": -leads.max(),
                "that is the lead of the label over the rival: mind the order": -leads.min(),
                "that is the lead at x itself": _lead(net, x, 0, 2)[0],
                "that is the highest point of the whole box: the walls are missing": everywhere,
                "the lead is slope times x and an offset, which is missing": leads.max() - offset,
                "the offset has the wrong sign: it is to be added, once": leads.max() - 2 * offset,
                "turn the sign of what `linprog` returns, then add the offset": 2 * offset - leads.max(),
            }
            _inside(net, x, point, low, high)
            expect_close(value, leads.max(), "the lead at the top", atol=1e-5, mistakes=mistakes)
            expect_close(_lead(net, point, 0, 2)[0], value, "the network's lead at your point", atol=1e-5)
    _agrees_with_certify(function)
    passed("your tops are the corners of the rooms, and your signs those of `verify.certify`")


def _point_and_value(answer: object, d: int) -> tuple[np.ndarray, float]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise ExerciseError(f"expected two things, `(point, value)`, got {type(answer).__name__}")
    return expect_array(answer[0], (d,), "the point"), float(expect_number(answer[1], "the value"))


def _inside(net: nn.Module, x: np.ndarray, point: np.ndarray, low: float, high: float) -> None:
    if (point < low - 1e-6).any() or (point > high + 1e-6).any():
        raise ExerciseError(
            f"your point {np.round(point, 3).tolist()} is outside the box from {low} to {high}: "
            "hand over `bounds=(low, high)`, else `linprog` takes 0 to infinity"
        )
    here, there = torch.as_tensor(x)[None], torch.as_tensor(point)[None]
    for number, layer in enumerate(net):
        if isinstance(layer, nn.ReLU) and ((here > 0) != (there > 0))[there.abs() > 1e-6].any():
            raise ExerciseError(
                f"your point has left the room of x through a wall of layer {number // 2 + 1}: "
                "every unit must stay on its side of 0"
            )
        here, there = layer(here), layer(there)


def _agrees_with_certify(function: Callable) -> None:
    from minigrok import verify  # needs highspy, which an `import minigrok.course` should not

    images, net = data.digits(), _digit_network([64, 12, 12, 10], 3)
    for image, label in zip(images.x_test[:4].double(), images.y_test[:4].tolist(), strict=True):
        rival = int(net(image[None]).topk(2).indices[0][1])
        if rival == label:
            continue
        _, value = _point_and_value(call(function, net, image.numpy(), label, rival, 0.0, 1.0), 64)
        answer = verify.certify(net, label, nap=naps.of(net, image), rivals=[rival], start=image[None])
        if (answer.status, value < 0) not in (("verified", True), ("falsified", False)):
            raise ExerciseError(
                f"on a network of digits your largest lead is {value:.4g}, "
                f"but `verify.certify` says {answer.status!r} of this room"
            )


def _digit_network(widths: list[int], seed: int) -> nn.Sequential:
    """A small network that has learnt the digits, in float64."""
    images = data.digits()
    net = models.mlp(widths, generator=_seeded(seed))
    state = training.State(net, torch.optim.AdamW(net.parameters(), lr=5e-3, fused=True))
    batches = training.minibatches(images.x_train, images.y_train, 100, seed=seed)
    training.train(training.classification_step(), state, steps=250, batches=batches)
    return net.double().requires_grad_(False)


def line_above(function: Callable) -> None:
    """`line_above(least, most)` is the slope and the offset (n,) of the lowest line above each unit."""
    least = np.array([-1.0, -3.0, -0.5, 0.5, 0.0, -2.0, -1.0, 1.0, -1.0])
    most = np.array([2.0, 1.0, 0.5, 2.0, 3.0, -0.5, 0.0, 1.0, -1.0])
    answer = call(function, least, most)
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ExerciseError(f"expected two arrays, `(slope, offset)`, got {type(answer).__name__}")
    slope, offset = answer
    for name, value in (("slope", slope), ("offset", offset)):
        if not np.isfinite(np.asarray(value, dtype=float)).all():
            raise ExerciseError(
                f"the {name} holds NaN or infinity: where the two bounds are equal, do not divide by 0"
            )
    slope, offset = (expect_array(v, least.shape, n) for v, n in ((slope, "slope"), (offset, "offset")))
    z = np.linspace(least, most, 201)
    lines, units = slope * z + offset, np.maximum(z, 0)
    if (lines < units - 1e-9).any():
        unit = int((lines < units - 1e-9).any(axis=0).argmax())
        raise ExerciseError(
            f"the line of the unit with bounds {least[unit]:g} and {most[unit]:g} is not above it: "
            f"at z = {z[(lines - units)[:, unit].argmin(), unit]:g} it has "
            f"{lines[(lines - units)[:, unit].argmin(), unit]:g}"
        )
    ends = np.maximum(lines[0] - units[0], lines[-1] - units[-1])
    if ends.max() > 1e-9:
        unit = int(ends.argmax())
        raise ExerciseError(
            f"the line of the unit with bounds {least[unit]:g} and {most[unit]:g} is above it, but not the "
            "lowest: at both ends it should touch"
            + (". A unit that is always on needs no triangle: its line is u = z" if least[unit] >= 0 else "")
            + (". A unit that is always off needs no triangle: its line is u = 0" if most[unit] <= 0 else "")
        )
    passed("your lines are above, and nowhere higher than they must be")


def spare(function: Callable) -> None:
    """`spare(nap, sufficient)` is a minimal sufficient pattern, found with one question a unit at most."""
    for seed in range(6):
        nap, groups = _pattern(seed)
        asked = []

        def sufficient(pattern: naps.NAP, groups: list = groups, asked: list = asked) -> bool:
            asked.append(pattern)
            return _enough(pattern, groups)

        got = call(function, nap, sufficient)
        if not isinstance(got, naps.NAP):
            raise ExerciseError(f"expected a pattern, got {type(got).__name__}")
        if not got.coarser_than(nap):
            raise ExerciseError("your result fixes something that `nap` does not: only free units")
        if not _enough(got, groups):
            raise ExerciseError(
                f"`sufficient` says False of your result, which fixes {got.size} units. Units that can be "
                "spared one at a time cannot always be spared together: go on from the coarser pattern"
            )
        for layer, fixed in enumerate(got.fixed):
            for unit in fixed.nonzero()[:, 0].tolist():
                if _enough(got.without(layer, unit), groups):
                    raise ExerciseError(
                        f"in your result a unit of layer {layer + 1} can still be spared: "
                        f"`.without({layer}, {unit})` of it is sufficient too"
                    )
        if len(asked) == nap.size + 1 and asked[0].size == nap.size:
            raise ExerciseError(
                "you asked about `nap` itself, of which the task says that it is sufficient: "
                "ask only about coarser patterns"
            )
        if len(asked) > nap.size:
            raise ExerciseError(
                f"you asked {len(asked)} times, of a pattern with {nap.size} fixed units. What could not be "
                "spared once can never be spared later: one round is enough"
            )
    passed("sufficient, and nothing can be spared")


def _pattern(seed: int) -> tuple[naps.NAP, list[list[tuple[int, int]]]]:
    """A pattern, and groups of its units of which any one whole group is enough."""
    generator = _seeded(seed)
    states = [torch.rand(n, generator=generator) for n in (6, 5)]
    nap = naps.NAP(tuple(s > 0.55 for s in states), tuple(s < 0.4 for s in states))
    fixed = [(k, int(u)) for k, mask in enumerate(nap.fixed) for u in mask.nonzero()[:, 0]]
    groups = []
    for size in (1 + seed % 3, 3, 4):
        chosen = torch.randperm(len(fixed), generator=generator)[:size]
        groups.append([fixed[i] for i in chosen.tolist()])
    return nap, groups


def _enough(nap: naps.NAP, groups: list[list[tuple[int, int]]]) -> bool:
    return any(all(bool(nap.fixed[layer][unit]) for layer, unit in group) for group in groups)


def your_question(seed: int = 0) -> tuple[nn.Sequential, Tensor, int]:
    """The class's network of digits (float64), one test image that it has right, and its label."""
    net, images = _digit_network([64, 12, 12, 10], 100 + seed), data.digits()
    x, y = images.x_test.double(), images.y_test
    lead, answer = net(x).topk(2)
    sure = ((answer[:, 0] == y) & (lead[:, 0] - lead[:, 1] > 2)).nonzero()[:, 0]
    chosen = int(sure[seed % len(sure)])
    return net, x[chosen], int(y[chosen])


def certified(answer: float, seed: int = 0) -> None:
    """The largest proved eps of the class's image, to within 0.002."""
    from minigrok import verify

    eps = expect_number(answer, "certified")
    net, image, label = your_question(seed)
    if not 0 <= eps <= 1:
        raise ExerciseError(
            f"`certified` is not right, you have {eps:g}: eps is a change of a pixel, from 0 to 1"
        )

    def status(eps: float) -> str:
        return verify.certify(net, label, center=image, eps=eps, timeout=30.0).status

    here = status(max(eps - 1e-6, 0.0))
    if here != "verified":
        raise ExerciseError(
            f"`certified` is not right, you have {eps:g}: there `verify.certify` says {here!r}, "
            "and only 'verified' is a proof"
        )
    if status(eps + 0.002) == "verified":
        raise ExerciseError(
            f"`certified` is not right, you have {eps:g}: more can be proved, go on with the bisection"
        )
    passed("so far your class's image is safe, and this is proved")
