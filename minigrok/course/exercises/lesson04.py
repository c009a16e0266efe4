"""The checks of lesson 04, The moment it clicks."""

import copy
import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from minigrok import data, models, training
from minigrok.course.exercises import (
    ExerciseError,
    call,
    expect_array,
    expect_close,
    expect_number,
    given,
    passed,
)
from minigrok.measures import inverse_participation

CLICK_BY = 750  # the lesson's own recipe takes about 1,000 steps
# What exercise 4.6 may change, and what the lesson took.
RECIPE = {"lr": 0.01, "weight_decay": 1.0, "betas": (0.9, 0.98), "scale": 1.0, "width": 128}


def _wave(k: Tensor, numbers: Tensor, p: int, phase: Tensor | float = 0.0) -> Tensor:
    """cos(2 pi k n / p + phase), (numbers, units)."""
    return torch.cos(2 * torch.pi / p * torch.outer(numbers, k) + phase)


def adding_network(function: Callable) -> None:
    """`adding_network(x, p, k, u, v)` is (N, p): a wave for each unit, squared, and a wave at the output."""
    for p, n, seed in [(7, 5, 0), (11, 40, 1), (13, 300, 2)]:
        generator = torch.Generator().manual_seed(seed)
        k = torch.randint(1, (p + 1) // 2, (n,), generator=generator).double()
        u, v = 2 * torch.pi * torch.rand(2, n, generator=generator, dtype=torch.float64)
        x = data.table("add", p)[0]
        got = expect_array(call(function, x, p, k, u, v), (p * p, p), "the logits")
        a, b, c = x[:, 0].double(), x[:, 1].double(), torch.arange(p).double()
        both = _wave(k, a, p, u) + _wave(k, b, p, v)
        votes = functools.partial(_wave, k, c, p)
        turned = torch.cos(torch.outer(a, k) + u) + torch.cos(torch.outer(b, k) + v)
        one_phase = _wave(k, a, p, u) + _wave(k, b, p, u)
        mistakes = {
            "the square is missing: without it no product of the two waves arises": both @ votes(u + v).T,
            "that is a ReLU, where the square is asked for": both.relu() @ votes(u + v).T,
            "you square each wave by itself: add the two first": (
                _wave(k, a, p, u) ** 2 + _wave(k, b, p, v) ** 2
            )
            @ votes(u + v).T,
            "you multiply the two waves, which no unit can do: square their sum": (
                _wave(k, a, p, u) * _wave(k, b, p, v)
            )
            @ votes(u + v).T,
            "the output waves have no phase: each must match the waves that come in": both**2 @ votes().T,
            "the output wave has the wrong sign in its phase": both**2 @ votes(-u - v).T,
            "the phase of the output is that of one wave only, and both come in": both**2 @ votes(u).T,
            "the phase of the output is that of the wave of b only": both**2 @ votes(v).T,
            "with u - v the output looks for a - b: this network subtracts": both**2 @ votes(u - v).T,
            "both waves have the phase u: that of b is v": one_phase**2 @ votes(u + v).T,
            "the waves do not fit the clock: the angle of a is 2 pi k a / p": turned**2
            @ torch.cos(torch.outer(c, k) + u + v).T,
            "that is the mean over the units: add them up": both**2 @ votes(u + v).T / n,
        }
        expect_close(got, both**2 @ votes(u + v).T, "the logits", mistakes=mistakes)
    passed("your network adds, and nobody has trained it")


def hidden_pair(*, seed: int = 0) -> tuple[Tensor, Tensor, int, int, int]:
    """The class's exam on a clock of its own, and one of its hidden pairs: x_train, y_train, hours, a, b."""
    random = np.random.default_rng([4, seed])
    hours = int(random.choice([29, 31, 37, 41, 43, 47, 53, 61, 67, 71, 73, 79, 83, 89, 97]))
    exam = data.arithmetic("add", hours, fraction=random.uniform(0.25, 0.6), seed=1000 + seed)
    for a, b in exam.x_test[random.permutation(len(exam.x_test))].tolist():
        row, column = _seen(exam.x_train, exam.y_train, a, b)
        used = len(row | column)
        # A pair at which no usual mistake gives the right number by chance.
        usual = {hours - len(row), hours - len(column), hours - len(row) - len(column), used}
        if hours - used not in usual:
            return exam.x_train, exam.y_train, hours, a, b
    raise RuntimeError(f"no hidden pair for the class seed {seed}: please choose another")


def _seen(x: Tensor, y: Tensor, a: int, b: int) -> tuple[set[int], set[int]]:
    return set(y[x[:, 0] == a].tolist()), set(y[x[:, 1] == b].tolist())


def possible(answer: int, *, seed: int = 0) -> None:
    """How many answers neither the row nor the column of the hidden pair has used."""
    x, y, hours, a, b = hidden_pair(seed=seed)
    row, column = _seen(x, y, a, b)
    mistakes = {
        "that leaves out what the row has used; the column has used answers too": hours - len(row),
        "that leaves out what the column has used; the row has used answers too": hours - len(column),
        "some answers stand in the row and in the column: you took them away twice": hours
        - len(row)
        - len(column),
        "those are the answers that are used up, not those that are left": len(row | column),
    }
    value = expect_number(answer, "possible", whole=True)
    expect_close(value, hours - len(row | column), "possible", mistakes=mistakes)
    passed("so many answers are left: elimination alone does not pass this exam")


@functools.cache
def _colleague(seed: int) -> tuple[models.PairMLP, data.Arithmetic]:
    exam = data.arithmetic("add", 59, fraction=0.5, seed=2000 + seed)
    generator = torch.Generator().manual_seed(2000 + seed)
    model = models.pair_mlp(59, 128, shared=True, generator=generator)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.01, weight_decay=1.0, betas=(0.9, 0.98), fused=True
    )
    state = training.State(model, optimizer)
    batch = exam.x_train, exam.y_train
    training.train(training.classification_step(), state, steps=120, batches=lambda t: batch)
    return model, exam


def colleague(*, seed: int = 0) -> tuple[models.PairMLP, data.Arithmetic]:
    """The colleague's network after 120 steps, one table for both numbers, and its exam."""
    model, exam = _colleague(seed)
    return copy.deepcopy(model), exam


def two_groups(answer: object, *, seed: int = 0) -> None:
    """The accuracies on the hidden pairs whose mirror was trained, and on the others."""
    model, (x_train, y_train, x, y) = _colleague(seed)
    with torch.no_grad():
        right = (model(x).argmax(dim=1) == y).numpy()
        trained = (model(x_train).argmax(dim=1) == y_train).double().mean().item()
    known = set(map(tuple, x_train.tolist()))
    mirrored = np.array([(b, a) in known for a, b in x.tolist()])
    high, low = right[mirrored].mean(), right[~mirrored].mean()
    mistakes = {
        "that is the accuracy on all hidden pairs, twice": [right.mean(), right.mean()],
        "you grouped them by whether the network is right: find a property of the pair": [1.0, 0.0],
        "the groups are the right ones, in the other order: the larger accuracy first": [low, high],
        "the first is the accuracy on the training pairs: both groups are of hidden pairs": [
            trained,
            right.mean(),
        ],
    }
    got = expect_array(given(answer, "accuracies"), (2,), "accuracies")
    expect_close(got, [high, low], "accuracies", rtol=0, atol=2e-3, mistakes=mistakes)
    passed(
        f"{high:.2f} where the mirror (b, a) was trained, {low:.2f} elsewhere: with one table\n"
        "a + b and b + a are the same input: half of this exam was handed out with its answers.\n"
        "The colleague may claim that the network is symmetric, which is how it was built"
    )


def wave_order(function: Callable) -> None:
    """`wave_order(p)` lists 1 to p - 1 so that each is the one before times a fixed number, modulo p."""
    for p in (7, 23, 31, 59):
        order = expect_array(call(function, p), (None,), "the order").tolist()
        if 0 in order:
            raise ExerciseError("0 is in your order: no power of anything is 0, so it has no logarithm")
        if len(order) < p - 1 or len(set(order)) < len(order):
            raise ExerciseError(
                f"for p = {p} your order has {len(set(order))} of the {p - 1} numbers: the powers of your "
                "number come round too early, take one whose powers reach all"
            )
        if set(order) != set(range(1, p)):
            raise ExerciseError(f"for p = {p} the order should hold the numbers 1 to {p - 1}, each once")
        factors = {b * pow(int(a), -1, p) % p for a, b in zip(order, [*order[1:], order[0]], strict=True)}
        if order == sorted(order):
            raise ExerciseError("that is the usual order, in which times is not a shift")
        if len(factors) > 1:
            raise ExerciseError(
                f"for p = {p} neighbours differ by {len(factors)} different factors: it should be one "
                "factor all the way round, so that times that factor is one step along"
            )
    table = _multiplication()
    usual, yours = (
        inverse_participation(table[rows]).mean() for rows in (range(1, 59), np.array(order, int))
    )
    passed(
        "inverse participation ratio of a network that multiplies:\n"
        f"{usual:.2f} in the usual order, {yours:.2f} in yours"
    )


@functools.cache
def _multiplication() -> Tensor:
    """The left table of a network that has learnt to multiply modulo 59."""
    exam = data.arithmetic("multiply", 59, fraction=0.5, seed=0)
    generator = torch.Generator().manual_seed(0)
    model = models.pair_mlp(59, 128, activation=models.Square, generator=generator)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=0.01, weight_decay=1.0, betas=(0.9, 0.98), fused=True
    )
    state = training.State(model, optimizer)
    batch = exam.x_train, exam.y_train
    training.train(training.classification_step(), state, steps=250, batches=lambda t: batch)
    return model.left.weight.detach()


def recipe(function: Callable, *, seed: int = 0) -> None:
    """`recipe()` is a dict of settings with which both networks of the class click by step 750."""
    settings = call(function)
    if not isinstance(settings, dict):
        raise ExerciseError(f"your recipe should be a dict such as {RECIPE}, got {type(settings).__name__}")
    if unknown := sorted(set(settings) - set(RECIPE)):
        raise ExerciseError(
            f"{unknown[0]!r} is not yours to change: the exam stays as it is, change only {', '.join(RECIPE)}"
        )
    if not 1 <= settings.get("width", 1) <= 256:
        raise ExerciseError(f"the width should be 1 to 256, got {settings['width']}")
    fitted, clicked = _click(RECIPE | settings, seeds=(3000 + 2 * seed, 3001 + 2 * seed))
    if not fitted:
        raise ExerciseError(f"your networks have not even learnt their training pairs by step {CLICK_BY}")
    if late := [accuracy for step, accuracy in clicked if step is None]:
        raise ExerciseError(
            f"not by step {CLICK_BY}: test accuracy is {min(late):.2f} there. Which setting would speed up "
            "the part of the run after the training pairs are learnt?"
        )
    steps = " and ".join(str(step) for step, _ in clicked)
    passed(f"your networks reach 95 % at step {steps}; the lesson's recipe takes about 1,000")


def _click(settings: dict, seeds: tuple[int, ...]) -> tuple[bool, list[tuple[int | None, float]]]:
    """Whether all have learnt their pairs; for each the step at which it clicks, and its test accuracy."""
    exams = [data.arithmetic("add", 59, fraction=0.5, seed=s) for s in seeds]
    x_train, y_train, x_test, y_test = (torch.stack(parts) for parts in zip(*exams, strict=True))
    shape = {"width": settings["width"], "scale": settings["scale"]}
    generators = [torch.Generator().manual_seed(s) for s in seeds]
    try:
        many = training.Ensemble([models.pair_mlp(59, **shape, generator=g) for g in generators])
        options = {name: settings[name] for name in ("lr", "weight_decay", "betas")}
        state = training.State(many, torch.optim.AdamW(many.parameters(), fused=True, **options))
        clicked: list[int | None] = [None] * len(seeds)
        batch = x_train, y_train
        for step in range(10, CLICK_BY + 1, 10):
            training.train(training.classification_step(), state, steps=step, batches=lambda t: batch)
            test = training.accuracy(many, x_test, y_test).tolist()
            clicked = [c or (step if a >= 0.95 else None) for c, a in zip(clicked, test, strict=True)]
            if all(clicked):
                break
    except (TypeError, ValueError) as error:
        raise ExerciseError(f"these settings do not train: {error}") from error
    fitted = bool((training.accuracy(many, x_train, y_train) > 0.95).all())
    return fitted, list(zip(clicked, test, strict=True))
