"""The exact partition of a plane into the linear regions of a network.

One planar complex is shared by all: vertices, edges, and for every edge the face on its left and on its
right. Units cut it one after another. A layer's pre-activations are affine on every face that the layers
before have made, so their values at the vertices decide everything: edges whose ends have different signs
are cut by interpolation, and every face with two such cuts gets a chord. All of it is array work over
edges; no polygon is ever handled alone.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from minigrok.networks import Network, trace

Box = tuple[tuple[float, float], tuple[float, float]]

# A vertex this close to a unit's line lies on it. Pre-activations are measured by what each reaches in the
# window, and this is relative to the layer's largest at that vertex.
_ON_THE_LINE = 1e-13
# Rounding of a pre-activation, relative to what it reaches in the window.
_ROUNDING = 1e-15
# A complex of more faces is cut in pieces of about a quarter of this, which stay in the processor's cache.
_PIECE = 8000


@dataclass(frozen=True)
class Plane:
    """A plane through input space: the points origin + s * u + t * v, with u and v orthonormal.

    Example:
        >>> plane = Plane.through(torch.zeros(784), torch.eye(784)[0], torch.eye(784)[1])
        >>> plane.lift([[0.5, 0.25]]).shape
        torch.Size([1, 784])

    Used in lessons 03, 08, 10 and 11.
    """

    origin: Tensor  # (*input_shape), float64
    u: Tensor
    v: Tensor

    def __post_init__(self) -> None:
        for name in ("origin", "u", "v"):
            vector = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float64, copy=True)
            object.__setattr__(self, name, vector)
        if not self.u.shape == self.v.shape == self.origin.shape:
            shapes = ", ".join(str(tuple(x.shape)) for x in (self.origin, self.u, self.v))
            raise ValueError(f"expected origin, u and v of one shape, got {shapes}.")
        frame = torch.stack([self.u, self.v]).flatten(1)
        if not (frame @ frame.T - torch.eye(2)).abs().max() < 1e-6:
            raise ValueError("expected orthonormal u and v. Plane.through(x0, x1, x2) makes them.")

    @classmethod
    def through(cls, x0: Tensor, x1: Tensor, x2: Tensor) -> "Plane":
        """The plane through three inputs of one shape; x0 is its origin and u points to x1.

        Raises:
            ValueError: if the three lie on one line (to rounding), differ in shape, or hold NaN.

        Used in lesson 03.
        """
        x0, x1, x2 = (torch.as_tensor(x).detach().to("cpu", torch.float64) for x in (x0, x1, x2))
        if not x0.shape == x1.shape == x2.shape:
            shapes = ", ".join(str(tuple(x.shape)) for x in (x0, x1, x2))
            raise ValueError(f"expected three inputs of one shape, got {shapes}.")
        if not torch.isfinite(torch.stack([x0, x1, x2])).all():
            raise ValueError("expected finite inputs, got NaN or infinity. Check the data first.")
        first, second = x1 - x0, x2 - x0
        u = first / first.norm().clamp_min(torch.finfo(torch.float64).tiny)
        rest = second - (second * u).sum() * u
        if not first.norm() > 0 or not rest.norm() > 1e-9 * second.norm():
            raise ValueError(
                "the three points lie on one line, which spans no plane. Move one of them off it."
            )
        return cls(x0, u, rest / rest.norm())

    def lift(self, points: object) -> Tensor:
        """Take plane coordinates (N, 2) to inputs (N, *input_shape)."""
        points = torch.as_tensor(points, dtype=torch.float64)
        if points.dim() != 2 or points.shape[1] != 2:
            raise ValueError(f"expected plane coordinates (N, 2), got {tuple(points.shape)}.")
        frame = torch.stack([self.u, self.v])
        return self.origin + (points @ frame.flatten(1)).reshape(-1, *self.origin.shape)

    def coordinates(self, x: Tensor) -> Tensor:
        """Project inputs (N, *input_shape) onto the plane: coordinates (N, 2)."""
        x = torch.as_tensor(x).to("cpu", torch.float64)
        if x.shape[1:] != self.origin.shape or x.dim() != self.origin.dim() + 1:
            wanted = ", ".join(["N", *map(str, self.origin.shape)])
            raise ValueError(f"expected inputs ({wanted}) as the plane has them, got {tuple(x.shape)}.")
        return (x - self.origin).flatten(1) @ torch.stack([self.u, self.v]).flatten(1).T


@dataclass(frozen=True, eq=False, repr=False)
class Partition:
    """The linear regions of a network in a window of the plane, as a planar complex. Arrays are NumPy's.

    Attributes:
        vertices: (V, 2) float64, coordinates in the window.
        edges: (E, 2) int64, the two ends of every edge.
        edge_neuron: (E, 2) int64, the (layer, unit) whose line the edge lies on; (-1, -1) on the border.
        edge_faces: (E, 2) int64, the regions on the left and right of the edge; -1 outside the window.
        outputs: (V, n_out) float64, the network's output at the vertices.
        n_regions: F, the number of regions: maximal pieces on which every unit keeps its sign.

    Two neighbouring regions differ in the state of at least one unit. (They may still share one affine map,
    where that unit has no effect on the output.)
    """

    vertices: np.ndarray
    edges: np.ndarray
    edge_neuron: np.ndarray
    edge_faces: np.ndarray
    outputs: np.ndarray
    n_regions: int
    box: Box
    plane: Plane | None
    network: Network = field(repr=False)

    def __repr__(self) -> str:
        return f"Partition({self.n_regions} regions, box={self.box})"

    @property
    def euler(self) -> int:
        """V - E + F, which is 1 for every consistent partition of a window."""
        return len(self.vertices) - len(self.edges) + self.n_regions

    @cached_property
    def _half_edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Face, start and end of every half-edge, faces in order, each walked counter-clockwise."""
        face = self.edge_faces.T.ravel()
        start, end = self.edges.T.ravel(), self.edges[:, ::-1].T.ravel()
        inside = face >= 0
        order = np.argsort(face[inside], kind="stable")
        return tuple(a[inside][order] for a in (face, start, end))

    @cached_property
    def _cycles(self) -> np.ndarray:
        """Every face's vertices one after another in counter-clockwise order (one entry per half-edge)."""
        face, start, end = self._half_edges
        key = face * len(self.vertices)
        order = np.argsort(key + start)
        following = order[np.searchsorted(key + start, key + end, sorter=order)]
        first = np.searchsorted(face, np.arange(self.n_regions))
        steps = np.full(len(face), -1)  # how far a half-edge is from its face's first one
        at, position = first, 0
        while len(at):
            steps[at] = position
            at, position = following[at], position + 1
            at = at[steps[at] < 0]
        cycles = np.empty(len(face), dtype=np.int64)
        cycles[first[face] + steps] = start
        return cycles

    def polygons(self) -> list[np.ndarray]:
        """The corners (k, 2) of every region, counter-clockwise, with the vertices that lie on its sides."""
        ends = np.cumsum(np.bincount(self._half_edges[0], minlength=self.n_regions))
        return np.split(self.vertices[self._cycles], ends[:-1])

    @cached_property
    def interior_points(self) -> np.ndarray:
        """One point (F, 2) strictly inside every region: the mean of its vertices."""
        face, start, _ = self._half_edges
        count = np.bincount(face, minlength=self.n_regions)
        xy = [np.bincount(face, self.vertices[start, k], self.n_regions) / count for k in (0, 1)]
        return np.stack(xy, axis=1)

    @cached_property
    def areas(self) -> np.ndarray:
        """The area (F,) of every region, in window coordinates (shoelace formula about an inner point)."""
        face, start, end = self._half_edges
        centre = self.interior_points[face]
        (x0, y0), (x1, y1) = (self.vertices[start] - centre).T, (self.vertices[end] - centre).T
        return np.bincount(face, (x0 * y1 - x1 * y0) / 2, self.n_regions)

    @cached_property
    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        points = torch.from_numpy(self.interior_points)
        directions = _lift(self.plane, torch.eye(2, dtype=torch.float64)) - _lift(
            self.plane, torch.zeros(1, 2)
        )
        chunks = [self.network.linearise(_lift(self.plane, p), directions) for p in points.split(4096)]
        values, slopes = (torch.cat(parts).numpy() for parts in zip(*chunks, strict=True))
        return slopes, values - np.einsum("fok,fk->fo", slopes, self.interior_points)

    @property
    def slopes(self) -> np.ndarray:
        """The gradient of every output in every region, (F, n_out, 2): f(p) = slopes @ p + offsets there."""
        return self._affine[0]

    @property
    def offsets(self) -> np.ndarray:
        """The constant of every region's affine map, (F, n_out)."""
        return self._affine[1]

    @cached_property
    def decision_boundary(self) -> np.ndarray:
        """Where the largest output changes: segments (S, 2, 2) from end to end, exact inside every region.

        With one output: where it changes its sign. In a region all outputs are affine, so the boundary
        between two classes is a straight segment there, cut short where a third class is larger.
        """
        return _decision_boundary(self)


def partition(
    model: nn.Module, box: Box = ((-1.0, 1.0), (-1.0, 1.0)), *, plane: Plane | None = None
) -> Partition:
    """Cut a window of the plane into the linear regions of a network, exactly.

    A region is a maximal polygon on which every unit keeps its sign; the network is affine there. A unit at
    zero counts as inactive. Lines closer than about 1e-13 of a unit's own scale are taken as one, so that
    lines through a common point make no slivers.

    Args:
        model: any network `networks.trace` understands. With `plane=None` its input is (N, 2).
        box: ((x_min, x_max), (y_min, y_max)), in the plane's coordinates.
        plane: a `Plane` through the input space of a bigger network.

    Returns:
        A `Partition` (NumPy arrays, float64).

    Raises:
        ValueError: a box without area, a network that is not piecewise linear, inputs of another shape.

    Source: the partition of Humayun et al. 2023 (SplineCam) and Berzins 2023 (edge subdivision), here with
    signs of three values.

    Example:
        >>> line = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
        >>> _ = line[0].weight.data.copy_(torch.tensor([[1.0, 1.0]])), line[0].bias.data.zero_()
        >>> cut = partition(line)
        >>> cut.n_regions, cut.euler, cut.areas.tolist()
        (2, 1, [2.0, 2.0])

    Used in most lessons.
    """
    box, plane = _check_box(box), _check_plane(plane)
    shape = (2,) if plane is None else tuple(plane.origin.shape)
    network = trace(_on_cpu(model), shape, dtype=torch.float64)
    try:
        mesh = _cut_window(network, box, plane, largest=_PIECE)
    except _Mismatch:  # by rounding; slower in one piece, but then there is nothing to match
        mesh = _cut_window(network, box, plane, largest=None)
    layer, unit = _layer_and_unit(mesh.maker, network.units)
    return Partition(
        vertices=mesh.points,
        edges=np.stack([mesh.tail, mesh.head], axis=1),
        edge_neuron=np.stack([layer, unit], axis=1),
        edge_faces=np.stack([mesh.left, mesh.right], axis=1) - 1,
        outputs=mesh.outputs,
        n_regions=mesh.n_faces - 1,
        box=box,
        plane=plane,
        network=network,
    )


def _check_box(box: Box) -> Box:
    try:
        (x0, x1), (y0, y1) = ((float(a), float(b)) for a, b in box)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected box=((x_min, x_max), (y_min, y_max)), got {box!r}.") from error
    if not np.isfinite([x0, x1, y0, y1]).all() or not (x0 < x1 and y0 < y1):
        raise ValueError(
            f"the box {box!r} has no area. Give ((x_min, x_max), (y_min, y_max)) with x_min < x_max."
        )
    return (x0, x1), (y0, y1)


def _check_plane(plane: Plane | None) -> Plane | None:
    if plane is not None and not isinstance(plane, Plane):
        raise TypeError(f"expected a Plane, got {type(plane).__name__}. Plane.through(x0, x1, x2) makes one.")
    return plane


def _lift(plane: Plane | None, points: Tensor) -> Tensor:
    return points.clone() if plane is None else plane.lift(points)


def _on_cpu(model: nn.Module) -> nn.Module:
    if not isinstance(model, nn.Module) or all(p.device.type == "cpu" for p in model.parameters()):
        return model  # `trace` refuses what is no module
    return copy.deepcopy(model).to("cpu")


def _unit_scales(network: Network, box: Box, plane: Plane | None) -> list[np.ndarray]:
    """What the pre-activation of every unit reaches on a coarse grid: what "close to zero" is relative to.

    Where it is a small difference of large numbers, these count: float32's error, over float32's epsilon.
    """
    grid = torch.cartesian_prod(*[torch.linspace(*side, 9, dtype=torch.float64) for side in box])
    rough, grid = network.to(torch.float32), _lift(plane, grid)
    scales, epsilon = [], torch.finfo(torch.float32).eps
    for z, approximate in zip(network.pre_activations(grid), rough.pre_activations(grid), strict=True):
        error = torch.nan_to_num((z - approximate).abs() / epsilon, nan=0.0, posinf=0.0)
        scales.append(torch.maximum(z.abs(), error).amax(0).numpy())
    return scales


def _layer_and_unit(maker: np.ndarray, units: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Split the running number of a unit (-1: the border) into (layer, unit)."""
    firsts = np.concatenate([[0], np.cumsum(units)]).astype(np.int64)
    layer = np.searchsorted(firsts, maker, side="right") - 1
    return layer, np.where(maker < 0, -1, maker - firsts[np.maximum(layer, 0)])


def _cut_window(network: Network, box: Box, plane: Plane | None, largest: int | None) -> "_Mesh":
    mesh = _Mesh.window(box)
    values = {0: _lift(plane, torch.from_numpy(mesh.points))}
    with torch.no_grad():
        return _refine(mesh, values, network, _unit_scales(network, box, plane), largest)


def _refine(
    mesh: "_Mesh",
    values: dict[int, Tensor],
    network: Network,
    scales: list[np.ndarray],
    largest: int | None,
    begin: int = 0,
) -> "_Mesh":
    """Cut a complex by all layers behind step `begin`; piece by piece if it has more than `largest` faces."""
    for step in network.walk(values, begin):
        if largest and mesh.n_faces > largest:
            parts = []
            for part in mesh.pieces(4 * mesh.n_faces // largest):
                rows = {i: value[part.parent_vertices] for i, value in values.items()}
                parts.append(_refine(part, rows, network, scales, largest, begin=step.number - 1))
            return mesh.joined(parts)
        mesh.cut_layer(values, step.inputs[0], sum(network.units[: step.layer]), scales[step.layer])
    mesh.outputs = values[network.output].flatten(1).numpy()
    return mesh


class _Mismatch(Exception):
    """Two pieces cut a shared edge differently, by rounding."""


class _Mesh:
    """The growing complex. Face 0 is the outside. While a layer cuts, arrays have room; `n_*` of it is used.

    `origin` says from which edge of the complex, as it was handed in, an edge descends (-1: a new chord).
    """

    EDGE_ARRAYS = ("tail", "head", "left", "right", "maker", "origin")

    def __init__(self, points: np.ndarray, *edge_arrays: np.ndarray, n_faces: int):
        self.points, self.n_faces = points, n_faces
        for name, array in zip(self.EDGE_ARRAYS, edge_arrays, strict=True):
            setattr(self, name, array)
        self.n_vertices, self.n_edges = len(points), len(self.tail)
        self.outputs = None  # the network's output at the vertices, once all layers have cut
        self.parent_edges = self.parent_vertices = None  # where a piece lies in the complex it was taken from

    @classmethod
    def window(cls, box: Box) -> "_Mesh":
        (x0, x1), (y0, y1) = box
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        tail, inside, outside = np.arange(4), np.ones(4, np.int64), np.zeros(4, np.int64)
        return cls(
            corners, tail, np.array([1, 2, 3, 0]), inside, outside, outside - 1, tail.copy(), n_faces=2
        )

    def pieces(self, count: int) -> Iterator["_Mesh"]:
        """About `count` complexes of neighbouring faces; their `parent_*` say where they lie in this one."""
        corner = np.zeros(self.n_faces, dtype=np.int64)
        corner[self.left] = corner[self.right] = self.tail
        side = max(2, round(count**0.5))
        for column in np.array_split(np.argsort(self.points[corner[1:], 0]) + 1, side):
            by_height = column[np.argsort(self.points[corner[column], 1])]
            yield from (self._piece(block) for block in np.array_split(by_height, side) if len(block))

    def _piece(self, faces: np.ndarray) -> "_Mesh":
        number = np.zeros(self.n_faces, dtype=np.int64)
        number[faces] = np.arange(1, len(faces) + 1)
        left, right = number[self.left], number[self.right]
        edges = np.flatnonzero((left > 0) | (right > 0))
        ends = np.stack([self.tail[edges], self.head[edges]])
        vertices, ends = np.unique(ends, return_inverse=True)
        tail, head = ends.reshape(2, -1)
        sides, origin = (left[edges], right[edges]), np.arange(len(edges))
        piece = _Mesh(
            self.points[vertices],
            tail.copy(),
            head.copy(),
            *sides,
            self.maker[edges],
            origin,
            n_faces=len(faces) + 1,
        )
        piece.parent_edges, piece.parent_vertices = edges, vertices
        return piece

    def joined(self, parts: list["_Mesh"]) -> "_Mesh":
        """One complex again from refined pieces. Shared edges were cut alike on both sides: match them."""
        points, outputs, edges, n_faces = self._stacked(parts)
        keep, number = self._match(edges, points)
        tail, head = number[edges["tail"][keep]], number[edges["head"][keep]]
        used = np.arange(len(points)) < self.n_vertices
        used[tail] = used[head] = True
        rank = np.cumsum(used) - 1
        origin = edges["origin"][keep]
        origin = np.where(origin < 0, -1, self.origin[origin])
        left, right, maker = (edges[name][keep] for name in ("left", "right", "maker"))
        joined = _Mesh(points[used], rank[tail], rank[head], left, right, maker, origin, n_faces=n_faces)
        joined.outputs = outputs[used]
        joined.parent_edges, joined.parent_vertices = self.parent_edges, self.parent_vertices
        return joined

    def _stacked(self, parts: list["_Mesh"]) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], int]:
        """All pieces in one numbering, our vertices first; `origin` is now an edge of this complex."""
        points, outputs = [self.points], [np.zeros((self.n_vertices, parts[0].outputs.shape[1]))]
        columns, n_vertices, n_faces = [], self.n_vertices, 1
        for k, part in enumerate(parts):
            old, new = len(part.parent_vertices), part.n_vertices - len(part.parent_vertices)
            outputs[0][part.parent_vertices] = part.outputs[:old]
            points.append(part.points[old:])
            outputs.append(part.outputs[old:])
            number = np.concatenate([part.parent_vertices, np.arange(n_vertices, n_vertices + new)])
            face = np.arange(n_faces - 1, n_faces - 1 + part.n_faces)
            face[0] = 0
            origin = np.where(part.origin < 0, -1, part.parent_edges[part.origin])
            ends, sides = (number[part.tail], number[part.head]), (face[part.left], face[part.right])
            columns.append((*ends, *sides, part.maker, origin, np.full(part.n_edges, k)))
            n_vertices, n_faces = n_vertices + new, n_faces + part.n_faces - 1
        stacked = map(np.concatenate, zip(*columns, strict=True))
        edges = dict(zip((*self.EDGE_ARRAYS, "part"), stacked, strict=True))
        return np.concatenate(points), np.concatenate(outputs), edges, n_faces

    def _match(self, edges: dict[str, np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the edges that two pieces share; one of each pair takes over the other's face and stays.

        Returns which edges stay, and the number under which every vertex stays.
        """
        inherited = np.flatnonzero(edges["origin"] >= 0)
        origin, part = edges["origin"][inherited], edges["part"][inherited]
        a, b = self.points[self.tail[origin]], self.points[self.head[origin]]
        middle = points[edges["tail"][inherited]] + points[edges["head"][inherited]] - 2 * a
        along = (middle * (b - a)).sum(axis=1)
        order = np.lexsort((along, part, origin))
        origin, part, inherited = origin[order], part[order], inherited[order]
        new_group = np.flatnonzero(np.diff(origin, prepend=-1) | np.diff(part, prepend=-1))
        size = np.diff(new_group, append=len(origin))
        shared = np.flatnonzero(
            origin[new_group[1:]] == origin[new_group[:-1]]
        )  # group g and g + 1 are one edge
        if not (size[shared] == size[shared + 1]).all():
            raise _Mismatch
        first = np.repeat(new_group[shared] - np.cumsum(size[shared]) + size[shared], size[shared])
        first = first + np.arange(len(first))
        ours, theirs = inherited[first], inherited[first + np.repeat(size[shared], size[shared])]
        for side in ("left", "right"):
            edges[side][ours] += edges[side][theirs]  # one of the two is 0, the outside
        number = np.arange(len(points))
        for end in ("tail", "head"):
            number[edges[end][theirs]] = edges[end][ours]
        keep = np.ones(len(edges["tail"]), dtype=bool)
        keep[theirs] = False
        return keep, number

    def cut_layer(self, values: dict[int, Tensor], z: int, first_unit: int, scale: np.ndarray) -> None:
        """Cut by every unit of a layer; `values` (live in front of it, `z` its pre-activation) grow along."""
        order = [z, *(i for i in values if i != z)]
        shapes = [tuple(values[i].shape[1:]) for i in order]
        widths = [int(np.prod(shape)) for shape in shapes]
        flat = [values[i].numpy().reshape(self.n_vertices, w) for i, w in zip(order, widths, strict=True)]
        rows = np.concatenate(flat, axis=1)
        values.clear()
        self._open_layer(rows, widths[0], scale)
        for unit in range(widths[0]):
            signs = self.signs[unit]
            if signs[: self.n_vertices].min() < 0 < signs[: self.n_vertices].max():
                self._cut(unit, first_unit + unit)
        rows = torch.from_numpy(self.rows[: self.n_vertices])
        self.points = self.points[: self.n_vertices]
        for name in self.EDGE_ARRAYS:
            setattr(self, name, getattr(self, name)[: self.n_edges])
        for i, part, shape in zip(order, rows.split(widths, dim=1), shapes, strict=True):
            values[i] = part.reshape(self.n_vertices, *shape)
        del self.rows, self.signs, self.tolerance, self.scale

    def _open_layer(self, rows: np.ndarray, units: int, scale: np.ndarray) -> None:
        self.units, self.rows, self.scale = units, rows, scale
        per_unit = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        largest = (np.abs(rows[:, :units]) * per_unit).max(axis=1, initial=0.0)
        self.tolerance = _ON_THE_LINE * largest + _ROUNDING
        self.signs = np.empty((units, len(rows)), dtype=np.int8)
        self._settle(0, len(rows))

    def _settle(self, begin: int, end: int) -> None:
        """Give vertices begin:end their signs; a value within the tolerance is zero, exactly, from now on."""
        for a in range(begin, end, 4096):  # in pieces that stay in the cache
            z = self.rows[a : min(a + 4096, end), : self.units]
            z[np.abs(z) <= self.tolerance[a : a + len(z), None] * self.scale] = 0.0
            self.signs[:, a : a + len(z)] = ((z > 0).view(np.int8) - (z < 0).view(np.int8)).T

    def _cut(self, unit: int, maker: int) -> None:
        signs, n = self.signs[unit], self.n_edges
        s0, s1 = signs.take(self.tail[:n]), signs.take(self.head[:n])
        crossed = np.flatnonzero(s0 * s1 < 0)
        s0, s1 = np.append(s0, np.zeros(len(crossed), np.int8)), np.append(s1, s1[crossed])
        s1[crossed] = 0
        self._split_edges(crossed, unit)
        self._split_faces(s0, s1, maker)

    def _split_edges(self, crossed: np.ndarray, unit: int) -> None:
        """Put a new vertex on every crossed edge, where the unit's value is zero."""
        k, v = len(crossed), self.n_vertices
        self._grow_vertices(v + k)
        a, b = self.tail[crossed], self.head[crossed]
        za, zb = self.rows[a, unit], self.rows[b, unit]
        t = (za / (za - zb))[:, None]
        for array in (self.points, self.rows):
            start = array[a]
            array[v : v + k] = start + t * (array[b] - start)
        self.rows[v : v + k, unit] = 0.0
        self.tolerance[v : v + k] = self.tolerance[a] + t[:, 0] * (self.tolerance[b] - self.tolerance[a])
        self._settle(v, v + k)
        new = np.arange(v, v + k)
        self.head[crossed] = new
        self._add_edges(new, b, self.left[crossed], self.right[crossed], self.maker[crossed],
                        self.origin[crossed])  # fmt: skip
        self.n_vertices = v + k

    def _split_faces(self, s0: np.ndarray, s1: np.ndarray, maker: int) -> None:
        """Give every face with vertices on both sides a chord; its negative side becomes a new face.

        Walk a face counter-clockwise: its positive vertices are one run, which begins behind a vertex at
        zero ("start") and ends in front of another ("stop"). The chord leads from stop to start.
        """
        total = s0 + s1  # 2, 1: positive side; 0: on the line; -1, -2: negative side
        plus, minus = np.flatnonzero(total == 1), np.flatnonzero(total == -1)
        tail_is_zero = s0[plus] == 0
        zero = np.where(tail_is_zero, self.tail[plus], self.head[plus])
        left, right = self.left[plus], self.right[plus]
        start = np.full(self.n_faces, -1)
        stop = np.full(self.n_faces, -1)
        start[np.where(tail_is_zero, left, right)] = zero
        stop[np.where(tail_is_zero, right, left)] = zero
        has_minus = np.zeros(self.n_faces, dtype=bool)
        has_minus[self.left[minus]] = has_minus[self.right[minus]] = True
        has_minus[0] = False  # the outside is never cut
        cut = np.flatnonzero(has_minus & (start >= 0) & (stop >= 0) & (start != stop))
        new = np.arange(self.n_faces, self.n_faces + len(cut))
        self._move_negative_side(total, cut, new)
        self._add_edges(stop[cut], start[cut], cut, new, maker, -1)
        self.n_faces += len(cut)

    def _move_negative_side(self, total: np.ndarray, cut: np.ndarray, new: np.ndarray) -> None:
        is_cut = np.zeros(self.n_faces, dtype=bool)
        is_cut[cut] = True
        becomes = np.zeros(self.n_faces, dtype=np.int64)
        becomes[cut] = new
        negative = total < 0
        for side in (self.left, self.right):
            side = side[: self.n_edges]
            moved = np.flatnonzero(is_cut.take(side) & negative)
            side[moved] = becomes[side[moved]]

    def _add_edges(self, *columns: object) -> None:
        """Append edges, given in the order of EDGE_ARRAYS (a number stands for all of them)."""
        begin, end = self.n_edges, self.n_edges + len(columns[0])
        for name, column in zip(self.EDGE_ARRAYS, columns, strict=True):
            if end > len(getattr(self, name)):
                setattr(self, name, _longer(getattr(self, name), end))
            getattr(self, name)[begin:end] = column
        self.n_edges = end

    def _grow_vertices(self, needed: int) -> None:
        if needed > len(self.points):
            self.points = _longer(self.points, needed)
        if needed > len(self.rows):
            self.rows, self.tolerance = _longer(self.rows, needed), _longer(self.tolerance, needed)
            signs = np.empty((self.units, len(self.rows)), dtype=np.int8)
            signs[:, : self.n_vertices] = self.signs[:, : self.n_vertices]
            self.signs = signs


def _longer(array: np.ndarray, needed: int) -> np.ndarray:
    """Room for `needed` rows and some more, grown in place where the system can: no second copy in memory."""
    if not array.flags.owndata:
        array = array.copy()
    array.resize((int(1.6 * needed) + 64, *array.shape[1:]), refcheck=False)
    return array


def _decision_boundary(p: Partition) -> np.ndarray:
    """Cut every face where two outputs are equal and no other is larger."""
    outputs = p.outputs if p.outputs.shape[1] > 1 else np.concatenate([p.outputs, 0 * p.outputs], axis=1)
    face, start, end = p._half_edges
    n_out, segments = outputs.shape[1], []
    winner = outputs.argmax(axis=1)
    lowest, highest = np.full(p.n_regions, n_out), np.full(p.n_regions, -1)
    np.minimum.at(lowest, face, winner[start])
    np.maximum.at(highest, face, winner[start])
    mixed = (lowest < highest)[face]  # a face whose corners agree is all of one class
    face, start, end = face[mixed], start[mixed], end[mixed]
    for i in range(n_out):
        for j in range(i + 1, n_out):
            segments.append(_between(p, outputs, i, j, face, start, end))
    return np.concatenate(segments) if segments else np.zeros((0, 2, 2))


def _between(
    p: Partition, outputs: np.ndarray, i: int, j: int, face: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """The segments where outputs i and j are equal and largest, at most one in every face."""
    gap = outputs[:, i] - outputs[:, j]
    up = (gap[start] > 0) & (gap[end] <= 0)
    down = (gap[start] <= 0) & (gap[end] > 0)
    ends = []
    for crossing in (up, down):  # each face of two sides has one of either; keep the faces in order
        f, a, b = face[crossing], start[crossing], end[crossing]
        t = (gap[a] / (gap[a] - gap[b]))[:, None]
        at = p.vertices[a] + t * (p.vertices[b] - p.vertices[a])
        values = outputs[a] + t * (outputs[b] - outputs[a])
        # Where two outputs cross, all may be nearly zero: what is rounding is judged by the corners.
        rounding = 1e-12 * np.maximum(np.abs(outputs[a]), np.abs(outputs[b])).max(axis=1, keepdims=True)
        lead = values[:, [i]] - values + rounding
        lead[:, [i, j]] = 1.0  # these two are equal all along
        ends.append((f, at, lead))
    common, first, second = np.intersect1d(ends[0][0], ends[1][0], return_indices=True)
    if not len(common):
        return np.zeros((0, 2, 2))
    (p0, lead0), (p1, lead1) = (
        (points[k], leads[k]) for (_, points, leads), k in zip(ends, (first, second), strict=True)
    )
    low, high = _all_ahead(lead0, lead1)
    kept = high > low
    step = (p1 - p0)[kept]
    return np.stack([p0[kept] + low[kept, None] * step, p0[kept] + high[kept, None] * step], axis=1)


def _all_ahead(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For which t in [low, high] no lead is negative, when leads (F, k) go linearly from start to end."""
    low, high = np.zeros(len(start)), np.ones(len(start))
    for a, b in zip(start.T, end.T, strict=True):
        t = a / np.where(a == b, 1.0, a - b)
        low = np.where((a < 0) & (b >= 0), np.maximum(low, t), low)
        high = np.where((a >= 0) & (b < 0), np.minimum(high, t), high)
        high = np.where((a < 0) & (b < 0), -1.0, high)
    return low, high
