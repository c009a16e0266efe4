"""Numbers that go into a formula: read as float64, and refused in words where it does not hold."""

import math

import numpy as np


def numbers(
    name: str, values: object, low: float = -math.inf, high: float = math.inf, *, open: str = ""
) -> np.ndarray:
    """`values` as float64 in [low, high]; "low" or "high" in `open` leaves that end out. NaN is refused."""
    array = np.asarray(values, dtype=np.float64)
    above = array > low if "low" in open else array >= low
    below = array < high if "high" in open else array <= high
    if not (above & below).all():
        wrong = array[~(above & below)].flat[0]
        raise ValueError(f"{name} must be {_in_words(low, high, open)}; got {wrong:g}")
    return array


def number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, *, open: str = ""
) -> float:
    """The same for one number."""
    if np.ndim(value) != 0:
        raise ValueError(f"{name} must be one number; got the shape {np.shape(value)}")
    return float(numbers(name, value, low, high, open=open))


def _in_words(low: float, high: float, open: str) -> str:
    ends = []
    if low > -math.inf:
        ends.append(f"above {low:g}" if "low" in open else f"at least {low:g}")
    if high == math.inf and "high" in open:
        ends.append("finite")
    elif high < math.inf:
        ends.append(f"below {high:g}" if "high" in open else f"at most {high:g}")
    return " and ".join(ends) or "a number"
