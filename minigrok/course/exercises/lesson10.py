"""The checks of lesson 10, Delayed robustness."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from minigrok import attacks, data, models
from minigrok.course.exercises import ExerciseError, call, expect_close, expect_number, given, passed
from minigrok.regions import on_segment


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def given_correct(function: Callable) -> None:
    """`given_correct(y, clean, attacked)`: of the images right before, the share that stays right."""
    for seed in (0, 1, 2):
        y, clean, attacked = torch.randint(3, (3, 60), generator=_seeded(seed))
        keep = torch.rand(60, generator=_seeded(10 + seed)) < 0.5
        clean = torch.where(keep, y, clean)
        right, stays, same = clean == y, attacked == y, clean == attacked
        due = (right & stays).sum() / right.sum()
        mistakes = {
            "you divided by all images: divide by those that were right before": (right & stays)
            .double()
            .mean(),
            "an image that was wrong and became right by accident is in it": stays.sum() / right.sum(),
            "that is the accuracy under attack, of all images": stays.double().mean(),
            "that is the share of answers that did not change, right or wrong": same.double().mean(),
            "that is the share that was lost: take it from 1": 1 - due,
            "that is how many they are: divide by the number of those that were right before": due
            * right.sum(),
            "that is in percent: a share lies between 0 and 1": 100 * due,
        }
        got = expect_number(call(function, y, clean, attacked), "the share")
        expect_close(got, due, "the share", mistakes=mistakes)
    nothing = given(call(function, torch.zeros(4).long(), torch.ones(4).long(), torch.zeros(4).long()))
    if not (isinstance(nothing, (float, Tensor, np.floating)) and math.isnan(float(nothing))):
        raise ExerciseError(
            f"where no image was right before you return {nothing!r:.40}: of nothing there is no share, "
            'so return float("nan")'
        )
    passed("a rise of accuracy alone no longer looks like a rise of robustness")


def all_together(function: Callable) -> None:
    """`all_together(model, found, x, y, eps)`: the share right at x and at every image found in the ball."""
    for seed in (0, 1, 2):
        model, found, x, y, eps = _found(seed)
        with torch.no_grad():
            clean = model(x).argmax(1) == y
            stands = model(found.flatten(0, 1)).argmax(1).view(found.shape[:2]) == y
        inside = (found - x).abs().amax(2) <= eps + 1e-6
        near = {
            "you measured the distance in the Euclidean norm: the largest change of a pixel decides": (
                (found - x).norm(dim=2)
            ),
            "you took the mean change of a pixel: the largest one decides": (found - x).abs().mean(2),
            "you took the smallest change of a pixel: the largest one decides": (found - x).abs().amin(2),
            "a pixel may also be too dark: take the absolute value of the change": (found - x).amax(2),
            "allow 1e-6 more than eps, else rounding puts images at the very edge outside": (
                (found - x).abs().amax(2) + 1e-6
            ),
        }
        counts = stands | ~inside
        due = (clean & counts.all(0)).double().mean()
        mistakes = {
            "images outside the ball prove nothing: compare their distance with eps": (clean & stands.all(0)),
            "that is the accuracy under the best single attack: an image must survive all": (clean & counts)
            .double()
            .mean(1)
            .min(),
            "that is the mean over the attacks: an image must survive all of them": (clean & counts).double(),
            "an image that survives one of the attacks is not yet robust": clean & counts.any(0),
            "you did not ask what the network says at x itself": counts.all(0),
            "that is the share of images that fall": 1 - due,
            "an image outside the ball does not count *against* the network": clean
            & (stands & inside).all(0),
            "you left out the images inside the ball: those outside do not count": clean
            & (stands | inside).all(0),
            "that is how many they are: divide by the number of images": 80 * due,
            "you divided by the images that are right at x: divide by all": due * 80 / clean.sum(),
            "you dropped an attack that leaves the ball at *some* image: look at each image by itself": (
                clean & (stands | ~inside.all(1, keepdim=True)).all(0)
            ),
        }
        mistakes |= {text: clean & (stands | (d > eps + 1e-6)).all(0) for text, d in near.items()}
        mistakes = {text: torch.as_tensor(value).double().mean() for text, value in mistakes.items()}
        got = expect_number(call(function, model, found, x, y, eps), "the share")
        expect_close(got, due, "the share", mistakes=mistakes)
    passed("robust is what survives every attack, each within the rules")


def _found(seed: int) -> tuple[nn.Module, Tensor, Tensor, Tensor, float]:
    """A network, and for 80 points what three attacks have found: some outside the ball, some at its edge."""
    model, eps = models.mlp([6, 20, 4], scale=3.0, generator=_seeded(seed)).double(), 0.2
    x = torch.rand(80, 6, generator=_seeded(100 + seed), dtype=torch.float64)
    signs = torch.randint(-1, 2, (3, 80, 6), generator=_seeded(200 + seed))  # 0 leaves a pixel as it is
    sizes = torch.tensor([0.2, 0.1, 0.8], dtype=torch.float64)[:, None, None].repeat(1, 80, 1)
    sizes[2, 40:] = 0.15  # the third one cheats, but not at all images
    found, y = x + sizes * signs, model(x).argmax(1)
    found[:, 60:] = found[0, 60:]  # some are answered wrongly at x and rightly beside it
    y[60:] = model(found[0, 60:]).argmax(1)
    return model, found, x, y, eps


def crossings(function: Callable) -> None:
    """`crossings(model, a, b, n)`: changes of hidden units between n + 1 points from a to b."""
    # On the last two lines some units change twice between two points: another n sees another number.
    for widths, n, reach in [((3, 8, 2), 4, 3), ((4, 16, 16, 4), 6, 6), ((4, 16, 16, 16, 3), 9, 6)]:
        model = models.mlp(list(widths), scale=2.0, generator=_seeded(2)).double()
        a, b = reach * torch.randn(2, widths[0], generator=_seeded(52), dtype=torch.float64)
        due, mistakes = _counts(model, a, b, n)
        got = expect_number(call(function, model, a, b, n), "the count", whole=True)
        expect_close(got, due, "the count", mistakes=mistakes)
    model = models.mlp([6, 10, 10, 3], scale=2.0, generator=_seeded(3)).double()
    a, b = 3 * torch.randn(2, 6, generator=_seeded(53), dtype=torch.float64)
    exact, many = len(on_segment(model, a, b).breakpoints), call(function, model, a, b, 20_000)
    expect_close(expect_number(many, "the count"), exact, "the count with 20,000 points")
    print(f"20,000 points see all {exact} breakpoints that `on_segment` finds on the last line")
    passed("that is what an attack meets on its way")


def _counts(model: nn.Sequential, a: Tensor, b: Tensor, n: int) -> tuple[int, dict[str, float]]:
    def states(points: Tensor) -> list[np.ndarray]:
        found = []
        for layer in model:
            points = layer(points)
            if isinstance(layer, nn.Linear):
                found.append((points > 0).numpy())
        return found

    def changes(points: Tensor) -> list[np.ndarray]:
        return [s[1:] != s[:-1] for s in states(points)]

    def between(first: int, last: int, n: int = n) -> int:
        """The count with n steps from a to b, of the points first, first + 1, ... last."""
        points = torch.stack([a + k / n * (b - a) for k in range(first, last + 1)])
        return sum(int(c.sum()) for c in changes(points)[:-1])

    with torch.no_grad():
        points = torch.stack([a + k / n * (b - a) for k in range(n + 1)])
        hidden = np.concatenate((found := changes(points))[:-1], axis=1)
        ends = np.concatenate(changes(torch.stack([a, b]))[:-1], axis=1)
        across = sum(int((s[:, 1:] != s[:, :-1]).sum()) for s in states(points)[:-1])
        few, short, late = between(0, n - 1, n - 1), between(0, n - 1), between(1, n)
    exact = len(on_segment(model, a, b).breakpoints)
    return int(hidden.sum()), {
        "the output layer has no ReLU, so nothing bends there: leave it out": sum(c.sum() for c in found),
        "you counted the steps in which something changes: count every unit that does": hidden.any(1).sum(),
        "you counted the units that change: count how often each does": hidden.any(0).sum(),
        "you compared the two ends only": ends.sum(),
        "you counted each change twice": 2 * hidden.sum(),
        "that is the first layer alone": found[0].sum(),
        "there should be n + 1 points, with both ends among them": short,
        "there should be n + 1 points, and a is the first of them": late,
        "there should be n + 1 points, which is n steps: you have one point less": few,
        "those are all breakpoints there are: count what n + 1 points see of them": exact,
        "you compared one unit with the next: compare each unit with itself, from point to point": across,
        "all states are equal: behind a ReLU nothing is below 0, so ask for > 0 and not for >= 0": 0,
        "divide nothing: the sum is asked for": hidden.mean(),
        "those are the regions, one more than the changes": hidden.sum() + 1,
    }


def class_way(*, seed: int = 0) -> tuple[nn.Sequential, Tensor, Tensor, int]:
    """The class's untrained network, a digit, its attacked image and the network's own answer.

    Of forty digits the first on whose way no usual mistake gives the right share, or few do.
    """
    random = np.random.default_rng([10, seed])
    model = models.mlp([64, 40, 40, 10], scale=2.0, generator=_seeded(3000 + seed)).double()
    x = data.digits().x_test[random.permutation(500)[:40]].double()
    with torch.no_grad():
        labels = model(x).argmax(1)
    found = attacks.pgd(model, x, labels, 0.1, early_stop=False, generator=_seeded(seed))
    ways = [(model, *way) for way in zip(x, found.x_adv, labels.tolist(), strict=True)]
    for way in ways:
        if _told_apart(*way) == 1:
            return way
    return max(ways, key=lambda way: _told_apart(*way))


def _told_apart(model: nn.Module, x: Tensor, x_adv: Tensor, y: int) -> float:
    """The share of the mistakes that give another number; 0 where the right one is no good question."""
    if not len(on_segment(model, x, x_adv).breakpoints):
        return 0
    right, mistakes = _shares(model, x, x_adv, y)
    apart = [abs(wrong - right) > 0.05 * right for wrong in mistakes.values()]
    return float(np.mean(apart)) if 0.01 < right < 0.9 else 0.0


def _shares(model: nn.Module, x: Tensor, x_adv: Tensor, y: int) -> tuple[float, dict[str, float]]:
    """The share of the fall of the margin at the first breakpoint, and what usual mistakes give."""
    line = on_segment(model, x, x_adv)
    first, last = line.breakpoints[[0, -1]]
    with torch.no_grad():
        outputs = model(line.lift([0.0, first, 1.0, last])).numpy()
    others = np.delete(outputs, y, axis=1)
    margin, own, rival = outputs[:, y] - others.max(1), outputs[:, y], others[:, others[0].argmax()]
    fixed, whole = own - rival, outputs[:, y] - outputs.max(1)
    fall, lost = margin[0] - margin[2], margin[0] - margin[1]

    def share(m: np.ndarray) -> float:
        return float((m[0] - m[1]) / (m[0] - m[2])) if m[0] != m[2] else math.nan

    return float(lost / fall), {
        "that is the place of the first breakpoint, not what is lost there": first,
        "that is the fall itself: divide by the fall over the whole way": lost,
        "that is the share lost after the first breakpoint": (margin[1] - margin[2]) / fall,
        "that is the share lost at the last breakpoint": (margin[0] - margin[3]) / fall,
        "you divided by the margin at x: divide by what is lost on the whole way": lost / margin[0],
        "that is the share of the margin that is left: ask how much is lost": margin[1] / margin[0],
        "you followed the output of class y alone: the margin is its lead over the best other": share(own),
        "you followed one rival all the way: at x_adv another output may be the largest": share(fixed),
        "the largest of *all* outputs is that of y itself: leave y out before you take the largest": share(
            whole
        ),
        "the sign is wrong: what is lost counts as positive": -lost / fall,
        "that is in percent: a share lies between 0 and 1": 100 * lost / fall,
    }


def first_share(answer: float, *, seed: int = 0) -> None:
    """The margin lost at the first breakpoint, over the margin lost on the whole way."""
    right, mistakes = _shares(*class_way(seed=seed))
    expect_close(expect_number(answer, "share"), right, "share", rtol=1e-3, mistakes=mistakes)
    passed("so much of the way is done within the region of x")
