"""The checks of lesson 05, Grokking with a pencil."""

from collections.abc import Callable
from itertools import product
from math import comb
from time import process_time

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar
from scipy.special import erfinv, ndtr, ndtri
from scipy.stats import expon

from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def losses(function: Callable) -> None:
    """`losses(nu, gap, t, eta)`: train and test loss of a linear student after t gradient steps."""
    for seed, (n, d) in enumerate([(40, 15), (30, 25), (12, 20)]):
        random = np.random.default_rng(seed)
        x, start, eta = (
            random.standard_normal((n, d)),
            random.standard_normal(d) / np.sqrt(d),
            0.01 + 0.01 * seed,
        )
        covariance, t = x.T @ x / n, np.array([0, 1, 7, 60])
        nu, directions = np.linalg.eigh(covariance)
        got = call(function, nu, directions.T @ start, t, eta)
        if not isinstance(got, (tuple, list, np.ndarray)) or len(got) != 2:
            raise ExerciseError(f"`losses` should return two arrays, train and test, got {got!r:.60}")
        train, test = (
            expect_array(v, (len(t),), f"the {w} loss") for v, w in zip(got, ("train", "test"), strict=True)
        )
        due_train, due_test = _by_steps(x, start, t, eta)
        squares = (directions.T @ start) ** 2
        once, flow = (1 - 2 * eta * nu) ** t[:, None], np.exp(-4 * eta * nu * t[:, None])
        slow = (1 - eta * nu) ** (2 * t[:, None])
        mistakes = {
            "the difference shrinks by that factor at each step, but the loss has its square": once @ squares,
            "that is gradient flow, whose steps are infinitely small: take the product of t real steps": flow
            @ squares,
            "the gradient of a square has a factor 2": slow @ squares,
            "that is the train loss": due_train,
            "the loss is the mean square, without a half": due_test / 2,
            "that is the mean over the directions: add them up": due_test / d,
        }
        expect_close(test, due_test, "the test loss", mistakes=mistakes)
        mistakes = {
            "that is the test loss: on the examples each direction counts with its eigenvalue": due_test,
            "the difference shrinks by that factor at each step, but the loss has its square": once
            @ (nu * squares),
            "the loss is the mean square, without a half": due_train / 2,
            "the eigenvalue counts once, not squared": once**2 @ (nu**2 * squares),
            "that is the mean over the directions: add them up": due_train / d,
        }
        expect_close(train, due_train, "the train loss", mistakes=mistakes)
    passed("both losses are those of gradient descent, also with fewer examples than dimensions")


def _by_steps(x: np.ndarray, gap: np.ndarray, t: np.ndarray, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """The losses by real steps on the residuals, without any eigenvalue."""
    gap, train, test = gap.copy(), [], []
    for step in range(t.max() + 1):
        if step in t:
            train.append(np.mean((x @ gap) ** 2))
            test.append(gap @ gap)
        gap -= 2 * eta * x.T @ (x @ gap) / len(x)
    return np.array(train), np.array(test)


def separable(function: Callable) -> None:
    """`separable(x)`: is there a direction w with w . x > 0 for every row of x?"""
    for seed, (n, d) in enumerate([(5, 2), (12, 3), (30, 12), (20, 12)]):
        for yes in (True, False):
            x = _points(n, d, yes, seed)
            got = call(function, x)
            if not isinstance(got, (bool, np.bool_)):
                raise ExerciseError(
                    f"`separable` should return True or False, got {type(got).__name__} {got!r:.40}"
                )
            if got == yes:
                continue
            case = f"{n} points in {d} dimensions"
            if yes and call(function, 1000 * x):
                raise ExerciseError(f"{case}: larger points give another answer. Is there a bound on w?")
            if yes and call(function, x[:, :1] * 0 + np.abs(x)):
                raise ExerciseError(
                    f"{case} lie on one side and you say they do not, although you see it where all "
                    "coordinates are positive: may your w have negative entries? linprog starts at 0. "
                    "Or do you try one direction only?"
                )
            if yes:
                raise ExerciseError(
                    f"{case} lie on one side of a plane through the origin, and you say they do not"
                )
            raise ExerciseError(
                f"{case} do not lie on one side, the origin is between them, and you say they do: "
                "w = 0 satisfies w . x >= 0, so ask for w . x >= 1"
            )
    passed("you find the plane where there is one, and only there")


def _points(n: int, d: int, yes: bool, seed: int) -> np.ndarray:
    """Points with a planted plane, or with the origin in the middle of their convex hull."""
    random = np.random.default_rng(100 + seed)
    x = random.standard_normal((n, d))
    if yes:
        w = random.standard_normal(d)
        w[0] = -abs(w[0]) - 1
        height = x @ w / np.linalg.norm(w)
        target = 0.01 + np.abs(height)
        return 0.1 * (x + np.outer(target - height, w / np.linalg.norm(w)))
    x[: d + 1] = np.vstack([np.eye(d), -np.ones(d)])  # a simplex round the origin
    return x @ np.linalg.qr(random.standard_normal((d, d)))[0]


def smaller_eps(answer: object, *, seed: int = 0) -> None:
    """The delay for eps / 100, with the class's ratio."""
    ratio, eps, eta = task_eps(seed=seed)
    new, old, tenth, larger = (_delay(ratio, eps * factor, eta) for factor in (0.01, 1, 0.1, 100))
    got = expect_number(answer, "delay_of_mine")
    mistakes = {
        "that is the delay for the old eps": old[1] - old[0],
        "that is when the test accuracy arrives: take off the time of the train accuracy": new[1],
        "that is when the train accuracy arrives": new[0],
        "that is the limit for eps = 0": -np.log(1 - ratio**0.5) / (2 * eta * (1 - ratio**0.5) ** 2),
        "that is how many times longer: give the steps": (new[1] - new[0]) / (old[1] - old[0]),
        "that is by how much it grew: give the whole delay": (new[1] - new[0]) - (old[1] - old[0]),
        "that is for a tenth of eps, the card says a hundredth": tenth[1] - tenth[0],
        "that is for a larger eps": larger[1] - larger[0],
        "the delay does not grow like 1 / eps": 100 * (old[1] - old[0]),
        "the delay does not grow like one over the root of eps": 10 * (old[1] - old[0]),
    }
    expect_close(got, new[1] - new[0], "delay_of_mine", rtol=0.01, mistakes=mistakes)
    longer = (new[1] - new[0]) / (old[1] - old[0])
    passed(f"a hundred times stricter, and the delay is only {longer:.2f} times as long")


def task_eps(*, seed: int = 0) -> tuple[float, float, float]:
    """The class's ratio d / N, eps and learning rate.

    >>> ratio, eps, eta = task_eps(seed=0)
    >>> 0.25 <= ratio <= 0.75, eps in (5e-4, 1e-3, 2e-3), eta
    (True, True, 0.01)

    Used in lesson 05.
    """
    random = np.random.default_rng([5, seed])
    return round(float(random.uniform(0.25, 0.75)), 2), float(random.choice([5e-4, 1e-3, 2e-3])), 0.01


def _delay(ratio: float, eps: float, eta: float, level: float = 0.95) -> tuple[float, float]:
    """When train and test accuracy arrive, by adaptive quadrature over the law."""
    low, high = (1 - ratio**0.5) ** 2, (1 + ratio**0.5) ** 2
    target, half = eps / (2 * erfinv(level) ** 2), (high - low) / 2

    def log_loss(t: float, power: int) -> float:
        def inside(a: float) -> float:
            nu = (low + high) / 2 - half * np.cos(a)
            return (
                nu**power
                * np.exp(-4 * eta * (nu - low) * t)
                * (half * np.sin(a)) ** 2
                / (2 * np.pi * ratio * nu)
            )

        return np.log(quad(inside, 0, np.pi, limit=500)[0]) - 4 * eta * low * t

    def when(power: int) -> float:
        end = 100.0
        while log_loss(end, power) > np.log(target):
            end *= 2
        return brentq(lambda t: log_loss(t, power) - np.log(target), 0, end)

    return when(1), when(0)


def one_side(function: Callable) -> None:
    """`one_side(n, d)`: how many of the 2^n ways to flip n points in d dimensions put them on one side."""
    for n in (1, 2, 5, 8):
        got = expect_number(call(function, n, 1), f"one_side({n}, 1)", whole=True)
        if got != 2:
            raise ExerciseError(
                f"on a line {n} point{'s are' if n > 1 else ' is'} on one side in 2 of the ways, all right "
                f"or all left; got {got}"
            )
    for n, d in product(range(1, 9), range(2, 6)):
        got = expect_number(call(function, n, d), f"one_side({n}, {d})", whole=True)
        if n <= d and got != 2**n:
            raise ExerciseError(
                f"{n} points in {d} dimensions are on one side however you flip them, "
                f"which is {2**n} ways; got {got}"
            )
        if got != _cells(n, d):
            hint = ": in the plane n lines through the origin make 2 n sectors" if d == 2 else ""
            near = {
                "every plane has two sides, did you count one?": _cells(n, d) / 2,
                "that is twice too many": 2 * _cells(n, d),
                "that is the count of one dimension less": _cells(n, d - 1),
                "that is the count for one point more": _cells(n + 1, d),
                "that is the count for one point less": _cells(n - 1, d),
            }
            hint = next((f": {text}" for text, value in near.items() if value == got), hint)
            raise ExerciseError(f"one_side({n}, {d}) is not {got}{hint}")
    start = process_time()
    call(function, 24, 12)
    if process_time() - start > 0.1:  # a row of results needs a ten-thousandth of that
        raise ExerciseError(
            "one_side(24, 12) takes long, and one_side(60, 30) would not end: each call makes two more, and "
            "most of them again and again. Keep the results for n - 1 in a row"
        )
    got = expect_number(call(function, 60, 30), "one_side(60, 30)", whole=True)
    if got != 2**59:
        raise ExerciseError("one_side(60, 30) should be exactly half of all 2**60 ways")
    passed("your count is Wendel's, and at n = 2 d it is exactly one half")


def _cells(n: int, d: int) -> int:
    """How many sign patterns n general points in d dimensions allow on one side, read off a formula."""
    return 2 * sum(comb(n - 1, k) for k in range(d)) if n > 0 else 1


def unlearning_time(function: Callable) -> None:
    """`unlearning_time(lam, accuracy, q)`: the late-time wait of two points with the shares q and 1 - q."""
    for lam, accuracy, q in [(0.2, 0.95, 0.5), (0.4, 0.8, 0.6), (0.45, 0.99, 0.8), (0.49, 0.95, 0.7)]:
        got = expect_number(call(function, lam, accuracy, q), "the time")
        rest, mean = _rest(lam, q)
        even, even_mean = _rest(lam, 0.5)
        other, other_mean = _rest(lam, 1 - q)
        bias = ndtri(accuracy) * rest
        wrong = {
            "the bias falls like -log(A t): divide by A": np.exp(bias),
            "divide by A, do not multiply": np.exp(bias) * mean,
            "A has the shares q and 1 - q as they are": np.exp(bias) / mean / 2,
            "the shares q and 1 - q are missing": np.exp(ndtri(accuracy) * even) / even_mean,
            "q is the share of the left point, at -1": np.exp(ndtri(accuracy) * abs(other)) / other_mean,
            "inputs go wrong on one side only: take the quantile of `accuracy` itself": np.exp(
                ndtri((1 + accuracy) / 2) * rest
            )
            / mean,
            "that is the bias, not yet the time": bias,
            "1.645 belongs to 95 %; here `accuracy` may be another share": np.exp(ndtri(0.95) * rest) / mean,
            "from a share to the number that has it below goes ndtri, not ndtr": np.exp(ndtr(accuracy) * rest)
            / mean,
            "the slope of the right point's term has a factor 1 - 2 lam": _with_weight(lam, accuracy, q),
        }
        expect_close(got, np.exp(bias) / mean, "the time", rtol=1e-3, mistakes=wrong)
    passed("your formula needs no simulation; the more often the right point is seen, the shorter the wait")


def _with_weight(lam: float, accuracy: float, q: float) -> float:
    """The time if the inner derivative is forgotten: the weight is then log(q / (1 - q)) / (2 - 2 lam)."""
    weight = np.log(q / (1 - q)) / (2 - 2 * lam)
    return np.exp(ndtri(accuracy) * weight) / (q * np.exp(-weight) + (1 - q) * np.exp((1 - 2 * lam) * weight))


def _rest(lam: float, q: float) -> tuple[float, float]:
    """Where the late-time loss of the weight is least, and how large it is there."""

    def loss(weight: float) -> float:
        return q * np.exp(-weight) + (1 - q) * np.exp(weight * (1 - 2 * lam))

    least = minimize_scalar(loss, bounds=(-50, 50), method="bounded", options={"xatol": 1e-10})
    return least.x, least.fun


def share_right(function: Callable) -> None:
    """`share_right(pos, neg, place, eps, l1)`: thresholds with a penalty l1 |b|, right near `place`."""
    random = np.random.default_rng(5)
    for place, eps, l1 in [
        (0.0, 0.3, 0.0),
        (0.0, 0.3, 0.4),
        (1.0, 0.3, 0.4),
        (1.0, 0.3, 0.0),
        (-0.8, 0.4, 0.3),
    ]:
        pos = place + eps + random.exponential(size=(400, 3))
        neg = place - eps - random.exponential(size=(400, 3))
        got = expect_number(call(function, pos, neg, place, eps, l1), "the share")
        middle = (pos.mean(1) + neg.mean(1)) / 2
        rest = np.array([_least(m, l1) for m in middle])
        mistakes = {
            "right is near `place`, not near 0": np.mean(np.abs(rest) < eps),
            "the penalty is missing": np.mean(np.abs(middle - place) < eps),
            "the penalty pulls to 0 from both sides: a negative mean moves up": np.mean(
                np.abs(middle - l1 - place) < eps
            ),
            "the penalty stops at 0, it does not push the threshold through": np.mean(
                np.abs(middle - l1 * np.sign(middle) - place) < eps
            ),
            "that pulls to `place`; the penalty pulls to 0": np.mean(np.abs(middle - place) < eps + l1),
            "the mean of all 2 n examples: add the means of both classes and halve": np.mean(
                np.abs([_least(2 * m, l1) - place for m in middle]) < eps
            ),
            "the penalty is l1 |b|, without a half": np.mean(
                np.abs([_least(m, l1 / 2) - place for m in middle]) < eps
            ),
            "that is how many are right; the share was asked for": np.sum(np.abs(rest - place) < eps),
            "a mean below 0 rests below 0: give it its sign back": np.mean(
                np.abs(np.maximum(middle - l1, 0) - place) < eps
            ),
            "`pos` and `neg` are moved already: do not add `place`": np.mean(
                np.abs([_least(m + place, l1) - place for m in middle]) < eps
            ),
            "each set has a mean of its own: take it along the second axis": float(
                abs(_least(middle.mean(), l1) - place) < eps
            ),
            "that is the share of the wrong ones": np.mean(np.abs(rest - place) >= eps),
        }
        expect_close(got, np.mean(np.abs(rest - place) < eps), "the share", atol=1e-9, mistakes=mistakes)
    passed(
        "the penalty pulls to 0: it helps where the rule is at 0, and harms where it is not. She may claim "
        "that a penalty which knows the answer beforehand helps; about sparsity she has shown nothing"
    )


def _least(middle: float, l1: float) -> float:
    """Where (b - middle)^2 / 2 + l1 |b| is least: its slope is 0 there, or it is the kink at 0."""
    return min((0.0, middle - l1, middle + l1), key=lambda b: (b - middle) ** 2 / 2 + l1 * abs(b))


def one_pair(function: Callable) -> None:
    """`one_pair(eps, l1, l2)`: the chance of grokking from one example of each class."""
    for eps, l1, l2 in [(0.4, 0.0, 0.0), (0.1, 0.3, 0.0), (0.2, 0.0, 1.5), (0.3, 0.2, 0.5), (2.0, 0.0, 0.0)]:
        got = expect_number(call(function, eps, l1, l2), "the probability")
        reach = eps * (1 + l2) + l1
        due = quad(_difference_within, 0, 60, args=(2 * reach,), points=[2 * reach])[0]
        mistakes = {
            "the mean of two numbers has a factor 1/2: their difference may be twice as large": 1
            - np.exp(-reach),
            "that is the formula for two examples of each class": 1 - (1 + 2 * reach) * np.exp(-4 * reach),
            "both signs count: that is the chance for one side": (1 - np.exp(-2 * reach)) / 2,
            "that is the density at the edge; the chance is its integral from one edge to the other": np.exp(
                -2 * reach
            )
            / 2,
            "that is the chance to fail": np.exp(-2 * reach),
            "the l1 penalty adds to eps, the l2 penalty multiplies it": 1 - np.exp(-2 * eps),
            "|mean| < e means |difference| < 2 e, not 4 e": 1 - np.exp(-4 * reach),
            "the density exp(-|z|) / 2 stands on both sides of 0": 1 - np.exp(-2 * reach) / 2,
            "the l1 penalty widens the reach: add it": 1 - np.exp(-2 * (eps * (1 + l2) - l1)),
            "the l2 penalty multiplies eps, not l1": 1 - np.exp(-2 * (eps + l1) * (1 + l2)),
            "the l2 penalty makes the reach larger, not smaller": 1 - np.exp(-2 * (eps / (1 + l2) + l1)),
        }
        expect_close(got, due, "the probability", rtol=1e-4, mistakes=mistakes)
    passed("a closed form, and numerical integration agrees")


def _difference_within(e: float, reach: float) -> float:
    """The density of one exponential at e, times the chance that another lies within reach of it."""
    return np.exp(-e) * (expon.cdf(e + reach) - expon.cdf(e - reach))
