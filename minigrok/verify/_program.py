"""The region as a program: inputs and undecided units are the variables, everything else is substituted."""

import time
from dataclasses import dataclass

import numpy as np

from minigrok.verify._affine import INPUT
from minigrok.verify._bounds import ROUNDING, Empty, Region
from minigrok.verify._highs import INFINITY, Program

TRIAL = 8  # so many units of a layer are sharpened before it is asked whether that pays
PAYS = 0.9  # it does where their bounds shrink to this share on average


@dataclass
class Expressions:
    """z of every layer as rows over the variables (x, then one u for each undecided unit in order)."""

    rows: list[np.ndarray]  # (units, variables), one a layer that was asked for
    constants: list[np.ndarray]
    undecided: list[np.ndarray]  # the units of a layer that are variables
    first: list[int]  # the variable of a layer's first undecided unit
    size: int

    @classmethod
    def of(cls, region: Region, n_layers: int) -> "Expressions":
        """Of the first `n_layers` maps (the output counts as one)."""
        undecided = [np.flatnonzero(region.undecided(layer)) for layer in range(n_layers - 1)]
        d = len(region.low)
        first = np.cumsum([d, *map(len, undecided)]).tolist()
        size = first[-1]
        values = {INPUT: (np.eye(d, size), np.zeros(d))}
        rows, constants = [], []
        for layer, target in enumerate(region.maps[:n_layers]):
            z = sum(part @ values[s][0] for s, part in target.parts.items())
            constant = target.bias + sum(part @ values[s][1] for s, part in target.parts.items())
            rows.append(z)
            constants.append(constant)
            if layer < n_layers - 1:
                active = region.states(layer)[0]
                u, offset = z * active[:, None], constant * active
                u[undecided[layer], first[layer] + np.arange(len(undecided[layer]))] = 1
                values[layer] = u, offset
        return cls(rows, constants, undecided, first, size)


def relaxation(region: Region, n_layers: int) -> tuple[Program, Expressions]:
    """The linear relaxation over the layers before map `n_layers`: every undecided unit in its triangle."""
    found = Expressions.of(region, n_layers)
    rows, low, high, top = [], [], [], []
    for layer in range(n_layers - 1):
        _add_demands(region, found, layer, rows, low, high)
        z, constant, u, least, most = _units(region, found, layer)
        slope = (most / (most - least))[:, None]
        rows += [u - z, u - slope * z]
        low += [constant, np.full(len(z), -INFINITY)]
        high += [np.full(len(z), INFINITY), slope[:, 0] * (constant - least)]
        top.append(most)
    if n_layers <= len(region.phases):  # the last map is a layer of units: its demands hold as well
        _add_demands(region, found, n_layers - 1, rows, low, high)
    return _program(region, found, rows, low, high, top), found


def exact(region: Region, cost: np.ndarray, at_least: float, slack: float = 0.0) -> Program:
    """The mixed-integer program: a 0/1 variable says on which side of zero an undecided unit is.

    Only inputs with cost @ variables >= at_least count, and with demanded units `slack` away from zero.
    """
    found = Expressions.of(region, len(region.maps))
    n = found.size - len(region.low)
    rows, low, high, top = [], [], [], []
    for layer in range(len(region.maps) - 1):
        _add_demands(region, found, layer, rows, low, high, n, slack)
        z, constant, u, least, most = _units(region, found, layer)
        side = np.zeros((len(z), n))
        side[np.arange(len(z)), found.first[layer] - len(region.low) + np.arange(len(z))] = 1
        rows += [
            np.hstack([u - z, 0 * side]),
            np.hstack([u - z, -least[:, None] * side]),
            np.hstack([u, -most[:, None] * side]),
        ]
        low += [constant, np.full(2 * len(z), -INFINITY)]
        high += [np.full(len(z), INFINITY), constant - least, np.zeros(len(z))]
        top.append(most)
    rows.append(np.hstack([cost, np.zeros(n)])[None])
    low.append(np.array([at_least]))
    high.append(np.array([INFINITY]))
    return _program(region, found, rows, low, high, top, n)


def tighten(region: Region, deadline: float) -> bool:
    """Sharpen the bounds of undecided units by two linear programs each, layer by layer, where it pays.

    The first few units of a layer tell whether it does. Returns whether anything was gained. Raises `Empty`
    where the relaxation shows that no input is left.
    """
    paid = False
    for layer in range(len(region.phases)):
        if layer == 0 and not region.open_demands[0].any():
            continue  # on a mere box the first layer's bounds are exact
        units = np.flatnonzero(region.undecided(layer))
        program, found = relaxation(region, layer + 1)
        before = np.subtract(*region.bounds[layer][::-1])[units[:TRIAL]]
        for unit in units[:TRIAL]:
            _sharpen(region, program, found, layer, unit, deadline)
        after = np.subtract(*region.bounds[layer][::-1])[units[:TRIAL]]
        if len(units) and np.mean(after / before) < PAYS:
            paid = True
            for unit in units[TRIAL:]:
                _sharpen(region, program, found, layer, unit, deadline)
        region.clip(layer)
        for later in range(layer + 1, len(region.phases)):
            region.sharpen(later)
            region.clip(later)
    return paid


def _sharpen(
    region: Region, program: Program, found: Expressions, layer: int, unit: int, deadline: float
) -> None:
    """Most and least of one unit's z on the relaxation, while there is time."""
    least, most = region.bounds[layer]
    for sign, bound in ((1, most), (-1, least)):
        left = deadline - time.perf_counter()
        if left <= 0 or not region.undecided(layer)[unit]:
            return
        answer = program.maximise(sign * found.rows[layer][unit], seconds=left)
        if answer.status == "infeasible":
            raise Empty("lp")
        if answer.status == "optimal":
            sharper = sign * answer.bound + found.constants[layer][unit] + sign * ROUNDING
            bound[unit] = min(bound[unit], sharper) if sign > 0 else max(bound[unit], sharper)


def _add_demands(
    region: Region,
    found: Expressions,
    layer: int,
    rows: list[np.ndarray],
    low: list[np.ndarray],
    high: list[np.ndarray],
    n_more: int = 0,
    slack: float = 0.0,
) -> None:
    """z >= slack or z <= -slack where a pattern demands it and the box does not give it anyway.

    To rows, low and high of a program whose variables are those of `found` and `n_more` after them.
    """
    chosen = np.flatnonzero(region.open_demands[layer])
    size = region.sizes[layer][chosen]
    sign = region.phases[layer][chosen] / size
    rows.append(np.hstack([sign[:, None] * found.rows[layer][chosen], np.zeros((len(chosen), n_more))]))
    low.append(slack_of(size, slack) - sign * found.constants[layer][chosen])
    high.append(np.full(len(chosen), INFINITY))


def slack_of(size: np.ndarray, slack: float) -> np.ndarray:
    """The distance from zero that is asked of z / size: `slack` of z, or a thousandth of a small unit."""
    return np.minimum(slack / size, 1e-3 if slack else 0.0)


def _units(
    region: Region, found: Expressions, layer: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of a layer's undecided units: rows and constants of z, rows of u, least and most of z."""
    units = found.undecided[layer]
    u = np.zeros((len(units), found.size))
    u[np.arange(len(units)), found.first[layer] + np.arange(len(units))] = 1
    least, most = region.bounds[layer]
    return found.rows[layer][units], found.constants[layer][units], u, least[units], most[units]


def _program(
    region: Region,
    found: Expressions,
    rows: list[np.ndarray],
    low: list[np.ndarray],
    high: list[np.ndarray],
    top: list[np.ndarray],
    n_integers: int = 0,
) -> Program:
    """Variables: the inputs in their box, the undecided units from 0 to `top`, and the 0/1 ones."""
    top = np.concatenate([region.high, *top, np.ones(n_integers)])
    bottom = np.concatenate([region.low, np.zeros(len(top) - len(region.low))])
    width = found.size + n_integers
    return Program(
        np.vstack([np.zeros((0, width)), *rows]),
        np.concatenate([np.zeros(0), *low]),
        np.concatenate([np.zeros(0), *high]),
        bottom,
        top,
        n_integers,
    )
