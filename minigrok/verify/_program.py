"""The region as a program: inputs and undecided units are the variables, everything else is substituted."""

import time
from dataclasses import dataclass

import numpy as np

from minigrok.verify._affine import INPUT
from minigrok.verify._bounds import SLACK, Empty, Region
from minigrok.verify._highs import INFINITY, Program


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


def exact(region: Region, cost: np.ndarray, at_least: float) -> Program:
    """The mixed-integer program: a 0/1 variable says on which side of zero an undecided unit is.

    Only inputs with cost @ variables >= at_least count.
    """
    found = Expressions.of(region, len(region.maps))
    n = found.size - len(region.low)
    rows, low, high, top = [], [], [], []
    for layer in range(len(region.maps) - 1):
        _add_demands(region, found, layer, rows, low, high, n)
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
    low.append([at_least])
    high.append([INFINITY])
    return _program(region, found, rows, low, high, top, n)


def tighten(region: Region, deadline: float) -> None:
    """Sharpen the bounds of undecided units by two linear programs each, layer by layer, while time lasts.

    Raises `Empty` where the relaxation shows that no input is left.
    """
    for layer in range(len(region.phases)):
        if layer == 0 and not region.open_demands[0].any():
            continue  # on a mere box the first layer's bounds are exact
        units = np.flatnonzero(region.undecided(layer))
        program, found = relaxation(region, layer + 1)
        least, most = region.bounds[layer]
        for unit in units:
            for sign, bound in ((1, most), (-1, least)):
                left = deadline - time.perf_counter()
                if left <= 0:
                    return
                answer = program.maximise(sign * found.rows[layer][unit], seconds=left)
                if answer.status == "infeasible":
                    raise Empty("lp")
                if answer.status == "optimal":
                    sharper = sign * answer.bound + found.constants[layer][unit] + sign * SLACK
                    bound[unit] = min(bound[unit], sharper) if sign > 0 else max(bound[unit], sharper)
                if not region.undecided(layer)[unit]:
                    break
        region.clip(layer)
        for later in range(layer + 1, len(region.maps)):
            below, above = region.linear_bounds(region.maps[later])
            np.maximum(region.bounds[later][0], below, out=region.bounds[later][0])
            np.minimum(region.bounds[later][1], above, out=region.bounds[later][1])
            if later < len(region.phases):
                region.clip(later)


def _add_demands(region, found, layer, rows, low, high, n_more=0) -> None:
    """z >= 0 or z <= 0 where a pattern demands it and the box does not give it anyway."""
    chosen = np.flatnonzero(region.open_demands[layer])
    sign = region.phases[layer][chosen, None]
    rows.append(np.hstack([sign * found.rows[layer][chosen], np.zeros((len(chosen), n_more))]))
    low.append(-sign[:, 0] * found.constants[layer][chosen])
    high.append(np.full(len(chosen), INFINITY))


def _units(region, found, layer):
    """Rows of z and u, and the bounds, of a layer's undecided units."""
    units = found.undecided[layer]
    u = np.zeros((len(units), found.size))
    u[np.arange(len(units)), found.first[layer] + np.arange(len(units))] = 1
    least, most = region.bounds[layer]
    return found.rows[layer][units], found.constants[layer][units], u, least[units], most[units]


def _program(region, found, rows, low, high, top, n_integers=0) -> Program:
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
