"""Adversarial examples: how far an input must move before the network changes its mind.

Every attack here is a walk: it yields points within eps of x, and is told which samples it need not go on
with, because they are fooled. One driver (`_follow`) walks all of them. Three observations make the attacks
strong and fast:

- A walk uphill needs only the direction of the loss's gradient. At the logits that is known in closed form,
  for cross-entropy too where float32 gives a loss of exactly 0: softmax over the *wrong* classes, minus the
  one-hot label. Autograd is asked for the rest, from the logits to the input, and for nothing else.
- Samples that are fooled are dropped. A plain forward pass at the end says whether they really are.
- On a CPU a convolutional network sees a few images at a time, so that what it computes stays in the cache.

A low accuracy under attack is a fact, each point that fools is there to be looked at; a high one is only a
failure to find such points. `diagnose` looks for the usual reasons of such failures.
"""

import copy
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok.networks import with_float64
from minigrok.training import Batch, Ensemble, State, classification_step

Bounds = tuple[float, float]
# A walk yields points with the logits there, and is sent which samples to go on with. Its last points come
# without logits.
Walk = Generator[tuple[Tensor, Tensor | None], Tensor | slice, None]

# So many samples are attacked at once; their starts, gradients and points are what an attack keeps in memory.
_BLOCK = 1024
# So many images go through a convolutional network at once on a CPU (bench/bench_attacks.py).
_CACHED = 32
_LOSSES = ("margin", "cross_entropy", "dlr", "plain_cross_entropy")
_DROPOUT = nn.modules.dropout._DropoutNd
_BATCH_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True, eq=False, repr=False)
class Attack:
    """What an attack found.

    Attributes:
        x_adv: (N, ...), a point within eps of each x and within the bounds, of the dtype of x. It is one that
            fools the network where `success`, else the last one that was tried.
        success: (N,) bool, whether the network is wrong at `x_adv`, by a plain forward pass at that very
            point after the attack.
        queries: (N,) int64, how many times each sample went through the network.
    """

    x_adv: Tensor
    success: Tensor
    queries: Tensor

    def __repr__(self) -> str:
        return f"Attack({int(self.success.sum())} of {len(self.success)} samples fooled)"


# --- attacks ------------------------------------------------------------------------------------------------


def fgsm(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    bounds: Bounds = (0.0, 1.0),
    loss: str = "margin",
    early_stop: bool = True,
    batch_size: int | None = None,
) -> Attack:
    """The fast gradient sign method: one step of length eps in every coordinate.

        x_adv = clamp(x + eps sign(grad_x loss), bounds)

    It is `pgd` with one step of size eps and no random start. A sample that the network gets wrong to begin
    with is a success as it is, with x_adv = x (`early_stop=False` moves those too).

    Args, Raises: as for `pgd`.

    Source: Goodfellow, Shlens & Szegedy 2015 (arXiv 1412.6572), section 4.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.0]])), model.bias.data.zero_()
        >>> fgsm(model, torch.tensor([[0.75, 0.25]]), torch.tensor([0]), eps=0.125).x_adv
        tensor([[0.6250, 0.3750]])

    Used in lesson 08.
    """
    options = {"steps": 1, "step_size": eps, "random_start": False, "loss": loss, "bounds": bounds}
    return pgd(model, x, y, eps, early_stop=early_stop, batch_size=batch_size, **options)


def pgd(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    norm: str = "linf",
    steps: int = 20,
    step_size: float | None = None,
    loss: str | Sequence[str] = "margin",
    restarts: int = 1,
    random_start: bool = True,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    early_stop: bool = True,
    batch_size: int | None = None,
) -> Attack:
    """Projected gradient descent: walk uphill on the loss, and after each step back into the ball around x.

        x_0 = x + uniform noise in the ball
        x_{k+1} = project(x_k + step_size * direction(grad_x loss(f(x_k), y)))

    For norm "linf" the ball is |x_adv - x| <= eps in every coordinate and the direction sign(gradient); for
    "l2" it is ||x_adv - x||_2 <= eps and gradient / ||gradient||_2. Every x_k also lies within `bounds`.

    With z the logits and w the strongest wrong class, the losses and their slopes at the logits are

        margin                z_w - z_y                          onehot(w) - onehot(y)
        cross_entropy         log sum_{j != y} e^{z_j} - z_y     softmax over j != y, minus onehot(y)
        dlr                   (z_w - z_y) / (z_(1) - z_(3))      z_(k): the k-th largest logit
        plain_cross_entropy   -log softmax(z)_y                  softmax(z) - onehot(y)

    The second grows with the fourth, and its slope points where the fourth's does: they would lead the same
    way if numbers had endless digits. As commonly written, with float32, the fourth's slope is exactly 0
    once the network is sure enough of itself, and the attack stands still. It is kept to show how it fails.
    No loss is the strongest on all networks: the margin often is on those trained with squared error, the
    cross-entropy on those trained with it. `restarts=2, loss=("margin", "cross_entropy")` takes both.

    Args:
        model: (N, ...) -> logits (N, C). It comes back as it was: modes, weights, gradients, requires_grad.
        x: (N, ...) float32 or float64, within bounds.
        y: (N,) int64, the right labels, 0 to C - 1.
        eps: radius of the ball in units of the input (of a pixel in [0, 1]), or (N,), one for each sample.
        steps: number of gradient steps.
        step_size: length of a step, default 2.5 * eps / steps (Madry et al. 2018, section 5).
        loss: one of the four, or several: then the restarts take turns with them.
        restarts: how often to start from new noise; only samples not yet fooled start again.
        random_start: False begins at x itself.
        bounds: the smallest and largest value an input can have.
        generator: draws the starts (default: torch's own generator).
        early_stop: leave a sample as soon as it is fooled, with x_adv the first point that does (x itself
            where the network is wrong there). False takes all steps, and x_adv is the last point, as in
            other libraries; on the way back into the fold a sample may be lost that was fooled before.
        batch_size: how many samples go through the network at once. By default 32 images on a CPU, whose
            cache they then fit, else 1024.

    Returns:
        An `Attack`, on the device of x.

    Raises:
        ValueError: a model in training mode with dropout or batch norm; x outside bounds or of another dtype
            than the model; labels that do not fit; eps < 0 or larger than the whole range; steps < 1;
            logits that are NaN or infinite; a network no gradient comes through.
        TypeError: an `Ensemble`: attack its networks one by one, `ensemble[s]`.

    Source: Madry et al. 2018 (arXiv 1706.06083), section 2.1; margin: Carlini & Wagner 2017 (arXiv
    1608.04644), section V; dlr: Croce & Hein 2020 (arXiv 2003.01690), section 4.

    Example:
        >>> from minigrok import data, models, training
        >>> x, y = data.disc_and_ring(200)
        >>> model = models.mlp([2, 32, 2], generator=torch.Generator().manual_seed(0))
        >>> state = training.State(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
        >>> _ = training.train(training.classification_step(), state, steps=300, batches=lambda t: (x, y))
        >>> found = pgd(model, x, y, 0.2, bounds=(-2, 2), generator=torch.Generator().manual_seed(0))
        >>> bool((found.x_adv - x).abs().max() <= 0.2), found.x_adv.shape, found.success.dtype
        (True, torch.Size([200, 2]), torch.bool)

    Used in lessons 08, 10 and 13, and in the recording of lesson 14.
    """
    _check_counts(steps=steps, restarts=restarts)
    _check_step_size(step_size)
    if restarts > len(_losses(loss)) and not random_start:
        raise ValueError("restarts without random_start would repeat the same walk: leave one of them out")

    def walk(net: _Net, ball: _Ball, y: Tensor, draw: torch.Generator) -> Walk:
        size = 2.5 * ball.eps / steps if step_size is None else torch.full_like(ball.eps, step_size)
        return _uphill(net, ball, y, ball.random(draw) if random_start else ball.x, steps, size)

    with _borrowed(model, x, y, loss, bounds, batch_size) as net:
        plan = _Plan(walk, restarts, random_start, early_stop)
        return _attack(net, x, y, eps, norm, bounds, plan, generator)


def _uphill(net: "_Net", ball: "_Ball", y: Tensor, x_adv: Tensor, steps: int, step_size: Tensor) -> Walk:
    for _ in range(steps):
        logits, gradient = net.gradient(x_adv, y)
        going = yield x_adv, logits
        ball, y, x_adv, gradient, step_size = (t[going] for t in (ball, y, x_adv, gradient, step_size))
        x_adv = ball.project(torch.addcmul(x_adv, step_size, ball.direction(gradient)))
    yield x_adv, None


def apgd(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    norm: str = "linf",
    steps: int = 50,
    loss: str | Sequence[str] = "cross_entropy",
    restarts: int = 1,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attack:
    """PGD that finds its own step size: it begins with 2 eps and halves it where the loss stops growing.

        z       = project(x_k + eta * direction(grad_x loss))
        x_{k+1} = project(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1}))

    At checkpoints after 22 % of the steps, and then ever closer, eta is halved for each sample whose loss
    grew in less than 75 % of the steps since the last one, or whose best loss and eta have not changed; the
    walk then goes on from the best point so far.

    Args, Returns, Raises: as for `pgd`. The paper runs it once with cross-entropy and once with "dlr", which
    needs three classes: `restarts=2, loss=("cross_entropy", "dlr")`.

    Source: Auto-PGD of Croce & Hein 2020 (arXiv 2003.01690), section 3 and algorithm 1, but for the start,
    which here is uniform in the ball.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> apgd(model, torch.full((4, 2), 0.5), torch.tensor([0, 1, 2, 0]), 0.1, steps=10).x_adv.shape
        torch.Size([4, 2])

    Used in lessons 08 and 10, and in the recording of lesson 11.
    """
    _check_counts(steps=steps, restarts=restarts)

    def walk(net: _Net, ball: _Ball, y: Tensor, draw: torch.Generator) -> Walk:
        return _adaptive(net, ball, y, ball.random(draw), steps)

    with _borrowed(model, x, y, loss, bounds, batch_size) as net:
        return _attack(net, x, y, eps, norm, bounds, _Plan(walk, restarts), generator)


def _adaptive(net: "_Net", ball: "_Ball", y: Tensor, start: Tensor, steps: int) -> Walk:
    checkpoints, nothing = _checkpoints(steps), start.new_full((len(y),), -math.inf)
    s = _Samples(ball=ball, y=y, x=start, before=start, eta=2 * ball.eps, last=-nothing, grew=0 * y)
    s.best, s.best_x, s.best_gradient = nothing, start, start
    s.best_then, s.halved = nothing, torch.ones_like(y, dtype=torch.bool)  # of the last checkpoint
    for k in range(steps + 1):
        s.logits, s.gradient = net.gradient(s.x, s.y)
        s.keep((yield s.x, s.logits))
        value = net.value(s.logits, s.y)
        better, s.grew, s.last = value > s.best, s.grew + (value > s.last), value
        s.best = s.best.maximum(value)
        s.best_x, s.best_gradient = _pick(better, s.x, s.best_x), _pick(better, s.gradient, s.best_gradient)
        if k == steps:
            break
        if k in checkpoints:
            # Too few steps went up, or nothing better was found with this step size.
            stuck = (s.grew < 0.75 * checkpoints[k]) | (~s.halved & (s.best <= s.best_then))
            s.eta = _pick(stuck, s.eta / 2, s.eta)  # and back to the best point, without momentum
            s.x, s.before = _pick(stuck, s.best_x, s.x), _pick(stuck, s.best_x, s.before)
            s.gradient, s.last = _pick(stuck, s.best_gradient, s.gradient), _pick(stuck, s.best, s.last)
            s.halved, s.best_then, s.grew = stuck, s.best, 0 * s.grew
        z = s.ball.project(s.x + s.eta * s.ball.direction(s.gradient))
        ahead = z - s.x if k == 0 else 0.75 * (z - s.x) + 0.25 * (s.x - s.before)
        s.before, s.x = s.x, s.ball.project(s.x + ahead)
    yield s.best_x, None


def _checkpoints(steps: int) -> dict[int, int]:
    """After which steps to look at the step size, each with the number of steps since the last look."""
    percent = [0, 22]
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    at = sorted({math.ceil(part * steps / 100) for part in percent if part <= 100})
    return {now: now - last for last, now in zip(at[:-1], at[1:], strict=True)}


def square(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    *,
    steps: int = 500,
    restarts: int = 1,
    share: float = 0.8,
    image: tuple[int, int, int] | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Attack:
    """Random search in the l-infinity ball: no gradient at all, so none that can mislead it.

    It begins with vertical stripes of x + eps and x - eps. Each step sets a random square (or what comes
    nearest to one) to x + eps or x - eps, one sign for each channel, and keeps the change where the margin
    z_w - z_y did not fall. The squares become smaller: they cover the share `share` of the picture at first,
    and half as much each time after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80 % of the steps.

    Args:
        steps: number of squares tried, one forward pass each. Paper: up to 10,000.
        image: (channels, height, width) of x where x is flat (N, d), such as (1, 28, 28). Without it a flat
            x is one row of pixels, and a square a stretch of it.
        model, x, y, eps, bounds, restarts, generator, batch_size: as for `pgd`.

    Returns, Raises: as for `pgd`; a network without gradients will do.

    Source: Square Attack of Andriushchenko et al. 2020 (arXiv 1912.00049), section 3 (l-infinity).

    Example:
        >>> steep = lambda x: torch.stack([(10 * x[:, 0]).round(), 10 * x[:, 1]], dim=1)  # flat in x_0
        >>> square(steep, torch.tensor([[0.58, 0.5]]), torch.tensor([0]), 0.2, steps=20).success
        tensor([True])

    Used in lessons 08 and 10, and in the recording of lesson 11.
    """
    _check_counts(steps=steps, restarts=restarts)
    if not 0 < share <= 1:
        raise ValueError(f"share of the picture must be above 0 and at most 1, got {share}")

    def walk(net: _Net, ball: _Ball, y: Tensor, draw: torch.Generator) -> Walk:
        return _squares(net, ball, y, _Brush(ball.x, image, share, draw), steps)

    with _borrowed(model, x, y, "margin", bounds, batch_size) as net:
        return _attack(net, x, y, eps, "linf", bounds, _Plan(walk, restarts), generator)


def _squares(net: "_Net", ball: "_Ball", y: Tensor, brush: "_Brush", steps: int) -> Walk:
    start = ball.corner(brush.stripes(ball))
    s = _Samples(ball=ball, y=y, x=start, trial=start, best=start.new_full((len(y),), -math.inf))
    for k in range(steps):
        if k:
            inside, signs = brush.square(s.ball, k / steps)
            s.trial = torch.where(inside, s.ball.corner(signs), s.x)
        s.logits = net.logits(s.trial)
        s.keep((yield s.trial, s.logits))
        value = net.value(s.logits, s.y)
        s.x, s.best = _pick(value >= s.best, s.trial, s.x), s.best.maximum(value)
    yield s.x, None


class _Brush:
    """Draws the stripes and squares of `square`: signs +1 and -1, and where they go, in the shape of x."""

    def __init__(self, x: Tensor, image: tuple[int, int, int] | None, share: float, draw: torch.Generator):
        shape = tuple(x.shape[1:])
        self.image = image or (shape if len(shape) == 3 else (1, 1, math.prod(shape)))
        if math.prod(self.image) != math.prod(shape):
            raise ValueError(f"image={self.image} does not hold the {math.prod(shape)} numbers of a sample")
        self.share, self.draw = share, draw

    def stripes(self, ball: "_Ball") -> Tensor:
        return self._spread(self._coins(ball, self.image[0], 1, self.image[2]), ball)

    def square(self, ball: "_Ball", progress: float) -> tuple[Tensor, Tensor]:
        channels, height, width = self.image
        halvings = sum(progress > part for part in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
        area = self.share / 2**halvings * height * width
        high = min(height, max(1, round(area**0.5)))
        wide = min(width, max(1, round(area / high)))
        inside = self._stretch(ball, height, high)[:, None, :, None]
        inside = inside & self._stretch(ball, width, wide)[:, None, None, :]
        return self._spread(inside, ball), self._spread(self._coins(ball, channels, 1, 1), ball)

    def _stretch(self, ball: "_Ball", size: int, length: int) -> Tensor:
        """Which of `size` places lie in a random stretch, (n, size)."""
        begin = ball.drawn(lambda n, **how: torch.randint(size - length + 1, (n, 1), **how), self.draw)
        place = torch.arange(size, device=begin.device)
        return (place >= begin) & (place < begin + length)

    def _coins(self, ball: "_Ball", *shape: int) -> Tensor:
        return ball.drawn(lambda n, **how: torch.randint(2, (n, *shape), **how), self.draw) * 2 - 1

    def _spread(self, signs: Tensor, ball: "_Ball") -> Tensor:
        return signs.expand(-1, *self.image).reshape(ball.x.shape)


# --- how robust is it? --------------------------------------------------------------------------------------


def robust_accuracy(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Sequence[float],
    *,
    attack: Callable[..., Attack] = pgd,
    **options: Any,
) -> Tensor:
    """The share of samples that are classified right and stay right under attack, for one eps or several.

    A sample counts as robust at eps if it is right at x and the attack finds nothing at this eps nor at a
    smaller one of the list: what lies within a small ball lies within a larger one. So the numbers never grow
    with eps, and each larger ball is attacked only around the samples that are left. They are upper bounds:
    a stronger attack may find more.

    Args:
        model, x, y: as for `pgd`.
        eps: radii in units of the input, in any order; 0 gives the clean accuracy.
        attack: `pgd`, `fgsm`, `apgd` or `square`.
        **options: handed to the attack (norm, steps, loss, bounds, generator ...).

    Returns:
        () for a number, (E,) for a sequence, float32.

    Raises: as for `pgd`.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.eye(2)), model.bias.data.zero_()
        >>> x, y = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0, 0])
        >>> robust_accuracy(model, x, y, [0, 0.05, 0.15, 0.5])  # the boundary is .1 and .4 away
        tensor([0.6667, 0.6667, 0.3333, 0.0000])

    Used in lessons 08, 10 and 11, and in the recordings of lessons 13 and 14.
    """
    radii = torch.as_tensor(eps, dtype=torch.float64)
    if radii.dim() > 1 or not radii.numel():
        raise ValueError(f"eps must be a number or a list of numbers, got {eps!r}")
    if not (radii >= 0).all():
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    left = _right(model, x, y, options).nonzero()[:, 0]
    shares = torch.empty(radii.numel(), device=x.device)
    for place in radii.flatten().argsort().tolist():
        radius = radii.flatten()[place].item()
        if radius != 0 and len(left):
            left = left[~attack(model, x[left], y[left], radius, **options).success]
        shares[place] = len(left) / len(x)
    return shares.view(radii.shape)


def robust_given_correct(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float | Sequence[float],
    *,
    attack: Callable[..., Attack] = pgd,
    **options: Any,
) -> Tensor:
    """Of the samples classified right, the share that stays right under attack: is what it knows robust?

        robust_given_correct(eps) = robust_accuracy(eps) / robust_accuracy(0)

    While a network learns, robust accuracy rises with accuracy itself; this ratio does not.

    Args, Raises: as for `robust_accuracy`.

    Returns:
        () for a number, (E,) for a sequence, float32; NaN if no sample is classified right.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.eye(2)), model.bias.data.zero_()
        >>> x, y = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0, 0])
        >>> robust_given_correct(model, x, y, [0, 0.15])
        tensor([1.0000, 0.5000])
    """
    robust = robust_accuracy(model, x, y, eps, attack=attack, **options)
    return robust / _right(model, x, y, options).float().mean()


def adversarial_distance(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "linf",
    bounds: Bounds = (0.0, 1.0),
    max_eps: float | None = None,
    halvings: int = 12,
    **options: Any,
) -> Tensor:
    """How far each sample is from the nearest adversarial example that `pgd` finds: by bisection over eps.

    It begins with a ball of `max_eps`. Where the attack succeeds, the distance of what it found is the new
    upper end, where it fails its eps is the new lower end, and the next ball lies half way between. Each
    distance returned is that of a point that was tried and fools the network: the true distance to the
    nearest one is at most this, and may be less.

    Args:
        model, x, y, norm, bounds: as for `pgd`.
        max_eps: where to begin; by default the whole range, hi - lo for "linf", times sqrt(d) for "l2".
        halvings: number of bisections after the first attack.
        **options: handed to `pgd` (steps, loss, restarts, generator ...).

    Returns:
        (N,) in units of the input: 0 where the network is wrong at x, infinity where nothing was found within
        `max_eps`. The median of it is the usual summary.

    Raises: as for `pgd`.

    Example:
        >>> model = nn.Linear(2, 2)
        >>> _ = model.weight.data.copy_(torch.eye(2)), model.bias.data.zero_()
        >>> x, y = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 0, 0])
        >>> adversarial_distance(model, x, y, generator=torch.Generator().manual_seed(0)).round(decimals=2)
        tensor([0.1000, 0.4000, 0.0000])

    Used in lessons 08, 10 and 12, and in the recording of lesson 11.
    """
    _check_counts(halvings=halvings)
    if max_eps is None:
        max_eps = _range(x, norm, bounds)
        if math.isinf(max_eps):
            raise ValueError(f"with bounds={bounds} there is no largest eps to begin with: give max_eps")
    wrong = ~_right(model, x, y, options | {"bounds": bounds})
    found_at = torch.where(wrong, 0.0, math.inf).to(x.dtype)
    failed_at = torch.zeros_like(found_at)
    left = (~wrong).nonzero()[:, 0]
    eps = torch.full_like(found_at, max_eps)
    for _ in range(halvings + 1):
        if not len(left):
            break
        found = pgd(model, x[left], y[left], eps[left], norm=norm, bounds=bounds, **options)
        distance = _lengths(found.x_adv - x[left], norm).flatten()
        found_at[left] = torch.where(found.success, distance.minimum(found_at[left]), found_at[left])
        failed_at[left] = torch.where(found.success, failed_at[left], eps[left])
        failed_at = failed_at.where(failed_at < found_at, 0.0)  # a larger ball led to a nearer point
        left = left[found_at[left].isfinite()]
        eps = (found_at + failed_at) / 2
    return found_at


def _right(model: Callable, x: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    """Whether each sample is classified right, (N,) bool."""
    known = {
        name: options.get(name, default) for name, default in (("bounds", (0.0, 1.0)), ("batch_size", None))
    }
    with _borrowed(model, x, y, "margin", **known) as net:
        return ~net.wrong(x, y)


# --- is the attack to blame? --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found: accuracies under attacks that fail for different reasons.

    Attributes:
        eps: the radius of all attacks but `huge_eps`.
        clean: accuracy without attack.
        plain_float32: accuracy under PGD with cross-entropy as commonly written, in the precision of x.
        plain_float64: the same in float64, from the same starts.
        cross_entropy: accuracy under PGD with the cross-entropy's exact slope at the logits.
        margin: accuracy under PGD with the margin loss.
        random_search: accuracy under `square`, which uses no gradient.
        transfer: accuracy on adversarial examples made for another network; None without one.
        together: the share of samples that are right and survive every attack above.
        huge_eps: accuracy under PGD with the margin loss and eps the whole range, where every image is
            within reach: of another class too. It should be about 0.
        zero_gradients: share of samples at which the input gradient of the cross-entropy is exactly 0.
        largest_logit: max |logit| over samples and classes.
        suspicions: sentences on what does not fit; an empty list proves nothing.
    """

    eps: float
    clean: float
    plain_float32: float
    plain_float64: float
    cross_entropy: float
    margin: float
    random_search: float
    transfer: float | None
    together: float
    huge_eps: float
    zero_gradients: float
    largest_logit: float
    suspicions: list[str] = field(default_factory=list)


def diagnose(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 20,
    queries: int = 500,
    tolerance: float = 0.05,
    transfer_from: Callable[[Tensor], Tensor] | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Diagnosis:
    """Ask whether a network is robust, or only hard to attack: does its gradient lead anywhere?

    Logits of hundreds make the softmax exactly one-hot in float32, so that the cross-entropy has no gradient
    left; the margin loss, the exact slope or float64 still find a way. A network that is flat (rounded
    inputs, dead units) has no gradient under any loss; random search and examples from another network need
    none. Each comparison that says so becomes one sentence of `suspicions`.

    Args:
        model, x, y, eps, norm, bounds, batch_size: as for `pgd`.
        steps: of every gradient attack.
        queries: steps of the random search. For norm "l2" it searches the cube inside the ball, which is
            a small part of it.
        tolerance: differences of accuracy up to this size raise no suspicion.
        transfer_from: another network for the same task, such as one trained from another seed.
        generator: draws all starts (default: torch's own generator).

    Returns:
        A `Diagnosis`.

    Raises: as for `pgd`.

    Source: the checks of Athalye, Carlini & Wagner 2018 (arXiv 1802.00420), section 3.1, and of Carlini et
    al. 2019 (arXiv 1902.06705).

    Example:
        >>> from minigrok import models
        >>> model = models.mlp([4, 16, 3], generator=torch.Generator().manual_seed(0))
        >>> x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
        >>> y = model(x).argmax(1)
        >>> for weight in model[2].parameters():
        ...     _ = weight.data.mul_(1e4)  # the same decisions, with logits of thousands
        >>> report = diagnose(model, x, y, 0.2, generator=torch.Generator().manual_seed(0))
        >>> report.zero_gradients > 0.8, report.plain_float32 > report.margin + 0.3
        (True, True)
        >>> print(report.suspicions[0])  # doctest: +ELLIPSIS
        The cross-entropy's gradient is exactly 0 at ... % of the samples: ...

    Used in lesson 08.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=_device(generator)))
    options = {"norm": norm, "bounds": bounds, "batch_size": batch_size, "steps": steps}

    def survivors(network: Callable, points: Tensor, radius: float = eps, **more: Any) -> Tensor:
        draw = torch.Generator(points.device).manual_seed(seed)  # all from the same starts
        return ~pgd(
            network, points, y.to(points.device), radius, generator=draw, **options | more
        ).success.to(x.device)

    right = _right(model, x, y, options)
    left = {
        "plain_float32": survivors(model, x, loss="plain_cross_entropy"),
        "plain_float64": survivors(*_in_float64(model, x), loss="plain_cross_entropy"),
        "cross_entropy": survivors(model, x, loss="cross_entropy"),
        "margin": survivors(model, x),
        "random_search": _survive_search(model, x, y, eps, queries, seed, options),
    }
    if transfer_from is not None:
        draw = torch.Generator(x.device).manual_seed(seed)
        made = pgd(transfer_from, x, y, eps, early_stop=False, generator=draw, **options)
        left["transfer"] = right & _right(model, made.x_adv, y, options)
    shares = {name: survived.float().mean().item() for name, survived in left.items()}
    with _borrowed(model, x, y, "margin", bounds, batch_size) as net:
        largest = net.logits(x).abs().max().item()
    found = Diagnosis(
        eps=eps,
        clean=right.float().mean().item(),
        **{"transfer": None} | shares,
        together=torch.stack(list(left.values())).all(0).float().mean().item(),
        huge_eps=survivors(model, x, _range(x, norm, bounds)).float().mean().item(),
        zero_gradients=zero_gradient_share(model, x, y, batch_size=batch_size).item(),
        largest_logit=largest,
    )
    found.suspicions.extend(_suspicions(found, tolerance))
    return found


def zero_gradient_share(
    model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, *, batch_size: int | None = None
) -> Tensor:
    """The share of samples at which the input gradient of the cross-entropy is exactly 0, in every number.

    The cross-entropy is `F.cross_entropy`, in the precision of x. At these samples an attack that follows it
    stands still, however far from robust the network is.

    Args:
        model, x, y: as for `pgd`; x of any range.

    Returns:
        () float32.

    Example:
        >>> sure = nn.Linear(1, 2)
        >>> _ = sure.weight.data.copy_(torch.tensor([[1000.0], [0.0]])), sure.bias.data.zero_()
        >>> zero_gradient_share(sure, torch.tensor([[0.01], [0.5]]), torch.tensor([0, 0]))
        tensor(0.5000)

    Used in lesson 08, and in the recordings of lessons 10 and 11.
    """
    with _borrowed(model, x, y, "plain_cross_entropy", (-math.inf, math.inf), batch_size) as net:
        gradient = net.gradient(x, y)[1]
        return (gradient == 0).flatten(1).all(1).float().mean()


def _in_float64(model: Callable, x: Tensor) -> tuple[Callable, Tensor]:
    model = with_float64(model)
    if not isinstance(model, nn.Module):
        return model, x.double()
    copied = copy.deepcopy(model).double()
    weight = next(copied.parameters(), None)
    return copied, x.to(x.device if weight is None else weight.device, torch.float64)


def _survive_search(
    model: Callable, x: Tensor, y: Tensor, eps: float, queries: int, seed: int, options: dict[str, Any]
) -> Tensor:
    radius = eps if options["norm"] == "linf" else eps / math.prod(x.shape[1:]) ** 0.5
    draw = torch.Generator(x.device).manual_seed(seed)
    known = {name: options[name] for name in ("bounds", "batch_size")}
    return ~square(model, x, y, radius, steps=queries, generator=draw, **known).success


def _suspicions(found: Diagnosis, tolerance: float) -> list[str]:
    def beaten(weak: float, strong: float | None) -> bool:
        return strong is not None and weak > strong + tolerance

    said = []
    if found.zero_gradients > tolerance:
        said.append(
            f"The cross-entropy's gradient is exactly 0 at {100 * found.zero_gradients:.1f} % of the "
            f"samples: attacks that follow it stand still there (largest logit: {found.largest_logit:.3g})."
        )
    if beaten(found.plain_float32, found.plain_float64):
        said.append(
            f"The same attack in float64 lowers the accuracy from {found.plain_float32:.3f} to "
            f"{found.plain_float64:.3f}: rounding protects the network, not robustness."
        )
    if beaten(found.plain_float32, min(found.margin, found.cross_entropy)):
        said.append(
            f"Plain cross-entropy leaves {found.plain_float32:.3f}, the margin loss {found.margin:.3f} and "
            f"the exact slope of cross-entropy {found.cross_entropy:.3f}: the usual attack is too weak here."
        )
    if beaten(min(found.margin, found.cross_entropy), found.random_search):
        said.append(
            f"Random search, which uses no gradient, leaves {found.random_search:.3f}, less than the "
            f"gradient attacks ({min(found.margin, found.cross_entropy):.3f}): the gradient misleads them."
        )
    if beaten(min(found.margin, found.cross_entropy), found.transfer):
        said.append(
            f"Examples made for another network leave {found.transfer:.3f}, less than those made for this "
            f"one ({min(found.margin, found.cross_entropy):.3f}): its own gradient misleads the attack."
        )
    if found.huge_eps > tolerance:
        said.append(
            f"With every image within reach the accuracy is still {found.huge_eps:.3f} instead of 0: the "
            "attack does not find what is surely there."
        )
    return said


# --- a defence ----------------------------------------------------------------------------------------------


def adversarial_training(
    eps: float,
    *,
    loss: str = "cross_entropy",
    attack_loss: str | Sequence[str] = "cross_entropy",
    steps: int = 7,
    **options: Any,
) -> Callable[[State, Batch], None]:
    """A `step` for `training.train` that learns from the worst the attack finds, instead of the data.

        min over weights of  E max_{|x' - x| <= eps} loss(f(x'), y) :
        x' by `pgd` on the batch, then the usual update on (x', y)

    While it is attacked the model is in evaluation mode, so that dropout and batch norm hold still; for the
    update it is as it came.

    Args:
        eps: radius of the attack in units of the input.
        loss: what is minimised, as in `training.classification_step`.
        attack_loss: what the attack maximises, as in `pgd`.
        steps: of the attack; each costs about as much as half an update without attack.
        **options: handed to `pgd` (norm, step_size, bounds, random_start ...). The starts are drawn from
            `state.generator`.

    Returns:
        `step(state, batch)` with batch = (x (N, ...), y (N,)).

    Raises:
        ValueError: eps < 0, an unknown loss or option; at the first step, whatever `pgd` refuses.

    Source: Madry et al. 2018 (arXiv 1706.06083), section 2.1 and equation 2.1.

    Example:
        >>> from minigrok import data, models, training
        >>> x, y = data.disc_and_ring(200)
        >>> model = models.mlp([2, 32, 2], generator=torch.Generator().manual_seed(0))
        >>> draw = torch.Generator().manual_seed(0)
        >>> state = State(model, torch.optim.AdamW(model.parameters(), lr=1e-2), draw)
        >>> step = adversarial_training(0.1, steps=3, bounds=(-2, 2))
        >>> run = training.train(step, state, steps=200, batches=lambda t: (x, y))
        >>> bool(robust_accuracy(model, x, y, 0.1, bounds=(-2, 2), generator=draw) > 0.9)
        True

    Used in lesson 08, and in the recording of lesson 13.
    """
    _check_counts(steps=steps)
    _losses(attack_loss)
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    update = classification_step(loss)

    def step(state: State, batch: Batch) -> None:
        if batch is None:
            raise ValueError("adversarial_training needs a batch: hand batches=lambda t: (x, y) to train")
        x, y = batch
        with _evaluating(state.model):
            found = pgd(
                state.model,
                x,
                y,
                eps,
                loss=attack_loss,
                steps=steps,
                early_stop=False,
                generator=state.generator,
                **options,
            )
        update(state, (found.x_adv, y))

    return step


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {part: part.training for part in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for part, training in modes.items():
            part.training = training


# --- how all attacks work -----------------------------------------------------------------------------------


@dataclass
class _Plan:
    """How to attack: `walk(net, ball, y, draw)` begins a walk, `restarts` times."""

    walk: Callable[["_Net", "_Ball", Tensor, torch.Generator], Walk]
    restarts: int = 1
    random_start: bool = True  # else the walk begins at x, and needs no random number
    early_stop: bool = True


def _attack(
    net: "_Net",
    x: Tensor,
    y: Tensor,
    eps: float | Tensor,
    norm: str,
    bounds: Bounds,
    plan: _Plan,
    generator: torch.Generator | None,
) -> Attack:
    """Attack all samples, a block at a time. Every block and restart has a seed of its own, drawn at once:
    so what happens to one sample does not depend on how soon others were fooled."""
    radii = _radii(eps, x, norm, bounds)
    blocks = list(zip(x.detach().split(_BLOCK), y.split(_BLOCK), radii.split(_BLOCK), strict=True))
    shape = len(blocks), plan.restarts
    seeds = torch.zeros(shape, dtype=torch.int64)
    if plan.random_start:
        seeds = torch.randint(2**62, shape, generator=generator, device=_device(generator))
    found = []
    for (points, labels, radius), own in zip(blocks, seeds.tolist(), strict=True):
        ball = _Ball(net.laid_out(points), radius, norm, bounds)
        draws = [torch.Generator(x.device).manual_seed(seed) for seed in own]
        found.append(_attack_block(net, ball, labels, plan, draws))
    x_adv, success, queries = map(torch.cat, zip(*found, strict=True))
    return Attack(x_adv.contiguous(), success, queries)


def _attack_block(
    net: "_Net", ball: "_Ball", y: Tensor, plan: _Plan, draws: list[torch.Generator]
) -> tuple[Tensor, Tensor, Tensor]:
    x_adv, queries = ball.x.clone(), torch.zeros_like(y)
    success = torch.zeros_like(y, dtype=torch.bool)
    if plan.early_stop and plan.random_start:  # a walk that begins at x looks there itself
        success, queries = net.wrong(ball.x, y), queries + 1
    for k, draw in enumerate(draws):
        net.loss = net.losses[k % len(net.losses)]
        left = (~success).nonzero()[:, 0]
        if not len(left):
            break
        walk = plan.walk(net, ball[left], y[left], draw)
        x_adv[left], taken = _follow(walk, ball.x[left], y[left], plan.early_stop)
        success[left] = net.wrong(x_adv[left], y[left])
        queries[left] += taken + 1
    return x_adv, success, queries


def _follow(walk: Walk, x: Tensor, y: Tensor, early_stop: bool) -> tuple[Tensor, Tensor]:
    """Go a walk to its end: the first point that fools each sample, or its last; and how many were tried."""
    found, tried = torch.empty_like(x), torch.zeros_like(y)
    left = torch.arange(len(y), device=y.device)
    x_adv, logits = next(walk)
    while logits is not None:
        tried[left] += 1
        fooled = logits.max(1).indices != y[left]
        going = ~fooled if early_stop and fooled.any() else slice(None)
        if early_stop:
            found[left[fooled]] = x_adv[fooled]
        left = left[going]
        if not len(left):
            return found, tried
        x_adv, logits = walk.send(going)
    found[left] = x_adv
    return found, tried


class _Samples:
    """What a walk knows of each sample that is still in it."""

    def __init__(self, **parts: Any):
        vars(self).update(parts)

    def keep(self, going: Tensor | slice) -> None:
        for name, part in vars(self).items():
            setattr(self, name, part[going])


def _pick(which: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Of each sample a where `which`, else b."""
    return torch.where(which.view(-1, *[1] * (a.dim() - 1)), a, b)


class _Ball:
    """All points within eps of x and within bounds: one ball for each sample."""

    def __init__(self, x: Tensor, eps: Tensor, norm: str, bounds: Bounds):
        self.x, self.eps, self.norm, self.bounds = x, eps.view(-1, *[1] * (x.dim() - 1)), norm, bounds
        self.n, self.rows = len(x), torch.arange(len(x), device=x.device)
        if norm == "linf":
            self.low = _towards(x, -self.eps).clamp_(min=bounds[0])
            self.high = _towards(x, self.eps).clamp_(max=bounds[1])
        else:  # rounding moves each of the d coordinates a little: a radius smaller by as much is never left
            size = torch.finfo(x.dtype).eps * math.prod(x.shape[1:]) ** 0.5
            self.radius = (self.eps - size * (x.abs().amax(_all_but_first(x), True) + self.eps)).clamp_(min=0)

    def __getitem__(self, going: Tensor | slice) -> "_Ball":
        part = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(part, name, value[going])
        return part

    def project(self, x_adv: Tensor) -> Tensor:
        if self.norm == "linf":
            return x_adv.clamp_(self.low, self.high)
        away = x_adv.sub_(self.x)
        away *= (self.radius / _lengths(away, "l2").clamp_(min=1e-30)).clamp_(max=1)
        return away.add_(self.x).clamp_(*self.bounds)

    def direction(self, gradient: Tensor) -> Tensor:
        """Where the loss grows fastest over a step of length 1."""
        if self.norm == "linf":
            return gradient.sign()
        tiny = torch.finfo(gradient.dtype).tiny
        gradient = gradient / _lengths(gradient, "linf").clamp_(min=tiny)  # or the squares might underflow
        return gradient / _lengths(gradient, "l2").clamp_(min=tiny)

    def random(self, draw: torch.Generator) -> Tensor:
        """A point drawn uniformly from each ball (clamped to the bounds)."""
        shape = self.x.shape[1:]
        if self.norm == "linf":
            noise = self.drawn(lambda n, **how: torch.rand((n, *shape), **how), draw) * 2 - 1
        else:
            noise = self.direction(self.drawn(lambda n, **how: torch.randn((n, *shape), **how), draw))
            share = self.drawn(lambda n, **how: torch.rand((n, *[1] * len(shape)), **how), draw)
            noise *= share ** (1 / math.prod(shape))
        return self.project(self.x + self.eps * noise)

    def drawn(self, make: Callable[..., Tensor], draw: torch.Generator) -> Tensor:
        """Random numbers for the whole block, of which the samples still here get theirs."""
        numbers = make(self.n, generator=draw, device=self.x.device)[self.rows]
        return numbers.to(self.x.dtype) if numbers.is_floating_point() else numbers

    def corner(self, signs: Tensor) -> Tensor:
        return torch.where(signs > 0, self.high, self.low)


def _towards(x: Tensor, step: Tensor) -> Tensor:
    """x + step, rounded towards x where it is rounded, so that no point lies outside the ball."""
    moved = x + step
    return torch.where((moved - x).abs() > step.abs(), moved.nextafter(x), moved)


def _lengths(away: Tensor, norm: str) -> Tensor:
    """The norm of each sample, (N, 1, ...)."""
    order = math.inf if norm == "linf" else 2
    return torch.linalg.vector_norm(away, order, _all_but_first(away), keepdim=True)


def _all_but_first(x: Tensor) -> tuple[int, ...]:
    return tuple(range(1, x.dim()))


class _Net:
    """The model as the attacks see it: logits, and the slope of a loss at the input."""

    def __init__(
        self, model: Callable[[Tensor], Tensor], losses: Sequence[str], batch_size: int, channels_last: bool
    ):
        self.model, self.losses, self.loss = model, losses, losses[0]
        self.batch_size, self.channels_last = batch_size, channels_last

    def laid_out(self, x: Tensor) -> Tensor:
        """x with channels last in memory, where convolutions like it better."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        return _joined([_finite(self.model(self.laid_out(part))) for part in x.split(self.batch_size)])

    def wrong(self, x: Tensor, y: Tensor) -> Tensor:
        return self.logits(x).max(1).indices != y

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The logits at x, and the loss's gradient there up to a positive factor for each sample."""
        parts = [
            self._gradient(*part)
            for part in zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)
        ]
        logits, gradients = zip(*parts, strict=True)
        return _joined(logits), _joined(gradients)

    def _gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = self.laid_out(x).detach().requires_grad_()
            logits = self.model(x)
        if not logits.requires_grad:
            raise ValueError(
                "no gradient comes through the model to x (detach, inference_mode, or an operation without "
                "derivative such as argmax). Attack it with square, which needs none."
            )
        slope = _slope(_finite(logits.detach()), y, self.loss)
        (gradient,) = torch.autograd.grad(logits, x, slope)
        # The sum is one number to look at; where finite numbers add up to infinity, look at each.
        if not gradient.sum().isfinite() and not gradient.isfinite().all():
            raise ValueError(
                "the model's gradient at the input is NaN or infinite, though its logits are not"
            )
        return logits.detach(), gradient

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss of each sample, (N,). It orders points as cross-entropy does, and does not underflow."""
        wrong = logits.masked_fill(F.one_hot(y, logits.shape[1]).bool(), -math.inf)
        right = logits.gather(1, y[:, None])[:, 0]
        if self.loss in ("cross_entropy", "plain_cross_entropy"):
            return wrong.logsumexp(1) - right
        margin = wrong.amax(1) - right
        return margin if self.loss == "margin" else margin / _spread_of_three(logits)


def _slope(logits: Tensor, y: Tensor, loss: str) -> Tensor:
    """The gradient of each sample's loss at its logits, times a positive number, (N, C)."""
    right = F.one_hot(y, logits.shape[1]).to(logits.dtype)
    if loss == "plain_cross_entropy":
        return logits.softmax(1) - right
    wrong = logits.masked_fill(right.bool(), -math.inf)
    if loss == "cross_entropy":  # without the factor 1 - p_y, which float32 rounds to 0
        return wrong.softmax(1) - right
    strongest = wrong.max(1).indices
    margin_slope = F.one_hot(strongest, logits.shape[1]) - right
    if loss == "margin":
        return margin_slope
    # (z_w - z_y) / (z_(1) - z_(3)), times its denominator
    margin = (margin_slope * logits).sum(1)
    first, _, third = logits.topk(3).indices.T
    spread_slope = F.one_hot(first, logits.shape[1]) - F.one_hot(third, logits.shape[1])
    return margin_slope - (margin / _spread_of_three(logits))[:, None] * spread_slope


def _spread_of_three(logits: Tensor) -> Tensor:
    first, _, third = logits.topk(3).values.T
    return (first - third).clamp(min=torch.finfo(logits.dtype).tiny)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _finite(logits: Tensor) -> Tensor:
    if not logits.isfinite().all():
        raise ValueError(
            "the model's logits are NaN or infinite: of such a network nothing can be said. "
            "Did its training diverge?"
        )
    return logits


@contextmanager
def _borrowed(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    loss: str | Sequence[str],
    bounds: Bounds,
    batch_size: int | None,
) -> Iterator[_Net]:
    """Check all that comes in, and lend the model out with its weights' gradients switched off."""
    losses = _losses(loss)
    _check_counts(batch_size=1 if batch_size is None else batch_size)
    _check_model(model)
    _check_points(model, x, bounds)
    _check_labels(x, y)
    weights = [w for w in model.parameters() if w.requires_grad] if isinstance(model, nn.Module) else []
    try:
        for weight in weights:
            weight.requires_grad_(False)
        convolutions = x.dim() == 4 and any(
            isinstance(part, nn.modules.conv._ConvNd) for part in _parts(model)
        )
        if batch_size is None:
            batch_size = _CACHED if convolutions and x.device.type == "cpu" else _BLOCK
        net = _Net(model, losses, batch_size, convolutions)
        _check_classes(net.logits(x[:1]), y, losses)
        yield net
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _parts(model: Callable) -> Iterator[nn.Module]:
    return model.modules() if isinstance(model, nn.Module) else iter(())


def _device(generator: torch.Generator | None) -> torch.device | str:
    return "cpu" if generator is None else generator.device


# --- what is refused ----------------------------------------------------------------------------------------


def _check_model(model: Callable) -> None:
    if isinstance(model, Ensemble):
        raise TypeError(
            "an Ensemble is many networks, and an attack is on one: loop over ensemble[s] for s in "
            f"range({len(model)})"
        )
    if not callable(model):
        raise TypeError(f"expected a model, x -> logits, got {type(model).__name__}")
    for part in _parts(model):
        noisy = isinstance(part, _DROPOUT | _BATCH_NORM | nn.RReLU) or type(part).__name__ == "_SpectralNorm"
        if part.training and noisy:
            raise ValueError(
                f"the model is in training mode and has {type(part).__name__}: its output depends on chance, "
                "on the rest of the batch or on earlier calls. Call model.eval() first."
            )
        if isinstance(part, _BATCH_NORM) and part.running_mean is None:
            raise ValueError(
                f"{type(part).__name__} without running statistics mixes the samples of a batch in "
                "evaluation mode too: make it with track_running_stats=True"
            )


def _check_points(model: Callable, x: Tensor, bounds: Bounds) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"expected a torch tensor of inputs, got {type(x).__name__}. Use torch.as_tensor(x).")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"x must be float32 or float64, got {x.dtype}: steps of an attack are too small for less. "
            "Convert x and the model with .float(), pixels of 0 to 255 with x.float() / 255."
        )
    if x.dim() < 2 or not x.numel():
        raise ValueError(f"expected x (N, ...) with at least one sample, got shape {tuple(x.shape)}")
    low, high = bounds
    if not low < high:
        raise ValueError(f"bounds must be (smallest, largest) value of an input, got {bounds}")
    smallest, largest = x.min().item(), x.max().item()
    if not (low <= smallest and largest <= high):
        raise ValueError(
            f"x goes from {smallest:.9g} to {largest:.9g}, outside bounds={bounds}. Bounds and eps are in "
            "units of the input: give the bounds of your data, or attack it before it is normalised."
        )
    weight = next((w for part in _parts(model) for w in part.parameters() if w.is_floating_point()), None)
    if weight is not None and (weight.dtype != x.dtype or weight.device != x.device):
        raise ValueError(
            f"the model is {weight.dtype} on {weight.device}, and x is {x.dtype} on {x.device}: convert "
            "one of them"
        )


def _check_labels(x: Tensor, y: Tensor) -> None:
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        got = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"labels y must be an int64 tensor (N,), got {got}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"expected one label for each of {len(x)} samples, got shape {tuple(y.shape)}")
    if y.device != x.device:
        raise ValueError(f"labels are on {y.device}, and x is on {x.device}: convert one of them")


def _check_classes(logits: Tensor, y: Tensor, losses: Sequence[str]) -> None:
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"expected the model to give logits (N, C) of at least two classes, got {tuple(logits.shape)} "
            "for one sample"
        )
    classes = logits.shape[1]
    smallest, largest = y.min().item(), y.max().item()
    if smallest < 0 or largest >= classes:
        raise ValueError(
            f"labels go from {smallest} to {largest}, but the model knows the classes 0 to {classes - 1}"
        )
    if "dlr" in losses and classes < 3:
        raise ValueError("the loss 'dlr' compares three logits, and this model has two: use loss='margin'")


def _radii(eps: float | Tensor, x: Tensor, norm: str, bounds: Bounds) -> Tensor:
    """One radius for each sample, (N,)."""
    radii = torch.as_tensor(eps, dtype=x.dtype, device=x.device)
    if radii.dim() and radii.shape != x.shape[:1]:
        raise ValueError(
            f"eps must be a number, or one for each of {len(x)} samples, got shape {tuple(radii.shape)}"
        )
    smallest, largest, most = radii.min().item(), radii.max().item(), _range(x, norm, bounds)
    if not 0 <= smallest <= largest < math.inf:
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    if largest > most * (1 + 1e-6):
        raise ValueError(
            f"eps={largest:.4g} is more than the whole range of the input, {most:.4g} for bounds={bounds} "
            f"and norm {norm!r}. eps is in units of the input: 8/255 rather than 8 for pixels in [0, 1]."
        )
    return radii.expand(len(x))


def _range(x: Tensor, norm: str, bounds: Bounds) -> float:
    """The largest distance two inputs can have."""
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")
    return float(bounds[1] - bounds[0]) * (1.0 if norm == "linf" else math.prod(x.shape[1:]) ** 0.5)


def _losses(loss: str | Sequence[str]) -> list[str]:
    losses = [loss] if isinstance(loss, str) else list(loss)
    if not losses or not set(losses) <= set(_LOSSES):
        raise ValueError(f"loss must be one of {', '.join(map(repr, _LOSSES))}, or several; got {loss!r}")
    return losses


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")


def _check_step_size(step_size: float | None) -> None:
    if step_size is not None and not 0 < float(step_size) < math.inf:
        raise ValueError(f"step_size must be above 0 and finite, got {step_size}")
