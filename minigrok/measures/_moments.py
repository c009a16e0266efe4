"""When it happened: the first look at a level, and the turn between two looks."""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor


def first_reached(
    steps: Sequence[int] | np.ndarray, values: Sequence | np.ndarray | Tensor, level: float
) -> np.ndarray | float:
    """The first *observed* step at which a quantity was at its level or above; NaN if not by the end.

        first_reached = min { steps[t] : values[t] >= level }

    The run was looked at only now and then: the level was reached at some step after the observation before
    and no later than this one. NaN does not say "never", it says "not by step steps[-1]"; count these runs
    instead of leaving them out of a median. A level reached and lost again counts from the first time.

    Args:
        steps: (T,), ascending: `run.steps`.
        values: (T,), or (T, S) for S networks: `run["test accuracy"]`. NaN reaches no level.
        level: the level. For a quantity that falls, hand in -values and -level.

    Returns:
        A float for (T,), float64 (S,) for (T, S).

    Raises:
        ValueError: no observations, other lengths, steps that do not ascend, a level that is NaN.

    Example:
        >>> first_reached([0, 10, 100], [[0.1, 0.2], [0.5, 0.3], [1.0, 0.4]], 0.5)
        array([10., nan])
        >>> first_reached([0, 10, 100], [0.1, 0.5, 1.0], 0.95)
        100.0

    Used in lessons 04, 06, 07, 09, 10 and 16.
    """
    steps, values = _curves(steps, values)
    if math.isnan(level):
        raise ValueError("the level is NaN, which nothing reaches")
    reached = values >= level
    when = np.where(reached.any(axis=0), steps[reached.argmax(axis=0)], np.nan)
    return when if when.ndim else float(when)


def turn(
    steps: Sequence[int] | np.ndarray,
    values: Sequence | np.ndarray | Tensor,
    plateau: tuple[float, float],
    *,
    least: float,
    relative: bool = False,
    level: float = 0.5,
) -> np.ndarray:
    """When a quantity turns: between which two looks it has made half of its change, from early to end.

        early = median of the values on the plateau ,   end = median of the last three
        turn  = (t_{k-1}, t_k] ,   t_k the first look after the plateau with
                                   (v - early) / (end - early) >= 1/2

    It has no level that must be chosen for each quantity, as `first_reached` has, and so puts quantities
    with different units on one axis. What must be chosen, before the runs, is the plateau and the least
    change that counts. A quantity that goes and comes back has not turned: only early and end are compared.

    We look only now and then, so a turn is an interval: after the first of the two steps, not after the
    second. Where the change is too small there is none *by the last step T*, and the interval is (T, inf).

    Args:
        steps: (T,), ascending: `run.steps`.
        values: (T,), or (T, S) for S networks.
        plateau: first and last step of the plateau, both included.
        least: the least change from early to end that counts, in units of the values.
        relative: `least` is a share of the larger of |early| and |end| instead.
        level: the share of the change that is asked for, instead of a half.

    Returns:
        (2,) or (2, S) float64: the last look before, and the first look with it. NaN on the plateau or at
        the end is no turn.

    Raises:
        ValueError: what `first_reached` refuses; no look on the plateau, least negative or NaN, level
            outside (0, 1].

    Example:
        >>> steps = [0, 10, 20, 40, 80, 160]
        >>> turn(steps, [0.1, 0.1, 0.1, 0.7, 0.9, 0.9], (0, 20), least=0.1)  # half of the way is at 0.5
        array([20., 40.])
        >>> turn(steps, [0.1, 0.1, 0.1, 0.9, 0.1, 0.1], (0, 20), least=0.1)
        array([160.,  inf])

    Used in lessons 14 and 16.
    """
    steps, values = _curves(steps, values)
    on_plateau = (steps >= plateau[0]) & (steps <= plateau[1])
    if not on_plateau.any() or not least >= 0 or not 0 < level <= 1:
        raise ValueError(
            "expected a plateau with a look on it, least of 0 or more and level in (0, 1]; got plateau "
            f"{tuple(plateau)} for steps {steps[0]} to {steps[-1]}, least {least}, level {level}"
        )
    early, end = np.median(values[on_plateau], axis=0), np.median(values[-3:], axis=0)
    change = end - early
    size = np.maximum(np.abs(early), np.abs(end)) if relative else 1.0
    made = (values - ((1 - level) * early + level * end)) * np.sign(change) >= 0
    made[: on_plateau.nonzero()[0][-1] + 1] = False
    turned = (np.abs(change) >= least * size) & (change != 0) & made.any(axis=0)
    k = made.argmax(axis=0)
    never = np.array([steps[-1], np.inf]).reshape(2, *[1] * turned.ndim)
    return np.where(turned, np.array([steps[k - 1], steps[k]], dtype=np.float64), never)


def _curves(
    steps: Sequence[int] | np.ndarray, values: Sequence | np.ndarray | Tensor
) -> tuple[np.ndarray, np.ndarray]:
    steps, values = np.asarray(steps), np.asarray(values)
    if steps.ndim != 1 or not len(steps) or values.shape[:1] != steps.shape or (np.diff(steps) <= 0).any():
        raise ValueError(
            "expected steps (T,) in ascending order, at least one, and as many values, (T,) or (T, S); got "
            f"steps of shape {steps.shape} and values of shape {values.shape}"
        )
    return steps, values
