"""The checks of lesson 16, The works around the papers."""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from minigrok.course.exercises import call, expect_array, expect_close, expect_number, passed


def heaps_and_holes(*, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The class's own samples for exercise 16.1: the places of 60 heaps and 60 holes, in no order.

    >>> heaps, holes = heaps_and_holes(seed=0)
    >>> heaps.shape, holes.shape
    ((60,), (60,))

    Used in lesson 16.
    """
    r = np.random.default_rng([16, seed])
    return r.normal(size=60), 2 * r.normal(size=60) + 0.3


def sand(distance: object, *, seed: int = 0) -> None:
    """`distance` is the cost of the best of all pairings, found by trying them as an assignment."""
    got, (x, y) = expect_number(distance, "distance"), heaps_and_holes(seed=seed)
    far = np.abs(x[:, None] - y)
    best = far[linear_sum_assignment(far)]
    squared = np.square(np.sort(x) - np.sort(y)).mean()
    mistakes = {
        "you paired heaps and holes in the order in which they came": np.abs(x - y).mean(),
        "that is the distance of the two means; what is carried left and right must not cancel": abs(
            x.mean() - y.mean()
        ),
        "every heap went to its nearest hole: then some holes are filled twice": far.min(axis=1).mean(),
        "every hole took its nearest heap: then some heaps are used twice": far.min(axis=0).mean(),
        "each heap took the nearest hole that was left; the last ones then have far to go": _greedy(far),
        "the smallest went to the largest; which hole should the smallest take?": np.abs(
            np.sort(x) - np.sort(y)[::-1]
        ).mean(),
        "that is the sum; the mean was asked for": best.sum(),
        "that is the median; the mean was asked for": np.median(np.abs(np.sort(x) - np.sort(y))),
        "that is the longest way; the mean was asked for": np.abs(np.sort(x) - np.sort(y)).max(),
        "that is the mean over all pairs; each heap goes to one hole only": far.mean(),
        "distances count as they are, not squared": squared,
        "distances count as they are, not squared and not with a root": np.sqrt(squared),
        "the heaps are sorted and the holes are not": np.abs(np.sort(x) - y).mean(),
        "the holes are sorted and the heaps are not": np.abs(x - np.sort(y)).mean(),
    }
    expect_close(got, best.mean(), "distance", rtol=1e-3, mistakes=mistakes)
    passed("no pairing of heaps and holes is cheaper")


def _greedy(far: np.ndarray) -> float:
    left, cost = list(range(len(far))), 0.0
    for row in far:
        nearest = min(left, key=lambda j: row[j])
        left.remove(nearest)
        cost += row[nearest]
    return cost / len(far)


def counterfactual(function: Callable) -> None:
    """`counterfactual_distance(h, w, answers)` compares w with the least-squares readout."""
    for n, k, p, seed in [(60, 4, 3, 0), (40, 9, 5, 1), (25, 2, 7, 2)]:
        g = torch.Generator().manual_seed(seed)
        h = torch.rand(n, k, generator=g, dtype=torch.float64)
        w, other = torch.randn(2, p, k, generator=g, dtype=torch.float64)
        answers = h @ (w + other).T + torch.randn(n, p, generator=g, dtype=torch.float64)
        got = expect_number(call(function, h, w, answers), "the distance")
        v = (torch.linalg.inv(h.T @ h) @ h.T @ answers).T  # the normal equations
        ours = h @ w.T
        rows = torch.cosine_similarity(v, w, dim=1)
        mistakes = {
            "that is the cosine; the distance is 1 minus it": _cosine(v, w),
            "the answers are compared, not the readouts that give them": 1 - _cosine(ours, answers),
            "the cosine is taken row by row and averaged; take all entries together": 1 - rows.mean(),
            "that is the product of the two readouts, not divided by their lengths": 1 - (v * w).sum(),
            "the length of a matrix is the root of the sum of the squares of all its entries": 1
            - (v * w).sum() / torch.linalg.matrix_norm(v, 2) / torch.linalg.matrix_norm(w, 2),
            "the two are flattened in different orders: v is the transpose of what lstsq solves for": 1
            - _cosine(v.T.flatten(), w.flatten()),
            "the cosine is taken column by column and averaged; take all entries together": 1
            - torch.cosine_similarity(v, w, dim=0).mean(),
            "that is the length of the difference; a cosine distance does not see the lengths": (
                v - w
            ).norm(),
            "that is the product of h and the answers; least squares divides by h.T h, too": 1
            - _cosine((h.T @ answers).T, w),
        }
        expect_close(got, 1 - _cosine(v, w), "the distance", mistakes=mistakes)
    _sees_itself(function)
    passed("two networks that share no unit can be compared")


def _sees_itself(function: Callable) -> None:
    g = torch.Generator().manual_seed(9)
    h, w = torch.randn(30, 6, generator=g).double(), torch.randn(4, 6, generator=g).double()
    got = expect_number(call(function, h, w, 3 * h @ w.T), "the distance")
    expect_close(got, 0.0, "the distance of a network from its own answers, times 3")
    got = expect_number(call(function, h, w, -3 * h @ w.T), "the distance")
    expect_close(got, 2.0, "the distance of a network from its own answers with the sign turned, which is 2")


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum() / a.norm() / b.norm()


def moved(function: Callable) -> None:
    """`moved(h, w, cut)` is the mean KL of the answers before and after."""
    for n, k, p, size, seed in [(8, 5, 3, 1.0, 0), (20, 6, 4, 3.0, 1), (5, 4, 6, 2000.0, 2)]:
        g = torch.Generator().manual_seed(seed)
        h = torch.rand(n, k, generator=g, dtype=torch.float64)
        w = size * torch.randn(p, k, generator=g, dtype=torch.float64)
        cut = torch.rand(p, k, generator=g) < 0.3
        got = expect_number(call(function, h, w, cut), "the mean KL")
        before, after, kept = (h @ weights.T for weights in (w, w * ~cut, w * cut))
        right = _kl(before, after)
        mistakes = {
            "before and after are exchanged: the answers before the cut are the weights of the mean": _kl(
                after, before
            ).mean(),
            "you kept the entries of `cut` and set the others to zero": _kl(before, kept).mean(),
            "that is the sum over the examples; take their mean": right.sum(),
            "you took the mean over the classes, too: KL is a sum over them": right.mean() / p,
            "that is the logits' squared difference, not KL": (before - after).square().sum(-1).mean(),
            "natural logarithms were asked for, not those of base 2": right.mean() / np.log(2),
            "the softmax goes over the classes, the last axis": _kl(before.T, after.T).sum() / n,
            "that has the wrong sign: log p minus log q, not the other way": -right.mean(),
        }
        expect_close(got, right.mean(), "the mean KL", mistakes=mistakes)
    passed("you have measured how far one cut moves the answers, for large logits too")


def _kl(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """For each example, from logits: the difference of the largest is taken away first."""
    log_p, log_q = (z - torch.logsumexp(z, -1, keepdim=True) for z in (before, after))
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def apart(function: Callable) -> None:
    """`apart(a, b)` is |a - b| / |a| once each row's mean is taken away."""
    for n, p, seed in [(6, 3, 0), (15, 5, 1), (4, 31, 2)]:
        g = torch.Generator().manual_seed(seed)
        a, noise = torch.randn(2, n, p, generator=g, dtype=torch.float64)
        shift = torch.randn(2, n, 1, generator=g, dtype=torch.float64)
        a, b = 2 * a + shift[0], 2 * a + 0.7 * noise + shift[1]
        got = expect_number(call(function, a, b), "the distance")
        ca, cb = (z - z.mean(-1, keepdim=True) for z in (a, b))
        over_rows = (ca - cb).norm(dim=-1) / ca.norm(dim=-1)
        mistakes = {
            "the mean of each row is still there: take it away first": (a - b).norm() / a.norm(),
            "you took the mean over the examples away; take the one over the classes": _over_examples(a, b),
            "one length over everything was asked for, not the mean of one ratio each": over_rows.mean(),
            "you took one mean over everything away; every example has its own": (
                (a - a.mean()) - (b - b.mean())
            ).norm()
            / (a - a.mean()).norm(),
            "that is not divided by the length of a": (ca - cb).norm(),
            "divide by the length of a alone": (ca - cb).norm() / (ca.norm() + cb.norm()),
            "a length is the root of the sum of squares of all entries": torch.linalg.matrix_norm(ca - cb, 2)
            / torch.linalg.matrix_norm(ca, 2),
            "a length has squares and a root, not absolute values": (ca - cb).abs().sum() / ca.abs().sum(),
            "you divided by the length of b": (ca - cb).norm() / cb.norm(),
            "that is the square: take the root": ((ca - cb).norm() / ca.norm()) ** 2,
            "only one of the two had its mean taken away": (ca - b).norm() / ca.norm(),
            "the mean of each row of a is still there in the length that you divide by": (ca - cb).norm()
            / a.norm(),
        }
        expect_close(got, (ca - cb).norm() / ca.norm(), "the distance", mistakes=mistakes)
    passed("it sees whether two views are treated alike, and no shift of all logits")


def _over_examples(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = (z - z.mean(0, keepdim=True) for z in (a, b))
    return (a - b).norm() / a.norm()


def one_round(function: Callable) -> None:
    """`one_round(w, x)` is the mean of the points with their pseudo-labels."""
    for m, d, seed in [(30, 3, 0), (200, 2, 1), (10, 8, 2)]:
        r = np.random.default_rng([16, 5, seed])
        w, y = r.normal(size=d), r.choice([-1.0, 1.0], m)
        x = y[:, None] * np.eye(d)[0] + 0.8 * r.normal(size=(m, d))
        got = expect_array(call(function, w, x), (d,), "the classifier")
        sides = [x[x @ w > 0].sum(axis=0), x[x @ w <= 0].sum(axis=0)]
        mistakes = {
            "the labels are missing: points of both sides cancel": (sides[0] + sides[1]) / m,
            "that is the sum: take the mean": sides[0] - sides[1],
            "the length belongs to the answer: do not divide by it": (sides[0] - sides[1])
            / np.linalg.norm(sides[0] - sides[1]),
            "the old classifier is not added": w + (sides[0] - sides[1]) / m,
            "the old classifier is not mixed in": (w + (sides[0] - sides[1]) / m) / 2,
            "labels 0 and 1 leave one side out; they should be -1 and +1": sides[0] / m,
            "every point was turned to the wrong side": (sides[1] - sides[0]) / m,
            "w.x is used as it is; only its sign is the label": ((x @ w)[:, None] * x).mean(axis=0),
        }
        expect_close(got, (sides[0] - sides[1]) / m, "the classifier", mistakes=mistakes)
    passed("it has marked its own work")
