"""A linear student of a linear teacher: losses, accuracies and the delay between them, as d -> infinity.

The student S and the teacher T are vectors of d numbers, the labels are y = T.x, and the N inputs come from
N(0, I). Gradient descent with rate eta on the mean of (S.x - T.x)^2 over the N inputs moves the difference by

    S - T  ->  (1 - 2 eta Sigma) (S - T) ,   Sigma = mean of x x^T over the N inputs,

so along each eigenvector of Sigma the difference shrinks by itself, by 1 - 2 eta nu a step for the eigenvalue
nu. Sigma looks different in every sample; the law of its eigenvalues for d, N -> infinity does not.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import erf, erfinv, expit

from minigrok.theory._checks import number, numbers


@dataclass(frozen=True)
class LinearLosses:
    """Mean squared errors of the student, in the shape of the times asked for; both are 1 at the start.

    Attributes:
        train: on the N inputs.
        test: on fresh ones.
    """

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class LinearDelay:
    """Steps until an accuracy is reached, which need not be whole numbers; see `linear_delay`.

    Attributes:
        train: by the accuracy on the N inputs.
        test: by the accuracy on fresh ones.
    """

    train: float
    test: float

    @property
    def delay(self) -> float:
        """Steps from the one to the other."""
        return self.test - self.train


def marchenko_pastur_edges(ratio: float) -> tuple[float, float]:
    """The smallest and the largest positive eigenvalue of the covariance of N Gaussian inputs.

        nu_low = (1 - sqrt(ratio))^2 ,   nu_high = (1 + sqrt(ratio))^2 ,   ratio = d / N ,   d -> infinity

    Inputs without end have the covariance I, every eigenvalue of which is 1. A sample spreads them: a
    direction in which the N inputs happen to reach little is almost flat, and is learnt late.

    Args:
        ratio: d / N, above 0.

    Returns:
        (nu_low, nu_high).

    Raises:
        ValueError: a ratio that is not above 0.

    Source: Marchenko & Pastur 1967. As used by Levi, Beck & Bar-Sinai 2023 (arXiv 2310.16441).

    Example:
        >>> marchenko_pastur_edges(0.25)
        (0.25, 2.25)

    Used in lesson 05.
    """
    root = math.sqrt(_ratio(ratio))
    return (1 - root) ** 2, (1 + root) ** 2


def marchenko_pastur(nu: np.ndarray, ratio: float) -> np.ndarray:
    """How dense the eigenvalues of a sample covariance lie: the law of Marchenko and Pastur.

        p(nu) = sqrt((nu_high - nu) (nu - nu_low)) / (2 pi ratio nu)   between the edges, 0 elsewhere

    For ratio > 1 there are more dimensions than inputs, and the share 1 - 1/ratio of all eigenvalues is
    exactly 0. This atom is not in p, whose integral is then 1/ratio.

    Args:
        nu: where, any shape.
        ratio: d / N, above 0.

    Returns:
        The density, in the shape of nu. (At ratio = 1 it grows without bound towards 0.)

    Raises:
        ValueError: NaN in nu, a ratio that is not above 0.

    Source: Marchenko & Pastur 1967.

    Example:
        >>> marchenko_pastur([0.1, 1.0, 9.0], ratio=0.25).round(3)
        array([0.   , 0.616, 0.   ])

    Used in lesson 05.
    """
    low, high = marchenko_pastur_edges(ratio)
    nu = numbers("nu", nu)
    inside = (nu > low) & (nu < high)
    safe = np.where(inside, nu, high)  # where the square root is real
    return np.sqrt((high - safe) * (safe - low)) / (2 * math.pi * ratio * safe) * inside


def linear_losses(t: np.ndarray, ratio: float, eta: float, *, discrete: bool = False) -> LinearLosses:
    """The train and the test loss of a linear student after t steps, as means over the eigenvalues' law.

        train(t) = E[ nu exp(-4 eta nu t) ] ,   test(t) = E[ exp(-4 eta nu t) ]  (+ 1 - 1/ratio if ratio > 1)

    Derivation: the difference S - T starts as d numbers of variance 1/d each. The test loss is its squared
    length, the train loss is (S - T) Sigma (S - T). Along an eigenvector the difference has shrunk by
    (1 - 2 eta nu)^t, about exp(-2 eta nu t), and its square by the square of that; the mean over the
    eigenvectors is the mean over the law. Where nu = 0 nothing ever moves: this is the 1 - 1/ratio.
    One integral is a Bessel function, with s = 4 eta t (in the paper as a hypergeometric one):

        train = exp(-(1 + ratio) s) I_1(2 s sqrt(ratio)) / (s sqrt(ratio)) ,   d test / ds = -train

    The exponential is gradient flow. Steps shrink a little faster: log(1 - 2 eta nu) is about
    -2 eta nu (1 + eta nu), so where exp(-x) stands for x = 4 eta nu t steps have exp(-x (1 + eta nu)).
    With eta nu_high = .03 that is at most 3 % in time. With `discrete` the steps are taken as they are.

    Both are computed by one sum over 1,120 eigenvalues, exact to about 12 digits.

    Args:
        t: numbers of steps, any shape, not negative.
        ratio: d / N, above 0.
        eta: the learning rate of gradient descent on the mean of squares (whose gradient has a factor 2).
        discrete: (1 - 2 eta nu)^(2 t) in place of the exponential. t must then be whole numbers.

    Returns:
        `LinearLosses`, with .train and .test in the shape of t. Divide by the loss at the start to compare
        with a student and a teacher of another length.

    Raises:
        ValueError: a value out of its range; with `discrete` a rate at which gradient descent diverges,
            eta >= 1 / nu_high.

    Source: Levi, Beck & Bar-Sinai 2023 (arXiv 2310.16441), the losses of the large-system limit.

    Example:
        >>> losses = linear_losses([0, 10, 100], ratio=0.5, eta=0.01)
        >>> losses.train.round(3), losses.test.round(3)
        (array([1.   , 0.571, 0.039]), array([1.   , 0.696, 0.13 ]))
        >>> linear_losses(1e6, ratio=2.0, eta=0.01).test.round(3)  # half of all directions were never seen
        np.float64(0.5)

    Used in lesson 05.
    """
    t = numbers("t", t, 0)
    eta = number("eta", eta, 0, open="low")
    nu, weight = _law(ratio)
    shrink = np.exp(2 * t[..., None] * (_log_step(t, nu, eta) if discrete else -2 * eta * nu))
    return LinearLosses(shrink @ (weight * nu), shrink @ weight + _never(ratio))


def linear_accuracy(loss: np.ndarray, eps: float) -> np.ndarray:
    """The share of outputs whose squared error is at most eps, when the mean squared error is `loss`.

        accuracy = erf( sqrt( eps / (2 loss) ) )

    Derivation: the error (S - T).x is Gaussian for Gaussian x, with mean 0 and variance `loss`. The share of
    a standard normal within +-z is erf(z / sqrt 2), here with z = sqrt(eps / loss). So a loss that falls
    smoothly is seen through a switch: 5 % at loss = 254 eps, 95 % at loss = eps / 3.84.
    For finite d the losses of single students scatter by a share of about sqrt(2 / d) at the start and more
    later, and the mean of their accuracies is not quite the accuracy of their mean loss.

    Args:
        loss: any shape, not negative.
        eps: the squared error that still counts as right, not negative.

    Returns:
        Accuracies in the shape of loss; 1 where the loss is 0.

    Raises:
        ValueError: a value out of its range.

    Source: Levi, Beck & Bar-Sinai 2023 (arXiv 2310.16441), where the accuracy is defined.

    Example:
        >>> linear_accuracy([1.0, 0.01, 0.001 / 3.84], eps=0.001).round(2)
        array([0.03, 0.25, 0.95])

    Used in lessons 05 and 16.
    """
    loss, eps = numbers("loss", loss, 0), numbers("eps", eps, 0)
    with np.errstate(over="ignore"):  # a loss of 1e-320: infinitely sure
        z = np.sqrt(eps / 2 / np.where(loss > 0, loss, 1))
    return np.where(loss > 0, erf(z), 1.0)[()]


def linear_delay(ratio: float, eps: float, eta: float, level: float = 0.95) -> LinearDelay:
    """How many steps the train and the test accuracy need to reach a level, and the delay between them.

        train(t_train) = test(t_test) = eps / (2 erfinv(level)^2) ,   delay = t_test - t_train

    The two losses of `linear_losses` (gradient flow) fall through the same number, one after the other; the
    times are found as roots. For ratio = 1 there are eigenvalues as small as you like: the test loss falls as
    (4 pi eta t)^(-1/2), and the delay grows like 1 / eps^2. For ratio > 1 the test loss stops at 1 - 1/ratio.

    Args:
        ratio: d / N, above 0.
        eps: the squared error that still counts as right, above 0 (down to 1e-30 at ratio = 1).
        eta: the learning rate, above 0. Times are proportional to 1/eta.
        level: the accuracy to reach, between 0 and 1.

    Returns:
        `LinearDelay`, with .train, .test and .delay in steps; 0 for what is there from the start.

    Raises:
        ValueError: a ratio above 1 for which the test accuracy never reaches the level; a value out of range.

    Source: the grokking time of Levi, Beck & Bar-Sinai 2023 (arXiv 2310.16441), without the limit.

    Example:
        >>> found = linear_delay(ratio=0.5, eps=1e-3, eta=0.01)
        >>> round(found.train), round(found.test), round(found.delay)
        (718, 1147, 430)

    Used in lessons 05 and 16.
    """
    eps = number("eps", eps, 0, math.inf, open="low high")
    target = eps / (2 * erfinv(number("level", level, 0, 1, open="low high")) ** 2)
    never = _never(ratio)
    if never >= target:
        raise ValueError(
            f"for ratio = {ratio:g} the test loss stays above 1 - 1/ratio = {never:.3g}, so the test "
            f"accuracy stays below {linear_accuracy(never, eps):.3g} and never reaches {level:g}: take more "
            "samples (a smaller ratio), a larger eps or a lower level"
        )
    return LinearDelay(*(_falls_to(target, part, ratio, eta) for part in ("train", "test")))


def _falls_to(target: float, part: str, ratio: float, eta: float) -> float:
    def excess(t: float) -> float:
        loss = getattr(linear_losses(t, ratio, eta), part)
        return math.log(max(loss, 5e-324) / target)

    if excess(0.0) <= 0:
        return 0.0
    end = 1 / eta
    while excess(end) > 0:
        end *= 2
    return brentq(excess, 0.0, end, rtol=1e-12)


def linear_delay_limit(ratio: float, eta: float) -> float:
    """What the delay becomes when the accuracy asks for more and more, eps -> 0; for ratio < 1.

        delay -> log(1 / (1 - sqrt(ratio))) / (2 eta (1 - sqrt(ratio))^2)

    Derivation: late on only the smallest eigenvalues are left, close to nu_low = (1 - sqrt(ratio))^2. Then
    test / train -> 1 / nu_low (eq. 11), and both fall like exp(-4 eta nu_low t). So the test loss comes to
    where the train loss was after the time in which exp(-4 eta nu_low t) makes up for that factor:
    4 eta nu_low delay = log(1 / nu_low) (eq. 12).

    "Late" comes slowly. Near its lower edge the law rises like a square root, which puts a factor t^(-3/2)
    beside the exponential and makes the mean eigenvalue that is left nu_low + 3 / (8 eta t). To first order
    in 1 / log(1/eps) this shortens the delay by the share (derived here; to be trusted below about .1)

        (3/2) (1 + 1 / log(1/nu_low)) / (4 eta nu_low t_train) ,   4 eta nu_low t_train ~ log(1/eps) .

    At ratio = .5 the delay is 60 %, 91 % and 97 % of its limit for eps = 1e-3, 1e-12 and 1e-30.

    Args:
        ratio: d / N, between 0 and 1.
        eta: the learning rate, above 0.

    Returns:
        The delay in steps.

    Raises:
        ValueError: ratio >= 1, where the delay has no limit: at 1 it grows without bound as eps -> 0, and
            above 1 the test accuracy never gets there.

    Source: Levi, Beck & Bar-Sinai 2023 (arXiv 2310.16441), eqs. 11 and 12.

    Example:
        >>> round(linear_delay_limit(ratio=0.5, eta=0.01)), round(linear_delay(0.5, 1e-30, 0.01).delay)
        (716, 692)

    Used in lesson 05.
    """
    if _ratio(ratio) >= 1:
        raise ValueError(
            "for ratio >= 1 the delay has no limit as eps -> 0: the test loss falls only as a power of t "
            f"(ratio = 1), or stays above 1 - 1/ratio; got ratio = {ratio:g}"
        )
    gap = 1 - math.sqrt(ratio)
    return -math.log(gap) / (2 * number("eta", eta, 0, open="low") * gap**2)


def _ratio(ratio: float) -> float:
    return number("ratio = d / N", ratio, 0, math.inf, open="low high")


def _never(ratio: float) -> float:
    """The share of directions that no input touches."""
    return max(0.0, 1 - 1 / _ratio(ratio))


def _law(ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and weights: sum(weight * f(nu)) is the integral of f over the law without its atom.

    With nu = nu_low + (nu_high - nu_low) x the law is (8 / pi) sqrt(x (1 - x)) / nu dx, and with
    x = 1 / (1 + exp(-w)) an integral over the whole line of something that falls exponentially on both sides
    and is smooth on the scale of w, for any t: there the plain sum over a grid is exact to rounding.
    """
    low, high = marchenko_pastur_edges(ratio)
    w = np.arange(-240, 40, 0.25)
    x, rest = expit(w), expit(-w)
    nu = low + (high - low) * x
    return nu, 0.25 * (8 / math.pi) * (x * rest) ** 1.5 / nu


def _log_step(t: np.ndarray, nu: np.ndarray, eta: float) -> np.ndarray:
    """log |1 - 2 eta nu|, what one step of gradient descent does to a difference."""
    if (t != np.floor(t)).any():
        raise ValueError("with discrete=True t must be whole numbers of steps")
    if eta * nu.max() >= 1:
        raise ValueError(
            f"gradient descent diverges for eta >= 1 / nu_high = {1 / nu.max():.3g}; got eta = {eta:g}"
        )
    return np.log(np.maximum(np.abs(1 - 2 * eta * nu), 1e-300))
