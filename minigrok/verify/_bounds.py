"""What every unit can reach on a region: first by intervals, then by linear bounds carried back to the input.

The region is a box cut with the phases that a pattern demands. A demanded phase is used twice: the unit's
value is then exactly z (active) or 0 (inactive), and z itself is known to be on its side of zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigrok.verify._affine import INPUT, Affine

ROUNDING = 1e-9  # a contradiction smaller than this is none


class Empty(Exception):
    """No input of the box has the demanded phases; `stage` found it."""

    def __init__(self, stage: str = "bounds"):
        self.stage = stage


@dataclass
class Region:
    """The inputs low <= x <= high whose units have the demanded phases.

    phases[l] is +1 where z >= 0 is demanded, -1 where z <= 0 is, 0 where nothing is. bounds[l] holds what is
    known of z in front of layer l on the region.
    """

    maps: Sequence[Affine]
    low: np.ndarray
    high: np.ndarray
    phases: list[np.ndarray]
    bounds: list[tuple[np.ndarray, np.ndarray]]
    open_demands: list[np.ndarray]  # the demanded phases that the bounds did not give anyway
    # The size of z on the box, at most 1. Programs divide demands by it: a solver's tolerance of 1e-7 says
    # nothing about a unit that weight decay has shrunk to 1e-10.
    sizes: list[np.ndarray]

    @classmethod
    def of(
        cls, maps: Sequence[Affine], low: np.ndarray, high: np.ndarray, phases: list[np.ndarray]
    ) -> "Region":
        """The region with its bounds; raises `Empty` where they already contradict the phases."""
        region = cls(maps, low, high, phases, [], [], [])
        for layer, phase in enumerate(phases):
            least, most = region._interval(layer)
            region.bounds.append((least, most))
            if layer:  # the first layer's intervals are exact on the box
                region.sharpen(layer)
            region.open_demands.append((phase > 0) & (least <= 0) | (phase < 0) & (most > 0))
            region.sizes.append(np.clip(np.maximum(most, -least), 1e-12, 1.0))
            region.clip(layer)
        return region

    def sharpen(self, layer: int) -> None:
        """Let linear bounds improve those of a layer, where it is not decided without them."""
        least, most = self.bounds[layer]
        rows = np.flatnonzero((least < 0) & (most > 0))
        target = self.maps[layer]
        parts = {s: part[rows] for s, part in target.parts.items()}
        below, above = self.linear_bounds(Affine(target.bias[rows], parts))
        least[rows], most[rows] = np.maximum(least[rows], below), np.minimum(most[rows], above)

    def clip(self, layer: int) -> None:
        """Let the demanded phases cut the bounds of a layer; active means z > 0."""
        (least, most), phase = self.bounds[layer], self.phases[layer]
        if (most[phase > 0] <= 0).any() or (least[phase < 0] > ROUNDING).any():
            raise Empty
        least[phase > 0] = np.maximum(least[phase > 0], 0)
        most[phase > 0] = np.maximum(most[phase > 0], least[phase > 0])
        most[phase < 0] = np.minimum(most[phase < 0], 0)
        least[phase < 0] = np.minimum(least[phase < 0], most[phase < 0])

    def states(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Which units are surely active and surely inactive on the region; the others are undecided."""
        (least, most), phase = self.bounds[layer], self.phases[layer]
        inactive = (most <= 0) & (phase <= 0) | (phase < 0)
        return ((least >= 0) | (phase > 0)) & ~inactive, inactive

    def undecided(self, layer: int) -> np.ndarray:
        active, inactive = self.states(layer)
        return ~(active | inactive)

    def linear_bounds(self, target: Affine) -> tuple[np.ndarray, np.ndarray]:
        """Least and most of target's rows, their dependence on the input kept through every layer."""
        return -self._most(-target.bias, {s: -part for s, part in target.parts.items()}), self._most(
            target.bias, dict(target.parts)
        )

    def _most(self, constant: np.ndarray, parts: dict[int, np.ndarray]) -> np.ndarray:
        """Upper bounds of rows: each u by its line from above or from below, as its sign asks."""
        for layer in range(max(parts), INPUT, -1):
            rows = parts.pop(layer, None)
            if rows is None:
                continue
            above, offset, below = self._lines(layer)
            positive = np.maximum(rows, 0)
            constant = constant + positive @ offset
            rows = positive * above + (rows - positive) * below
            constant = constant + rows @ self.maps[layer].bias
            for source, part in self.maps[layer].parts.items():
                parts[source] = parts[source] + rows @ part if source in parts else rows @ part
        rows = parts[INPUT]
        middle, reach = (self.high + self.low) / 2, (self.high - self.low) / 2
        return constant + rows @ middle + np.abs(rows) @ reach

    def _lines(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u <= above * z + offset and u >= below * z, for every unit of a layer."""
        least, most = self.bounds[layer]
        active, inactive = self.states(layer)
        undecided = ~(active | inactive)
        width = np.where(undecided, most - least, 1)
        above = np.where(undecided, most / width, active)
        offset = np.where(undecided, -most * least / width, 0)
        below = np.where(undecided, most > -least, active)
        return above, offset, below

    def _interval(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        target = self.maps[layer]
        least, most = target.bias.copy(), target.bias.copy()
        for source, part in target.parts.items():
            if source == INPUT:
                low, high = self.low, self.high
            else:
                low, high = (np.maximum(bound, 0) for bound in self.bounds[source])
                low, high = (np.where(self.states(source)[1], 0, bound) for bound in (low, high))
            positive, negative = np.maximum(part, 0), np.minimum(part, 0)
            least += positive @ low + negative @ high
            most += positive @ high + negative @ low
        return least, most
