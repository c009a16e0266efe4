"""A walk over linear regions: rooms in which the network is linear, with units as walls.

Fix the side of every undecided unit: inside that one room any output is linear, and a linear program finds
its largest value there. The duals of that program name the walls that stop the climb. Step through them
(flip those units) and climb on in the next room. The value never falls, because the point where the climb
stopped lies in both rooms.
"""

import time
from collections.abc import Callable

import numpy as np

from minigrok.verify._affine import INPUT, Affine
from minigrok.verify._bounds import Region
from minigrok.verify._highs import INFINITY, Answer, Program
from minigrok.verify._program import slack_of

ROOMS = 15  # a walk that arrives at all has seldom seen more than eight

ALL = 1 - 1e-6


class Rooms:
    """The rooms of a region, and what can be climbed in them."""

    def __init__(self, region: Region, slack: float):
        """`slack` is the distance from zero that demanded units keep (see `slack_of`)."""
        self.region = region
        self.undecided = [region.undecided(layer) for layer in range(len(region.phases))]
        # For every row of `walls`: its layer and unit; unit -1 where a demand stands, which none may flip.
        layers, units, slacks = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)]
        for layer, undecided in enumerate(self.undecided):
            flips, demands = np.flatnonzero(undecided), int(region.open_demands[layer].sum())
            layers.append(np.full(len(flips) + demands, layer))
            units.append(np.concatenate([flips, np.full(demands, -1)]))
            size = region.sizes[layer][region.open_demands[layer]]
            slacks += [np.zeros(len(flips)), slack_of(size, slack)]
        self.layers, self.units = np.concatenate(layers), np.concatenate(units)
        self.slack = np.concatenate(slacks)

    def sides(self, x: np.ndarray) -> list[np.ndarray]:
        """The active units at x, demanded phases taken as given (so x need not follow them)."""
        values, sides = {INPUT: x}, []
        for layer, undecided in enumerate(self.undecided):
            z = self.region.maps[layer](values)
            sides.append(np.where(undecided, z > 0, self.region.states(layer)[0]))
            values[layer] = np.where(sides[-1], z, 0)
        return sides

    def walls(self, sides: list[np.ndarray], target: Affine) -> tuple[np.ndarray, np.ndarray, Affine]:
        """Rows and constants of z of all undecided and demanded units (positive inside), and the target."""
        d = len(self.region.low)
        values = {INPUT: (np.eye(d), np.zeros(d))}
        rows, constants = [np.zeros((0, d))], [np.zeros(0)]
        for layer, side in enumerate(sides):
            z, constant = _composed(self.region.maps[layer], values)
            sides_of_zero = np.where(side, 1.0, -1.0)
            sizes = np.where(self.undecided[layer], 1.0, self.region.sizes[layer])
            for chosen in (self.undecided[layer], self.region.open_demands[layer]):
                sign = (sides_of_zero / sizes)[chosen]
                rows.append(sign[:, None] * z[chosen])
                constants.append(sign * constant[chosen])
            values[layer] = z * side[:, None], constant * side
        row, constant = _composed(target, values)
        return np.vstack(rows), np.concatenate(constants), Affine(constant, {INPUT: row})

    def climb(
        self, x: np.ndarray, target: Affine, *, goal: float, deadline: float
    ) -> tuple[np.ndarray, float]:
        """Climb from x until target >= goal, or as far as the walk goes: the last x and its value there.

        x need not have the demanded phases: the walk begins in the room of its other units, if there is
        any point in it that has them.
        """

        def top_of(sides: list[np.ndarray]) -> Answer:
            rows, constants, inside = self.walls(sides, target)
            least = self.slack - constants
            most = np.full(len(rows), INFINITY)
            program = Program(rows, least, most, self.region.low, self.region.high)
            return program.maximise(inside.parts[INPUT][0], inside.bias[0], seconds=_left(deadline))

        found = self._from_room_to_room(top_of, x, goal, deadline)
        return (x, -np.inf) if found is None else (found.x, found.bound)

    def enter(self, x: np.ndarray, *, deadline: float) -> np.ndarray | None:
        """Walk from any x of the box to one with the demanded phases; None where the walk does not arrive.

        What is climbed is one more variable: the share of their slack that all demanded units have at least.
        """
        nothing = Affine(np.zeros(1), {INPUT: np.zeros((1, len(x)))})
        if not (self.units < 0).any():
            return x

        def top_of(sides: list[np.ndarray]) -> Answer:
            rows, constants, _ = self.walls(sides, nothing)
            low, high = np.append(self.region.low, -INFINITY), np.append(self.region.high, 1.0)
            most = np.full(len(rows), INFINITY)
            program = Program(np.hstack([rows, -self.slack[:, None]]), -constants, most, low, high)
            return program.maximise(np.append(np.zeros(len(x)), 1.0), seconds=_left(deadline))

        found = self._from_room_to_room(top_of, x, ALL, deadline)
        return found.x[:-1] if found is not None and found.bound >= ALL else None

    def _from_room_to_room(
        self,
        top_of: Callable[[list[np.ndarray]], Answer],
        x: np.ndarray,
        goal: float,
        deadline: float,
    ) -> Answer | None:
        """Flip all walls that stop the climb; where that gains nothing, each of them alone, hardest first."""
        sides, best, walls = self.sides(x), None, []
        for _ in range(ROOMS):
            if _left(deadline) <= 0:
                break
            answer = top_of(sides)
            gain = -np.inf if best is None else best.bound + 1e-9 * max(1, abs(best.bound))
            if answer.status == "optimal" and answer.bound > gain:
                best, settled = answer, sides
                pressed = np.abs(answer.duals) * (self.units >= 0)
                stops = np.flatnonzero(pressed > 1e-9)
                if answer.bound >= goal or not len(stops):
                    break
                alone = stops[np.argsort(-pressed[stops])][:, None]
                walls = [stops, *(alone if len(stops) > 1 else [])]
            if not walls:
                break
            sides = self._flipped(settled, walls.pop(0))
        return best

    def _flipped(self, sides: list[np.ndarray], walls: np.ndarray) -> list[np.ndarray]:
        flipped = [side.copy() for side in sides]
        for layer, unit in zip(self.layers[walls], self.units[walls], strict=True):
            flipped[layer][unit] ^= True
        return flipped


def _composed(
    target: Affine, values: dict[int, tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and constants of a map whose sources are themselves rows and constants over the input."""
    rows = sum(part @ values[source][0] for source, part in target.parts.items())
    constants = target.bias + sum(part @ values[source][1] for source, part in target.parts.items())
    return rows, constants


def _left(deadline: float) -> float:
    return deadline - time.perf_counter()
