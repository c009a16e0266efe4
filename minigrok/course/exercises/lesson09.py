"""The checks of lesson 09, Is grokking robustness?"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import models
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def both_sides(function: Callable) -> None:
    """`both_sides(model, x)` is two numbers: the mean of ||df/dx||^2, and the lemma's bound on it."""
    for seed, widths in enumerate([(5, 8, 1), (3, 6, 6, 1), (9, 4, 1)]):
        model = models.mlp(list(widths), activation=nn.Tanh, scale=2.0, generator=_seeded(seed)).double()
        x = torch.randn(12, widths[0], generator=_seeded(10 + seed), dtype=torch.float64)
        got = call(function, model, x)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise ExerciseError(
                f"`both_sides` should return two numbers, left and right, got {type(got).__name__}"
            )
        left, right = (expect_number(value, name) for value, name in zip(got, ("left", "right"), strict=True))
        by_x, by_weight, w, lengths = _parts(model, x)
        flat = by_weight.reshape(len(x), -1)
        expect_close(
            left,
            np.mean(np.sum(by_x**2, 1)),
            "left",
            mistakes={
                "you averaged the gradients before you squared: square each sample's own": np.sum(
                    by_x.mean(0) ** 2
                ),
                "that is the mean length: square each length before the mean": np.mean(
                    np.linalg.norm(by_x, axis=1)
                ),
                "that is the sum over the samples: take the mean": np.sum(by_x**2),
                "you differentiated the mean of the outputs: take one output after the other": np.sum(by_x**2)
                / len(x) ** 3,
                "that is the right side: return left, then right": np.sum(w**2)
                / lengths.min() ** 2
                * np.mean(np.sum(by_weight**2, (1, 2))),
            },
        )
        mean = np.mean(np.sum(flat**2, 1))
        norm = np.sum(w**2)
        with_bias, everything = _longer_means(model, x)
        expect_close(
            right,
            norm / lengths.min() ** 2 * mean,
            "right",
            mistakes={
                "you averaged the gradients before you squared": norm
                / lengths.min() ** 2
                * np.sum(flat.mean(0) ** 2),
                "you differentiated the sum of the outputs: take one output after the other": norm
                / lengths.min() ** 2
                * np.sum(flat.sum(0) ** 2)
                / len(x),
                "that is the sum over the samples: take the mean": norm / lengths.min() ** 2 * mean * len(x),
                "divide by the squared length, do not multiply": norm * lengths.min() ** 2 * mean,
                "the length of the shortest input, one row of x: you took that of the whole x": norm
                / np.sum(lengths**2)
                * mean,
                "the length of the shortest input: you took the smallest entry of x": norm
                / x.abs().min().item() ** 2
                * mean,
                "that is the largest singular value of W1: the lemma has the Frobenius norm": np.linalg.norm(
                    w, 2
                )
                ** 2
                / lengths.min() ** 2
                * mean,
                "the shortest input belongs there, not the mean length": norm / lengths.mean() ** 2 * mean,
                "the shortest input belongs there, not the longest": norm / lengths.max() ** 2 * mean,
                "one length stands below the mean, the shortest: you divided each sample by its own": norm
                * np.mean(np.sum(flat**2, 1) / lengths**2),
                "the lemma has the gradient in W1 alone: you took that in all weights of the network": norm
                / lengths.min() ** 2
                * everything,
                "the lemma has the gradient in W1 alone: you took that in its bias as well": norm
                / lengths.min() ** 2
                * with_bias,
                "the norm of W1 is not squared": np.sqrt(norm) / lengths.min() ** 2 * mean,
                "the length of the input is not squared": norm / lengths.min() * mean,
                "the shortest input is missing": norm * mean,
            },
        )
    passed("both sides are right, and the left one is never larger")


def _parts(model: nn.Sequential, x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients in x (N, d) and in W1 (N, h, d) by central differences, W1, and the lengths of x."""
    weight, step = model[0].weight.detach().clone(), 1e-6

    def f(x: Tensor, weight: Tensor) -> Tensor:
        with torch.no_grad():
            h = x @ weight.T + model[0].bias
            for layer in model[1:]:
                h = layer(h)
            return h[:, 0]

    by_x = torch.stack(
        [(f(x + step * e, weight) - f(x - step * e, weight)) / (2 * step) for e in torch.eye(x.shape[1])], 1
    )
    units = torch.eye(weight.numel(), dtype=x.dtype).view(-1, *weight.shape)
    both = [(f(x, weight + step * u), f(x, weight - step * u)) for u in units]
    by_weight = torch.stack([(up - down) / (2 * step) for up, down in both], 1)
    lengths = x.norm(dim=1)
    return by_x.numpy(), by_weight.numpy().reshape(len(x), *weight.shape), weight.numpy(), lengths.numpy()


def _longer_means(model: nn.Sequential, x: Tensor) -> tuple[float, float]:
    """The mean squared gradient in the first layer with its bias, and in all weights and biases."""
    parts = [torch.autograd.grad(model(sample)[0], list(model.parameters())) for sample in x]
    squares = np.array([[part.square().sum().item() for part in row] for row in parts])
    return squares[:, :2].sum(1).mean(), squares.sum(1).mean()


def schedule_end(function: Callable) -> None:
    """`schedule_end(first, last)` is the training accuracy from which the noise does not fall any more."""
    for first, last in [(0.06, 0.03), (0.5, 0.4), (0.8, 0.2), (0.3, 0.3)]:
        got = expect_number(call(function, first, last), "the accuracy")
        mistakes = {
            "that is the share of the noise that is left: which accuracy belongs to it?": last / first,
            "that is how far sigma falls, not the accuracy at which it stops": first - last,
            "the fraction is upside down": 1 - first / last,
            "the sign is wrong": last / first - 1,
            "that is in percent: an accuracy lies between 0 and 1": 100 * (1 - last / first),
        }
        expect_close(got, 1 - last / first, "the accuracy", mistakes=mistakes)
    got = expect_number(call(function, 0.2, 0.4), "the accuracy")
    if got < 0:
        raise ExerciseError("an accuracy is not negative: where last is above first, the noise never falls")
    expect_close(got, 0.0, "the accuracy for first 0.2 and last 0.4", reveal=True)
    passed("in the paper's two settings it ends at half and at a fifth of the training set")


def symmetrised(function: Callable) -> None:
    """`symmetrised(x, y)`: the same pairs and the mirrors that are not among them, with their labels."""
    for seed, p in enumerate([4, 7]):
        x = torch.cartesian_prod(torch.arange(p), torch.arange(p))
        x = x[torch.randperm(p * p, generator=_seeded(seed))[: p * p // 2]]
        y = (3 * x[:, 0] * x[:, 1] + x.sum(1) ** 2 + 5) % p  # symmetric, and no sum
        got = call(function, x, y)
        if not isinstance(got, (tuple, list)) or len(got) != 2:
            raise ExerciseError(
                f"`symmetrised` should return two things, pairs and labels, got {type(got).__name__}"
            )
        pairs = expect_array(got[0], (None, 2), "the pairs")
        labels = expect_array(got[1], (len(pairs),), "the labels")
        label = {(a, b): c for (a, b), c in zip(x.tolist(), y.tolist(), strict=True)}
        due = label | {(b, a): c for (a, b), c in label.items()}
        _compare_sets([tuple(map(int, pair)) for pair in pairs], labels, label, due)
    passed("every pair has its mirror, once")


def _compare_sets(pairs: list, labels: np.ndarray, label: dict, due: dict) -> None:
    if not set(label) <= set(pairs):
        raise ExerciseError("some of the pairs you were given are missing: keep them all and add to them")
    if missing := sorted(set(due) - set(pairs)):
        raise ExerciseError(f"the mirror {missing[0]} is missing, though {missing[0][::-1]} is there")
    if extra := sorted(set(pairs) - set(due)):
        raise ExerciseError(f"the pair {extra[0]} is neither a given one nor the mirror of one")
    twice = sorted(pair for pair in set(pairs) if pairs.count(pair) > 1)
    if twice and twice[0][0] == twice[0][1]:
        raise ExerciseError(f"{twice[0]} is there twice: it is its own mirror")
    if twice:
        raise ExerciseError(f"{twice[0]} is there twice: its mirror was in the set already")
    for pair, got in zip(pairs, labels, strict=True):
        if got != due[pair]:
            raise ExerciseError(f"{pair} has a wrong label: a mirror has the label of its pair, in its order")


def class_table(*, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The answers of the class's network to the table modulo 97, and which pairs it was trained on.

    Trained pairs are right, hidden ones by chance only; a share of the hidden ones, which is the class's own,
    has the same answer in both orders.
    """
    random, p = np.random.default_rng([9, seed]), 97
    trained = random.random((p, p)) < random.uniform(0.3, 0.6)
    numbers = np.arange(p)
    truth, said = (numbers[:, None] + numbers) % p, random.integers(p, size=(p, p))
    alike = np.triu(random.random((p, p)) < random.uniform(0.15, 0.85))
    said = np.where(alike | alike.T, np.minimum(said, said.T), said)
    return torch.from_numpy(np.where(trained, truth, said)), torch.from_numpy(trained)


def agreement(answer: float, *, seed: int = 0) -> None:
    """How often f(a,b) = f(b,a) in the class's table, over pairs of two numbers, neither order trained."""
    answers, trained = class_table(seed=seed)
    same, off = answers == answers.T, ~torch.eye(len(answers), dtype=torch.bool)

    def share(where: Tensor, same: Tensor = same) -> float:
        return same[where].double().mean().item()

    right = share(~trained & ~trained.T & off)
    mistakes = {
        "the pairs (a, a) are in it: they agree with themselves": share(~trained & ~trained.T),
        "that is over all hidden pairs, but the mirror of some was trained": share(~trained & off),
        "that is over all hidden pairs and the pairs (a, a) too": share(~trained),
        "that is the abelian test on training pairs": share(trained),
        "even where the mirror is hidden, one of the two orders was trained": share(trained & ~trained.T),
        "both orders must be hidden, not one of them": share(~(trained & trained.T) & off),
        "you divided by the whole table: divide by the pairs that count": (
            (same & ~trained & ~trained.T & off).double().mean().item()
        ),
        "that is over the whole table": share(torch.ones_like(trained)),
        "that is the share that disagrees": 1 - right,
        "those pairs were trained in both orders": share(trained & trained.T & off),
        "that is in percent: a share lies between 0 and 1": 100 * right,
        "that is how many pairs agree: divide by the number of pairs that count": (
            (same & ~trained & ~trained.T & off).sum().item()
        ),
        "you counted the pairs that agree once, and all pairs in both orders": right / 2,
    }
    expect_close(expect_number(answer, "agreement"), right, "agreement", atol=5e-4, mistakes=mistakes)
    passed("only pairs that were trained in neither order")


def entropy(function: Callable) -> None:
    """`entropy(features)` is -tr((R/n) log(R/n)) of the Gram matrix R of the rows scaled to length 1."""
    for seed, (n, d) in enumerate([(6, 3), (9, 20), (12, 12)]):
        z = torch.randn(n, d, generator=_seeded(seed), dtype=torch.float64) * (1 + torch.arange(n))[:, None]
        got = expect_number(call(function, z), "the entropy")
        unit = z / z.norm(dim=1, keepdim=True)
        raw = z / z.norm()  # one factor for all rows: trace 1 too
        right = _entropy(unit @ unit.T / n)
        mistakes = {
            "that is in bits: take the natural logarithm": right / np.log(2),
            "that is log n: the logarithm of a matrix is not that of its entries, use the eigenvalues": (
                np.log(n)
            ),
            "you scaled the columns to length 1: scale each row": _entropy(
                torch.nn.functional.normalize(z, dim=0) @ torch.nn.functional.normalize(z, dim=0).T / n
            ),
            "every row should have length 1 by itself": _entropy(raw @ raw.T),
            "the Gram matrix has one row for each sample, z z^T: yours has one for each feature": _entropy(
                torch.nn.functional.normalize(z, dim=0).T @ torch.nn.functional.normalize(z, dim=0) / d
            ),
            "the sign is wrong": -right,
            "R is to be divided by n, so that its eigenvalues add up to 1": _entropy(unit @ unit.T),
        }
        expect_close(got, right, "the entropy", mistakes=mistakes)
    one = expect_number(call(function, torch.ones(5, 3, dtype=torch.float64)), "the entropy of equal rows")
    expect_close(one, 0.0, "the entropy of equal rows", atol=1e-6, reveal=True)
    passed("0 for one direction, log n for n orthogonal ones, and right between")


def _entropy(shares: Tensor) -> float:
    values = torch.linalg.eigvalsh(shares).clamp(min=1e-300)
    return -(values * values.log()).sum().item()


def associativity(function: Callable) -> None:
    """`associativity(answers, trained)`: the share of untrained triples with f(f(a,b),c) = f(a,f(b,c))."""
    for seed, p in enumerate([5, 8]):
        generator = _seeded(40 + seed)
        answers = torch.cartesian_prod(torch.arange(p), torch.arange(p)).sum(1).view(p, p) % p
        wrong = torch.rand(p, p, generator=generator) < 0.3
        answers = torch.where(wrong, torch.randint(p, (p, p), generator=generator), answers)
        trained = torch.rand(p, p, generator=generator) < 0.3
        got = expect_number(call(function, answers, trained), "the share")
        equal, used = _triples(answers.tolist(), trained.tolist())
        swapped, _ = _triples(answers.T.tolist(), trained.T.tolist())
        hidden = ~used.any(axis=1)
        mistakes = {
            "that is over all triples: leave out those that use a trained pair": equal.mean(),
            "the two outer steps may be trained pairs too: (f(a,b), c) and (a, f(b,c))": (
                equal[~used[:, :2].any(axis=1)].mean()
            ),
            "the two inner steps may be trained pairs too: (a, b) and (b, c)": (
                equal[~used[:, 2:].any(axis=1)].mean()
            ),
            "one trained pair of the four is enough to leave a triple out": (equal[~used.all(axis=1)].mean()),
            "that is the share of triples that use no trained pair": hidden.mean(),
            "equal *and* hidden, divided by all triples: divide by the hidden ones": (equal & hidden).mean(),
            "a and b are exchanged somewhere: f(a, b) stands in row a and column b": swapped.mean(),
        }
        expect_close(got, equal[hidden].mean(), "the share", mistakes=mistakes)
    passed("brackets moved, memory left out")


def _triples(answers: list, trained: list) -> tuple[np.ndarray, np.ndarray]:
    """For all triples: are both sides equal, and which of the four pairs, inner and outer, are trained."""
    equal, used = [], []
    for a, b, c in np.ndindex(*[len(answers)] * 3):
        ab, bc = answers[a][b], answers[b][c]
        equal.append(answers[ab][c] == answers[a][bc])
        used.append((trained[a][b], trained[b][c], trained[ab][c], trained[a][bc]))
    return np.array(equal), np.array(used)
