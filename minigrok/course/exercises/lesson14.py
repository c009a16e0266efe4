"""The checks of lesson 14, Everything on one axis."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed
from minigrok.recordings import Recording

Interval = tuple[float, float]


# A turn


def turn(function: Callable, recording: Recording) -> None:
    """`turn(steps, values, plateau, least)`: the last look before half of the change and the first after."""
    for case, (steps, values, plateau, least) in _curves().items():
        due = _turn(steps, values, plateau, least)
        got = _interval(call(function, steps, values, plateau, least))
        if got != due:
            raise ExerciseError(_diagnosis(case, got, due, (steps, values, plateau, least)))
    print("✓ on made-up curves")
    same = total = 0
    for measure, least in (("test_accuracy", 0.1), ("robust_05", 0.1), ("fourier_unit", 0.1)):
        values, kept = recording[f"addition/{measure}"], recording[f"addition/turn/{measure}"]
        for run, told in zip(values.T, kept.T, strict=True):
            found = _interval(call(function, recording["addition/steps"], run, (80, 120), least))
            same, total = same + (found == tuple(told.tolist())), total + 1
    if same < 0.95 * total:  # the recording has four digits of each number, its turns were found with all
        raise ExerciseError(f"on {total - same} of {total} recorded curves your turn is not the experiment's")
    passed(f"the same turns as the experiment's, in {same} of {total} recorded curves")


def _turn(
    steps: np.ndarray,
    values: np.ndarray,
    plateau: Interval,
    least: float,
    *,
    early: Callable = np.median,
    late: Callable = np.median,
    last: int = 3,
    share: float = 0.5,
    signed: bool = True,
    begin: int | None = None,
    latest: bool = False,
) -> Interval:
    inside = (steps >= plateau[0]) & (steps <= plateau[1])
    start, end = early(values[inside]), late(values[-last:])
    if abs(end - start) < least:
        return float(steps[-1]), np.inf
    first = int(inside.nonzero()[0][-1]) + 1 if begin is None else begin
    over = values[first:] - (start + share * (end - start))
    over = over * np.sign(end - start) >= 0 if signed else over >= 0
    if not over.any():
        return float(steps[-1]), np.inf
    k = first + int(over.argmax())
    if latest and not over.all():
        k = min(first + int((~over).nonzero()[0][-1]) + 1, len(steps) - 1)
    return float(steps[k - 1]), float(steps[k])


def _curves() -> dict[str, tuple[np.ndarray, np.ndarray, Interval, float]]:
    """Curves in which each usual mistake shows."""
    steps = np.array([0.0, 5, 10, 20, 40, 80, 160, 320, 640])
    rising = np.array([0.0, 0.5, 0.02, 0.04, 0.06, 0.45, 0.8, 0.9, 1.0])
    early_peak = np.array([0.9, 0.95, 0.1, 0.1, 0.1, 0.2, 0.6, 0.7, 0.8])
    jump = np.array([0.2, 0.3, 0.1, 0.2, 0.3, 0.62, 0.7, 0.9, 0.9])
    small = np.array([0.0, 0.0, 0.1, 0.1, 0.1, 0.12, 0.15, 0.16, 0.15])
    spike = np.array([0.0, 0.0, 0.1, 0.1, 0.1, 0.2, 0.35, 0.52, 0.95])
    outlier = np.array([0.0, 0.0, 0.1, 0.9, 0.12, 0.3, 0.45, 0.6, 0.6])
    first = np.array([0.0, 0.0, 0.9, 0.1, 0.12, 0.3, 0.45, 0.6, 0.6])
    dip = np.array([0.0, 0.5, 0.02, 0.04, 0.06, 0.7, 0.3, 0.9, 1.0])
    return {
        "a curve that rises": (steps, rising, (10.0, 40.0), 0.1),
        "a curve that falls": (steps, 1 - rising, (10.0, 40.0), 0.1),
        "a curve that was high once before the plateau": (steps, early_peak, (10.0, 40.0), 0.1),
        "a curve that jumps": (steps, jump, (10.0, 40.0), 0.1),
        "a curve that changes by less than the threshold": (steps, small, (10.0, 40.0), 0.1),
        "a curve that falls by less than the threshold": (steps, 1 - small, (10.0, 40.0), 0.1),
        "a curve whose last look is an outlier": (steps, spike, (10.0, 40.0), 0.1),
        "a curve with an outlier on the plateau": (steps, outlier, (10.0, 40.0), 0.1),
        "a curve whose plateau begins with an outlier": (steps, first, (10.0, 40.0), 0.1),
        "a curve that dips once more below the middle": (steps, dip, (10.0, 40.0), 0.1),
    }


def _interval(value: Any) -> Interval:
    try:
        after, by = value
        return float(after), float(by)
    except (TypeError, ValueError):  # not two, or not numbers
        raise ExerciseError(f"return two steps, (after, by); you return {value!r:.60}") from None


def _diagnosis(case: str, got: Interval, due: Interval, curve: tuple) -> str:
    steps, values, plateau, least = curve
    variants = {
        "you look for it before the end of the plateau: begin after the last look of the plateau": {
            "begin": 1
        },
        "the early value is the median over the plateau, not the mean": {"early": np.mean},
        "the early value is the median over the plateau, not one look of it": {"early": lambda v: v[0]},
        "the early value is the median over the whole plateau, not its last look": {"early": lambda v: v[-1]},
        "the end value is the median of the last three looks, not the last one": {"last": 1},
        "the end value is the median of the last three looks, not the mean": {"late": np.mean},
        "a curve that falls crosses the middle from above": {"signed": False},
        "it is the first look at which half of the change is made; later ones may fall back": {
            "latest": True
        },
    }
    text = f"{case}: you have {_told(got)}, which is not right"
    if np.isinf(due[1]) and not np.isinf(got[1]):
        return f"{text}: a change smaller than `least` is no turn: return (the last step, infinity)"
    if np.isinf(due[1]):
        return f"{text}: it has indeed no turn; then the first number is the last step, {steps[-1]:g}"
    if np.isinf(got[1]):
        return (
            f"{text}: this curve does turn; is its change compared with `least` in size, whatever its sign?"
        )
    for sentence, options in variants.items():
        if _turn(steps, values, plateau, least, **options) == got:
            return f"{text}: {sentence}"
    level = (np.median(values[(steps >= plateau[0]) & (steps <= plateau[1])]) + np.median(values[-3:])) / 2
    if got == tuple(np.flatnonzero(np.isin(steps, due))):
        return f"{text}: those are the places of the two looks: return their steps"
    if got[1] == due[0] or got[0] == due[1]:
        return (
            f"{text}: the first number is the look before the middle is crossed, the second the look after; "
            f"the middle between early and end value is {level:g} here"
        )
    if got[0] == got[1]:
        return f"{text}: both are the same look; we only know that it happened between two"
    return f"{text}: where does the curve first reach {level:g}, the middle between early and end value?"


def _told(interval: Interval) -> str:
    return f"({interval[0]:g}, {interval[1]:g})"


# Surely before


def surely(function: Callable) -> None:
    """`surely(turned, reference)`: the shares of runs surely before, surely after, and neither."""
    for seed in range(4):
        turned, reference = _two_turns(seed)
        some = np.isfinite(reference[1])
        a, b = turned[:, some], reference[:, some]
        before, after = a[1] <= b[0], a[0] >= b[1]
        due = np.array([before.mean(), after.mean(), (~(before | after)).mean()])
        mistakes = {
            "you divided by all runs: leave those out in which the reference does not turn": _shares(
                turned[1] <= reference[0], turned[0] >= reference[1]
            ),
            "a measure that has not turned by step T while the reference has is surely after it": _finite(
                a, b
            ),
            "you compared the ends of the intervals: the whole interval must lie before the other": _ends(
                a, b
            ),
            "you compared the middles: the whole interval must lie before the other": _ends(
                *(np.log(part).mean(0, keepdims=True) for part in (a, b))
            ),
            "you compared the starts of the intervals: the whole interval must lie before the other": _ends(
                a[:1], b[:1]
            ),
            "two intervals that only touch do not overlap: (20, 40] ends where (40, 80] begins": _shares(
                a[1] < b[0], a[0] > b[1]
            ),
            "before: (20, 40] ends where (40, 80] begins, and is surely before it": _shares(
                a[1] < b[0], a[0] >= b[1]
            ),
            "after: (40, 80] begins where (20, 40] ends, and is surely after it": _shares(
                a[1] <= b[0], a[0] > b[1]
            ),
            "before and after are the other way round": due[[1, 0, 2]],
            "those are in percent: shares lie between 0 and 1": 100 * due,
            "those are how many runs: divide by the number of runs that count": some.sum() * due,
        }
        got = expect_array(call(function, turned, reference), (3,), "the shares")
        expect_close(got, due, "the shares (before, after, neither)", mistakes=mistakes)
    passed("that much can be said for sure, and no more")


def _two_turns(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Turns of 24 made-up runs: some overlap, some only touch, some have none."""
    random, looks = np.random.default_rng(seed), 20.0 * 2 ** np.arange(8)
    first, second = random.integers(5, size=24), random.integers(1, 5, size=24)
    first[:3], second[:3] = [1, 3, 2], [2, 2, 2]
    wide = random.integers(1, 3, size=24)  # a look that was missed
    turned = np.stack([looks[first], looks[first + wide]])
    reference = np.stack([looks[second], looks[second + 1]])
    turned[:, 6:10], reference[:, 9:12] = (np.array([[looks[-1]], [np.inf]]) for _ in range(2))
    return turned, reference


def _shares(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.array([before.mean(), after.mean(), (~(before | after)).mean()])


def _finite(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    there = np.isfinite(a[1])
    return _shares(a[1, there] <= b[0, there], a[0, there] >= b[1, there])


def _ends(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _shares(a[-1] < b[-1], a[-1] > b[-1])


# Lags


def class_turns(*, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The turns of a measure and of accuracy in 21 made-up runs of the class, (2, 21) each."""
    random = np.random.default_rng([14, seed])
    while True:  # until no usual mistake comes close to the right answer by chance
        turned, accuracy = _drawn_turns(random)
        right, mistakes = _lags(turned, accuracy)
        if min(abs(wrong - right) for wrong in mistakes.values()) > 0.01 * abs(right):
            return turned, accuracy


def _drawn_turns(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    looks = (np.geomspace(100, 20_000, 24) * random.uniform(0.92, 1.08, size=24)).round()  # the class's own
    accuracy = random.integers(9, 13, size=21)
    measure = accuracy + random.integers(-3, 6, size=21)
    turned = np.stack([looks[measure], looks[measure + 2]])  # looked at half as often as accuracy
    late = random.permutation(21)[: int(random.integers(5, 9))]  # these do not turn
    turned[:, late] = [[looks[-1]], [np.inf]]
    return turned, np.stack([looks[accuracy], looks[accuracy + 1]])


def median_lag(answer: float, *, seed: int = 0) -> None:
    """The median over runs of log10 of the ratio of middles, runs without a turn counted as infinite."""
    right, mistakes = _lags(*class_turns(seed=seed))
    mistakes["that is the lag of class 0: take the turns of your own CLASS_SEED"] = _lags(*class_turns())[0]
    if isinstance(answer, float) and np.isinf(answer):
        raise ExerciseError("`lag` is infinite, as a mean is if one run is: the median of these runs is not")
    got = expect_number(answer, "lag")
    expect_close(got, right, "lag", rtol=1e-3, mistakes=mistakes)
    passed("a median that no missing run can flatter")


def _lags(turned: np.ndarray, accuracy: np.ndarray) -> tuple[float, dict[str, float]]:
    """The median lag, and what the usual mistakes give."""
    each = np.log10(turned).mean(0) - np.log10(accuracy).mean(0)
    plain = np.log10(turned.mean(0)) - np.log10(accuracy.mean(0))
    there, apart = np.isfinite(each), turned.mean(0) - accuracy.mean(0)
    mistakes = {
        "you left out the runs that did not turn: they are later than all others": np.median(each[there]),
        "you took the middle of an interval in steps: take it in log10": np.median(plain),
        "take each run's own lag first, then the median of these": (
            np.median(np.log10(turned).mean(0)) - np.median(np.log10(accuracy).mean(0))
        ),
        "that is the mean over the runs that turn: the median copes with those that do not": each[
            there
        ].mean(),
        "the sign: a measure that turns later has a lag above 0": -np.median(each),
        "that is the natural logarithm: take log10": np.log(10) * np.median(each),
        "that is a difference of steps: take log10 of the ratio": np.median(apart),
        "that is the ratio itself: take its log10": 10 ** np.median(each),
    }
    return float(np.median(each)), mistakes


# Forecasts


def forecast(function: Callable) -> None:
    """`forecast(values, outcome, learn)`: the area on the runs held out, read the way the others say."""
    for seed in range(6):
        values, outcome, learn = _runs(seed)
        sign = 1.0 if _auc(values, outcome, learn) >= 0.5 else -1.0
        due = _auc(sign * values, outcome, ~learn)
        plain = _auc(values, outcome, ~learn)
        leaked = 1.0 if _auc(values, outcome, np.ones_like(learn)) >= 0.5 else -1.0
        mistakes: Mapping[str, float] = {
            "you scored the runs that gave the direction: score the others": _auc(
                sign * values, outcome, learn
            ),
            "you scored all runs: those that gave the direction are not held out": _auc(
                sign * values, outcome, np.ones_like(learn)
            ),
            "the held-out runs helped to choose the direction: only those in `learn` may": _auc(
                leaked * values, outcome, ~learn
            ),
            "you took whichever direction is better on the held-out runs: they may not choose": max(
                plain, 1 - plain
            ),
            "the runs in `learn` say whether large or small values are good; you always took large": plain,
            "that is the area for the wrong outcome: 1 minus it": 1 - due,
            "a tie counts half": _auc(sign * values, outcome, ~learn, tie=0.0),
            "a tie counts half, not as a win": _auc(sign * values, outcome, ~learn, tie=1.0),
        }
        got = expect_number(call(function, values, outcome, learn), "the area")
        expect_close(got, due, "the area", mistakes=mistakes)
    passed("a forecast that was not allowed to see the answer")


def _auc(values: np.ndarray, outcome: np.ndarray, which: np.ndarray, tie: float = 0.5) -> float:
    good, bad = values[which & outcome][:, None], values[which & ~outcome][None]
    return float(((good > bad) + tie * (good == bad)).mean())


def _runs(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """24 made-up runs; in half of the cases small values are good, in some the held-out runs disagree."""
    random = np.random.default_rng(seed)
    outcome, learn = random.permutation(np.arange(24) < 11), random.permutation(np.arange(24) < 12)
    for which in (learn, ~learn):  # some of each outcome in each half
        outcome[which.nonzero()[0][:3]], outcome[which.nonzero()[0][3:6]] = True, False
    disagree = {
        4: (1.5, -0.8),
        5: (1.0, -2.5),
    }  # the learners' pull and the others': with 5 they outvote them
    pull = (-1) ** seed * np.where(learn, *disagree.get(seed, (1.2, 1.2)))
    values = (random.normal(size=24) + pull * outcome).round(1)  # rounded, so that there are ties
    return values, outcome, learn
