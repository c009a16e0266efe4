"""The checks of lesson 07, When does it (not) grok?"""

from collections.abc import Callable

import numpy as np
import torch

from minigrok.course.exercises import ExerciseError, call, expect_array, expect_close, expect_number, passed


def perp(function: Callable) -> None:
    """`perp(w, g)` is g without its part along w, as long as g."""
    for n, seed in [(2, 0), (5, 1), (40, 2)]:
        w, g = torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        w, g = 3 * w, g + 0.4 * w
        got = expect_array(call(function, w, g), (n,), "the gradient")
        along = (w @ g) / (w @ w) * w
        across, unit = g - along, w / w.norm()
        mistakes = {
            "it is at right angles to w, but shorter than g was: make it as long again": across,
            "it is at right angles to w, but has length 1: g had another length": across / across.norm(),
            "it has the length of w: it should be as long as g was": across * w.norm() / across.norm(),
            "it points the other way: g is what stays, less its part along w": -_as_long(across, g),
            "its direction is off: you divided by the length of g as well": _as_long(
                g - (w @ g) / (w.norm() * g.norm()) * w, g
            ),
            "that is the part along w itself, which was to be taken away": along,
            "its direction is off by the length of w: divide by w.w, which is its square": _as_long(
                g - (w @ g) * unit, g
            ),
            "its direction is off: the part along w must be divided by w.w": _as_long(g - (w @ g) * w, g),
            "you added the part along w: take it away": _as_long(g + along, g),
            "you took a part of w away from w: take the part along w away from g": _as_long(
                w - (w @ g) / (g @ g) * g, g
            ),
        }
        expect_close(got, _as_long(across, g), "the gradient", mistakes=mistakes)
    passed("it only turns the weights: at right angles to them, and as long as before")


def _as_long(v: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return v * g.norm() / v.norm()


def slow(function: Callable) -> None:
    """`grokfast_gradients(gradients, alpha, lamb)` is g + lamb m, and m begins at the first g."""
    for steps, n, alpha, lamb, seed in [(6, 3, 0.9, 2.0, 0), (9, 2, 0.7, 5.0, 1), (1, 4, 0.98, 2.0, 2)]:
        g = torch.randn(steps, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        got = expect_array(call(function, g, alpha, lamb), (steps, n), "the gradients")
        means = _means(g, alpha, g[0])
        mistakes = {
            "the memory begins at zero: it should begin at the first gradient": g
            + lamb * _means(g, alpha, torch.zeros(n, dtype=g.dtype)),
            "the old memory is weighed with alpha, the new gradient with 1 - alpha; yours are exchanged": g
            + lamb * _means(g, 1 - alpha, g[0]),
            "the new gradient is weighed with 1 - alpha, not with 1": g
            + lamb * _means(g / (1 - alpha), alpha, g[0]),
            "that is the slow part alone: it is added to the gradient": lamb * means,
            "that is the memory alone: the optimiser gets g + lamb m": means,
            "lamb is missing": g + means,
            "you used the memory of the step before: first renew it, then add it": g
            + lamb * torch.cat([g[:1], means[:-1]]),
            "your memory holds the strengthened gradients: keep the plain ones in it": _fed_back(
                g, alpha, lamb
            ),
        }
        expect_close(got, g + lamb * means, "the gradients", mistakes=mistakes)
    passed("the slow part is a running mean that begins at the first gradient")


def _means(gradients: torch.Tensor, alpha: float, first: torch.Tensor) -> torch.Tensor:
    """The running mean in closed form: alpha^t of the beginning, and what each gradient still weighs."""
    t = np.arange(1, len(gradients) + 1)
    age = t[:, None] - t
    weights = np.where(age >= 0, (1 - alpha) * alpha ** np.maximum(age, 0), 0)
    return torch.from_numpy(alpha**t)[:, None] * first + torch.from_numpy(weights) @ gradients


def _fed_back(gradients: torch.Tensor, alpha: float, lamb: float) -> torch.Tensor:
    memory, changed = gradients[0], []
    for g in gradients:
        changed.append(g + lamb * (alpha * memory + (1 - alpha) * g))
        memory = alpha * memory + (1 - alpha) * changed[-1]
    return torch.stack(changed)


def class_clock(*, seed: int = 0) -> tuple[float, float]:
    """The class's learning rate and weight decay."""
    random = np.random.default_rng([7, seed])
    return round(float(random.uniform(0.02, 0.06)), 4), round(float(random.uniform(1.5, 4)), 2)


def halved(answer: int, *, seed: int = 0) -> None:
    """The first step at which (1 - lr decay)^t is at most a half, found by going through the steps."""
    lr, decay = class_clock(seed=seed)
    sizes = np.cumprod(np.full(100_000, 1 - lr * decay))
    right = 1 + int((sizes > 0.5).sum())
    mistakes = {
        "you left the learning rate out": [np.floor(np.log(2) / decay), np.ceil(np.log(2) / decay)],
        "you left the weight decay out": [np.ceil(np.log(0.5) / np.log1p(-lr))],
        "by then it is not yet at most half: round up": [right - 1],
        "that is one step too late, or from the formula with e, which is not close enough here": [right + 1],
        "that is one tick, 1 / (lr decay): by then the norm has fallen to about 37 %": [
            np.floor(1 / (lr * decay)), np.ceil(1 / (lr * decay)), np.round(1 / (lr * decay))
        ],
    }  # fmt: skip
    got = expect_number(answer, "halved", whole=True)
    for words, wrong in mistakes.items():
        if got != right and got in wrong:
            raise ExerciseError(f"`halved` is not right: {words}")
    expect_close(got, right, "halved")
    passed("decay alone halves the norm of your class's weights in that many steps")


_SHARES = np.array([0.3, 0.4, 0.5, 0.6, 0.7])
_NO = np.nan
# The steps of three seeds for each share, and the critical share.
_MAPS = [
    ([[_NO] * 3, [_NO, _NO, 480], [_NO, 400, 390], [300, 310, 330], [90, 100, 80]], 0.5),
    ([[_NO] * 3, [400, 450, 470], [_NO] * 3, [300, 310, 330], [90, 100, 80]], 0.6),
    ([[10, 20, 30], [10, 20, 30], [5, 6, 7], [5, 6, _NO], [1, 2, 3]], 0.3),
    ([[_NO] * 3, [_NO] * 3, [_NO] * 3, [_NO, _NO, 500], [_NO, _NO, 450]], np.nan),
    ([[_NO] * 3, [200, 210, 230], [150, 160, 170], [100, 90, 80], [_NO, _NO, 50]], np.nan),
    ([[_NO] * 3, [_NO] * 3, [_NO, 440, 450], [_NO, 410, 420], [_NO, 400, _NO]], np.nan),
    ([[_NO, _NO, _NO, 1], [_NO, _NO, 1, 2], [1, 2, 3, 4], [1, 2, 3, _NO], [1, 2, 3, 4]], 0.5),
]  # fmt: skip


def critical(function: Callable) -> None:
    """`critical_share(shares, understood)`: from there on more than half of the seeds understood."""
    for rows, right in _MAPS:
        steps = np.array(rows, dtype=float)
        got = expect_number(_nan_allowed(call(function, _SHARES, steps)), "the critical share")
        counts = (~np.isnan(steps)).sum(axis=1)
        half = steps.shape[1] / 2
        mistakes = {
            "one seed that understood is not more than half of them": _from_here_on(counts > 0),
            "exactly half of the seeds is not more than half": _from_here_on(counts >= half),
            "all seeds were asked for: more than half is enough": _from_here_on(counts == steps.shape[1]),
            "at a larger share it fails again: from your share on every one must do": _first(counts > half),
            "that is the largest such share": _first((counts > half)[::-1], _SHARES[::-1]),
            "that is the number of the row: return the share": float(np.argmax(counts > half)),
            "runs that did not understand were left out; count them": _first(counts > 0),
        }  # fmt: skip
        if np.isnan(right):
            if got >= 0:
                words = next((m for m, wrong in mistakes.items() if np.isclose(got, wrong)), "")
                raise ExerciseError(
                    f"the critical share should be NaN where there is none, got {got:g}: {words}"
                )
            continue
        if got < 0:
            raise ExerciseError(f"there is a critical share, {right:g}, where you return NaN")
        expect_close(got, right, "the critical share", mistakes=mistakes)
    passed("lucky seeds and gaps do not fool it")


def _nan_allowed(answer: object) -> object:
    """NaN as -1, since `expect_number` takes finite numbers only."""
    scalar = isinstance(answer, float | np.floating | np.ndarray | torch.Tensor) and np.ndim(answer) == 0
    return -1.0 if scalar and np.isnan(float(answer)) else answer


def _from_here_on(enough: np.ndarray) -> float:
    failing = np.flatnonzero(~enough)
    first = failing[-1] + 1 if len(failing) else 0
    return float(_SHARES[first]) if first < len(_SHARES) else -1.0


def _first(enough: np.ndarray, shares: np.ndarray = _SHARES) -> float:
    return float(shares[enough.argmax()]) if enough.any() else -1.0
