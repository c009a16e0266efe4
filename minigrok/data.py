"""Data sets: points in the plane, which can be seen whole, tables of arithmetic, digits, and photographs.

All are functions of a seed: the same seed gives the same samples on every call. Points and pixels are
float32; the pairs of an arithmetic table are int64; labels are int64. Points and `digits` need no file and
have balanced classes; MNIST, CIFAR and Imagenette are read from files or downloaded.
"""

import itertools
from collections.abc import Callable
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from minigrok import _images
from minigrok._support import check_tensor, seeded

N_DIGITS, N_TEST_DIGITS = 1797, 597  # all images of scikit-learn's set, and those kept for testing

_MODULAR: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "add": lambda a, b, p: (a + b) % p,
    "subtract": lambda a, b, p: (a - b) % p,
    "multiply": lambda a, b, p: a * b % p,
    "divide": lambda a, b, p: a * _inverse(p)[b] % p,
}
OPERATIONS = (*_MODULAR, "s5", "random")


def disc_and_ring(n: int, *, seed: int = 0, gap: float = 0.2) -> tuple[Tensor, Tensor]:
    """A disc (label 0) inside a ring (label 1), uniform by area.

    The disc ends at radius 0.55 - gap / 2, the ring goes from 0.55 + gap / 2 to 0.95.

    Args:
        n: number of points, at least 2; they take turns between the classes.
        gap: the width of the empty ring between the classes, at least 0 and below 0.8.
        seed: the same seed gives the same points.

    Returns:
        x (n, 2) float32 inside the unit disc, y (n,) int64.

    Raises:
        ValueError: fewer than 2 points, or a gap out of its range.

    Example:
        >>> x, y = disc_and_ring(200)
        >>> x.shape, y.bincount()
        (torch.Size([200, 2]), tensor([100, 100]))

    Used in lessons 01, 02, 03, 11, 12 and 16.
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
        seed: the same seed gives the same points.

    Returns:
        x (n, 2) float32, y (n,) int64.

    Raises:
        ValueError: fewer than 2 points, or turns out of their range.

    Example:
        >>> x, y = spiral(200, turns=2)
        >>> x.shape, y.bincount()
        (torch.Size([200, 2]), tensor([100, 100]))

    Used in lessons 02 and 08.
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
        seed: the same seed gives the same points.

    Returns:
        x (n, 2) float32, y (n,) int64.

    Raises:
        ValueError: fewer than 2 points, or a noise below 0 or infinite.

    Example:
        >>> x, y = moons(200)
        >>> x.shape, y.bincount()
        (torch.Size([200, 2]), tensor([100, 100]))

    Used in lesson 13.
    """
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a finite number of at least 0, got {noise}")
    y, generator = _labels(n, seed)
    upper = _polar(torch.ones(n), torch.pi * torch.rand(n, generator=generator))
    sign = (1.0 - 2.0 * y)[:, None]  # the second moon is the first one turned by half a circle and shifted
    x = sign * (upper - torch.tensor([0.5, 0.25]))
    x += noise * torch.randn(n, 2, generator=generator).clamp(-3, 3)
    return (x / (1.5 + 3 * noise)).clamp(-1, 1), y  # the clamp mends rounding alone


class Arithmetic(NamedTuple):
    """A table of arithmetic, split: pairs (a, b) x_train (n, 2), x_test; results y_train (n,), y_test."""

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def table(operation: str = "add", p: int = 59, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The whole table of an operation on the symbols 0 to p - 1, in order: pair (a, b) is row a p + b.

        add (a + b) mod p    subtract (a - b) mod p    multiply a b mod p    divide a b^-1 mod p (b not 0)
        s5  the 120 permutations of five things, a after b: a group in which a b and b a may differ
        random  a number drawn for each pair: nothing but memory helps, so it is the control

    Args:
        operation: one of `OPERATIONS`.
        p: number of symbols: at least 2, a prime for "divide", 120 for "s5".
        seed: of "random" alone.

    Returns:
        x (p^2, 2) int64, y (p^2,) int64 in 0 to p - 1. "divide" has p (p - 1) rows: those with b = 0 are left
        out, so pair (a, b) is row a (p - 1) + b - 1.

    Raises:
        ValueError: an unknown operation, or a p that it does not have.

    Example:
        >>> x, y = table("subtract", 5)
        >>> x[7], y[7]  # 1 - 2 = 4 (mod 5)
        (tensor([1, 2]), tensor(4))

    Used in lessons 04, 06 and 09, and in the recording of lesson 07.
    """
    _check_operation(operation, p)
    p = int(p)  # NumPy's whole numbers have no inverse modulo another
    x = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    if operation == "divide":
        x = x[x[:, 1] != 0]
    if operation == "random":
        return x, torch.randint(p, (len(x),), generator=seeded(seed))
    if operation == "s5":
        return x, _compositions().flatten()
    return x, _MODULAR[operation](x[:, 0], x[:, 1], p)


def arithmetic(
    operation: str = "add", p: int = 59, *, fraction: float = 0.5, split: str = "ordered", seed: int = 0
) -> Arithmetic:
    """A table of arithmetic (`table`), a random part of it for training and the rest for testing.

    Args:
        operation, p: as in `table`.
        fraction: share of the table for training, above 0 and below 1; at least one pair falls on each side.
        split: "ordered" draws the pairs one by one, so (a, b) may train while (b, a) tests. "unordered" keeps
            both on the same side: no test pair is the mirror of a training pair.
        seed: which pairs train (and the numbers of "random"). For one seed a smaller training set is the
            beginning of a larger one.

    Returns:
        `Arithmetic`; "unordered" may miss the size asked for by one pair.

    Raises:
        ValueError: a fraction not between 0 and 1, another split, or what `table` refuses.

    Source: Power et al. 2022 (arXiv 2201.02177), section 2, for the tables and the split of ordered pairs.

    Example:
        >>> x_train, y_train, x_test, y_test = arithmetic("add", 59, fraction=0.4)
        >>> len(x_train), len(x_test), bool((y_train == x_train.sum(1) % 59).all())
        (1392, 2089, True)

    Used in lessons 04, 06, 07, 09, 14 and 16.
    """
    if not 0 < fraction < 1:
        raise ValueError(
            f"fraction is the share of the table to train on, above 0 and below 1, got {fraction}. "
            "The rest is for testing: to train on the whole table take data.table"
        )
    if split not in ("ordered", "unordered"):
        raise ValueError(f"split must be 'ordered' or 'unordered', got {split!r}")
    x, y = table(operation, p, seed=seed)
    order = _pair_order(x, split, seeded(seed))
    n = min(max(1, round(fraction * len(x))), len(x) - 1)
    if split == "unordered":
        n = _whole_pairs(x[order], n)
    train, test = order[:n], order[n:]
    return Arithmetic(x[train], y[train], x[test], y[test])


def without_mirror(x: Tensor) -> Tensor:
    """Which pairs (a, b) of a set have their mirror (b, a) outside of it; a pair (a, a) has none to miss.

    A network that has learnt (b, a) by heart answers it whatever it knows of order. To see whether it knows
    that a + b is b + a, ask for the mirrors of these pairs alone.

    Args:
        x: (n, 2) int64, no pair twice.

    Returns:
        (n,) bool.

    Raises:
        ValueError: what is no set of pairs of whole numbers.

    Example:
        >>> without_mirror(torch.tensor([[1, 2], [2, 1], [3, 4], [5, 5]]))
        tensor([False, False,  True, False])

    Used in lessons 04, 06 and 09.
    """
    check_tensor(x, "a torch tensor of pairs")
    if x.dim() != 2 or x.shape[1] != 2 or x.is_floating_point():
        raise ValueError(f"expected pairs of whole numbers (n, 2), got {x.dtype} of shape {tuple(x.shape)}")
    if not len(x):
        return torch.zeros(0, dtype=torch.bool)
    size = int(x.max()) + 1
    return ~torch.isin(x[:, 0] * size + x[:, 1], x[:, 1] * size + x[:, 0])


class Digits(NamedTuple):
    """Handwritten digits: pixels x_train (n, d) and x_test (m, d) float32 in [0, 1], labels int64 0 to 9."""

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

    Returns:
        `Digits` with x (n, 64), row by row.

    Raises:
        ValueError: n_train out of its range.
        ImportError: scikit-learn is not installed (it comes with `minigrok[course]`).

    Example:
        >>> x_train, y_train, x_test, y_test = digits(200)
        >>> x_train.shape, x_test.shape, y_train.bincount().tolist()
        (torch.Size([200, 64]), torch.Size([597, 64]), [20, 20, 20, 20, 20, 21, 20, 20, 19, 20])

    Used in lessons 03, 08, 10, 11, 12, 13 and 16, and in the recording of lesson 14.
    """
    most = N_DIGITS - N_TEST_DIGITS
    n_train = most if n_train is None else n_train
    if not (isinstance(n_train, Integral) and 10 <= n_train <= most):
        raise ValueError(
            f"n_train must be a whole number from 10 to {most}, got {n_train!r}: "
            f"there are {N_DIGITS} digits, and {N_TEST_DIGITS} are kept for testing"
        )
    x, y = _all_digits()
    order = _spread_classes(y, seed)
    train, test = order[:n_train], order[most:]
    return Digits(x[train], y[train], x[test], y[test])


def mnist(n_train: int | None = None, *, seed: int = 0) -> Digits:
    """The 28 x 28 handwritten digits of MNIST.

    Looked for first in the reader's own folder, which the environment variable MINIGROK_DATA names and which
    is only ever read: the four official files as `MNIST/raw/train-images-idx3-ubyte.gz` and so on, or lying
    there by themselves. Then in our own cache (MINIGROK_CACHE names another folder for it). Else they are
    downloaded, 12 MB, their hashes checked.

    Files of your own may be written anew, but their sizes and the count of each label must be MNIST's. What
    was trained on is therefore told by the pixels themselves: `recordings.save(..., data=(x, y))` keeps
    their hash.

    Args:
        n_train: number of training images, 1 to 60,000, drawn without regard to class; None takes all.
        seed: which images train. For one seed a smaller set is the beginning of a larger one.

    Returns:
        `Digits` with x (n, 784) in [0, 1], row by row; always all 10,000 test images.

    Raises:
        FileNotFoundError: a file missing in the reader's own folder, by name; or no such folder.
        ValueError: a file there that is broken or not MNIST's, by name.
        ConnectionError: it is nowhere here and could not be downloaded; says what was tried.
        ImportError: pooch is missing, which downloads (it comes with `minigrok[data]`).

    Source: LeCun, Cortes and Burges 1998, "The MNIST database of handwritten digits".

    Used in the recordings of lessons 09, 10 and 12.
    """
    return Digits(*_images.mnist(n_train, seed))


class Images(NamedTuple):
    """Coloured pictures: x_train (n, 3, h, w) and x_test (m, 3, h, w) float32 in [0, 1], labels int64.

    The three channels are red, green and blue.
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor


def cifar10(n_train: int | None = None, *, seed: int = 0) -> Images:
    """The 32 x 32 photographs of CIFAR-10, ten kinds of animals and vehicles.

    Looked for in MINIGROK_DATA, in the cache and on the network as `mnist` is: the folder
    `cifar-10-batches-bin` or the archive `cifar-10-binary.tar.gz` (170 MB), which is the binary version. The
    one for Python is a pickle, which runs as a program when it is read: it is never touched.

    Args:
        n_train: number of training images, 1 to 50,000, drawn without regard to class; None takes all.
        seed: which images train. For one seed a smaller set is the beginning of a larger one.

    Returns:
        `Images` with x (n, 3, 32, 32) in [0, 1], labels 0 to 9; always all 10,000 test images. All 50,000
        training images take 0.6 GB.

    Raises:
        As `mnist`.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images", chapter 3.

    Used in lesson 11.
    """
    return Images(*_images.cifar10(n_train, seed))


def cifar100(n_train: int | None = None, *, seed: int = 0) -> Images:
    """The 32 x 32 photographs of CIFAR-100: a hundred classes, 500 training images each.

    Looked for as `cifar10` is: the folder `cifar-100-binary` or the archive `cifar-100-binary.tar.gz`
    (169 MB). Labels are the hundred fine ones; the twenty groups of classes are left out.

    Args:
        n_train, seed: as in `cifar10`.

    Returns:
        `Images` with x (n, 3, 32, 32) in [0, 1], labels 0 to 99; always all 10,000 test images.

    Raises:
        As `mnist`.

    Source: Krizhevsky 2009, "Learning multiple layers of features from tiny images", chapter 3.

    Used by experiments/cifar10.py, the script of lesson 11.
    """
    return Images(*_images.cifar100(n_train, seed))


def imagenette(n_train: int | None = None, *, size: int = 128, seed: int = 0) -> Images:
    """Photographs of ten easily told classes of ImageNet, as squares of one size.

    Looked for as `cifar10` is: the folder `imagenette2-160` or the archive `imagenette2-160.tgz` (99 MB),
    whose pictures have 160 pixels on their shorter side. Each is shrunk until that side has `size` pixels,
    and its middle is cut out.

    Args:
        n_train: number of training images, 1 to 9,469, drawn without regard to class; None takes all.
        size: the side of a picture in pixels, 1 to 160.
        seed: which images train. For one seed a smaller set is the beginning of a larger one.

    Returns:
        `Images` with x (n, 3, size, size) in [0, 1], labels 0 to 9; always all 3,925 test images. At 128 px
        the test images take 0.8 GB, and all training images 1.9 GB.

    Raises:
        As `mnist`; also ImportError where Pillow is missing (it comes with `minigrok[data]`).

    Source: Howard 2019, "Imagenette", its second version, with the split of December 2019.

    Used by experiments/cifar10.py, the script of lesson 11.
    """
    return Images(*_images.imagenette(n_train, size, seed))


def _all_digits() -> tuple[Tensor, Tensor]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise ImportError("the digits come with scikit-learn: pip install 'minigrok[course]'") from missing
    ink, y = load_digits(return_X_y=True)
    return torch.tensor(ink / 16, dtype=torch.float32), torch.tensor(y, dtype=torch.int64)  # ink is 0 to 16


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
    if not (isinstance(n, Integral) and n >= 2):
        raise ValueError(f"n must be a whole number of at least 2, one point for each class, got {n!r}")
    return torch.arange(n) % 2, seeded(seed)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=1)


def _check_operation(operation: str, p: int) -> None:
    if operation not in OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(map(repr, OPERATIONS))}, got {operation!r}")
    if not (isinstance(p, Integral) and 2 <= p <= 2000):
        raise ValueError(f"p, the number of symbols, must be a whole number from 2 to 2000, got {p!r}")
    if operation == "s5" and p != 120:
        raise ValueError(f"'s5' has 120 symbols, the permutations of five things: write p=120, got p={p}")
    divisor = next((k for k in range(2, int(p**0.5) + 1) if p % k == 0), None)
    if operation == "divide" and divisor is not None:
        raise ValueError(
            "'divide' needs a prime p, so that every b but 0 has an inverse, "
            f"got {p} = {divisor} x {p // divisor}"
        )


def _inverse(p: int) -> Tensor:
    """The inverse of each of 0 to p - 1 modulo a prime p; 0 has none and stays 0."""
    return torch.tensor([pow(b, -1, p) if b else 0 for b in range(p)])


def _compositions() -> Tensor:
    """(120, 120): the number of the permutation "a after b", for permutations in lexicographic order."""
    permutations = torch.tensor(list(itertools.permutations(range(5))))
    composed = permutations[:, None].expand(-1, 120, -1).gather(2, permutations.expand(120, -1, -1))
    place_values = 5 ** torch.arange(5)
    number = torch.empty(5**5, dtype=torch.int64)
    number[permutations @ place_values] = torch.arange(120)
    return number[composed @ place_values]


def _pair_order(x: Tensor, split: str, generator: torch.Generator) -> Tensor:
    """A random order of the rows of a table; if the split is unordered, mirrors stand side by side in it."""
    if split == "ordered":
        return torch.randperm(len(x), generator=generator)
    size = int(x.max()) + 1
    name = x.amin(dim=1) * size + x.amax(dim=1)  # the same for (a, b) and (b, a)
    rank = torch.randperm(size * size, generator=generator)
    return torch.argsort(rank[name], stable=True)


def _whole_pairs(x: Tensor, n: int) -> int:
    """The number nearest to n at which cutting the rows separates no pair from its mirror beside it."""
    if not torch.equal(x[n - 1], x[n].flip(0)):
        return n
    return n + 1 if n + 1 < len(x) else n - 1
