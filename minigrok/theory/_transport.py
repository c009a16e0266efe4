"""Optimal transport: how far two samples are apart, and what a network's loss can differ by between them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import eye_array as eye
from scipy.sparse import kron, vstack
from scipy.spatial.distance import cdist

from minigrok.theory._checks import number

if TYPE_CHECKING:
    from minigrok.regions import Partition


def wasserstein(x: ArrayLike, y: ArrayLike) -> float:
    """The Wasserstein distance W1 between two samples: the cheapest way to carry one onto the other, exactly.

        W1 = min over couplings pi of sum_ij pi_ij |x_i - y_j| ,   pi >= 0, rows sum to 1/n, columns to 1/m

    with the Euclidean distance, every point of a sample weighing the same. In one dimension it is the area
    between the two distribution functions (for n = m: the mean distance of the sorted points). For n = m in
    more dimensions the best coupling is a permutation, found by `scipy.optimize.linear_sum_assignment`; for
    n not m it is a linear program with n m unknowns.

    Args:
        x: (n,) or (n, d).
        y: (m,) or (m, d).

    Returns:
        W1, in the unit of the points.

    Raises:
        ValueError: no points, samples of different dimension, NaN or infinity.

    Source: Hou et al. 2022 (arXiv 2211.01258) for the use made of it; couplings as permutations: Birkhoff.

    Example:
        >>> wasserstein([0.0, 1.0], [3.0, 1.0]), wasserstein([[0.0, 0.0]], [[3.0, 4.0]])
        (1.5, 5.0)

    Used in lesson 16.
    """
    x, y = _points("x", x), _points("y", y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"expected points of one dimension, got {x.shape[1]} and {y.shape[1]}")
    if x.shape[1] == 1:
        return _area_between(x[:, 0], y[:, 0])
    return transport_cost(cdist(x, y))


def transport_cost(cost: ArrayLike) -> float:
    """The cheapest transport for a table of costs: cost[i, j] takes point i of one sample to j of the other.

    Args:
        cost: (n, m), finite. All points of a sample weigh the same: 1/n and 1/m.

    Returns:
        The cost of carrying a weight of 1.

    Raises:
        ValueError: what is no finite table of costs.

    Example:
        >>> transport_cost([[0.0, 1.0], [1.0, 0.0]])
        0.0

    Used in lesson 16, through `transport_bound`.
    """
    cost = np.asarray(cost, dtype=np.float64)
    if cost.ndim != 2 or not cost.size or not np.isfinite(cost).all():
        raise ValueError(f"expected a finite table of costs (n, m), got the shape {cost.shape}")
    n, m = cost.shape
    if n == m:
        return float(cost[linear_sum_assignment(cost)].mean())
    rows, columns = kron(eye(n), np.ones((1, m))), kron(np.ones((1, n)), eye(m))
    weights = np.concatenate([np.full(n, 1 / n), np.full(m, 1 / m)])
    found = linprog(cost.ravel(), A_eq=vstack([rows, columns]).tocsr(), b_eq=weights, method="highs")
    if found.status != 0:
        raise RuntimeError(f"the linear program for {n} and {m} points was not solved: {found.message}")
    return float(found.fun)


def lipschitz(partition: "Partition") -> float:
    """The Lipschitz constant of a piecewise linear network on a window of the plane, exactly.

        L = max over regions of the spectral norm of the region's slope

    Between any two points of the window the straight line stays in it (a window is convex) and passes
    through regions one after another; on each the output moves at most L times the way. So |f(p) - f(q)| <=
    L |p - q|, and inside the steepest region, along its steepest direction, equality holds. It is local in
    the sense of Hou et al.: steep places outside the window do not count.

    Args:
        partition: of `minigrok.regions.partition`, on the plane or on a plane through input space (then L is
            that of the network on this plane only).

    Returns:
        L, in units of output per input.

    Raises:
        TypeError: something else.

    Example:
        >>> import torch
        >>> from minigrok import regions
        >>> fold = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[3.0, 4.0]]))
        >>> lipschitz(regions.partition(fold))
        5.0

    Used in lesson 16.
    """
    if not hasattr(partition, "slopes"):
        raise TypeError(f"expected a partition (minigrok.regions.partition), got {type(partition).__name__}")
    return float(np.linalg.norm(partition.slopes, ord=2, axis=(1, 2)).max())


def transport_bound(x: ArrayLike, y: ArrayLike, x_new: ArrayLike, y_new: ArrayLike, slope: float) -> float:
    """How far the mean loss on one labelled sample can be from that on another, for a network of given slope.

        |mean loss(A) - mean loss(B)| <= W1(A, B) for the distance  slope |x - x'| + |y - y'|

    for loss |f(x) - y| (Euclidean), or any loss(f(x), y) that moves by at most |u - u'| + |y - y'| when its
    arguments move from u, y to u', y'; f has |f(x) - f(x')| <= slope |x - x'|.

    Proof. For any coupling pi of A and B the difference of the means is sum_ij pi_ij (loss_i - loss_j).
    Each term is at most |f(x_i) - f(x_j)| + |y_i - y_j| <= slope |x_i - x_j| + |y_i - y_j|. This holds for
    every pi, so for the cheapest, whose cost is W1. (That the best such bound is W1 is Kantorovich's
    duality; only this easy half is needed.)

    With A the training set and B a fresh sample the left side is (an estimate of) the generalisation gap. A
    smaller slope lowers the bound; the part from |y - y'| stays, as noise in the labels does.

    Args:
        x, y: inputs (n,) or (n, d) and labels (n,) or (n, c) of A.
        x_new, y_new: those of B, m of them.
        slope: a Lipschitz constant of f, at least 0, on a convex set that holds all inputs; `lipschitz` has
            it for a network on a window.

    Returns:
        The bound, in the unit of the loss.

    Raises:
        ValueError: lengths or dimensions that do not fit, NaN, a negative slope.

    Source: Hou et al. 2022 (arXiv 2211.01258): the gap is at most (local) Lipschitz constant times
    Wasserstein distance; the metric on labelled points is chosen here.

    Example:
        >>> transport_bound([0.0, 1.0], [0.0, 0.0], [0.5, 1.5], [0.0, 0.0], slope=2.0)
        1.0

    Used in lesson 16.
    """
    number("slope", slope, 0)
    a, b = (_points("x", x), _points("y", y)), (_points("x_new", x_new), _points("y_new", y_new))
    for (inputs, labels), names in ((a, "x and y"), (b, "x_new and y_new")):
        if len(inputs) != len(labels):
            raise ValueError(
                f"expected as many labels as inputs in {names}, got {len(inputs)} and {len(labels)}"
            )
    for left, right, name in zip(a, b, ("inputs", "labels"), strict=True):
        if left.shape[1] != right.shape[1]:
            raise ValueError(f"expected {name} of one dimension, got {left.shape[1]} and {right.shape[1]}")
    return transport_cost(slope * cdist(a[0], b[0]) + cdist(a[1], b[1]))


def _points(name: str, values: ArrayLike) -> np.ndarray:
    points = np.asarray(values, dtype=np.float64)
    points = points[:, None] if points.ndim == 1 else points
    if points.ndim != 2 or not points.size or not np.isfinite(points).all():
        raise ValueError(
            f"expected {name} as finite points (n,) or (n, d), at least one; got shape {np.shape(values)}"
        )
    return points


def _area_between(x: np.ndarray, y: np.ndarray) -> float:
    """The integral of |F_x - F_y|, a step function between the points of both samples."""
    ends = np.sort(np.concatenate([x, y]))
    below_x = np.searchsorted(np.sort(x), ends[:-1], side="right") / len(x)
    below_y = np.searchsorted(np.sort(y), ends[:-1], side="right") / len(y)
    return float(np.abs(below_x - below_y) @ np.diff(ends))
