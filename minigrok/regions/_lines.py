"""What became of the units of a partition: which have a line in the window, and where the lines lie."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import KDTree

from minigrok.regions._partition import Partition, _lift

# Lines, curves and areas are cut in pieces of this part of the window's longer side.
_PIECE = 1 / 200


def unit_states(partition: Partition) -> np.ndarray:
    """What every unit does in the window: 0 if its line crosses it, 1 if it is always on, -1 if it is dead.

    A unit that is always on is active in all regions of the window, a dead one in none. Both are judged in
    this window alone: outside it they may have a line.

    Returns:
        (units,) int64, the units of layer 0 first.

    Example:
        >>> from minigrok import models
        >>> from minigrok.regions import partition
        >>> net = models.mlp([2, 3, 1])
        >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.0]] * 3))
        >>> _ = net[0].bias.data.copy_(torch.tensor([0.0, 5.0, -5.0]))  # x1 = 0, x1 = -5, x1 = 5
        >>> unit_states(partition(net))
        array([ 0,  1, -1])

    Used in lesson 02.
    """
    points = _lift(partition.plane, torch.from_numpy(partition.interior_points))
    with torch.no_grad():  # inside a region no unit changes its state, so one point of each tells all
        active = [z.flatten(1) > 0 for z in partition.network.pre_activations(points)]
    active = torch.cat(active, dim=1).numpy()
    return np.where(active.all(axis=0), 1, np.where(active.any(axis=0), 0, -1))


def lines_by_distance(
    partition: Partition, curve: np.ndarray, edges: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """How much line and how much area of the window lies at which distance from a curve.

        density of lines between edges[k] and edges[k + 1] = length[k] / area[k]

    A straight line that lies at random in a window has the same density everywhere, however many regions it
    makes. So the density shows where lines gather, and regions of all sizes count alike. Where several units
    share a line, it counts once.

    Args:
        partition: whose lines are measured (the border of the window is no line).
        curve: segments (S, 2, 2), such as the `decision_boundary` of this or of another partition.
        edges: (K + 1,) increasing distances; np.inf as the last takes all the rest.

    Returns:
        length (K,) and area (K,), in window coordinates. Distances are right to about 1/200 of the window's
        longer side, or better.

    Raises:
        ValueError: a curve without segments (a network may have no decision boundary in the window), or
            edges that do not increase.

    Example:
        >>> from minigrok import models
        >>> from minigrok.regions import partition
        >>> net = models.mlp([2, 1, 1])
        >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0, 0.0]])), net[0].bias.data.fill_(-0.25)
        >>> middle = np.array([[[0.0, -1.0], [0.0, 1.0]]])  # from bottom to top; the unit's line is x1 = 0.25
        >>> length, area = lines_by_distance(partition(net), middle, [0, 0.2, 0.3, np.inf])
        >>> length.round(2), area.round(1)
        (array([0., 2., 0.]), array([0.8, 0.4, 2.8]))

    Used in lessons 02 and 10.
    """
    curve, edges = _check(curve, edges)
    (x0, x1), (y0, y1) = partition.box
    piece = _PIECE * max(x1 - x0, y1 - y0)
    nearest = KDTree(_along(curve, piece / 2)[0])
    farthest = edges[np.isfinite(edges)].max()  # beyond it the search may stop: such distances come as inf
    lines = partition.vertices[partition.edges[partition.edge_neuron[:, 0] >= 0]]
    middles, lengths = _along(lines, piece)
    nx, ny = (max(1, round(side / piece)) for side in (x1 - x0, y1 - y0))
    x, y = x0 + (np.arange(nx) + 0.5) * (x1 - x0) / nx, y0 + (np.arange(ny) + 0.5) * (y1 - y0) / ny
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    to_lines, to_grid = (nearest.query(p, distance_upper_bound=farthest)[0] for p in (middles, grid))
    length = np.histogram(to_lines, edges, weights=lengths)[0]
    area = np.histogram(to_grid, edges)[0] * ((x1 - x0) * (y1 - y0) / len(grid))
    return length, area


def _check(curve: np.ndarray, edges: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    curve, edges = np.asarray(curve, dtype=float), np.asarray(edges, dtype=float)
    if curve.ndim != 3 or curve.shape[1:] != (2, 2):
        raise ValueError(f"expected a curve of segments (S, 2, 2), got the shape {curve.shape}.")
    if len(curve) == 0:
        raise ValueError("the curve has no segments: a network with one answer everywhere has no boundary.")
    if not np.isfinite(curve).all():
        raise ValueError("expected a curve of finite segments, got NaN or infinity.")
    rising = edges.ndim == 1 and len(edges) > 1 and (np.diff(edges) > 0).all()
    if not rising or not np.isfinite(edges[:-1]).all():
        raise ValueError(
            f"expected at least two increasing distances, got {edges.tolist()}. Only the last may be inf."
        )
    return curve, edges


def _along(segments: np.ndarray, piece: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut segments (S, 2, 2) in equal pieces, at most this long: their middles (M, 2) and lengths (M,)."""
    start, whole = segments[:, 0], segments[:, 1] - segments[:, 0]
    length = np.linalg.norm(whole, axis=1)
    n = np.ceil(length / piece).astype(int).clip(1)
    which = np.repeat(np.arange(len(n)), n)
    number = np.arange(len(which)) - np.repeat(np.cumsum(n) - n, n)
    share = (number + 0.5) / n[which]
    return start[which] + share[:, None] * whole[which], (length / n)[which]
