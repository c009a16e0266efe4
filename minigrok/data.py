"""Data sets: small ones in the plane, which can be seen whole, and the 8 x 8 digits of scikit-learn.

All are functions of a seed: the same seed gives the same points on every call. Inputs are float32, labels
int64, classes balanced.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

N_DIGITS, N_TEST_DIGITS = 1797, 597  # all images of scikit-learn's set, and those kept for testing


def disc_and_ring(n: int, *, seed: int = 0, gap: float = 0.2) -> tuple[Tensor, Tensor]:
    """A disc (label 0) inside a ring (label 1), uniform by area.

    The disc ends at radius 0.55 - gap / 2, the ring goes from 0.55 + gap / 2 to 0.95.

    Args:
        n: number of points, at least 2; they take turns between the classes.
        gap: the width of the empty ring between the classes, at least 0 and below 0.8.

    Returns:
        x (n, 2) float32 inside the unit disc, y (n,) int64.

    Example:
        >>> x, y = disc_and_ring(200)
        >>> x.shape, y.bincount()
        (torch.Size([200, 2]), tensor([100, 100]))

    Used in lessons 01 to 03.
    """
    if not 0 <= gap < 0.8:
        raise ValueError(f"gap must be at least 0 and below 0.8, got {gap}")
    y, generator = _labels(n, seed)
    inner = torch.tensor([0.0, 0.55 + gap / 2])[y]
    outer = torch.tensor([0.55 - gap / 2, 0.95])[y]
    # Area grows with the radius squared, so the squared radius is what is drawn uniformly.
    radius = (inner**2 + (outer**2 - inner**2) * torch.rand(n, generator=generator)).sqrt()
    return _polar(radius, 2 * torch.pi * torch.rand(n, generator=generator)), y


def spiral(n: int, *, seed: int = 0, turns: float = 1.5) -> tuple[Tensor, Tensor]:
    """Two spiral arms around each other, of `turns` turns each, from radius 0.1 out to 0.95.

    Args:
        n: number of points, at least 2; they take turns between the classes.
        turns: how often an arm goes round; the gap between the arms is about 0.43 / turns.

    Returns:
        x (n, 2) float32, y (n,) int64.

    Example:
        >>> x, y = spiral(200, turns=2)
        >>> x.shape, y.bincount()
        (torch.Size([200, 2]), tensor([100, 100]))

    Used in lesson 02.
    """
    if not 0 < turns <= 10:
        raise ValueError(f"turns must be above 0 and at most 10, got {turns}")
    y, generator = _labels(n, seed)
    along = torch.rand(n, generator=generator)
    return _polar(0.1 + 0.85 * along, 2 * torch.pi * turns * along + torch.pi * y), y


def moons(n: int, *, seed: int = 0, noise: float = 0.1) -> tuple[Tensor, Tensor]:
    """Two half circles that reach into each other, with normal noise on every coordinate.

    The noise is cut at three standard deviations, and the picture shrunk just so much that everything fits
    into the square from -1 to 1.

    Args:
        n: number of points, at least 2; they take turns between the classes.
        noise: its standard deviation, for half circles of radius 1 (before shrinking by 1.5 + 3 noise).

    Returns:
        x (n, 2) float32, y (n,) int64.

    Example:
        >>> x, y = moons(200)
        >>> x.shape, y.bincount()
        (torch.Size([200, 2]), tensor([100, 100]))

    Used in lesson 02.
    """
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a finite number of at least 0, got {noise}")
    y, generator = _labels(n, seed)
    upper = _polar(torch.ones(n), torch.pi * torch.rand(n, generator=generator))
    sign = (1.0 - 2.0 * y)[:, None]  # the second moon is the first one turned by half a circle and shifted
    x = sign * (upper - torch.tensor([0.5, 0.25]))
    x += noise * torch.randn(n, 2, generator=generator).clamp(-3, 3)
    return (x / (1.5 + 3 * noise)).clamp(-1, 1), y  # the clamp mends rounding alone


def xor(n: int, *, seed: int = 0, gap: float = 0.1) -> tuple[Tensor, Tensor]:
    """Four squares, one in each corner: label 0 where x1 and x2 have the same sign, 1 where they differ.

    Args:
        n: number of points, at least 2; they take turns between the classes.
        gap: both coordinates keep at least this distance from 0.

    Returns:
        x (n, 2) float32 with gap <= |x_i| <= 0.95, y (n,) int64.

    Example:
        >>> x, y = xor(200)
        >>> bool(((x[:, 0] * x[:, 1] < 0) == y).all())
        True

    Used in lesson 01.
    """
    if not 0 <= gap < 0.95:
        raise ValueError(f"gap must be at least 0 and below 0.95, got {gap}")
    y, generator = _labels(n, seed)
    size = gap + (0.95 - gap) * torch.rand(n, 2, generator=generator)
    first = torch.where(torch.rand(n, generator=generator) < 0.5, -1.0, 1.0)
    return size * torch.stack([first, first * (1.0 - 2.0 * y)], dim=1), y


class Digits(NamedTuple):
    """Handwritten digits: x_train (n, 64) and x_test (597, 64) float32 in [0, 1], labels int64 0 to 9."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def digits(n_train: int | None = None, *, seed: int = 0) -> Digits:
    """The 8 x 8 handwritten digits that come with scikit-learn, split in training and test images.

    Every class has its share in both parts, to within two images. For one seed the 597 test images are the
    same whatever `n_train` is, and a smaller training set is the beginning of a larger one.

    Args:
        n_train: number of training images, 10 to 1200; None takes all 1200.
        seed: which images train and which test.

    Raises:
        ImportError: scikit-learn is not installed (it comes with `minigrok[course]`).

    Example:
        >>> x_train, y_train, x_test, y_test = digits(200)
        >>> x_train.shape, x_test.shape, y_train.bincount().tolist()
        (torch.Size([200, 64]), torch.Size([597, 64]), [20, 20, 20, 20, 20, 21, 20, 20, 19, 20])

    Used in lesson 03.
    """
    most = N_DIGITS - N_TEST_DIGITS
    n_train = most if n_train is None else n_train
    if not (isinstance(n_train, int) and 10 <= n_train <= most):
        raise ValueError(
            f"n_train must be a whole number from 10 to {most}, got {n_train!r}: "
            f"there are {N_DIGITS} digits, and {N_TEST_DIGITS} are kept for testing"
        )
    x, y = _all_digits()
    order = _spread_classes(y, seed)
    train, test = order[:n_train], order[most:]
    return Digits(x[train], y[train], x[test], y[test])


def _all_digits() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise ImportError("the digits come with scikit-learn: pip install 'minigrok[course]'") from missing
    x, y = load_digits(return_X_y=True)
    return torch.tensor(x / 16, dtype=torch.float32), torch.tensor(
        y, dtype=torch.int64
    )  # ink comes as 0 to 16


def _spread_classes(y: Tensor, seed: int) -> Tensor:
    """An order of all samples, random within each class, that spreads every class evenly."""
    generator = np.random.default_rng(seed)
    place = np.empty(len(y))
    for label in range(10):
        members = np.flatnonzero(y.numpy() == label)
        # The k-th of m members stands near (k + u) / m of the way, u the same for the whole class.
        place[generator.permutation(members)] = (np.arange(len(members)) + generator.random()) / len(members)
    return torch.from_numpy(np.argsort(place, kind="stable"))


def _labels(n: int, seed: int) -> tuple[Tensor, torch.Generator]:
    if not (isinstance(n, int) and n >= 2):
        raise ValueError(f"n must be a whole number of at least 2, one point for each class, got {n!r}")
    return torch.arange(n) % 2, torch.Generator().manual_seed(seed)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)
