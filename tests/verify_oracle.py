"""What `verify.certify` must answer on tiny networks of two inputs, found by two ways of its own.

`by_patterns` goes through all 2^units activation patterns: each fixes an affine network and a polytope, and
one linear program per rival finds the largest margin there. `by_partition` cuts the box into its exact
regions: an affine margin is largest at a corner. Both look at the closed region, where units may be at zero.
"""

import copy
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linprog
from torch import nn

from minigrok.regions import Plane, partition


@dataclass
class Truth:
    """margins[r]: the largest rival - label in the closed region, -inf where that is empty.

    `solid` is a margin that is reached a little inside a room that is no sliver: there a solver with
    tolerances and a network in float32 owe a counterexample. `area`: of the region.
    """

    margins: dict[int, float]
    solid: float
    area: float

    @property
    def empty(self) -> bool:
        return not any(m > -math.inf for m in self.margins.values())

    @property
    def margin(self) -> float:
        return max(self.margins.values())


def rectangle(bounds, center=None, eps=None):
    """The box cut with the ball: two corners, or None where they do not meet."""
    low, high = np.full(2, float(bounds[0])), np.full(2, float(bounds[1]))
    if center is not None:
        center = np.asarray(center, dtype=float).ravel()
        low, high = np.maximum(low, center - eps), np.minimum(high, center + eps)
    return (low, high) if (low <= high).all() else None


def demanded(nap, sizes):
    """The NAP as one array over all units: 1 active, -1 inactive, 0 free."""
    if nap is None:
        return np.zeros(sum(sizes), dtype=int)
    active, inactive = (
        torch.cat([m.flatten() for m in masks]).numpy() for masks in (nap.active, nap.inactive)
    )
    return active.astype(int) - inactive.astype(int)


class Gates:
    """A network whose ReLUs are switched by hand: with gates set, its units multiply by 0 or 1 instead."""

    def __init__(self, model, shape=(2,)):
        self.model, self.shape, self.gates, self.seen = copy.deepcopy(model).double(), shape, None, []
        for module in self.model.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_hook(self._switch)
        self.affine()
        self.sizes = [z.shape[1] for z in self.seen]

    def _switch(self, module, inputs, output):
        layer, z = len(self.seen), inputs[0]
        self.seen.append(z.flatten(1))
        return output if self.gates is None else z * self.gates[layer].reshape(z.shape[1:])

    def affine(self, pattern=None):
        """For fixed gates: (A, b) of all units' z = A x + b, one under the other, and of the outputs."""
        self.seen = []
        split = None if pattern is None else torch.tensor(pattern, dtype=torch.float64).split(self.sizes)
        self.gates = split
        x = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64).reshape(3, *self.shape)
        with torch.no_grad():
            out = self.model(x).flatten(1)
        z = torch.cat(self.seen, dim=1)
        return [((v[1:] - v[0]).T.numpy(), v[0].numpy()) for v in (z, out)]


def by_patterns(model, label, *, nap=None, bounds=(0.0, 1.0), center=None, eps=None, rivals=None, shape=(2,)):
    """margins[r] by one linear program for every activation pattern and rival."""
    gates = Gates(model, shape)
    rivals = _rivals(gates.affine()[1][1].size, label, rivals)
    margins = dict.fromkeys(rivals, -math.inf)
    corners, want = rectangle(bounds, center, eps), demanded(nap, gates.sizes)
    choices = [(0, 1) if w == 0 else (0,) if w < 0 else (1,) for w in want]
    for pattern in itertools.product(*choices) if corners is not None else ():
        (a, b), (a_out, b_out) = gates.affine(pattern)
        side = np.where(pattern, -1.0, 1.0)  # z >= 0 for the active, z <= 0 for the others
        for rival in rivals:
            found = linprog(
                a_out[label] - a_out[rival],
                A_ub=side[:, None] * a,
                b_ub=-side * b,
                bounds=np.stack(corners, 1),
            )
            if found.status == 2:
                break
            assert found.status == 0, found.message
            margins[rival] = max(margins[rival], b_out[rival] - b_out[label] - found.fun)
    return margins


def by_partition(
    model, label, *, nap=None, bounds=(0.0, 1.0), center=None, eps=None, rivals=None, shape=(2,)
):
    """The `Truth` from the corners of the exact regions whose inner point follows the pattern."""
    corners = rectangle(bounds, center, eps)
    plane = None
    if shape != (2,):  # the whole input space, as a plane in it
        axes = torch.eye(2, dtype=torch.float64).reshape(2, *shape)
        plane = Plane(torch.zeros(shape), *axes)
    if corners is None:
        n_out = model(torch.zeros(1, *shape, dtype=next(model.parameters()).dtype)).numel()
        return Truth(dict.fromkeys(_rivals(n_out, label, rivals), -math.inf), -math.inf, 0.0)
    cut = partition(model, tuple(zip(*(c.tolist() for c in corners), strict=True)), plane=plane)
    rivals = _rivals(cut.outputs.shape[1], label, rivals)
    inner = torch.from_numpy(cut.interior_points).reshape(-1, *shape)
    z = torch.cat(cut.network.pre_activations(inner), dim=1).numpy()
    want = demanded(nap, cut.network.units)
    inside = ((want <= 0) | (z > 0)).all(1) & ((want >= 0) | (z <= 0)).all(1)
    centre = cut.network(inner).numpy()
    margins, solid = {}, -math.inf
    for rival in rivals:
        at_corner, at_centre = (v[:, rival] - v[:, label] for v in (cut.outputs, centre))
        most = np.full(cut.n_regions + 1, -math.inf)  # the last stands for "outside the box", number -1
        for end in cut.edges.T:
            for face in cut.edge_faces.T:
                np.maximum.at(most, face, at_corner[end])
        margins[rival] = most[:-1][inside].max(initial=-math.inf)
        far = inside & (cut.areas > 1e-5)
        solid = max(solid, (0.98 * most[:-1] + 0.02 * at_centre)[far].max(initial=-math.inf))
    return Truth(margins, solid, float(cut.areas[inside].sum()))


def _rivals(n_out, label, rivals):
    return [k for k in range(n_out) if k != label] if rivals is None else list(rivals)
