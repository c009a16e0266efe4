"""Checks of lesson 00: six questions, each of which knows its primer and the lessons that build on it.

The check, the reader's variable and the keyword of `your_map` share one name. A refusal ends with the primer
to unfold. Nothing is remembered between calls: the map runs the checks again.
"""

import contextlib
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog

from minigrok.course.exercises import (
    ExerciseError,
    call,
    expect_array,
    expect_close,
    expect_number,
    given,
    passed,
)


class Primer(NamedTuple):
    """A primer of lesson 00: its number and title, minutes to read it, and the lessons that need it."""

    number: int
    title: str
    minutes: int
    lessons: tuple[int, ...]

    def __str__(self) -> str:
        return f"primer {self.number} ({self.title}, {self.minutes} minutes)"


EVERY = tuple(range(1, 17))  # lessons
PRIMERS = {
    "compose": Primer(1, "affine maps and half-planes", 3, (1, 2, 3, 5, 12, 13)),
    "frequency": Primer(2, "waves on a clock", 4, (4, 6, 14)),
    "multipliers": Primer(3, "linear programs and duals", 4, (5, 13, 14)),
    "matrix_entropy": Primer(4, "matrix entropy", 3, (9, 14)),
    "largest": Primer(5, "eigenvalues of noise", 3, (5, 15)),
    "draw": Primer(6, "a minimum of PyTorch", 3, EVERY),
}
SEEDED = {"frequency", "multipliers", "largest"}  # these questions differ from class to class


def _asks(function: Callable) -> Callable:
    """Let every refusal of a check end with the way to its primer."""
    @functools.wraps(function)
    def check(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except ExerciseError as error:
            primer = PRIMERS[function.__name__]
            raise ExerciseError(f"{error}\nIs this new to you? Unfold {primer}.\n"
                                f"It is needed for {_lessons(primer.lessons)}.") from error
    return check


def _lessons(numbers: Sequence[int]) -> str:
    if tuple(numbers) == EVERY:
        return "every lesson"
    return f"lesson{'s' * (len(numbers) > 1)} {', '.join(f'{n:02d}' for n in numbers)}"


# 1: affine maps

@_asks
def compose(function: Callable) -> None:
    """`compose(A2, b2, A1, b1)` returns (A, b) with A x + b = A2 (A1 x + b1) + b2 for every x."""
    for n_in, n_mid, n_out in [(2, 2, 2), (2, 3, 1)]:  # square first: there even a wrong order has a value
        A2, b2, A1, b1 = _two_affine_maps(n_in, n_mid, n_out)
        pair = call(function, A2, b2, A1, b1)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ExerciseError("`compose` should return two things, the matrix A and the vector b")
        A, b = expect_array(pair[0], (n_out, n_in), "A"), expect_array(pair[1], (n_out,), "b")
        origin = A2 @ (A1 @ torch.zeros(n_in) + b1) + b2
        columns = [A2 @ (A1 @ e + b1) + b2 - origin for e in torch.eye(n_in)]  # where the unit vectors go
        square = n_in == n_mid == n_out
        expect_close(A, torch.stack(columns, dim=1), "A", mistakes={
            "the map that acts first stands on the right of the product": A1 @ A2} if square else {})
        expect_close(b, origin, "b", mistakes={
            "the second map acts on b1 as well, it does not only add b2": b1 + b2,
            "the shift b2 of the second map is missing": A2 @ b1} if square else {})
    passed("skip primer 1: two affine maps in a row are one affine map")


def _two_affine_maps(n_in: int, n_mid: int, n_out: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(n_mid)
    shapes = [(n_out, n_mid), (n_out,), (n_mid, n_in), (n_mid,)]
    return [torch.randn(shape, generator=generator) for shape in shapes]


# 2: waves on Z_p

P = 97  # a prime, as in the lessons on modular addition


def signal(*, seed: int = 0) -> torch.Tensor:
    """Shape (97,): one wave, whose frequency depends on the seed, a little noise, and a large mean."""
    random = np.random.default_rng(seed)
    k, phase = random.integers(4, 45), random.uniform(0, 2 * np.pi)
    wave = np.cos(2 * np.pi * k * np.arange(P) / P + phase)
    return torch.tensor(3 + wave + .3 * random.normal(size=P), dtype=torch.float32)


@_asks
def frequency(answer: int, *, seed: int = 0) -> None:
    """The one frequency 1 <= k <= 48 that carries most of the variance of `signal(seed=seed)`."""
    number = expect_number(answer, "frequency")
    if number != round(number):
        raise ExerciseError(f"`frequency` should be a whole number of turns, got {number:g}: "
                            "give k itself, not the angle 2 pi k / p")
    k = round(number)
    if k == 0:
        raise ExerciseError("`frequency` 0 is the mean of the signal, which does not oscillate: leave it out")
    if P // 2 < k < P and _share(k, seed) > .5:
        raise ExerciseError(f"`frequency` {k} is a mirror image: on {P} points the waves of k and of {P} - k "
                            "cannot be told apart, so give the smaller of the two")
    if not 1 <= k <= P // 2:
        raise ExerciseError(f"`frequency` should lie between 1 and {P // 2}, got {k}")
    share = _share(k, seed)
    if share < .5:
        near = max(_share(k - 1, seed), _share(k + 1, seed)) > .5
        raise ExerciseError(f"a wave of `frequency` {k} explains {100 * share:.0f} % of the variance"
                            + (", but a neighbour explains most of it: entry 0 of the transform is the mean, "
                               "entry 1 is frequency 1" if near else ""))
    passed(f"skip primer 2: your wave explains {100 * share:.0f} % of the variance")


def _share(k: int, seed: int) -> float:
    """The share of the signal's variance that a wave of frequency k explains, by least squares."""
    y = signal(seed=seed).double().numpy()
    angle = 2 * np.pi * k * np.arange(P) / P
    waves = np.stack([np.cos(angle), np.sin(angle), np.ones(P)], axis=1)
    rest = y - waves @ np.linalg.lstsq(waves, y, rcond=None)[0]
    return float(1 - rest.var() / y.var())


# 3: linear programs

class Program(NamedTuple):
    """Maximise c . x subject to A x <= b and x >= 0, with two unknowns and two constraints."""

    A: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def __str__(self) -> str:
        rows = [f"  ({i + 1})  {_sum(self.A[i])} <= {self.b[i]:g}" for i in range(2)]
        return "\n".join([f"maximise  {_sum(self.c)}", "subject to", *rows, "       x1 >= 0, x2 >= 0"])


def _sum(row: np.ndarray) -> str:
    return " + ".join(f"{a:g} x{j}" if a != 1 else f"x{j}" for j, a in enumerate(row, start=1))


def program(*, seed: int = 0) -> Program:
    """A small linear program in whole numbers; at its best corner both constraints are tight."""
    random = np.random.default_rng(seed)
    while True:
        A = random.integers(1, 6, size=(2, 2)).astype(float)
        x, y = random.integers(1, 7, size=(2, 2)).astype(float)
        distinct = y[0] != y[1] and (x != y).any() and A[0, 1] != A[1, 0]  # so that usual mistakes show
        if distinct and abs(np.linalg.det(A)) > 1.5:
            return Program(A, A @ x, A.T @ y)


@_asks
def multipliers(answer: Any, *, seed: int = 0) -> None:
    """Two numbers y >= 0 for which y1 times (1) plus y2 times (2) proves the best bound on the objective."""
    A, b, c = program(seed=seed)
    y = expect_array(given(answer, "multipliers"), (2,), "multipliers")
    if np.allclose(A @ y, c):
        raise ExerciseError("you have solved A y = c, but the multipliers weigh the rows of A: "
                            "solve A.T y = c")
    if (y < 0).any():
        raise ExerciseError(f"`multipliers` should not be negative, got {_pair(y)}: a negative one turns "
                            "<= into >=, and the sum proves nothing")
    best = linprog(-c, A, b)
    if np.allclose(y, best.x, atol=1e-6):
        raise ExerciseError(f"{_pair(y)} is the best point x: it shows what can be reached. `multipliers` "
                            "are to show that nothing better can")
    if (y @ A < c - 1e-6).any():
        raise ExerciseError(f"your sum of the constraints reads {_sum(y @ A)} <= {y @ b:g}, but {_sum(c)} is "
                            "to be bounded: a coefficient of the sum is too small, so it proves nothing yet")
    if y @ b > -best.fun + 1e-6:
        raise ExerciseError(f"your `multipliers` prove that the objective is at most {y @ b:g}. True, but a "
                            "smaller bound can be proved: make both coefficients fit exactly")
    passed(f"skip primer 3: you have proved that {y @ b:g} is the best")


def _pair(y: np.ndarray) -> str:
    return f"({y[0]:g}, {y[1]:g})"


# 4: matrix entropy

@_asks
def matrix_entropy(function: Callable) -> None:
    """`matrix_entropy(z)` of features z (n, d): the entropy, in nats, of the eigenvalues of R / n."""
    basis, stretch, log6 = torch.eye(6), torch.arange(1., 7), float(np.log(6))
    groups = torch.tensor([6., 2.])
    cases = [
        ("6 orthogonal rows", basis, log6, {
            "that is in bits, take the natural logarithm": np.log2(6),
            "the sign is turned round, entropy is the sum of -p log p": -log6,
            "the eigenvalues have to sum to 1, divide the Gram matrix by n": 0.}),
        ("6 orthogonal rows of different lengths", basis * stretch[:, None], log6, {
            "give each row length 1 first": _entropy(stretch ** 2),
            "their lengths are still in it, give each row length 1 before you form R":
                -float((stretch ** 2 / 6 * (stretch ** 2 / 6).log()).sum())}),
        ("8 equal rows", basis[[0] * 8], 0., {}),
        ("6 equal rows and 2 others", basis[[0] * 6 + [1] * 2], _entropy(groups), {
            "the eigenvalues of R are the squares of the singular values of z": _entropy(groups.sqrt())}),
    ]
    for words, z, want, mistakes in cases:
        value = call(function, z)
        if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.isfinite():
            raise ExerciseError(f"`matrix_entropy` gave {value.item()} for {words}: some eigenvalues are 0, "
                                "or below 0 by rounding, and 0 log 0 has to count as 0")
        expect_close(expect_number(value, "matrix_entropy"), want, f"matrix_entropy of {words}", atol=1e-3,
                     mistakes=mistakes)
    passed("skip primer 4: your entropy counts directions")


def _entropy(weights: torch.Tensor) -> float:
    p = weights / weights.sum()
    return float(-(p * p.log()).sum())


# 5: eigenvalues of noise

def noise_shape(*, seed: int = 0) -> tuple[int, int]:
    """(n, d): so many samples of so many features; their ratio depends on the seed."""
    largest = np.exp(np.random.default_rng([12, seed]).uniform(*np.log([1.4, 8])))
    ratio = (largest**.5 - 1) ** 2
    return (round(300 / ratio), 300) if ratio < 1 else (300, round(300 * ratio))


@_asks
def largest(answer: float, *, seed: int = 0) -> None:
    """The largest eigenvalue, within 4 %, of the sample covariance of `noise_shape(seed=seed)` noise."""
    n, d = noise_shape(seed=seed)
    root = (d / n) ** .5
    number = expect_number(answer, "largest")
    expect_close(number, _simulated(n, d), "largest", rtol=.04, mistakes={
        f"1 belongs to the true covariance, and the eigenvalues of {n} samples spread around it": 1.,
        "that is near the smallest eigenvalue": (1 - root) ** 2,
        "its square would be nearer": 1 + root,
        "the ratio d / n is turned round": (1 + 1 / root) ** 2})
    passed(f"skip primer 5: noise alone reaches about {number:.2g}, not 1")


def _simulated(n: int, d: int) -> float:
    """The largest eigenvalue, mean over twelve draws: the check does not use the law."""
    random = np.random.default_rng(0)
    draws = (random.normal(size=(n, d)) for _ in range(12))
    squares = (x.T @ x if d < n else x @ x.T for x in draws)  # the same eigenvalues, apart from zeros
    return float(np.mean([np.linalg.eigvalsh(square / n)[-1] for square in squares]))


# 6: PyTorch

@_asks
def draw(function: Callable) -> None:
    """`draw(n, seed)` returns n standard normal numbers, from a generator of its own."""
    with torch.random.fork_rng(devices=[]):  # whatever the function does to the global state ends here
        before = torch.get_rng_state()
        first, again, other = (expect_array(call(function, 5, seed), (5,), f"draw(5, {seed})")
                               for seed in (3, 3, 4))
        if not torch.equal(before, torch.get_rng_state()):
            raise ExerciseError("`draw` moved PyTorch's global random state, on which other cells may rely: "
                                "make a torch.Generator inside it and hand it over with `generator=`")
        many = expect_array(call(function, 10_000, 0), (10_000,), "draw(10000, 0)")
    if not np.array_equal(first, again):
        raise ExerciseError("`draw(5, 3)` gave other numbers the second time: make and seed the generator "
                            "inside the function")
    if np.array_equal(first, other):
        raise ExerciseError("`draw(5, 3)` and `draw(5, 4)` gave the same numbers: the seed is not used")
    expect_close(many.mean(), 0., "the mean of draw(10000, 0)", atol=.05, mistakes={
        "these numbers are uniform between 0 and 1, use `torch.randn`": .5})
    expect_close(many.std(), 1., "the standard deviation of draw(10000, 0)", rtol=.05)
    passed("skip primer 6: same seed, same numbers, no cell disturbed")


# the map

def your_map(*, seed: int = 0, **answers: Any) -> str:
    """Run the checks again and say which primers to skip, which to read, and which lessons need them.

    `answers` holds the reader's answers under the names in PRIMERS. An answer that is missing or None, and a
    function that returns None, is "not answered". Raises TypeError for another name.

    >>> print(your_map(frequency=None, draw=lambda n, seed: None).splitlines()[0])
    Nothing is answered yet, so your map is empty.
    >>> print(your_map(frequency=0, largest=1.))
    Read primers 2, 5 (7 minutes).
    Not answered yet: primers 1, 3, 4, 6.
    <BLANKLINE>
    not answered  1 affine maps and half-planes  lessons 01, 02, 03, 05, 12, 13
    read          2 waves on a clock             lessons 04, 06, 14
    not answered  3 linear programs and duals    lessons 05, 13, 14
    not answered  4 matrix entropy               lessons 09, 14
    read          5 eigenvalues of noise         lessons 05, 15
    not answered  6 a minimum of PyTorch         every lesson
    <BLANKLINE>
    Every lesson needs primer 6: begin there.

    Used in lesson 00.
    """
    unknown = sorted(set(answers) - set(PRIMERS))
    if unknown:
        raise TypeError(f"expected answers named {', '.join(PRIMERS)}, got {', '.join(unknown)}: "
                        "correct the name")
    found = {name: _verdict(name, answers.get(name), seed) for name in PRIMERS}
    rows = [f"{found[name]:<12}  {primer.number} {primer.title:<27}  {_lessons(primer.lessons)}"
            for name, primer in PRIMERS.items()]
    return "\n".join([_headline(found), "", *rows, "", _ready(found)])


def _verdict(name: str, answer: Any, seed: int) -> str:
    if answer is None:
        return "not answered"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            globals()[name](answer, **({"seed": seed} if name in SEEDED else {}))
    except ExerciseError as error:
        return "not answered" if "# your code here" in str(error) else "read"  # an untouched stub says so
    return "skip"


def _headline(found: dict[str, str]) -> str:
    if set(found.values()) == {"not answered"}:
        return ("Nothing is answered yet, so your map is empty.\n"
                "Answer a question above, then run this cell again.")
    says = {"skip": "You can skip", "read": "Read", "not answered": "Not answered yet:"}
    groups = {verdict: [PRIMERS[name] for name in found if found[name] == verdict] for verdict in says}
    return "\n".join(f"{says[verdict]} {_primers(group, minutes=verdict == 'read')}."
                     for verdict, group in groups.items() if group)


def _primers(primers: list[Primer], *, minutes: bool) -> str:
    words = "every primer" if len(primers) == len(PRIMERS) else (
        f"primer{'s' * (len(primers) > 1)} {', '.join(str(primer.number) for primer in primers)}")
    return words + f" ({sum(primer.minutes for primer in primers)} minutes)" * minutes


def _ready(found: dict[str, str]) -> str:
    missing = {lesson for name in found if found[name] != "skip" for lesson in PRIMERS[name].lessons}
    ready = [n for n in EVERY if n not in missing]
    if not ready:
        return "Every lesson needs primer 6: begin there."
    return f"What you know already is enough for {_lessons(ready)}."


# the confound

def colleague() -> tuple[torch.Tensor, torch.Tensor]:
    """The features that a colleague recorded before training, (2000, 100), and after it, (200, 100)."""
    random = np.random.default_rng(7)  # noise and nothing else, both times: the exercise is to find that out
    before, after = (torch.tensor(random.normal(size=(n, 100)), dtype=torch.float32) for n in (2000, 200))
    return before, after
