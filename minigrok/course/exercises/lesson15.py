"""The checks of lesson 15, Benign overfitting and friends."""

import tracemalloc
from collections.abc import Callable

import numpy as np

from minigrok import theory
from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def ridge_by_hand(function: Callable) -> None:
    """`ridge_by_hand(X, y, ridge)` is X^T (X X^T + ridge I)^-1 y, for ridges of every sign."""
    for seed, (n, p) in enumerate([(6, 20), (10, 400), (8, 9)]):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((n, p)), rng.standard_normal(n)
        values, U = np.linalg.eigh(X @ X.T)
        for ridge in (3.0, 0.0, -0.5 * values[0]):  # a p x p inverse fails at 0: see the hints
            name = f"the weights for ridge {ridge:.3g}"
            got = expect_array(call(function, X, y, ridge), (p,), name)
            mistakes = {
                "the ridge is not in it: that is the interpolator": _weights(X, U, values, y, 0.0),
                "that is the ridge with the other sign": _weights(X, U, values, y, -ridge),
                "here the ridge is not multiplied by n": _weights(X, U, values, y, n * ridge),
                "here the ridge is not divided by n": _weights(X, U, values, y, ridge / n),
                "the ridge is squared": _weights(X, U, values, y, ridge**2),
                "the ridge belongs on the diagonal only, times np.eye": X.T
                @ np.linalg.solve(X @ X.T + ridge, y),
            }
            expect_close(got, _weights(X, U, values, y, ridge), name, mistakes=mistakes)
    _expect_no_large_matrix(function)
    passed("every label is fitted with ridge 0, and ridges of both signs are right")


def _expect_no_large_matrix(function: Callable) -> None:
    rng, p = np.random.default_rng(3), 500
    X, y = rng.standard_normal((10, p)), rng.standard_normal(10)
    tracemalloc.start()
    call(function, X, y, 3.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if peak > 8 * p * p:
        raise ExerciseError(
            "the weights are right, but a p x p matrix was formed: use X @ X.T, which is n x n"
        )


def _weights(X: np.ndarray, U: np.ndarray, values: np.ndarray, y: np.ndarray, ridge: float) -> np.ndarray:
    """By the eigenvectors of X X^T; NaN never: a shifted eigenvalue of exactly 0 does not occur here."""
    return X.T @ (U @ ((U.T @ y) / (values + ridge)))


def rank_by_hand(function: Callable) -> None:
    """`rank_by_hand(spectrum, k)` is the sum of all but the k largest, over the largest of these."""
    rng = np.random.default_rng(15)
    for p, k in [(9, 2), (40, 0), (12, 11), (30, 7)]:
        spectrum = rng.permutation(rng.gamma(1.0, 2.0, p) + 0.1)
        falling = sorted(spectrum.tolist(), reverse=True)
        tail = falling[k:]
        got = expect_number(call(function, spectrum, k), "the effective rank")
        later = falling[min(k + 1, p - 1)]
        mistakes = {
            "the tail begins one variance earlier, with the k-th counted from 0": sum(falling[k + 1 :])
            / later,
            "divide by the largest variance of the tail, not by its second": sum(tail) / later,
            "sort the spectrum first, the largest in front": spectrum[k:].sum() / spectrum[k],
            "the smallest come first in what you cut: sort from the largest down": sum(falling[::-1][k:])
            / falling[::-1][k],
            "the tail begins one variance earlier": sum(falling[k + 1 :]) / tail[0],
            "divide by the largest variance of the tail, not by the last of the head": sum(tail)
            / falling[k - 1],
            "the tail begins one variance later, with the entry [k]": sum(falling[k - 1 :]) / falling[k - 1],
            "for k = 0 nothing is left of [:-k]": 0.0,
            "the head is still in the sum": sum(falling) / tail[0],
            "divide by the largest variance of the tail, not of all": sum(tail) / falling[0],
            "that is the second effective rank, R_k": sum(tail) ** 2 / sum(v * v for v in tail),
            "that is only the number of variances in the tail": len(tail),
        }
        expect_close(got, sum(tail) / tail[0], "the effective rank", mistakes=mistakes)
    given = np.array([1.0, 3.0, 2.0])
    function(given, 1)  # not through `call`, which hands over copies
    if given.tolist() != [1.0, 3.0, 2.0]:
        raise ExerciseError("your function changed the spectrum it was given: use np.sort, not .sort()")
    passed("head left out, tail summed, and one long list is worth no more than it should be")


def setting(seed: int) -> dict[str, float]:
    """One class's own setting for exercise 15.4: a head, a long and heavy tail, and noise."""
    rng = np.random.default_rng(1500 + seed)
    n = int(rng.choice([100, 150, 200]))
    return {
        "n": n,
        "k": int(rng.integers(3, 7)),
        "theta": float(rng.choice([1.5, 2.0])),  # never 1: a square forgotten must be seen
        "m": int(rng.choice([20_000, 30_000, 40_000])),
        "tail": float(n * rng.choice([0.2, 0.25, 0.3])),
        "noise": float(rng.choice([0.8, 1.25, 1.5])),
    }


def best_ridge(answer: float, seed: int) -> None:
    """`my_ridge` is the pencil's best ridge of the class's setting, its mu right within 2 %."""
    answer, s = expect_number(answer, "my_ridge"), setting(seed)
    mu = _pencil(s)
    felt = answer + s["tail"]
    if abs(felt / mu - 1) <= 0.02:
        exact = theory.best_ridge(*_spiked(s), s["n"], s["noise"])
        passed(f"you said {answer:.1f} with a pencil; the exact formula says {exact:.1f}")
        return
    text = f"`my_ridge` is not right, you have {answer:g}"
    if abs(answer - theory.best_ridge(*_spiked(s), s["n"], s["noise"])) <= 1e-3 * mu:
        raise ExerciseError(f"{text}: that is `theory.best_ridge` itself; the pencil's formula is asked for")
    for words, value in _mistakes(s, mu).items():
        if abs(answer - value) <= max(0.02 * abs(value + s["tail"]), 1e-6):
            raise ExerciseError(f"{text}: {words}")
    if answer >= 0:
        raise ExerciseError(f"{text}: it is not negative. Is this tail not heavy enough to take some away?")
    if answer < theory.smallest_ridge(_spiked(s)[0], s["n"]):
        raise ExerciseError(f"{text}: that is below the edge. Are all powers right?")
    raise ExerciseError(f"{text}: the sign is right, the size is not. Put all six numbers into the formula")


def _pencil(s: dict[str, float]) -> float:
    """mu = (sigma^2 n^3 T^2 / (k theta^2 m))^(1/4), by logarithms."""
    powers = {"noise": 2, "n": 3, "tail": 2, "k": -1, "theta": -2, "m": -1}
    return float(np.exp(sum(power * np.log(s[key]) for key, power in powers.items()) / 4))


def _spiked(s: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    sizes = [int(s["k"]), int(s["m"])]
    return np.repeat([1.0, s["tail"] / s["m"]], sizes), np.repeat([s["theta"], 0.0], sizes)


def _mistakes(s: dict[str, float], mu: float) -> dict[str, float]:
    factors = {
        "sigma stands there with its square": s["noise"] ** -0.25,
        "theta stands there with its square": s["theta"] ** 0.25,
        "sigma is missing": s["noise"] ** -0.5,
        "theta is missing": s["theta"] ** 0.5,
        "all k coordinates of the head count": s["k"] ** 0.25,
        "is the power of n right?": s["n"] ** -0.25,
        "T stands there with its square": s["tail"] ** -0.25,
        "the factors 2 of the two derivatives cancel": 2**0.25,
        "is a square root where the fourth root should be?": mu,
        "a fourth root is forgotten": mu**3,
    }
    return {
        "that is mu, what the head feels; take away what the tail brings": mu,
        "the size is right, the sign is not": s["tail"] - mu,
        "that takes all of T away; the head wants a little of it": -s["tail"],
    } | {words: factor * mu - s["tail"] for words, factor in factors.items()}


def expected_bends(function: Callable) -> None:
    """`expected_bends(a, b, width)` is width times the angle between a and b, over pi."""
    rng = np.random.default_rng(7)
    for d, width in [(2, 10), (5, 64), (30, 1000)]:
        a, b = rng.standard_normal(d), 3 * rng.standard_normal(d)
        got = expect_number(call(function, a, b, width), "the number of bends")
        angle = 2 * np.arctan2(
            np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)),
            np.linalg.norm(a / np.linalg.norm(a) + b / np.linalg.norm(b)),
        )  # half the angle's tangent: no arccos
        mistakes = {
            "two opposite sectors of the full turn make a bend, not one": width * angle / (2 * np.pi),
            "the expected number is asked for, not rounded": round(width * angle / np.pi),
            "that is the number of units that do not bend on the way": width * (1 - angle / np.pi),
            "half is right for two points at a right angle only": width / 2,
            "divide the angle by pi, not by half a right angle's worth": width * 2 * angle / np.pi,
            "divide the angle by pi: it is a share of half a turn": width * angle,
            "the angle is in degrees there: half a turn is 180 of them": width * np.degrees(angle) / np.pi,
            "divide a . b by both lengths before you take the arc cosine": width
            * np.arccos(np.clip(a @ b, -1, 1))
            / np.pi,
        }
        expect_close(got, width * angle / np.pi, "the number of bends", mistakes=mistakes)
        got = expect_number(call(function, a, 2 * a, width), "the number of bends from a to 2 a")
        expect_close(got, 0.0, "the number of bends from a to 2 a", atol=1e-4 * width, reveal=True)
    passed("the angle between the points, in parts of half a turn, of all units")


def stopped(function: Callable) -> None:
    """`stopped(X, y, t)` is where gradient flow from zero is at time t."""
    for seed, (n, p) in enumerate([(4, 7), (6, 30)]):
        rng = np.random.default_rng(20 + seed)
        X, y = rng.standard_normal((n, p)), rng.standard_normal(n)
        interpolator = np.linalg.pinv(X) @ y
        for t in (0.02, 0.3, 8.0, 0.0):
            name = f"the weights at t = {t:g}"
            got = expect_array(call(function, X, y, t), (p,), name)
            mistakes = {
                "that is the interpolator, the end of the flow": interpolator,
                "that is ridge regression with ridge 1 / t: near, but not the flow": X.T
                @ np.linalg.solve(X @ X.T + np.eye(n) / max(t, 1e-9), y),
                "that is X^T r(t), the speed, not yet summed over the time": X.T @ _residual(X, y, t),
                "that is the error r(t) brought to the weights: it should grow from 0": interpolator
                - _flow(X, y, t),
                "y has to be turned into the eigenvectors first, U.T @ y": _not_turned(X, y, t),
                "that is one single step of size t": t * X.T @ y,
                "the integral of exp(-nu t) has a nu below it": X.T @ (y - _residual(X, y, t)),
                "here the loss is a sum over the points, not divided by n": _flow(X, y, t / n),
            }
            expect_close(got, _flow(X, y, t), name, rtol=1e-3, atol=1e-5, mistakes=mistakes)
        late = expect_array(call(function, X, y, 1e6), (p,), "the weights at t = 1e6")
        expect_close(late, interpolator, "the weights at t = 1e6", rtol=1e-3, atol=1e-5)
    passed("zero at the start, the interpolator at the end, the flow between")


def _flow(X: np.ndarray, y: np.ndarray, t: float) -> np.ndarray:
    """Runge-Kutta steps on w' = X^T (y - X w): an oracle without the formula."""
    stiff = np.linalg.eigvalsh(X @ X.T)[-1]
    steps = max(1, int(np.ceil(2 * stiff * t)))
    w, h = np.zeros(X.shape[1]), t / steps

    def speed(w: np.ndarray) -> np.ndarray:
        return X.T @ (y - X @ w)

    for _ in range(steps):
        a = speed(w)
        b = speed(w + h / 2 * a)
        c = speed(w + h / 2 * b)
        w = w + h / 6 * (a + 2 * b + 2 * c + speed(w + h * c))
    return w


def _not_turned(X: np.ndarray, y: np.ndarray, t: float) -> np.ndarray:
    values, U = np.linalg.eigh(X @ X.T)
    return X.T @ (U @ ((1 - np.exp(-t * values)) / values * y))


def _residual(X: np.ndarray, y: np.ndarray, t: float) -> np.ndarray:
    return y - X @ _flow(X, y, t)
