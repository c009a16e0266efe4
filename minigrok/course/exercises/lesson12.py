"""The checks of lesson 12, Neural activation patterns."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import data, models, naps, training
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mine_by_hand(function: Callable) -> None:
    """`mine_by_hand(active, y, delta)`: the masks of units that a class has on, and off, often enough."""
    for seed, delta in [(0, 0.93), (1, 1.0), (2, 0.75), (3, 0.61)]:
        active, y = _states(seed)
        if delta == 0.75:  # eight samples of a class, six of them are just enough
            active, y = (
                torch.cat([active[y == k][:8] for k in range(3)]),
                torch.arange(3).repeat_interleave(8),
            )
        on, off = _two_masks(call(function, active.clone(), y.clone(), delta), (3, 30))
        for got, side, due, mistakes in zip(
            (on, off), ("on", "off"), _masks(active, y, delta), _mistakes(active, y, delta), strict=True
        ):
            expect_close(got, due, side, mistakes=mistakes)
    net, part = models.mlp([64, 20, 20, 10], generator=_seeded(0)), data.digits(seed=1)
    active = torch.cat(naps.states(net, part.x_train), 1)
    mine = _two_masks(call(function, active, part.y_train, 0.93), (10, active.shape[1]))
    for k, nap in naps.mine(net, part.x_train, part.y_train, delta=0.93).items():
        for side, due in zip(mine, (nap.active, nap.inactive), strict=True):
            expect_close(side[k], torch.cat(due).numpy(), f"class {k} of the digits")
    print("on 1,200 digits your masks are those of `naps.mine`, unit by unit")
    passed("a rule for each class, and nobody trained it")


def _two_masks(value: object, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ExerciseError("return two masks, `return on, off`, each of shape (classes, units)")
    for mask, name in zip(value, ("on", "off"), strict=True):
        array = expect_array(mask, shape, name)
        if array.dtype != bool:
            raise ExerciseError(f"`{name}` should hold True and False, got {array.dtype}: compare with delta")
    return tuple(expect_array(mask, shape) for mask in value)


def _states(seed: int) -> tuple[Tensor, Tensor]:
    """States of 30 units at 100 samples of 3 classes: dead, always on, and of every share between."""
    y = torch.randint(3, (100,), generator=_seeded(seed))
    share = torch.rand(3, 30, generator=_seeded(10 + seed)) ** 0.3
    share[:, 15:] = 1 - share[:, 15:]
    share[:, :2], share[:, 15:17] = 1, 0
    return torch.rand(100, 30, generator=_seeded(20 + seed)) < share[y], y


def _shares(active: Tensor, y: Tensor) -> np.ndarray:
    return np.stack([active[y == k].double().mean(0).numpy() for k in range(3)])


def _masks(active: Tensor, y: Tensor, delta: float) -> tuple[np.ndarray, np.ndarray]:
    share = _shares(active, y)
    return share >= delta, 1 - share >= delta


def _mistakes(active: Tensor, y: Tensor, delta: float) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The usual mistakes in the first mask and in the second."""
    share, everywhere = _shares(active, y), active.double().mean(0).numpy()[None].repeat(3, 0)
    of_all = np.stack([active[y == k].sum(0).numpy() for k in range(3)]) / len(y)
    common = "you counted over the samples of all classes: each class has a pattern of its own"
    on = {
        "a unit that is on at exactly a share delta belongs to it: use >=": share > delta,
        "these are the units that are off": 1 - share >= delta,
        common: everywhere >= delta,
        "you divided by the number of all samples: divide by those of the class": of_all >= delta,
        "delta = 1 is the strictest only of single units: keep what reaches the share delta": share == 1,
        "`on` has all units that are on at more than a half": share > 0.5,
    }
    off = {
        "a unit that is off at exactly a share delta belongs to it: use >=": 1 - share > delta,
        "these are the units that are on": share >= delta,
        "a unit that is not often on need not be often off: it is on at a share of at most 1 - delta": share
        < delta,
        common: 1 - everywhere >= delta,
        "only units that are never on are in it: a share of 1 - delta may be": share == 0,
        "you divided by the number of all samples: divide by those of the class": of_all <= 1 - delta,
    }
    return on, off


def tally(function: Callable) -> None:
    """`tally(follow, y)`: the recall of the own class, and the share of strangers."""
    for seed in (0, 1, 2):
        follow, y = _followers(seed)
        own = follow.gather(1, y[:, None])[:, 0]
        recall, strangers = own.double().mean(), (follow.sum() - own.sum()) / (len(y) * (follow.shape[1] - 1))
        got = call(function, follow.clone(), y.clone())
        if not isinstance(got, tuple | list | Tensor | np.ndarray) or len(got) != 2:
            raise ExerciseError("return two numbers, `return recall, strangers`")
        expect_close(
            expect_number(got[0], "recall"), recall, "recall",
            mistakes={
                "that is the share that follows any pattern: look at the one of its own class": follow.any(1)
                .double().mean(),
                "you divided by all pairs of an image and a pattern: each image has one own class": own.sum()
                / follow.numel(),
                "that is the share of the images that follow exactly one pattern": (follow.sum(1) == 1)
                .double().mean(),
                "that is the share of strangers: return the recall first": strangers,
                "`follow[:, y]` is a table of all images by all labels: of each row take one column": follow[
                    :, y].double().mean(),
                "you took the mean of the classes' recalls: count images": torch.stack(
                    [follow[y == k, k].double().mean() for k in y.unique()]).mean(),
            },
        )  # fmt: skip
        expect_close(
            expect_number(got[1], "strangers"), strangers, "strangers",
            mistakes={
                "you divided by all pairs: only pairs of an image and another class count": (
                    follow.sum() - own.sum()) / follow.numel(),
                "the pairs of an image and its own class are no strangers: leave them out": follow.sum()
                / follow.numel(),
                "that is the share of images that follow two or more": (follow.sum(1) >= 2).double().mean(),
                "that is the share of the images that follow another class's: count pairs": (
                    (follow.sum(1) - own.long()) >= 1).double().mean(),
                "you divided by the number of images: there are K - 1 pairs for each": (
                    follow.sum() - own.sum()) / len(y),
            },
        )  # fmt: skip
    passed("recall says what a rule lets in, strangers what it should have kept out")


def _followers(seed: int) -> tuple[Tensor, Tensor]:
    """Who follows which of 5 patterns, 80 images: mostly the own one, sometimes others, sometimes none."""
    y = torch.randint(5, (80,), generator=_seeded(seed))
    chance = torch.full((80, 5), 0.15).scatter(1, y[:, None], 0.8)
    return torch.rand(80, 5, generator=_seeded(30 + seed)) < chance, y


def accuracy_at(function: Callable) -> None:
    """`accuracy_at(score, right, coverage)`: the accuracy of the least strange share, ties in equal parts."""
    few = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0, 2.0])  # four have the same score, three of them are right
    fine = torch.tensor([True, True, True, False, True, False])
    if len({float(expect_number(call(function, few, fine, 2 / 6), "the accuracy")) for _ in range(20)}) > 1:
        raise ExerciseError(
            "your answer changes from call to call: of equal scores count a share, do not draw some"
        )
    turned = [(few.roll(k), fine.roll(k)) for k in range(6)]
    if len({float(expect_number(call(function, *both, 2 / 6), "the accuracy")) for both in turned}) > 1:
        raise ExerciseError(
            "your answer changes with the order of the images: images with the same score must not be chosen "
            "by their order, count a share of them"
        )
    for seed in (0, 1, 2):
        score = torch.randint(6, (100,), generator=_seeded(seed)).double()
        right = torch.rand(100, generator=_seeded(40 + seed)) < 1 - score / 8
        for n in (5, 29, 57, 100):  # 0.29 * 100 is 28.999...
            got = expect_number(call(function, score, right, n / 100), "the accuracy")
            expect_close(got, _mean_over_orders(score, right, n), f"the accuracy of {n} of 100 images",
                         mistakes=_other_means(score, right, n))  # fmt: skip
    for n, due in [(6, 4 / 6), (4, 0.75), (2, 0.75), (5, 0.8)]:
        got = expect_number(call(function, few, fine, n / 6), "the accuracy")
        expect_close(got, due, f"the accuracy of {n} of 6 images", mistakes=_other_means(few, fine, n))
    passed("two monitors can be compared now, at the same coverage")


def _mean_over_orders(score: Tensor, right: Tensor, n: int) -> Tensor:
    """The mean accuracy of the first n over all orders of equal scores: a share of each level."""
    weight = torch.zeros(len(score), dtype=torch.float64)
    for level in score.unique():
        same = score == level
        weight[same] = min(max((n - int((score < level).sum())) / int(same.sum()), 0.0), 1.0)
    return (weight * right).sum() / n


def _other_means(score: Tensor, right: Tensor, n: int) -> dict[str, Tensor]:
    right = right.double()
    order = score.argsort(stable=True)
    worst = score.argsort(stable=True, descending=True)
    edge = score.sort().values[n - 1]
    return {
        "images with the same score must not be chosen by their order: count a share of them": right[
            order[:n]
        ].mean(),
        "you took the strangest: small scores are answered, large ones refused": right[worst[:n]].mean(),
        "you took all images at the last level, so that more than the coverage is answered": right[
            score <= edge
        ].mean(),
        "you left the last level out, so that less than the coverage is answered": right[score < edge].mean(),
        "that is the accuracy of all images: only some are answered": right.mean(),
        "that is the share of right answers among all images: divide by the number that is answered": right[
            order[:n]
        ].sum()
        / len(score),
        f"you answered one too few: coverage times N may come out as {n - 1}.999..., `round` it": (
            _mean_over_orders(score, right, n - 1)
        ),
    }


def class_network(*, seed: int = 0) -> tuple[nn.Sequential, data.Digits]:
    """The class's network 64-64-64-64-10, and the digits it has learned."""
    part = data.digits(seed=1000 + seed)
    net = models.mlp([64, 64, 64, 64, 10], generator=_seeded(4000 + seed))
    state = training.State(net, torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01, fused=True))
    batches = training.minibatches(part.x_train, part.y_train, 100, seed=seed)
    training.train(training.classification_step(), state, steps=400, batches=batches)
    return net, part


def telling_units(answer: int, *, seed: int = 0) -> None:
    """How many units some class has on and another off, at delta = 0.95."""
    net, part = class_network(seed=seed)
    on, off = _fixed(net, part.x_train, part.y_train, 0.95)
    telling = on.any(0) & off.any(0)
    mistakes = {
        "these are the units that any class fixes: it must be fixed both ways, by two classes": (
            on | off
        ).any(0),
        "these are the units that all classes fix alike: they tell no class from another": on.all(0)
        | off.all(0),
        "these are the units that some class has on": on.any(0),
        "these are the units that some class has off": off.any(0),
        "a unit that one class fixes and another leaves open does not tell the two apart": (on | off).any(0)
        & ~(on.all(0) | off.all(0)),
        "these are the units that all classes fix": (on | off).all(0),
        "these are those of the last hidden layer: count in all three": telling[-64:],
        "these are the telling units of patterns of the test images: mine from the *training* images": _tell(
            net, part.x_test, part.y_test, 0.95
        ),
    } | {
        f"these are the telling units at delta = {delta}: mine at 0.95": _tell(
            net, part.x_train, part.y_train, delta
        )
        for delta in (1, 0.99, 0.9)
    }
    got = expect_number(answer, "telling", whole=True)
    expect_close(got, int(telling.sum()), "telling",
                 mistakes={text: int(units.sum()) for text, units in mistakes.items()})  # fmt: skip
    passed("these units tell classes apart, the others come along")


def _fixed(net: nn.Module, x: Tensor, y: Tensor, delta: float) -> tuple[Tensor, Tensor]:
    """The units that each class's pattern has on, and those that it has off: (K, U) and (K, U)."""
    found = naps.mine(net, x, y, delta=delta).values()
    on, off = ([torch.cat(getattr(nap, side)) for nap in found] for side in ("active", "inactive"))
    return torch.stack(on), torch.stack(off)


def _tell(net: nn.Module, x: Tensor, y: Tensor, delta: float) -> Tensor:
    on, off = _fixed(net, x, y, delta)
    return on.any(0) & off.any(0)
